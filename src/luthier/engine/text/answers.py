"""What a head answers: one label, several labels at once, or a number; as token ids for training, as text for scoring.

One decision: an answer is written behind the row's text as a few more tokens, so prepared files, the training loop and the
losses are those of decoders: one label is its number; several labels are one token for each label, 2 k + 1 when label k
is wanted and 2 k when not; a number is the bits of its float32.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from luthier.core.config import Config
from luthier.core.errors import UserError, did_you_mean


class Answers(Config):
    """The form of an answer and its labels, in the order of the head's outputs."""

    kind: Literal["label", "labels", "number"]
    labels: tuple[str, ...] = ()

    @property
    def num_values(self) -> int:
        """Outputs of the head: one for each label, or one."""
        return max(1, len(self.labels))

    def ids(self, text: str) -> np.ndarray:
        """An answer's tokens, int32 [1] or [num_labels]. Raises UserError for what the head cannot answer."""
        if self.kind == "label":
            return np.array([self._place(text)], np.int32)
        if self.kind == "number":
            return np.array([_number(text)], np.float32).view(np.int32)
        wanted = {self._place(label) for label in label_list(text)}
        return np.array([2 * i + (i in wanted) for i in range(len(self.labels))], np.int32)

    def numbers(self, ids: np.ndarray) -> np.ndarray:
        """What `ids` says, float64 [n, num_values]: 1 for each wanted label, or the number. ids: int32 [n, width]."""
        if self.kind == "number":
            return np.ascontiguousarray(ids, np.int32).view(np.float32).astype(np.float64)
        if self.kind == "labels":
            return (ids % 2).astype(np.float64)
        return np.eye(len(self.labels))[ids[:, 0]]

    def text(self, values: np.ndarray) -> str:
        """The answer of a head's outputs [num_values]: the likeliest label, the labels above one half, or the number."""
        if self.kind == "label":
            return self.labels[int(values.argmax())]
        if self.kind == "number":
            return f"{float(values[0]):.6g}"
        return json.dumps([label for label, value in zip(self.labels, values, strict=True) if value > 0], ensure_ascii=False)

    def probabilities(self, values: np.ndarray) -> np.ndarray:
        """Of each label, [num_values]: they add up to 1 for one label, each stands alone for several. Empty for a number."""
        if self.kind == "number":
            return np.zeros(0)
        if self.kind == "label":
            return np.exp(self.logprobs(values))
        return 1 / (1 + np.exp(-np.clip(values, -700, 700)))

    def logprobs(self, values: np.ndarray) -> np.ndarray:
        """Log-probability of each label when there is one answer, [num_values]; empty otherwise."""
        if self.kind != "label":
            return np.zeros(0)
        top = values - values.max()
        return top - np.log(np.exp(top).sum())

    def _place(self, label: str) -> int:
        if label not in self.labels:
            raise UserError("an answer must be one of the trained labels", repr(label), fix=did_you_mean(label, self.labels))
        return self.labels.index(label)


def label_list(text: str) -> list[str]:
    """The labels of a JSON list such as `["late", "refund"]`. Raises UserError for anything else."""
    try:
        found: Any = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, list) or not all(isinstance(label, str) for label in found) or len(set(found)) < len(found):
        raise UserError("an answer of several labels must be a JSON list of different texts", repr(text[:60]))
    return found


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or abs(value) > float(np.finfo(np.float32).max):
        raise UserError("an answer must be a number", repr(text[:60]))
    return value


def answers_of(kind: str, labels: Sequence[str]) -> Answers | None:
    """The form of a data set's answers; None when they are texts of any kind. kind: `Dataset.answers`."""
    if kind == "number":
        return Answers(kind="number")
    if kind == "labels":
        return Answers(kind="labels", labels=tuple(labels))
    return Answers(kind="label", labels=tuple(labels)) if labels else None
