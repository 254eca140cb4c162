"""What the proofs ask of an encoder's or encoder-decoder's rows: plain texts without a chat template.

One decision: what a stored row must be, and what the model must give for it, is said by the model folder's own tokenizer and
plain transformers with PEFT, never by the renderer or the engine that is proven.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luthier.engine.text.plain import TextRenderer

if TYPE_CHECKING:
    import numpy as np

    from luthier.core.records import Example
    from luthier.engine.export.headed import Cut, Texts
    from luthier.engine.text.answers import Answers
    from luthier.pipeline.doctor.subject import StoredRow, Subject

OUTPUT = 1e-4
"""Relative above 1: an output in float32 against transformers' own (1e-7 measured on MiniLM-L6)."""


def plain_renderer(subject: Subject) -> TextRenderer:
    """The subject's renderer, of a base that is no decoder."""
    renderer = subject.renderer
    assert isinstance(renderer, TextRenderer)
    return renderer


def texts_of(example: Example, renderer: TextRenderer) -> Texts:
    """What the model reads of a row: a text, or a text and its pair."""
    texts = [m.content for m in example.prompt]
    if renderer.answers is None:
        return "\n\n".join(texts), None
    return texts[0], texts[1] if len(texts) == 2 else None


def mask_fault(row: StoredRow, renderer: TextRenderer) -> str | None:
    """What is wrong with a stored row, or None: its trained tokens must be its answer at the end, and nothing else."""
    trained = row.sequence.weights != 0
    if not trained.any():
        return "nothing is trained"
    first = int(trained.argmax())
    if not trained[first:].all():
        return "the trained tokens are not one stretch at the end"
    answer = row.sequence.tokens[first:]
    if renderer.answers is not None:
        found = said(answer, renderer.answers)
        return None if found is not None and found == _wanted(row.example.reference, renderer.answers) else f"trained on {found!r}"
    text, wanted = renderer.tokenizer.decode(answer).strip(), renderer.tokenizer.decode(renderer.tokenizer.whole(row.example.reference))
    return None if text == wanted.strip() else f"trained on {text[:40]!r}"


def answer_in_words(ids: np.ndarray, subject: Subject) -> str:
    """What the answer's stored tokens of an encoder's row say."""
    answers = plain_renderer(subject).answers
    assert answers is not None
    found = said(ids, answers)
    return ", ".join(sorted(found)) or "no label" if isinstance(found, set) else str(found)


def said(ids: np.ndarray, answers: Answers) -> Any:
    """What an answer's tokens mean; None for tokens that mean nothing."""
    import numpy as np

    if answers.kind == "number":
        return float(np.ascontiguousarray(ids, np.int32).view(np.float32)[0]) if len(ids) == 1 else None
    if answers.kind == "label":
        return answers.labels[int(ids[0])] if len(ids) == 1 and 0 <= int(ids[0]) < len(answers.labels) else None
    if len(ids) != len(answers.labels) or [int(t) // 2 for t in ids] != list(range(len(ids))):
        return None
    return {label for label, token in zip(answers.labels, ids, strict=True) if int(token) % 2}


def _wanted(reference: str, answers: Answers) -> Any:
    """The row's own answer in the same form."""
    import numpy as np

    if answers.kind == "number":
        return float(np.float32(float(reference)))
    return reference if answers.kind == "label" else set(json.loads(reference))


def read_by_library(subject: Subject, rows: list[StoredRow]) -> list[np.ndarray]:
    """The tokens int32 [N] that transformers' own tokenizer of the base gives for what the model reads of each row."""
    import numpy as np

    from luthier.engine.export.headed import encoded, open_tokenizer

    renderer = plain_renderer(subject)
    tokenizer = open_tokenizer(Path(subject.base.result.folder))
    read = (encoded(tokenizer, texts_of(row.example, renderer), _cut(renderer)) for row in rows)
    return [found["input_ids"][0].numpy().astype(np.int32) for found in read]


def load_by_libraries(subject: Subject) -> Any:
    """The base with the checkpoint's adapter, by transformers and PEFT. Raises EngineRefused or UserError."""
    from luthier.engine.export.headed import load_tuned_headed

    answers = plain_renderer(subject).answers
    folder, adapter = Path(subject.base.result.folder), subject.checkpoint.path / "adapter"
    return load_tuned_headed(folder, adapter, None if answers is None else answers.num_values)


def load_twin(subject: Subject) -> Any:
    """`load_by_libraries`; a method that PEFT does not have is put on transformers' model by its own modules."""
    from luthier.engine.export.headed import load_bare_headed
    from luthier.engine.headed import load_headed
    from luthier.engine.methods.contract import fill

    if not subject.project.train.method.spec().unmergeable:
        return load_by_libraries(subject)
    answers = plain_renderer(subject).answers
    adapter = subject.checkpoint.path / "adapter"
    model = load_bare_headed(Path(subject.base.result.folder), None if answers is None else answers.num_values)
    spec, weights = load_headed(adapter, "SEQ_2_SEQ_LM" if answers is None else "SEQ_CLS")
    fill(spec.install(model, 0).parameters, weights, str(adapter))
    return model.eval().requires_grad_(False)


def outputs_by_libraries(model: Any, subject: Subject) -> np.ndarray:
    """Of the computed rows, float64 flat: an encoder's head outputs, an encoder-decoder's log-probabilities of the answers."""
    import numpy as np

    from luthier.engine.export.headed import answer_logprobs, head_values, open_tokenizer

    renderer, rows = plain_renderer(subject), [row.example for row in subject.rows]
    tokenizer, cut = open_tokenizer(Path(subject.base.result.folder)), _cut(renderer)
    if renderer.answers is not None:
        return head_values(model, tokenizer, [texts_of(r, renderer) for r in rows], cut).ravel()
    return np.concatenate(answer_logprobs(model, tokenizer, [(texts_of(r, renderer)[0], r.reference) for r in rows], cut))


def outputs_by_engine(engine: Any, subject: Subject) -> np.ndarray:
    """The same of an engine, in the same order."""
    import numpy as np

    if plain_renderer(subject).answers is None:
        return np.concatenate(engine.logprobs(subject.sequences))
    return engine.values([s.tokens[s.weights == 0] for s in subject.sequences]).ravel()


def outputs_apart(found: np.ndarray, wanted: np.ndarray) -> float:
    """Largest difference, relative above 1; NaN when any is NaN."""
    import numpy as np

    return float(np.abs(found - wanted).max() / max(1.0, float(np.abs(wanted).max())))


def _cut(renderer: TextRenderer) -> Cut:
    return None if renderer.policy.cut == "none" else (renderer.policy.max_length, renderer.policy.cut)
