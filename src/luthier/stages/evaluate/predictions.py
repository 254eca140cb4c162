"""`predictions.jsonl`: what a model answered to each row, so that anyone can recompute its numbers."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from luthier.core.files import writing
from luthier.core.records import Example
from luthier.engine.predictor import Output
from luthier.parts.scorers import Answer


def write_predictions(
    path: Path, rows: Sequence[Example], outputs: Sequence[Output], answers: Sequence[Answer], scores: Sequence[dict[str, float | None]]
) -> None:
    """`predictions.jsonl`: key, id, source, prompt, reference, output, scores; and what else an answer holds that scorers read."""
    with writing(path), path.open("w", encoding="utf-8", newline="\n") as f:
        for row, output, answer, score in zip(rows, outputs, answers, scores, strict=True):
            body: dict[str, Any] = {
                "key": row.key,
                "id": row.id,
                "source": str(row.source),
                "prompt": [{"role": m.role, "content": m.content} for m in row.prompt],
                "reference": row.reference,
                "label": row.label,
                "group": row.group,
                "output": output.text,
                "finish": output.finish,
                "scores": score,
            }
            if output.label_logprobs:
                body["confidence"] = round(confidence(output), 6)
                body["label_logprobs"] = [round(x, 5) for x in output.label_logprobs]
            if output.label_probabilities:
                body["label_probabilities"] = [round(x, 6) for x in output.label_probabilities]
            body.update(_known(row, answer))
            f.write(json.dumps(body, ensure_ascii=False) + "\n")


def _known(row: Example, answer: Answer) -> dict[str, Any]:
    """What `parts.scorers.summary.answer_of` reads back, where it is there."""
    found = {
        "meta": row.meta or None,
        "reference_choice": answer.wanted,
        "temperature": answer.temperature if answer.temperature != 1.0 else None,
        "reference_logprob": answer.reference_logprob,
        "reference_tokens": answer.reference_tokens or None,
    }
    return {name: value for name, value in found.items() if value is not None}


def confidence(output: Output) -> float:
    """The chosen label's share of probability among the labels, in [0, 1]."""
    top = max(output.label_logprobs)
    return 1.0 / sum(math.exp(x - top) for x in output.label_logprobs)


def read_predictions(folder: Path) -> list[dict[str, Any]]:
    """The rows of `predictions.jsonl` of a Predictions artifact, in order."""
    with (folder / "predictions.jsonl").open(encoding="utf-8", newline="\n") as f:
        return [json.loads(line) for line in f]
