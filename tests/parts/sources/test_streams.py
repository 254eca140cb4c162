"""Streams: every chunking gives the same lines, compressed and recoded text comes back, cuts are noticed."""

from __future__ import annotations

import gzip

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.core.errors import UserError
from luthier.parts.sources import streams
from luthier.parts.sources.rows import Limits

PIECES = st.lists(st.sampled_from([b"a", b"\n", b"\r", b"\r\n", b"", b"bc", "\u2028".encode()]), max_size=30)


@settings(max_examples=200, deadline=None)
@given(PIECES)
def test_lines_do_not_depend_on_the_chunks(pieces: list[bytes]) -> None:
    data = b"".join(pieces)
    wanted = data.split(b"\n")
    if wanted[-1] == b"":
        wanted.pop()
    got = list(streams.lines(iter(pieces), 1000))
    assert [line.data for line in got] == wanted
    assert [line.number for line in got] == list(range(1, len(wanted) + 1))
    assert all(data[line.offset : line.offset + line.length] == line.data for line in got)


@settings(max_examples=200, deadline=None)
@given(PIECES)
def test_old_line_ends_do_not_depend_on_the_chunks(pieces: list[bytes]) -> None:
    data = b"".join(pieces)
    assert b"".join(streams.cr_to_lf(pieces)) == data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def test_a_long_line_is_counted_and_not_held() -> None:
    got = list(streams.lines(iter([b"ok\n", b"x" * 50, b"y" * 60, b"\nend"]), 100))
    assert [(line.number, line.length, line.data) for line in got] == [(1, 2, b"ok"), (2, 110, None), (3, 3, b"end")]


DATA = b"".join(b'{"n": %d}\n' % i for i in range(20_000))


def _chunks(data: bytes, size: int = 777) -> list[bytes]:
    return [data[i : i + size] for i in range(0, len(data), size)]


@pytest.mark.parametrize(("kind", "pack"), [("gz", gzip.compress), ("zst", zstandard.ZstdCompressor().compress)])
def test_compressed_data_come_back_over_several_members(kind: str, pack) -> None:
    packed = pack(DATA) + pack(b"more")
    assert b"".join(streams.decompress(iter(_chunks(packed)), kind, "f", Limits())) == DATA + b"more"


@pytest.mark.parametrize(("kind", "pack"), [("gz", gzip.compress), ("zst", zstandard.ZstdCompressor().compress)])
@pytest.mark.parametrize("cut", [1, 4, 20, 1000])
def test_every_cut_is_noticed(kind: str, pack, cut: int) -> None:
    with pytest.raises(UserError, match=r"truncated|damaged"):
        list(streams.decompress(iter(_chunks(pack(DATA)[:-cut])), kind, "f", Limits()))


def test_a_flipped_byte_in_gzip_is_noticed() -> None:
    packed = bytearray(gzip.compress(DATA, mtime=0))
    packed[len(packed) // 2] ^= 0xFF
    with pytest.raises(UserError, match=r"damaged|ends early"):
        list(streams.decompress(iter(_chunks(bytes(packed))), "gz", "f", Limits()))


@pytest.mark.parametrize(("kind", "pack"), [("gz", gzip.compress), ("zst", zstandard.ZstdCompressor().compress)])
def test_a_bomb_is_refused_before_it_has_expanded(kind: str, pack) -> None:
    sizes: list[int] = []
    expanding = streams.decompress(iter(_chunks(pack(b"\0" * (32 << 20)))), kind, "f", Limits(ratio_from=1 << 20))
    with pytest.raises(UserError, match="expand"):
        sizes.extend(len(chunk) for chunk in expanding)
    assert sum(sizes) < 24 << 20


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-16-be", "utf-16-le"])
def test_recoding_over_odd_chunks(encoding: str) -> None:
    text = "naïve 😀 日本\n" * 50
    data = text.encode(encoding)
    if encoding.endswith("e"):
        data = ("\ufeff" + text).encode(encoding)
    got = b"".join(streams.to_utf8([data[i : i + 3] for i in range(0, len(data), 3)], encoding[:6], "f"))
    assert got.decode() == text


def test_cut_utf16_is_an_error_with_a_place() -> None:
    with pytest.raises(UserError, match="near byte"):
        list(streams.to_utf8(["ab".encode("utf-16")[:-1]], "utf-16", "f"))
