"""Trained parts that are written into a group's weight or bias: DoRA's directions and lengths, IA3's vectors, biases, whole weights.

One decision: dW = dY^T X of one layer lives only until it is pulled back onto that layer's parameters, in the same call, so
the engine never holds a gradient of the size of the model for DoRA.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class Whole:
    """A trained weight [out, in]; its `rows` give the `columns` of the group's output."""

    weight: torch.nn.Parameter
    columns: slice
    rows: slice

    def merge(self, into: torch.Tensor, bias: torch.Tensor | None) -> None:
        """Write the weight into the group's."""
        into[self.columns].copy_(self.weight.detach()[self.rows])

    def accumulate(self, x: torch.Tensor, d_y: torch.Tensor) -> None:
        """dW += dY^T X."""
        assert self.weight.grad is not None
        self.weight.grad[self.rows].addmm_(d_y[:, self.columns].t(), x)


@dataclass(frozen=True, slots=True)
class Directed:
    """DoRA (arXiv:2402.09353): m * V / |V| row by row, V = base + scale * B A. |V| is a constant to the gradient (section 4.3).

    base: [rows, in] as stored; a: [rank, in]; b: [out, rank]; magnitude: [out], m above.
    """

    base: torch.Tensor
    a: torch.nn.Parameter
    b: torch.nn.Parameter
    magnitude: torch.nn.Parameter
    scale: float
    columns: slice
    rows: slice

    def _direction(self) -> tuple[torch.Tensor, torch.Tensor]:
        """V and |V| as a column."""
        v = torch.addmm(self.base.to(self.a.dtype), self.b.detach()[self.rows], self.a.detach(), alpha=self.scale)
        return v, torch.linalg.norm(v, dim=1, keepdim=True)

    def merge(self, into: torch.Tensor, bias: torch.Tensor | None) -> None:
        """Write the effective weight into the group's."""
        v, length = self._direction()
        into[self.columns].copy_(v.mul_(self.magnitude.detach()[self.rows, None] / length))

    def accumulate(self, x: torch.Tensor, d_y: torch.Tensor) -> None:
        """dm += rowsum(dW * V) / |V|; with dV = dW m / |V|: dB += s dV A^T, dA += s B^T dV."""
        assert self.a.grad is not None
        assert self.b.grad is not None
        assert self.magnitude.grad is not None
        v, length = self._direction()
        d_w = d_y[:, self.columns].t() @ x
        self.magnitude.grad[self.rows].add_(torch.linalg.vecdot(d_w, v).div_(length[:, 0]))
        d_v = d_w.mul_(self.magnitude.detach()[self.rows, None] / length)
        self.b.grad[self.rows].addmm_(d_v, self.a.detach().t(), alpha=self.scale)
        self.a.grad.addmm_(self.b.detach()[self.rows].t(), d_v, alpha=self.scale)


@dataclass(frozen=True, slots=True)
class Biases:
    """A trained bias [out]; its `rows` give the `columns` of the group's output."""

    bias: torch.nn.Parameter
    columns: slice
    rows: slice

    def merge(self, into: torch.Tensor, bias: torch.Tensor | None) -> None:
        """Write the bias into the group's."""
        assert bias is not None
        bias[self.columns].copy_(self.bias.detach()[self.rows])

    def accumulate(self, x: torch.Tensor, d_y: torch.Tensor) -> None:
        """db += colsum(dY)."""
        assert self.bias.grad is not None
        self.bias.grad[self.rows].add_(d_y[:, self.columns].sum(0))


@dataclass(frozen=True, slots=True)
class Scaled:
    """IA3 (arXiv:2205.05638): diag(s) (W x + b) where the output is scaled, s [out, 1]; W (s * x) + b where the input is, s [1, in].

    base: [rows, in] as stored; offset: b [rows] as stored, or None.
    """

    base: torch.Tensor
    offset: torch.Tensor | None
    vector: torch.nn.Parameter
    inner: bool
    columns: slice
    rows: slice

    def merge(self, into: torch.Tensor, bias: torch.Tensor | None) -> None:
        """Write the scaled weight, and the scaled bias, into the group's."""
        s = self.vector.detach() if self.inner else self.vector.detach()[self.rows]
        torch.mul(self.base.to(s.dtype), s, out=into[self.columns])
        if bias is not None and self.offset is not None and not self.inner:
            torch.mul(self.offset.to(s.dtype), s[:, 0], out=bias[self.columns])

    def accumulate(self, x: torch.Tensor, d_y: torch.Tensor) -> None:
        """With dW = dY^T X: ds += rowsum(dW * W) + b colsum(dY), or colsum(dW * W) where the input is scaled."""
        assert self.vector.grad is not None
        d_columns = d_y[:, self.columns]
        changed = (d_columns.t() @ x).mul_(self.base)
        if self.inner:
            self.vector.grad[0].add_(changed.sum(0))
            return
        d_s = changed.sum(1)
        if self.offset is not None:
            d_s += d_columns.sum(0) * self.offset
        self.vector.grad[self.rows, 0].add_(d_s)


Dense = Whole | Directed | Biases | Scaled


def norm_gradient(weight: torch.Tensor, d_y: torch.Tensor, x: torch.Tensor, scale: torch.Tensor) -> None:
    """dw += colsum(dY * X * scale) of an RMS norm, where its weight is trained. d_y, x: [T, hidden]; scale: [T, 1]."""
    if isinstance(weight, torch.nn.Parameter):
        assert weight.grad is not None
        weight.grad.add_((d_y * x).mul_(scale).sum(0))
