"""The proof of an export: it is read back by another program and compared with its source on at least 64 prompts.

One decision: prompts are the run's validation rows first and a fixed varied list after them; sealed test rows are never
used, because a choice between formats is a choice like any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luthier.core.errors import AnswerIsNo, EngineRefused
from luthier.core.events import Observer, Progress
from luthier.core.execution import Execution
from luthier.core.records import Message
from luthier.pipeline.export_source import ExportSource

if TYPE_CHECKING:
    from luthier.engine.export.fidelity import Reading
    from luthier.engine.text.renderer import Renderer

NUM_PROMPTS = 64
LONGEST = 1024
"""Prompts with more tokens are left out of the comparison."""
OWN_MARGIN = 4e-3
"""Logits: twice what Luthier's engine and plain transformers may differ by on a real model in float32 (tests/parity)."""
_TASKS = (
    "Name three things that are {}.", "Write one sentence about something {}.", "Is water {}? Answer yes or no.",
    "Translate into French: the house is {}.", 'Return JSON with one key "{}" and a number.', "What is the opposite of {}?",
    "def is_{}(x):  # finish this Python function", "Summarise in five words: the day was long, the road was {} and nobody came.",
)  # fmt: skip
_WORDS = ("red", "heavy", "new", "quiet", "round", "cold", "useful", "12.5 % larger")


def built_in_prompts() -> tuple[tuple[Message, ...], ...]:
    """64 short prompts of eight kinds: facts, prose, yes or no, translation, JSON, words, code, a summary."""
    return tuple((Message("user", task.format(word)),) for word in _WORDS for task in _TASKS)


def choose_prompts(source: ExportSource) -> tuple[list[Any], dict[str, int]]:
    """(token arrays int32 [N] of 64 different prompts, how many from where). Raises EngineRefused when fewer fit the context."""
    chosen: dict[bytes, Any] = {}
    counts: dict[str, int] = {}
    limit = min(LONGEST, source.base.context_length - 16) if source.base.context_length else LONGEST
    for origin, prompts in (("validation rows", source.prompts), ("built-in prompts", built_in_prompts())):
        before = len(chosen)
        for messages in prompts:
            if len(chosen) >= NUM_PROMPTS:
                break
            tokens = source.renderer.prompt(messages)
            if len(tokens) <= limit:
                chosen.setdefault(tokens.tobytes(), tokens)
        counts[origin] = len(chosen) - before
    if len(chosen) < NUM_PROMPTS:
        must = f"{NUM_PROMPTS} prompts must fit the model's context for the comparison"
        raise EngineRefused(must, f"{len(chosen)} of at most {limit} tokens", source.name)
    return list(chosen.values()), {k: n for k, n in counts.items() if n}


def read_source(source: ExportSource, model: Any, observer: Observer) -> tuple[list[Reading], list[Any]]:
    """The prompts with the source's greedy answers (by Luthier's own engine), and its logits there (by transformers and PEFT)."""
    import numpy as np

    from luthier.engine.contract import Sampling
    from luthier.engine.export.fidelity import NEW_TOKENS, Reading, answer_logits
    from luthier.engine.select import load_engine

    prompts, _ = choose_prompts(source)
    engine = load_engine(source.base.folder, None, Execution(), seed=0, adapter=source.adapter)
    answers = engine.sample(prompts, Sampling(max_new_tokens=NEW_TOKENS), progress_of(observer, "greedy answers"))
    readings = [Reading(np.concatenate([p, np.asarray(a.tokens, np.int32)]), len(p)) for p, a in zip(prompts, answers, strict=True)]
    return readings, answer_logits(model, readings, progress_of(observer, "prompts read by the source"))


def check_own_reading(readings: Sequence[Reading], logits: Sequence[Any]) -> None:
    """Luthier's greedy answers must be the argmax of plain transformers and PEFT within OWN_MARGIN. Raises AnswerIsNo."""
    import torch

    for reading, rows in zip(readings, logits, strict=True):
        chosen = torch.from_numpy(reading.tokens[reading.start :].astype("int64"))
        margin = rows.amax(-1) - rows.gather(-1, chosen[:, None])[:, 0]
        if float(margin.max()) > OWN_MARGIN:
            at = int(margin.argmax())
            by = f"by {margin[at]:.3g} logits"
            raise AnswerIsNo(f"nothing was exported: Luthier's engine and plain transformers disagree on a greedy token {by}")


def check_text(found: Renderer, source: ExportSource) -> int:
    """How many prompts give the same tokens through the export's own tokenizer and template. Raises AnswerIsNo for one that does not."""
    prompts = [*source.prompts[:NUM_PROMPTS], *built_in_prompts()]
    for messages in prompts:
        wanted, got = source.renderer.prompt(messages), found.prompt(messages)
        if wanted.tolist() != got.tolist():
            raise AnswerIsNo(f"the export was refused: its tokenizer or template gives other tokens for {messages[-1].content[:60]!r}")
    if found.end_of_turn != source.renderer.end_of_turn:
        raise AnswerIsNo("the export was refused: its template ends an answer with another token")
    return len(prompts)


def text_of_gguf(path: Path, work: Path) -> Path:
    """A folder `work` with the tokenizer and template that the GGUF file states, for `check_text`."""
    import json

    from luthier.engine.models.gguf_tokenizer import build_tokenizer, generation_config, tokenizer_config
    from luthier.engine.models.gguf_weights import GGUFFile

    file = GGUFFile(path)
    work.mkdir()
    (work / "tokenizer.json").write_text(build_tokenizer(file).to_str(), encoding="utf-8")
    for name, document in (("tokenizer_config.json", tokenizer_config(file)), ("generation_config.json", generation_config(file))):
        (work / name).write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")
    return work


def progress_of(observer: Observer, unit: str) -> Any:
    """An engine's progress callable that emits events of the export."""
    return lambda done, total: observer(Progress("export", done, total, unit))
