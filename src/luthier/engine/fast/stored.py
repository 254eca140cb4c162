"""A model folder's safetensors files, read tensor by tensor.

One decision: bytes are read, not mapped, so a process holds what it was given and no page of the file beside it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from luthier.core.errors import CorruptArtifact, UserError
from luthier.engine.memory.dimensions import weight_files
from luthier.engine.models.safety import TensorSpan, read_header

FLOATS = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
"""By the names of the safetensors format."""


@dataclass(frozen=True, slots=True)
class StoredTensors:
    """Raises UserError where files are missing, CorruptArtifact where their headers or the index cannot be read."""

    folder: Path
    _spans: dict[str, tuple[Path, TensorSpan]] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_spans", {span.name: (path, span) for path in weight_files(self.folder) for span in _header(path)})

    def dtypes(self) -> dict[str, str]:
        """The stored type of every tensor, by the names of the safetensors format."""
        return {name: span.dtype for name, (_, span) in self._spans.items()}

    def read(self, name: str, shape: tuple[int, ...]) -> torch.Tensor:
        """A tensor of `FLOATS` in its stored precision. Raises CorruptArtifact where there is none, or one of another shape."""
        if name not in self._spans:
            raise CorruptArtifact(f"the weights in {self.folder} lack {name}: fetch or convert the model again")
        path, span = self._spans[name]
        if span.shape != shape:
            raise CorruptArtifact(f"{name} in {self.folder} has shape {span.shape}, the config says {shape}")
        found = np.fromfile(path, np.uint8, span.end - span.start, offset=span.start)
        if len(found) != span.end - span.start:
            raise CorruptArtifact(f"{path} was cut while it was read: fetch or convert the model again")
        return torch.from_numpy(found).view(FLOATS[span.dtype]).view(shape)


def _header(path: Path) -> list[TensorSpan]:
    if not path.is_file():
        raise UserError("a model folder must hold its weights as safetensors", f"no {path.name}", str(path.parent))
    try:
        return read_header(path)
    except UserError as err:
        raise CorruptArtifact(f"the weights in {path.parent} cannot be read ({err}): fetch or convert the model again") from None
