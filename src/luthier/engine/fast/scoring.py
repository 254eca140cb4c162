"""Log-probabilities of many sequences on the fast engine: the whole list is one prefix tree, computed pack by pack.

One decision: the tree is cut only where it branches. A subtree that fits the token budget is never split; one that does
not gives the tokens all its members share to a cache of keys and values, once, and its branches are packed below that.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch

from luthier.engine.contract import Progress, TargetScores, TokenSequence
from luthier.engine.fast.block import KeyValue
from luthier.engine.fast.decoder import Decoder, Keep, Run
from luthier.engine.kernels.head import head_forward
from luthier.engine.trees.merge import sorted_with_overlap
from luthier.engine.trees.pack import build_full_pack, build_pack

WORTH_CACHING = 16
"""Fewest shared tokens that are computed apart and kept for several packs."""


@dataclass(frozen=True, slots=True)
class _Branch:
    """Members `first..last` (exclusive) of the sorted list, whose first `skip` tokens lie in `prefix`."""

    first: int
    last: int
    skip: int
    prefix: list[KeyValue] | None


class TreeScorer:
    """Scores `sequences` (checked, each with its targets) in packs of at most `budget` unique tokens."""

    def __init__(self, decoder: Decoder, sequences: list[TokenSequence], budget: int, *, greedy: bool) -> None:
        """greedy: also say which targets are the most probable token; without it those arrays are all False."""
        self._decoder, self._sequences, self._budget, self._greedy = decoder, sequences, budget, greedy
        self._where = [np.flatnonzero(s.weights) for s in sequences]
        self._order, self._overlap = sorted_with_overlap([s.tokens for s in sequences])
        self._length = np.array([len(sequences[i].tokens) for i in self._order], dtype=np.int64)
        self._fresh = np.cumsum(self._length - self._overlap)
        self._out = [TargetScores(np.zeros(len(w)), np.zeros(len(w), dtype=bool)) for w in self._where]
        self.computed_tokens = 0

    def run(self, progress: Progress | None = None) -> list[TargetScores]:
        """Scores in the order of the sequences. The largest branch is visited last, so few caches are alive at once."""
        waiting = [_Branch(0, len(self._order), 0, None)] if self._sequences else []
        done = 0
        while waiting:
            branch = waiting.pop()
            if branch.last - branch.first > 1 and self._size(branch) > self._budget:
                waiting.extend(sorted(self._split(branch), key=self._size, reverse=True))
                continue
            self._score(branch)
            done += branch.last - branch.first
            if progress:
                progress(done, len(self._sequences))
        return self._out

    def _size(self, branch: _Branch) -> int:
        """Unique tokens below the cached ones."""
        return int(self._length[branch.first] - branch.skip + self._fresh[branch.last - 1] - self._fresh[branch.first])

    def _split(self, branch: _Branch) -> list[_Branch]:
        """Cut where the branch itself branches; neighbours that fit the budget together stay together."""
        inside = self._overlap[branch.first + 1 : branch.last]
        shared = min(int(inside.min()), int(self._length[branch.first : branch.last].min()) - 1)
        skip, prefix = branch.skip, branch.prefix
        if shared - skip >= WORTH_CACHING:
            skip, prefix = shared, self._extend(branch, shared)
        cuts = [branch.first, *(branch.first + 1 + np.flatnonzero(inside == inside.min())).tolist(), branch.last]
        parts: list[_Branch] = []
        for first, last in pairwise(cuts):
            longer = _Branch(parts[-1].first if parts else first, last, skip, prefix)
            if parts and self._size(longer) <= self._budget:
                parts[-1] = longer
            else:
                parts.append(_Branch(first, last, skip, prefix))
        return parts

    def _extend(self, branch: _Branch, shared: int) -> list[KeyValue]:
        """The cache of the first `shared` tokens of a branch; fills in the targets that the new rows predict."""
        members = self._order[branch.first : branch.last]
        tokens = self._sequences[members[0]].tokens[:shared]
        pack = build_full_pack([tokens], [0], branch.skip)
        where = [self._where[i][(self._where[i] > branch.skip) & (self._where[i] <= shared)] for i in members]
        owner = np.repeat(members, [len(w) for w in where])
        position = np.concatenate(where)
        token = np.concatenate([self._sequences[i].tokens[w] for i, w in zip(members, where, strict=True)]).astype(np.int64)
        row = position - 1 - branch.skip
        needed = np.unique(np.append(row, shared - 1 - branch.skip))
        run = self._decoder.forward(pack, needed, Keep(keys_values=True), branch.prefix)
        self.computed_tokens += pack.num_rows
        self._write(run, np.searchsorted(needed, row), token, owner, branch.skip)
        if branch.prefix is None:
            return run.keys_values
        return [(torch.cat([k0, k]), torch.cat([v0, v])) for (k0, v0), (k, v) in zip(branch.prefix, run.keys_values, strict=True)]

    def _score(self, branch: _Branch) -> None:
        pack = build_pack(self._sequences, self._order[branch.first : branch.last].tolist(), branch.skip)
        if len(pack.targets.row) == 0:
            return
        needed, row = np.unique(pack.targets.row, return_inverse=True)
        run = self._decoder.forward(pack, needed, Keep(), branch.prefix)
        self.computed_tokens += pack.num_rows
        self._write(run, row, pack.targets.token, pack.targets.sequence, branch.skip)

    def _write(self, run: Run, row: np.ndarray, token: np.ndarray, owner: np.ndarray, skip: int) -> None:
        """Scores of targets predicted by rows of `run.hidden`; each owner's are in order, the first is its first beyond `skip`."""
        if len(row) == 0:
            return
        order = np.argsort(row, kind="stable")
        top = torch.empty(len(row), dtype=torch.bool) if self._greedy else None
        rows, tokens = torch.from_numpy(row[order]), torch.from_numpy(token[order])
        found = head_forward(run.hidden, self._decoder.weights.head, rows, tokens, top)
        values, greedy = np.empty(len(row)), np.zeros(len(row), dtype=bool)
        values[order] = found.double().cpu().numpy()
        if top is not None:
            greedy[order] = top.numpy()
        starts = np.flatnonzero(np.diff(owner, prepend=-1))
        for i, a, b in zip(owner[starts], starts, [*starts[1:], len(owner)], strict=True):
            at = int(np.searchsorted(self._where[i], skip, side="right"))
            self._out[i].logprobs[at : at + b - a] = values[a:b]
            self._out[i].greedy[at : at + b - a] = greedy[a:b]
