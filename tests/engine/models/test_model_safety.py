"""Weights files that must never be loaded, each with its reason."""

from __future__ import annotations

import contextlib
import json
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from luthier.core.errors import UserError
from luthier.engine.models.safety import check_weights_file, read_header


def write(path: Path, header: object, data: bytes = b"", length: int | None = None) -> Path:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(raw) if length is None else length) + raw + data)
    return path


def entry(start: int, end: int, shape: list | None = None, dtype: str = "F32") -> dict:
    return {"dtype": dtype, "shape": [(end - start) // 4] if shape is None else shape, "data_offsets": [start, end]}


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("safetensors_empty.safetensors", "8-byte"),
        ("safetensors_truncated.safetensors", "cut off"),
        ("safetensors_nan_weights.safetensors", "4 of 8 weights"),
        ("unsafe_pickle.bin", "pickle"),
    ],
)
def test_the_bad_inputs(name: str, says: str, shared_data: Path) -> None:
    findings = check_weights_file(shared_data / "bad_inputs" / name)
    assert [f.verdict for f in findings] == ["reject"]
    assert says in findings[0].reason
    assert name in findings[0].where


def test_a_good_file_has_no_findings(tmp_path: Path) -> None:
    weights = {"a": np.ones((2, 3), np.float32), "b": np.zeros(4, np.float16), "c": np.arange(5)}
    save_file(weights, tmp_path / "x.safetensors")
    assert check_weights_file(tmp_path / "x.safetensors") == []
    assert {(s.name, s.shape) for s in read_header(tmp_path / "x.safetensors")} == {("a", (2, 3)), ("b", (4,)), ("c", (5,))}


@pytest.mark.parametrize(
    ("header", "data", "says"),
    [
        ({"a": entry(0, 4)}, b"", "cut off"),
        ({"a": entry(0, 4)}, b"12345", "left over"),
        ({"a": entry(0, 4), "b": entry(2, 6)}, b"123456", "holes or overlaps"),
        ({"a": entry(0, 4), "b": entry(8, 12)}, b"0" * 12, "holes or overlaps"),
        ({"a": entry(0, 4, [2])}, b"1234", "takes 8 bytes"),
        ({"a": entry(0, 4, [-1])}, b"1234", "whole numbers"),
        ({"a": entry(0, 4, dtype="OBJECT")}, b"1234", "dtype"),
        ({"a": {"dtype": "F32", "shape": [1]}}, b"1234", "whole numbers"),
        ({"a": 7}, b"", "dtype"),
        ({}, b"", "at least one tensor"),
        ([1], b"", "object"),
        (b"not json", b"", "JSON"),
        (b'{"a": 1, "a": 2}', b"", "twice"),
        (b"[" * 20_000, b"", "JSON"),
    ],
)
def test_a_header_that_leaves_anything_open_is_refused(header: object, data: bytes, says: str, tmp_path: Path) -> None:
    findings = check_weights_file(write(tmp_path / "x.safetensors", header, data))
    assert [f.verdict for f in findings] == ["reject"]
    assert says in findings[0].reason


@pytest.mark.parametrize("length", [2**63, 2**40, 100_000_001, 100])
def test_an_absurd_header_length_is_refused_without_reading_it(length: int, tmp_path: Path) -> None:
    findings = check_weights_file(write(tmp_path / "x.safetensors", {"a": entry(0, 4)}, b"", length))
    assert "must fit" in findings[0].reason


@pytest.mark.parametrize("start", [b"PK\x03\x04torch zip", b"\x80\x02}q", b"\x80\x05\x95"])
def test_a_pickle_under_another_name_is_refused(start: bytes, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(start + b"." * 50)
    assert "pickle" in check_weights_file(tmp_path / "model.safetensors")[0].reason


@pytest.mark.parametrize(
    ("dtype", "bits", "bad"),
    [
        ("F32", np.array([1.5, np.inf, -np.inf, np.nan], "<f4"), 3),
        ("F16", np.array([65504, np.inf, np.nan], "<f2"), 2),
        ("F64", np.array([1e308, np.nan], "<f8"), 1),
        ("BF16", np.array([0x3F80, 0x7F80, 0xFFC1, 0x7F7F], "<u2"), 2),
    ],
)
def test_infinity_and_nan_are_counted_in_every_type(dtype: str, bits: np.ndarray, bad: int, tmp_path: Path) -> None:
    data = bits.tobytes()
    path = write(tmp_path / "x.safetensors", {"w": entry(0, len(data), [len(bits)], dtype)}, data)
    findings = check_weights_file(path)
    assert [f.reason for f in findings] == [f"{bad} of {len(bits)} weights are NaN or infinite"]
    assert "'w'" in findings[0].where


@given(st.binary(max_size=300))
def test_random_bytes_never_raise_anything_but_a_user_error(data: bytes) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.safetensors"
        path.write_bytes(data)
        with contextlib.suppress(UserError):
            read_header(path)


def test_a_missing_file_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="must exist"):
        check_weights_file(tmp_path / "absent.safetensors")
