"""Adapter applied: the model that evaluation and chat load is the base plus this very adapter.

One decision: the engine is loaded by evaluation's own function from the checkpoint's files; it must differ from the base and
equal plain PEFT with the same files, and a fresh adapter must change nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from luthier.pipeline.doctor.document import Figure
from luthier.pipeline.doctor.proof import LOGPROB, Finding, Proof

if TYPE_CHECKING:
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

        from luthier.engine.contract import Sampling
        from luthier.engine.select import load_engine

        rows = subject.sequences
        base, tuned = (np.concatenate(engine.logprobs(rows)) for engine in (subject.untuned, subject.engine))
        twin = np.concatenate(subject.twin_scores)
        recipe = subject.project.train
        spec = recipe.method.spec()
        start = load_engine(Path(subject.base.result.folder), spec, subject.execution, recipe.seed)
        fresh = np.concatenate(start.logprobs(rows))
        prompts = [subject.renderer.prompt(r.example.prompt, r.example.tools) for r in subject.rows[:CANARIES]]
        sampling = Sampling(CANARY_TOKENS, stop_ids=subject.renderer.stop_ids)
        answers = [[c.tokens for c in engine.sample(prompts, sampling)] for engine in (subject.untuned, subject.engine)]
        changed = sum(a != b for a, b in zip(*answers, strict=True))
        figures = (
            Figure(
                name="largest change of a log-probability, nats", value=float(np.abs(tuned - base).max()), bound=LEAST_CHANGE, at_least=True
            ),
            Figure(name="against plain PEFT with the same files, nats", value=float(np.abs(tuned - twin).max()), bound=LOGPROB),
            Figure(
                name="change by a fresh adapter, nats",
                value=float(np.abs(fresh - base).max()),
                bound=LOGPROB if spec.starts_as_base else None,
            ),
            Figure(name="canary answers that changed", value=changed),
        )
        return Finding(f"the loaded model is the base plus the adapter's {subject.checkpoint.result.num_trainable:,} weights", figures)
