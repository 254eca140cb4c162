"""Template parity: training, evaluation, the untuned baseline and chat hand the model the same tokens for the same row.

Where there is no template (encoders, encoder-decoders) the tokens must be those of transformers' own tokenizer.

One decision: evaluation and chat are run up to their engine, which is replaced by a recorder: what is compared are the tokens
that would have been computed, not the tokens that a renderer promises.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

from luthier.pipeline.doctor.document import Figure
from luthier.pipeline.doctor.plain import read_by_library
from luthier.pipeline.doctor.proof import Finding, Proof
from luthier.pipeline.doctor.raw import parity_faults, reads_raw
from luthier.pipeline.doctor.recorder import Recorder

if TYPE_CHECKING:
    import numpy as np

    from luthier.core.records import Example
    from luthier.engine.text.load import AnyRenderer
    from luthier.pipeline.doctor.subject import StoredRow, Subject


class Parity(Proof):
    """The rows that the engines compute, along four paths."""

    kind: Literal["parity"] = "parity"
    order: ClassVar[int] = 40
    title: ClassVar[str] = "template parity"
    hurts: ClassVar[str] = "the model would be asked otherwise than it was trained: evaluation and chat look worse than they are"

    def __call__(self, subject: Subject) -> Finding:
        rows = [row for row in subject.rows if not row.cut]
        if not rows:
            return Finding("the length limit cut every short row, so no stored row is a whole one", applies=False)
        if reads_raw(subject):
            faults = parity_faults(subject, rows)
            figure = Figure(name="texts with other tokens than in training", value=len(faults), bound=0)
            return Finding(f"{len(rows)} texts have the same tokens in training, evaluation and baseline", (figure,), tuple(faults[:3]))
        base = _of_base(subject)
        faults: list[str] = []
        talked = 0
        read = read_by_library(subject, rows) if subject.kind != "decoder" else []
        for number, row in enumerate(rows):
            prompts = {
                "evaluation": _by_evaluation(subject, row.example),
                "the baseline": base.prompt(row.example.prompt, row.example.tools),
            }
            if subject.kind != "decoder":
                prompts["transformers' tokenizer"] = read[number]
            if subject.kind != "encoder" and _can_be_chatted(row.example):
                prompts["chat"] = _by_chat(subject, row.example)
                talked += 1
            faults += [f"{path}: {fault}" for path, prompt in prompts.items() if (fault := _differs(row, prompt, subject)) is not None]
        hashes = {subject.renderer.hash, subject.predictor.renderer.hash, base.hash}
        figures = (
            Figure(name="prompts with other tokens than in training", value=len(faults), bound=0),
            Figure(name="different renderers", value=len(hashes), bound=1),
        )
        return Finding(_words(subject, len(rows), talked), figures, tuple(dict.fromkeys(faults))[:3])


def _of_base(subject: Subject) -> AnyRenderer:
    """The renderer made from the base's own files, with the project's limits and answers."""
    from luthier.engine.text.plain import TextRenderer
    from luthier.engine.text.renderer import Renderer

    folder, own = Path(subject.base.result.folder), subject.renderer
    if isinstance(own, TextRenderer):
        return TextRenderer.from_model(folder, own.policy, own.answers)
    return Renderer.from_model(folder, own.policy)


def _words(subject: Subject, rows: int, talked: int) -> str:
    paths = ["training", "evaluation", "baseline"]
    if subject.kind != "decoder":
        paths.append("transformers' own tokenizer")
    if talked == rows:
        paths.append("chat")
    some = f", {talked} of them as chat asks" if 0 < talked < rows else ""
    return f"{rows} rows have the same tokens in {', '.join(paths[:-1])} and {paths[-1]}{some}"


def _by_evaluation(subject: Subject, row: Example) -> np.ndarray:
    """The prompt that evaluation computes an answer from."""
    from dataclasses import replace

    import numpy as np

    answers = getattr(subject.renderer, "answers", None)
    recorder = Recorder(answers.num_values if answers else 1)
    predictor = replace(subject.predictor, engine=cast("Any", recorder))
    predictor.predict([row.prompt], tools=[row.tools])
    if recorder.prompts:
        return recorder.prompts[0]
    first = recorder.sequences[0]
    return first.tokens[: int(np.flatnonzero(first.weights)[0])]


def _can_be_chatted(row: Example) -> bool:
    """True for a row that a person could type: an optional system message, then turns of text that end with the user's."""
    roles = [m.role for m in row.prompt]
    turns = roles[1:] if roles[:1] == ["system"] else roles
    plain = all(not m.tool_calls and m.name is None for m in row.prompt) and not row.tools
    return plain and turns == ["user", "assistant"] * (len(turns) // 2) + ["user"]


def _by_chat(subject: Subject, row: Example) -> np.ndarray:
    """The prompt that `luthier chat` computes an answer from, after the row's earlier turns."""
    from dataclasses import replace

    from luthier.engine.decoding import Decoding
    from luthier.pipeline.chat import Conversation

    recorder = Recorder()
    predictor = replace(subject.predictor, engine=cast("Any", recorder), decoding=Decoding(), choices=())
    system = row.prompt[0].content if row.prompt[0].role == "system" else None
    turns = [m for m in row.prompt if m.role != "system"]
    Conversation(subject.model, predictor, system, turns[:-1]).ask(turns[-1].content)
    return recorder.prompts[0]


def _differs(row: StoredRow, prompt: np.ndarray, subject: Subject) -> str | None:
    """Where the prompt or the answer after it leaves the row's stored tokens, or None."""
    import numpy as np

    asked = np.concatenate([prompt, subject.renderer.completion(row.example.reference)])
    stored = row.sequence.tokens[: len(asked)]
    if row.example.messages[-1].tool_calls:
        asked, stored = prompt, row.sequence.tokens[: len(prompt)]
    if len(stored) == len(asked) and bool((stored == asked).all()):
        return None
    at = next((i for i, (a, b) in enumerate(zip(stored, asked, strict=False)) if a != b), min(len(stored), len(asked)))
    return f"token {at} of {row.example.source} differs"
