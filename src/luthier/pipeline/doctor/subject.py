"""What is proven on: a project's own model, a few of its own short rows, and the engines that training and evaluation load.

One decision: a project that has not been trained gets an untrained adapter whose weights are moved by a seed, because an
adapter that does nothing would let every proof about adapters pass; it goes through the same files as a trained one.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from luthier.core.artifacts import BaseModel, Checkpoint, Dataset, Prepared
from luthier.core.execution import Execution
from luthier.core.keys import file_sha256
from luthier.core.ledger import read_ledger
from luthier.core.records import Example
from luthier.core.rows import choices_of, read_split
from luthier.core.stage import Built
from luthier.pipeline.project import Project

if TYPE_CHECKING:
    import numpy as np

    from luthier.engine.contract import Engine, TokenSequence
    from luthier.engine.encoder.predictor import EncoderPredictor
    from luthier.engine.methods.contract import MethodSpec
    from luthier.engine.predictor import Predictor
    from luthier.engine.select import Dtype
    from luthier.engine.text.load import AnyRenderer
    from luthier.engine.text.prepared import PreparedSplit
    from luthier.stages.train.loop import Rows

NUM_ROWS, MAX_TOKENS = 5, 2000
"""Rows that the engines compute, and the most tokens that they have together."""
MICRO_BATCH_TOKENS = 2048
"""Stated, so that two engines of one proof never differ by the memory that happened to be free."""
MOVED_BY = 0.02
"""How far the weights of an untrained adapter are moved (standard deviation where they are 0, else relative)."""


@dataclass(frozen=True, slots=True, eq=False)
class StoredRow:
    """A row of the project beside what is stored of it for training. `cut`: the length limit changed it."""

    example: Example
    sequence: TokenSequence
    cut: bool


@dataclass(frozen=True)
class Subject:
    """`checkpoint` is a trained one, or (when not `trained`) `start`: an untrained, moved adapter in the same layout below `work`."""

    model: str
    trained: bool
    project: Project
    base: Built[BaseModel]
    dataset: Built[Dataset]
    prepared: Built[Prepared]
    checkpoint: Built[Checkpoint]
    start: Built[Checkpoint]
    work: Path

    @property
    def execution(self) -> Execution:
        """The project's own, with the micro-batch stated."""
        given = self.project.execution
        return given if given.micro_batch_tokens != "auto" else given.model_copy(update={"micro_batch_tokens": MICRO_BATCH_TOKENS})

    @property
    def kind(self) -> Literal["decoder", "encoder", "seq2seq"]:
        """What the base is."""
        return self.base.result.kind

    @cached_property
    def renderer(self) -> AnyRenderer:
        """The one that training used."""
        from luthier.engine.text.load import load_renderer

        return load_renderer(self.prepared.path / "renderer")

    @cached_property
    def stored(self) -> dict[str, PreparedSplit]:
        """Everything that is stored for training and for the validation loss, by split."""
        from luthier.engine.text.prepared import read_prepared

        return {split: read_prepared(self.prepared.path, split) for split in self.prepared.result.counts}

    @cached_property
    def stored_rows(self) -> tuple[StoredRow, ...]:
        """Every stored sequence beside its row; a row that was split is there once for each piece."""
        changed = {e.key for e in read_ledger(self.prepared.path / "ledger.jsonl") if e.step == "prepare" and e.fate == "changed"}
        out = []
        for split, stored in self.stored.items():
            rows = {row.key: row for row in read_split(self.dataset, split)}
            for key, sequence in zip(stored.keys, stored.sequences, strict=True):
                whole = key.partition("#")[0]
                out.append(StoredRow(rows[whole], sequence, whole in changed))
        return tuple(out)

    @cached_property
    def rows(self) -> tuple[StoredRow, ...]:
        """The shortest different training rows, whole ones if there are any: at most NUM_ROWS, and of MAX_TOKENS after the first two.

        Where rows are padded (no decoder) those of different lengths come first, or nothing of padding would be proven.
        """
        training = _by_length(self.stored_rows[: len(self.stored["train"].sequences)], mixed=self.kind != "decoder")
        chosen: dict[bytes, StoredRow] = {}
        tokens = 0
        for row in training:
            tokens += len(row.sequence.tokens)
            if len(chosen) >= NUM_ROWS or (len(chosen) >= 2 and tokens > MAX_TOKENS):
                break
            chosen.setdefault(row.sequence.tokens.tobytes(), row)
        return tuple(chosen.values())

    @cached_property
    def training_rows(self) -> Rows:
        """The rows as training takes them, weighted by class where that is asked for."""
        from luthier.stages.train.class_weights import weight_of_label, weighted
        from luthier.stages.train.loop import Rows

        rows = Rows(tuple(row.sequence for row in self.rows), tuple(row.example.key for row in self.rows))
        weights = weight_of_label(self.project.train.regularisation, read_split(self.dataset, "train"))
        return weighted(rows, [row.example for row in self.rows], weights)

    @property
    def sequences(self) -> list[TokenSequence]:
        """The sequences of `training_rows`."""
        return list(self.training_rows.sequences)

    @cached_property
    def predictor(self) -> Predictor | EncoderPredictor:
        """What evaluation loads for the checkpoint, by the same function."""
        from luthier.engine.encoder.predictor import EncoderPredictor
        from luthier.engine.predictor import Predictor
        from luthier.stages.evaluate.model import load_predictor

        found = load_predictor(self.checkpoint, self.execution, self.project.decoding(), choices_of(self.dataset))
        assert isinstance(found, Predictor | EncoderPredictor)  # a checkpoint's
        return found

    @property
    def engine(self) -> Engine:
        """The project's engine with the adapter, as evaluation loads it."""
        return self.predictor.engine

    @cached_property
    def untuned(self) -> Engine:
        """The project's engine on the base alone (an encoder: with the head that training starts from)."""
        return self.load(None, self.execution, self.project.train.seed)

    @cached_property
    def twin(self) -> Engine:
        """The slow twin with the adapter: transformers' own model, one row at a time."""
        return self.with_adapter(self.execution.model_copy(update={"engine": "reference"}))

    @cached_property
    def twin_scores(self) -> list[np.ndarray]:
        """The slow twin's log-probabilities of the rows' targets, float64 [num_targets] each."""
        return self.twin.logprobs(self.sequences)

    @contextmanager
    def at_start(self, engine: Engine) -> Iterator[Engine]:
        """The engine with the untrained, moved adapter in its weights: rows that a trained model knows by heart have no gradient."""
        kept = engine.state()
        engine.load_state(self._start_state)
        try:
            yield engine
        finally:
            engine.load_state(kept)

    @cached_property
    def _start_state(self) -> dict[str, Any]:
        from safetensors.torch import load_file

        from luthier.engine.methods.folder import WEIGHTS

        return {f"adapter.{name}": value for name, value in load_file(self.start.path / "adapter" / WEIGHTS).items()}

    def with_adapter(self, execution: Execution) -> Engine:
        """Another engine on the same model and adapter."""
        return self.load(self.checkpoint.path / "adapter", execution, 0)

    def load(self, method: MethodSpec | Path | None, execution: Execution, seed: int, dtype: Dtype = "float32") -> Engine:
        """An engine on the base, as training and evaluation load it. method: what to train, or the folder of an adapter."""
        from luthier.engine.export.loading import quiet_libraries
        from luthier.engine.loading import load_for

        with quiet_libraries():
            return load_for(self.renderer, Path(self.base.result.folder), method, execution, seed, dtype)


