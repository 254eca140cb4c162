"""The noise of training (dropout, LoRA dropout, embedding noise) as a pure function of what it falls on.

One decision: nothing is drawn from a generator with a state. The noise of a token is SplitMix64 (Steele, Lea and Flood 2014,
"Fast splittable pseudorandom number generators"), started at a hash of (seed, row, epoch, position) and of the place in the
model. So it depends on neither packing, micro-batches nor ranks, and a recomputed layer or a resumed run sees it again.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from luthier.core.errors import UserError
from luthier.engine.contract import Noise, NoiseRates

if TYPE_CHECKING:
    import torch

GAMMA = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_STEPS = 1 << 16
"""Dropout rates are multiples of 1 / 65536: sixteen bits decide about a value."""
FACTOR_ROWS = 256
"""Tokens whose factors are there at once."""
_WHOLE = np.uint64(2**64 - 1)


@dataclass(frozen=True, slots=True, eq=False)
class TokenNoise:
    """The noise of T tokens side by side.

    keys: uint64 [T]; reach: float64 [T], the embedding noise is uniform in +- reach. prefix: of the names of places.
    """

    rates: NoiseRates
    keys: np.ndarray
    reach: np.ndarray
    prefix: str = ""

    def of_layer(self, number: int, rows: np.ndarray | None = None) -> TokenNoise:
        """The noise inside a decoder layer, of some rows or of all."""
        keys, reach = (self.keys, self.reach) if rows is None else (self.keys[rows], self.reach[rows])
        return replace(self, keys=keys, reach=reach, prefix=f"model.layers.{number}.")

    def factors(self, rate: float, place: str, width: int, dtype: torch.dtype) -> Iterator[tuple[slice, torch.Tensor]]:
        """What dropout at `rate` multiplies values by at a place: 0, or 1 / (1 - rate), [rows, width], some rows after the other."""
        import torch

        least = round(rate * _STEPS)
        for start in range(0, len(self.keys), FACTOR_ROWS):
            rows = slice(start, min(start + FACTOR_ROWS, len(self.keys)))
            kept = _bits(self.keys[rows], self.prefix + place, -(-width // 4)).view("<u2")[:, :width] >= least
            yield rows, torch.from_numpy(kept).to(dtype).mul_(_STEPS / (_STEPS - least))

    def dropped(self, x: torch.Tensor, rate: float, place: str) -> torch.Tensor:
        """A new tensor: x [T, width] after dropout at `rate`."""
        import torch

        out = torch.empty_like(x)
        for rows, factor in self.factors(rate, place, x.shape[1], x.dtype):
            torch.mul(x[rows], factor, out=out[rows])
        return out

    def embedding(self, width: int, dtype: torch.dtype) -> torch.Tensor:
        """NEFTune's noise of the input embeddings (arXiv:2310.05914, algorithm 1), [T, width]."""
        import torch

        unit = _bits(self.keys, "embedding", -(-width // 2)).view("<u4")[:, :width].astype(np.float64)
        unit += 0.5
        unit *= 2.0**-31
        unit -= 1.0
        return torch.from_numpy(unit * self.reach[:, None]).to(dtype)


def keys_of(noise: Noise, sequences: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The key of each token of each sequence (int [N] each), uint64 [N].

    Of (seed, row, epoch, position); under `shared_masks` of (seed, epoch, the tokens up to it), so that rows which start alike
    have the same noise as far as they are alike, whatever stands beside them.
    """
    if len(sequences) != len(noise.rows):
        raise UserError("noise needs the number of each sequence's row", f"{len(noise.rows)} for {len(sequences)} sequences")
    start = splitmix(splitmix(_word(noise.seed)) ^ _word(noise.epoch))
    keys = []
    for row, tokens in zip(noise.rows, sequences, strict=True):
        at = np.arange(1, len(tokens) + 1, dtype=np.uint64) * GAMMA
        if noise.rates.shared_masks:
            keys.append(splitmix(start ^ np.cumsum(splitmix(at ^ splitmix(tokens.astype(np.uint64))), dtype=np.uint64)))
        else:
            keys.append(splitmix(splitmix(start ^ _word(row)) + at))
    return keys


def token_noise(noise: Noise, sequences: Sequence[np.ndarray], hidden: int) -> list[TokenNoise]:
    """The noise of every token of each sequence. hidden: width of the embeddings, for the size of their noise."""
    reach = [noise.rates.embedding / np.sqrt(len(tokens) * hidden) for tokens in sequences]
    keys = keys_of(noise, sequences)
    return [TokenNoise(noise.rates, k, np.full(len(k), r)) for k, r in zip(keys, reach, strict=True)]


def splitmix(z: np.ndarray) -> np.ndarray:
    """The output function of SplitMix64, uint64 -> uint64."""
    z = (z ^ (z >> np.uint64(30))) * _FIRST
    z = (z ^ (z >> np.uint64(27))) * _SECOND
    return z ^ (z >> np.uint64(31))


def _word(value: int) -> np.ndarray:
    return np.array([value & int(_WHOLE)], dtype=np.uint64)


def _bits(keys: np.ndarray, place: str, words: int) -> np.ndarray:
    """`words` outputs of the generator of each key at a place, uint64 [T, words], little-endian."""
    state = splitmix(keys ^ _place(place))[:, None] + np.arange(1, words + 1, dtype=np.uint64) * GAMMA
    return np.ascontiguousarray(splitmix(state), dtype="<u8")


@functools.lru_cache(maxsize=4096)
def _place(name: str) -> np.uint64:
    return np.uint64(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little"))
