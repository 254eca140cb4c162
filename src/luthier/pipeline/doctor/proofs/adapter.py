"""Adapter applied: the model that evaluation and chat load is the base plus this very adapter.

One decision: the engine is loaded by evaluation's own function from the checkpoint's files; it must differ from the base and
equal plain PEFT with the same files (an encoder's head among them), and a fresh adapter must change nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from luthier.pipeline.doctor.document import Figure
from luthier.pipeline.doctor.plain import OUTPUT, load_twin, outputs_apart, outputs_by_engine, outputs_by_libraries, plain_renderer
from luthier.pipeline.doctor.proof import LOGPROB, Finding, Proof
from luthier.pipeline.doctor.raw import reads_raw

if TYPE_CHECKING:
    import numpy as np

    from luthier.engine.contract import Engine
    from luthier.pipeline.doctor.subject import Subject

LEAST_CHANGE = 1e-6
"""Nats: the same engine without an adapter gives the same bits, so anything above rounding of a log-probability is the adapter."""
CANARIES, CANARY_TOKENS = 3, 8


class AdapterApplied(Proof):
    """Canary rows on the base, on the loaded model, and on the slow twin."""

    kind: Literal["adapter"] = "adapter"
    order: ClassVar[int] = 70
    title: ClassVar[str] = "adapter applied"
    hurts: ClassVar[str] = "every score of the tuned model would be the base's own"

    def __call__(self, subject: Subject) -> Finding:
        import numpy as np

        rows, recipe = subject.sequences, subject.project.train
        base, tuned = (np.concatenate(engine.logprobs(rows)) for engine in (subject.untuned, subject.engine))
        spec = recipe.method.spec()
        fresh = np.concatenate(subject.load(spec, subject.execution, recipe.seed).logprobs(rows))
        changed = sum(a != b for a, b in zip(*(_canaries(engine, subject) for engine in (subject.untuned, subject.engine)), strict=True))
        figures = (
            Figure(
                name="largest change of a log-probability, nats", value=float(np.abs(tuned - base).max()), bound=LEAST_CHANGE, at_least=True
            ),
            _against_peft(subject, tuned),
            Figure(
                name="change by a fresh adapter, nats",
                value=float(np.abs(fresh - base).max()),
                bound=LOGPROB if spec.starts_as_base else None,
            ),
            Figure(name="canary answers that changed", value=changed),
        )
        return Finding(f"the loaded model is the base plus the adapter's {subject.checkpoint.result.num_trainable:,} weights", figures)


def _against_peft(subject: Subject, tuned: np.ndarray) -> Figure:
    """How far the loaded model is from plain PEFT with the same files. tuned: its log-probabilities, flat."""
    import numpy as np

    if subject.kind == "decoder":
        error = float(np.abs(tuned - np.concatenate(subject.twin_scores)).max())
        return Figure(name="against plain PEFT with the same files, nats", value=error, bound=LOGPROB)
    wanted = outputs_by_libraries(load_twin(subject), subject)
    error = outputs_apart(outputs_by_engine(subject.engine, subject), wanted)
    return Figure(name="against plain transformers and PEFT with the same files, relative above 1", value=error, bound=OUTPUT)


def _canaries(engine: Engine, subject: Subject) -> list[object]:
    """What the engine answers to the first rows: a few tokens, or what a head says."""
    from luthier.engine.contract import Sampling

    if subject.kind == "encoder":
        answers = plain_renderer(subject).answers
        assert answers is not None
        width = answers.num_values
        values = outputs_by_engine(engine, subject).reshape(-1, width)[:CANARIES]
        return [answers.text(row) for row in values]
    rows = subject.rows[:CANARIES]
    if reads_raw(subject):
        prompts = [r.sequence.tokens[: len(r.sequence.tokens) // 2] for r in rows]
    else:
        prompts = [subject.renderer.prompt(r.example.prompt, r.example.tools) for r in rows]
    sampling = Sampling(CANARY_TOKENS, stop_ids=subject.renderer.stop_ids)
    return [c.tokens for c in engine.sample(prompts, sampling)]
