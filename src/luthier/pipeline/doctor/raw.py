"""What the proofs ask of raw text: the tokens of transformers' own tokenizer, all of them trained, and the same in evaluation.

One decision: as for plain texts, what a stored row must be is said by the base's own files, never by the renderer that is proven.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from luthier.engine.text.renderer import Renderer, is_raw
from luthier.pipeline.doctor.recorder import Recorder

if TYPE_CHECKING:
    import numpy as np

    from luthier.pipeline.doctor.subject import StoredRow, Subject


def reads_raw(subject: Subject) -> bool:
    """Whether the project goes on with pre-training."""
    return is_raw(subject.stored_rows[0].example.messages)


def text_renderer(subject: Subject) -> Renderer:
    """The subject's renderer, of a decoder."""
    assert isinstance(subject.renderer, Renderer)
    return subject.renderer


def faults_of_masks(subject: Subject) -> list[str]:
    """What is wrong with each stored row that is wrong: other tokens than the library's, or a token that is not trained."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(subject.base.result.folder, local_files_only=True, trust_remote_code=False)
    found = [fault_of(row, tokenizer) for row in subject.stored_rows]
    return [fault for fault in found if fault is not None]


def fault_of(row: StoredRow, tokenizer: Any) -> str | None:
    """What is wrong with a stored row, or None."""
    tokens, weights = row.sequence.tokens.tolist(), row.sequence.weights
    if weights[0] != 0 or not (weights[1:] != 0).all():
        return "a token that has one before it is not trained"
    wanted = tokenizer(row.example.reference, split_special_tokens=True)["input_ids"]
    whole = [*wanted, tokenizer.eos_token_id] if wanted[-1] != tokenizer.eos_token_id else wanted
    if row.cut:
        places = range(len(whole) - len(tokens) + 1)
        return None if any(whole[i : i + len(tokens)] == tokens for i in places) else "a cut row holds other tokens than its text"
    return None if tokens == whole else "other tokens than transformers' own"


def read_in_evaluation(subject: Subject, row: StoredRow) -> np.ndarray:
    """The tokens whose log-probabilities evaluation asks the engine for, taken where the engine stands."""
    from dataclasses import replace

    from luthier.engine.predictor import Predictor

    assert isinstance(subject.predictor, Predictor)
    recorder = Recorder()
    replace(subject.predictor, engine=cast("Any", recorder)).answer_logprobs([()], [row.example.reference], [()])
    return recorder.sequences[0].tokens


def parity_faults(subject: Subject, rows: list[StoredRow]) -> list[str]:
    """Rows whose tokens in evaluation, or by a renderer made of the base's own files, are not the stored ones (but for the end)."""
    own = text_renderer(subject)
    base = Renderer.from_model(Path(subject.base.result.folder), own.policy)
    faults = []
    for row in rows:
        stored = row.sequence.tokens.tolist()
        for path, tokens in (("evaluation", read_in_evaluation(subject, row)), ("the baseline", base.text(row.example.reference))):
            if tokens.tolist() not in (stored, stored[:-1]):
                faults.append(f"{path}: other tokens for {row.example.source}")
    return faults
