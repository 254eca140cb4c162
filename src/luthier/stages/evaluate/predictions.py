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


def write_predictions(path: Path, rows: Sequence[Example], outputs: Sequence[Output], scores: Sequence[dict[str, float]]) -> None:
    """`predictions.jsonl`: key, id, source, prompt, reference, output, scores; label log-probabilities when scored."""
    with writing(path), path.open("w", encoding="utf-8", newline="\n") as f:
        for row, output, score in zip(rows, outputs, scores, strict=True):
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
            f.write(json.dumps(body, ensure_ascii=False) + "\n")


def confidence(output: Output) -> float:
    """The chosen label's share of probability among the labels, in [0, 1]."""
    top = max(output.label_logprobs)
    return 1.0 / sum(math.exp(x - top) for x in output.label_logprobs)


def read_predictions(folder: Path) -> list[dict[str, Any]]:
    """The rows of `predictions.jsonl` of a Predictions artifact, in order."""
    with (folder / "predictions.jsonl").open(encoding="utf-8", newline="\n") as f:
        return [json.loads(line) for line in f]
