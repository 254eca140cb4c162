"""How much is computed at once so that a run fits its memory: the micro-batch, and layers to compute again.

One decision: the micro-batch is made smaller first, which costs nothing but shared prefixes, down to `SMALL` tokens; then
layers are computed again, as few as needed; what fits in no way is refused before a weight is read, with what would fit.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from luthier.core.errors import UserError
from luthier.core.execution import Execution
from luthier.engine.contract import NoiseRates
from luthier.engine.memory.dimensions import Dimensions, Trains
from luthier.engine.memory.flops import FROZEN
from luthier.engine.memory.machine import SHARE, available_bytes, resident_bytes
from luthier.engine.memory.model import MemoryModel, Parts, Rows

GB = 2**30
PLATEAU = 4096
"""Tokens of a micro-batch beyond which a step gets no faster."""
SMALL = 1024
"""Tokens of a micro-batch below which recomputing layers costs less than sharing prefixes less."""
_LEAST = 64


@dataclass(frozen=True, slots=True)
class Room:
    """micro_batch_tokens: unique tokens computed at once. limit: bytes that the process may take."""

    model: MemoryModel
    limit: int
    micro_batch_tokens: int

    def under(self, noise: NoiseRates | None) -> Room:
        """The same room for steps with that noise."""
        return self if not noise else replace(self, model=replace(self.model, noise=noise))

    def averaging(self, average: bool) -> Room:
        """The same room with or without an average of the trained weights."""
        return replace(self, model=replace(self.model, average=average))

    def recomputed_layers(self, rows: Rows) -> int:
        """Fewest layers to compute again so that a pack of `rows` fits. Raises UserError when it does not fit even with all of them."""
        layers = self.model.sizes.layers
        for k in range(layers + 1):
            if self.model.training(rows, k).total <= self.limit:
                return k
        raise UserError(
            f"a sequence of {rows.tokens} tokens must fit {self.limit / GB:.1f} GB of memory",
            f"{self.model.training(rows, layers).total / GB:.1f} GB with every layer computed again",
            "execution.memory_gb",
            "; ".join(would_fit(self.model, rows, self.limit)),
        )


def limit_bytes(execution: Execution) -> int:
    """Bytes that this process may hold: `execution.memory_gb`, or what it holds now and a share of what is available."""
    if execution.memory_gb is not None:
        return int(execution.memory_gb * GB)
    return resident_bytes() + int(SHARE * available_bytes())


def make_room(sizes: Dimensions, trains: Trains, execution: Execution, precision: str = "float32") -> Room:
    """The micro-batch for a model on this machine, before its weights are read. Raises UserError when nothing fits."""
    return room_in(MemoryModel.of(sizes, trains, resident_bytes(), precision), limit_bytes(execution), execution)


def room_in(model: MemoryModel, limit: int, execution: Execution) -> Room:
    """As `make_room`, for a given process and limit."""
    trains = model.trains != FROZEN
    fits = [b for b in _candidates(execution) if _needs(model, b, trains).total <= limit]
    if execution.micro_batch_tokens != "auto" and trains and _needs(model, _LEAST, trains).total <= limit:
        return Room(model, limit, execution.micro_batch_tokens)
    if not fits:
        raise _too_large(model, limit, trains)
    return Room(model, limit, fits[0])


def _candidates(execution: Execution) -> Iterator[int]:
    """Micro-batches from the largest to the smallest: powers of two, so that a little less free memory changes nothing."""
    if execution.micro_batch_tokens != "auto":
        yield execution.micro_batch_tokens
        return
    tokens = PLATEAU
    while tokens >= _LEAST:
        yield tokens
        tokens //= 2


def _needs(model: MemoryModel, tokens: int, trains: bool) -> Parts:
    rows = Rows.worst(tokens)
    if not trains:
        return model.scoring(rows, tokens)
    return model.training(rows, 0 if tokens > SMALL else model.sizes.layers)


def _too_large(model: MemoryModel, limit: int, trains: bool) -> UserError:
    rows = Rows.worst(_LEAST)
    least = _needs(model, _LEAST, trains)
    return UserError(
        f"the model must fit {limit / GB:.1f} GB of memory",
        f"{least.total / GB:.1f} GB at the least ({least.weights / GB:.1f} GB of weights, {least.process / GB:.1f} GB of libraries, "
        f"{(least.adapters + least.activations) / GB:.1f} GB for a step of {_LEAST} tokens)",
        "predicted before loading; execution.memory_gb",
        "; ".join(would_fit(model, rows, limit)),
    )


def would_fit(model: MemoryModel, rows: Rows, limit: int) -> list[str]:
    """What would fit: shorter sequences, a smaller rank, weights stored in bf16, or how much memory is needed."""
    layers, found = model.sizes.layers, []
    shorter = [n for n in (16384, 8192, 4096, 2048, 1024, 512, 256, 128) if n < rows.tokens]
    found += [f"prepare.max_length={n} would fit" for n in shorter if model.training(Rows.worst(n), layers).total <= limit][:1]
    for rank in (r for r in (16, 8, 4) if r < (model.trains.rank or 0)):
        if replace(model, trains=replace(model.trains, rank=rank)).training(rows, layers).total <= limit:
            found.append(f"train.method.rank={rank} would fit")
            break
    if model.sizes.stored_bytes == 4:
        half = replace(model.sizes, stored_bytes=2)
        if replace(model, sizes=half).training(rows, layers).total <= limit:
            found.append("the same weights stored in bfloat16 would fit")
    needed = model.training(rows, layers).total / GB
    return [*found, f"otherwise {needed:.1f} GB are needed: a smaller base, or a machine with more memory"]