def _by_length(rows: Sequence[StoredRow], mixed: bool) -> list[StoredRow]:
    """Whole rows first, then the shortest. mixed: the first row of every length before the second of any."""
    seen: Counter[tuple[bool, int]] = Counter()
    ranked = []
    for row in sorted(rows, key=lambda r: (r.cut, len(r.sequence.tokens))):
        kind = (row.cut, len(row.sequence.tokens))
        ranked.append((row.cut, seen[kind] if mixed else 0, row))
        seen[kind] += 1
    return [row for *_, row in sorted(ranked, key=lambda r: r[:2])]


def untrained(project: Project, base: Built[BaseModel], prepared: Built[Prepared], work: Path) -> Built[Checkpoint]:
    """An untrained adapter by the project's recipe, moved by its seed, in the layout of a trained one."""
    from luthier.engine.loading import load_for
    from luthier.engine.text.load import load_renderer

    recipe, folder = project.train, work / "untrained"
    shutil.copytree(prepared.path / "renderer", folder / "renderer", copy_function=shutil.copyfile)
    renderer = load_renderer(folder / "renderer")
    engine = load_for(renderer, Path(base.result.folder), recipe.method.spec(), project.execution, recipe.seed)
    move_weights(engine, recipe.seed)
    engine.save_adapter(folder / "adapter", base.result.name)
    result = Checkpoint(
        base=base.result.name,
        base_folder=base.result.folder,
        base_sha256=base.result.weights_sha256,
        method=recipe.method.model_dump(mode="json"),
        renderer_hash=renderer.hash,
        engine=engine.name,
        steps=0,
        best_step=0,
        best={},
        stopped="never trained",
        num_trainable=engine.num_trainable,
        trained_tokens=0,
        adapter_sha256=file_sha256(folder / "adapter" / "adapter_model.safetensors"),
    )
    return Built(stage="train", key="untrained", path=folder, result=result)


def move_weights(engine: Engine, seed: int) -> None:
    """Move every trainable weight a little, by seed, so that each of them has an effect and a gradient."""
    import torch

    state, generator = engine.state(), torch.Generator().manual_seed(seed)
    for name in sorted(f"adapter.{n}" for n in engine.gradients()):
        noise = torch.randn(state[name].shape, generator=generator).to(state[name].dtype) * MOVED_BY
        state[name] = state[name] + (noise if not state[name].any() else noise * state[name])
    engine.load_state(state)


def stretches(sequence: TokenSequence) -> Iterator[tuple[int, int]]:
    """(start, end) of each unbroken run of trained tokens."""
    import numpy as np

    trained = np.concatenate([[0], sequence.weights != 0, [0]]).astype(np.int8)
    edges = np.flatnonzero(np.diff(trained))
    yield from zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)
