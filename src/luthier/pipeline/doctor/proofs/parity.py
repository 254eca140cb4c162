"""Template parity: training, evaluation, the untuned baseline and chat hand the model the same tokens for the same row.

One decision: evaluation and chat are run up to their engine, which is replaced by a recorder: what is compared are the tokens
that would have been computed, not the tokens that a renderer promises.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

from luthier.pipeline.doctor.document import Figure
from luthier.pipeline.doctor.proof import Finding, Proof

if TYPE_CHECKING:
    import numpy as np

    from luthier.core.records import Example
    from luthier.engine.contract import Completion, TokenSequence
    from luthier.pipeline.doctor.subject import StoredRow, Subject


class Parity(Proof):
    """The rows that the engines compute, along four paths."""

    kind: Literal["parity"] = "parity"
    order: ClassVar[int] = 40
    title: ClassVar[str] = "template parity"
    hurts: ClassVar[str] = "the model would be asked otherwise than it was trained: evaluation and chat look worse than they are"

    def __call__(self, subject: Subject) -> Finding:
        from luthier.engine.text.renderer import Renderer

        rows = [row for row in subject.rows if not row.cut]
        if not rows:
            return Finding("the length limit cut every short row, so no stored row is a whole conversation", applies=False)
        base = Renderer.from_model(Path(subject.base.result.folder), subject.renderer.policy)
        faults: list[str] = []
        talked = 0
        for row in rows:
            prompts = {
                "evaluation": _by_evaluation(subject, row.example),
                "the baseline": base.prompt(row.example.prompt, row.example.tools),
            }
            if _can_be_chatted(row.example):
                prompts["chat"] = _by_chat(subject, row.example)
                talked += 1
            faults += [f"{path}: {fault}" for path, prompt in prompts.items() if (fault := _differs(row, prompt, subject)) is not None]
        hashes = {subject.renderer.hash, subject.predictor.renderer.hash, base.hash}
        chat = f", {talked} of them as chat asks" if talked < len(rows) else ", evaluation, baseline and chat"
        figures = (
            Figure(name="prompts with other tokens than in training", value=len(faults), bound=0),
            Figure(name="different renderers", value=len(hashes), bound=1),
        )
        return Finding(f"{len(rows)} rows have the same tokens in training{chat}", figures, tuple(dict.fromkeys(faults))[:3])


class _Recorder:
    """Stands where an engine stands and keeps the tokens it is handed."""

    def __init__(self) -> None:
        self.prompts: list[np.ndarray] = []
        self.sequences: list[TokenSequence] = []

    def sample(self, prompts: list[np.ndarray], *_: Any) -> list[Completion]:
        from luthier.engine.contract import Completion

        self.prompts += prompts
        return [Completion((), "stop") for _ in prompts]

    def logprobs(self, sequences: list[TokenSequence], *_: Any) -> list[np.ndarray]:
        import numpy as np

        self.sequences += sequences
        return [np.zeros(int((s.weights != 0).sum())) for s in sequences]


def _by_evaluation(subject: Subject, row: Example) -> np.ndarray:
    """The prompt that evaluation computes an answer from."""
    from dataclasses import replace

    import numpy as np

    recorder = _Recorder()
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

    recorder = _Recorder()
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
