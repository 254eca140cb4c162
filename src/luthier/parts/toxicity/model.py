"""A bidirectional LSTM that gives a text six probabilities: toxic, severely toxic, obscene, threat, insult, identity hate.

One decision: this is the published model of ToxBlock 0.1.2 (Pascal Bliem, MIT licence), trained on the Jigsaw toxic comment data (CC0) over
GloVe vectors (PDDL); nothing was trained here, and `reliability/toxicity_weights.py` makes the two files from its wheel without
running any of it. Its texts lose links, addresses and common words, as they did when it was trained.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

KINDS = ("toxic", "severely toxic", "obscene", "threat", "insult", "identity hate")
MOST_WORDS = 100
_HERE = Path(__file__).parent
_SIGNS = str.maketrans(dict.fromkeys('!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\t\n', " "))
_ADDRESSES = re.compile(r"\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}|https?://\S+")
_AT_ONCE = 256


def probabilities(texts: list[str]) -> np.ndarray:
    """float32 [texts, 6], in the order of KINDS; the last 100 words that the model knows are read. A text without any is all 0."""
    import numpy as np

    ids = [words_of(text) for text in texts]
    out = np.zeros((len(texts), len(KINDS)), dtype=np.float32)
    known = [i for i, row in enumerate(ids) if row]
    for at in range(0, len(known), _AT_ONCE):
        part = known[at : at + _AT_ONCE]
        padded = np.zeros((len(part), MOST_WORDS), dtype=np.int64)
        for row, i in enumerate(part):
            padded[row, -len(ids[i]) :] = ids[i]
        out[part] = _forward(padded)
    return out


def words_of(text: str) -> list[int]:
    """The numbers of the last 100 known words, from 1."""
    plain = _common().sub("", _ADDRESSES.sub("", text.lower().replace("\n", " ")))
    known = _words()
    return [known[word] for word in plain.translate(_SIGNS).split() if word in known][-MOST_WORDS:]


def _forward(ids: np.ndarray) -> np.ndarray:
    """[n, 6] of word numbers [n, 100], 0 before the first. Gates in the order of Keras: input, forget, cell, output."""
    import numpy as np

    w = _weights()
    vectors = w["embeddings"][ids]
    both = np.stack([vectors, vectors[:, ::-1]])
    given = both @ w["kernels"][:, None] + w["biases"][:, None, None]
    hidden = np.zeros((2, len(ids), w["recurrent"].shape[1]), dtype=np.float32)
    cell, most = hidden, np.full_like(hidden, -1.0)
    for t in range(ids.shape[1]):
        gates = given[:, :, t] + hidden @ w["recurrent"]
        enter, forget, new, leave = np.split(gates, 4, axis=2)
        cell = _sigmoid(forget) * cell + _sigmoid(enter) * np.tanh(new)
        hidden = _sigmoid(leave) * np.tanh(cell)
        most = np.maximum(most, hidden)
    dense = np.maximum(np.concatenate(list(most), axis=1) @ w["dense"] + w["dense_bias"], 0.0)
    return _sigmoid(dense @ w["out"] + w["out_bias"])


def _sigmoid(x: np.ndarray) -> np.ndarray:
    import numpy as np

    return 0.5 * np.tanh(0.5 * x) + 0.5


@cache
def _weights() -> dict[str, np.ndarray]:
    import numpy as np
    from safetensors.numpy import load_file

    return {name: a.astype(np.float32) for name, a in load_file(_HERE / "weights.safetensors").items()}


@cache
def _words() -> dict[str, int]:
    return {word: i for i, word in enumerate((_HERE / "words.txt").read_text(encoding="utf-8").split("\n")[:-1], 1)}


@cache
def _common() -> re.Pattern[str]:
    """The common words that the model never saw, as its authors' patterns, one a line."""
    return re.compile("|".join((_HERE / "common.txt").read_text(encoding="utf-8").split("\n")[:-1]))
