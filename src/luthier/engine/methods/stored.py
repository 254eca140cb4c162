"""Linear layers whose frozen weight stays quantised: dequantised for each product, forward and backward, and never kept.

One decision: a stored weight is a fixed function of its bytes, so training, evaluation and merging all see the same values.
NF4 is that of bitsandbytes (QLoRA, arXiv:2305.14314); the other forms are GGUF's blocks, by the `gguf` package.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import torch

from luthier.core.errors import UserError
from luthier.engine.methods.wrapping import quiet_bitsandbytes

GGUF_FORMS = ("q4_0", "q4_1", "q5_0", "q5_1", "q8_0")
"""Forms that a weight can be turned into. K-quants can only be read from a file."""
FORMS = ("nf4", *GGUF_FORMS)
WHERE = "train.method.stored"
_NF4_BLOCK = 64


class StoredWeight(Protocol):
    """A quantised matrix [out, in]."""

    def dequantise(self, dtype: torch.dtype) -> torch.Tensor:
        """[out, in]."""
        ...

    @property
    def num_bytes(self) -> int: ...


class Nf4Weight:
    """Blocks of 64 values of four bits with a float32 scale each."""

    def __init__(self, weight: torch.Tensor) -> None:
        from bitsandbytes.functional import quantize_4bit

        self._packed, self._state = quantize_4bit(weight.float().contiguous(), blocksize=_NF4_BLOCK, quant_type="nf4")

    def dequantise(self, dtype: torch.dtype) -> torch.Tensor:
        from bitsandbytes.functional import dequantize_4bit

        return dequantize_4bit(self._packed, self._state).to(dtype)

    @property
    def num_bytes(self) -> int:
        return self._packed.nbytes + self._state.absmax.nbytes


class GgufWeight:
    """Rows of GGUF blocks. blocks: numpy uint8 [out, bytes of a row]; kind: gguf's name of the form, e.g. `Q4_1` or `Q6_K`."""

    def __init__(self, blocks: Any, kind: str) -> None:
        self._blocks, self._kind = blocks, kind

    def dequantise(self, dtype: torch.dtype) -> torch.Tensor:
        from gguf import GGMLQuantizationType
        from gguf.quants import dequantize

        return torch.from_numpy(dequantize(self._blocks, GGMLQuantizationType[self._kind])).to(dtype)

    @property
    def num_bytes(self) -> int:
        return int(self._blocks.nbytes)


def quantised(weight: torch.Tensor, form: str, name: str) -> StoredWeight:
    """A weight in one of FORMS. Raises UserError where rows cannot be cut into the form's blocks, or bitsandbytes is missing."""
    if form == "nf4":
        return _nf4(weight)
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
    from gguf.quants import quantize

    kind = GGMLQuantizationType[form.upper()]
    block = GGML_QUANT_SIZES[kind][0]
    if weight.shape[1] % block:
        fix = "use `stored: nf4`"
        raise UserError(f"rows must be whole blocks of {block} values for {form}", f"{weight.shape[1]} ({name})", WHERE, fix)
    return GgufWeight(quantize(weight.float().numpy(), kind), kind.name)


def _nf4(weight: torch.Tensor) -> StoredWeight:
    try:
        with quiet_bitsandbytes():
            return Nf4Weight(weight)
    except ImportError:
        raise UserError("nf4 needs bitsandbytes", None, WHERE, "pip install 'luthier[qlora]'") from None


def read_blocks(path: Path) -> dict[str, StoredWeight]:
    """The quantised matrices of a GGUF file as they are stored, by the transformers name of their layer."""
    import numpy as np

    from luthier.engine.models.gguf_weights import FAMILIES, GGUFFile, convert_config, layer_name, unpermute

    file = GGUFFile(path)
    config = convert_config(file)
    permuted = FAMILIES[file.need("general.architecture")][2]
    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
    found: dict[str, StoredWeight] = {}
    for name, tensor in file.tensors.items():
        if not name.startswith("blk.") or tensor.tensor_type.name in ("F32", "F16", "BF16", "F64"):
            continue
        part, blocks = name.split(".")[2], np.array(tensor.data)
        rows = unpermute(blocks, heads[part]) if permuted and part in heads else blocks
        found[layer_name(name, file).removesuffix(".weight")] = GgufWeight(rows, tensor.tensor_type.name)
    return found


class _Product(torch.autograd.Function):
    """x @ W.T with W dequantised anew in each direction; W has no gradient and x need not be kept."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, stored: StoredWeight) -> torch.Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx.stored = stored
        return x @ stored.dequantise(x.dtype).t()

    @staticmethod
    def backward(ctx: Any, d_y: torch.Tensor) -> tuple[torch.Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return d_y @ ctx.stored.dequantise(d_y.dtype), None


class QuantLinear(torch.nn.Module):
    """A frozen linear layer over a stored weight. [..., in] -> [..., out]."""

    def __init__(self, stored: StoredWeight, shape: tuple[int, int], bias: torch.nn.Parameter | None) -> None:
        super().__init__()
        self.stored, self.bias = stored, bias
        self.out_features, self.in_features = shape

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = _Product.apply(x, self.stored)
        return y if self.bias is None else y + self.bias  # type: ignore[operator]
