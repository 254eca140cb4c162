"""Archives that an attacker would send: each family writes one, varied by a seeded generator.

One decision: they are made byte by byte or through `zipfile` and `tarfile` with names that these never check, so that each one
is what a real attack looks like and none depends on the code that it is to deceive.
"""

from __future__ import annotations

import gzip
import io
import random
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

ROW = b'{"text": "x", "label": "y"}\n'
Family = Callable[[Path, random.Random, Path], None]
"""(the archive to write, the generator, a folder outside the target)."""


def _zip(path: Path, named: Iterable[tuple[str | zipfile.ZipInfo, bytes]]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as z:
        z.writestr("good.jsonl", ROW)
        for name, data in named:
            z.writestr(name, data)


def _tar(path: Path, infos: Iterable[tuple[tarfile.TarInfo, bytes]], kind: str = "", form: int = tarfile.GNU_FORMAT) -> None:
    with tarfile.open(path, f"w:{kind}", format=form) as t:
        good = tarfile.TarInfo("good.jsonl")
        good.size = len(ROW)
        t.addfile(good, io.BytesIO(ROW))
        for info, data in infos:
            if not info.size:
                info.size = len(data)
            t.addfile(info, io.BytesIO(data))


def _info(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def _escapes(rng: random.Random, outside: Path) -> str:
    up = "../" * rng.randint(1, 8)
    return rng.choice(
        (
            f"{up}escaped.jsonl",
            f"a/b/{up * 2}escaped.jsonl",
            f"./{up}escaped.jsonl",
            f"good/..{'/..' * rng.randint(1, 4)}/escaped.jsonl",
            up.replace("/", "\\") + "escaped.jsonl",
            f"a\\..\\..\\{up}escaped.jsonl",
            str(outside / "escaped.jsonl"),
            f"//{outside}/escaped.jsonl",
            "C:\\Windows\\escaped.jsonl",
            "C:escaped.jsonl",
            "\\\\host\\share\\escaped.jsonl",
            f"file://{outside}/escaped.jsonl",
            "~/escaped.jsonl",
            "..",
        )
    )


def zip_slip(path: Path, rng: random.Random, outside: Path) -> None:
    _zip(path, [(zipfile.ZipInfo(_escapes(rng, outside)), ROW)])


def tar_slip(path: Path, rng: random.Random, outside: Path) -> None:
    _tar(path, [(_info(_escapes(rng, outside)), ROW)], rng.choice(("", "gz")))


def pax_slip(path: Path, rng: random.Random, outside: Path) -> None:
    info = _info("fine.jsonl")
    info.pax_headers = {"path": _escapes(rng, outside)}
    _tar(path, [(info, ROW)], form=tarfile.PAX_FORMAT)


def long_name_slip(path: Path, rng: random.Random, outside: Path) -> None:
    _tar(path, [(_info("a/" * 60 + "../" * rng.randint(61, 70) + "escaped.jsonl"), ROW)])


def global_path(path: Path, rng: random.Random, outside: Path) -> None:
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT, pax_headers={"path": str(outside / "escaped.jsonl")}) as t:
        info = _info("fine.jsonl")
        info.size = len(ROW)
        t.addfile(info, io.BytesIO(ROW))


def zip_link(path: Path, rng: random.Random, outside: Path) -> None:
    kind = rng.choice((stat.S_IFLNK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK))
    info = zipfile.ZipInfo("door.jsonl")
    info.external_attr = (kind | 0o777) << 16
    _zip(path, [(info, str(outside).encode()), ("door.jsonl/escaped.jsonl", ROW)])


def tar_link_chain(path: Path, rng: random.Random, outside: Path) -> None:
    kind = rng.choice((tarfile.SYMTYPE, tarfile.LNKTYPE))
    hops = rng.randint(1, 4)
    chain = [_info(f"door{i}", kind, f"door{i + 1}" if i + 1 < hops else str(outside)) for i in range(hops)]
    _tar(path, [*((i, b"") for i in chain), (_info("door0/escaped.jsonl"), ROW)], rng.choice(("", "gz")))


def tar_link_over_file(path: Path, rng: random.Random, outside: Path) -> None:
    link = _info("rows.jsonl", rng.choice((tarfile.SYMTYPE, tarfile.LNKTYPE)), str(outside / "secret.txt"))
    _tar(path, [(link, b""), (_info("rows.jsonl"), ROW)])


def tar_device(path: Path, rng: random.Random, outside: Path) -> None:
    info = _info("dev.jsonl", rng.choice((tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.GNUTYPE_SPARSE, b"Z", b"M")))
    info.devmajor, info.devminor = 1, rng.choice((3, 5, 8))
    _tar(path, [(info, b"")])


def twice(path: Path, rng: random.Random, outside: Path) -> None:
    first, second = rng.choice(
        (
            ("rows.jsonl", "rows.jsonl"),
            ("rows.jsonl", "ROWS.jsonl"),
            ("caf\u00e9.jsonl", "cafe\u0301.jsonl"),
            ("stra\u00dfe.jsonl", "strasse.jsonl"),
            ("ﬁle.jsonl", "file.jsonl"),
            ("rows.jsonl", "./rows.jsonl"),
            ("a.jsonl", "a.jsonl/b.jsonl"),
            ("a.jsonl/b.jsonl", "a.jsonl"),
        )
    )
    if rng.random() < 0.5 or first == second:
        _tar(path, [(_info(first), ROW), (_info(second), ROW)])
    else:
        _zip(path, [(first, ROW), (second, ROW)])


def odd_name(path: Path, rng: random.Random, outside: Path) -> None:
    name = rng.choice(
        (
            "rows\u202elnosj.exe.jsonl",
            "rows\u200b.jsonl",
            "ro\nws.jsonl",
            "\x1b[2Jrows.jsonl",
            "CON.jsonl",
            "nul",
            "aux.csv",
            "rows.jsonl ",
            "rows.jsonl.",
            "rows.jsonl:stream",
            "a/" * 40 + "rows.jsonl",
            "x" * 300 + ".jsonl",
            "d/" * 9 + "y" * 1200 + ".jsonl",
            " /rows.jsonl",
        )
    )
    if rng.random() < 0.5:
        _zip(path, [(zipfile.ZipInfo(name), ROW)])
    else:
        _tar(path, [(_info(name), ROW)])


def nul_name(path: Path, rng: random.Random, outside: Path) -> None:
    """`good.jsonl` to a reader that stops at the NUL, another name to one that does not."""
    _zip(path, [("rowsX../../escaped.jsonl", ROW)])
    path.write_bytes(path.read_bytes().replace(b"rowsX", b"rows\0"))


def zeros(num_bytes: int) -> bytes:
    """Raw deflate data that expand to at least `num_bytes` zeros, made in no time: one flushed block again and again."""
    engine = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = engine.compress(bytes(1 << 20)) + engine.flush(zlib.Z_FULL_FLUSH)
    return block * (num_bytes >> 20) + engine.flush()


def zip_bomb(path: Path, rng: random.Random, outside: Path) -> None:
    """10 GB of zeros, told or not told in the list."""
    data, told = zeros(10 << 30), rng.choice((10 << 30, 1000))
    name = rng.choice((b"bomb.jsonl", b"bomb.bin"))
    told = min(told, 0xFFFFFFFE)
    local = struct.pack("<4s5H3I2H", b"PK\x03\x04", 20, 0, 8, 0, 33, 0, len(data), told, len(name), 0) + name
    listed = struct.pack("<4s6H3I5H2I", b"PK\x01\x02", 20, 20, 0, 8, 0, 33, 0, len(data), told, len(name), 0, 0, 0, 0, 0, 0) + name
    end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 1, 1, len(listed), len(local) + len(data), 0)
    path.write_bytes(local + data + listed + end)


def tar_bomb(path: Path, rng: random.Random, outside: Path) -> None:
    """A tar.gz whose one member, data or not, is 10 GB of zeros."""
    info = _info(rng.choice(("bomb.jsonl", "bomb.bin")))
    info.size = 10 << 30
    head = zlib.compressobj(9, zlib.DEFLATED, -15)
    body = head.compress(info.tobuf(tarfile.GNU_FORMAT)) + head.flush(zlib.Z_FULL_FLUSH) + zeros(10 << 30)
    path.write_bytes(b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + body + bytes(8))


def overlap(path: Path, rng: random.Random, outside: Path) -> None:
    """Many members of the list that share one member's bytes (Fifield's bomb)."""
    name, data = b"rows.jsonl", zlib.compress(ROW * 1000)[2:-4]
    local = struct.pack("<4s5H3I2H", b"PK\x03\x04", 20, 0, 8, 0, 33, 0, len(data), len(ROW) * 1000, len(name), 0) + name
    listed = b""
    for i in range(rng.randint(2, 200)):
        other = b"r%03d.jsonl" % i
        sizes = (len(data), len(ROW) * 1000, len(other))
        listed += struct.pack("<4s6H3I5H2I", b"PK\x01\x02", 20, 20, 0, 8, 0, 33, 0, *sizes, 0, 0, 0, 0, 0, 0) + other
    count = listed.count(b"PK\x01\x02")
    path.write_bytes(local + data + listed + struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, count, count, len(listed), len(local + data), 0))


def many_in_zip(path: Path, rng: random.Random, outside: Path) -> None:
    _zip(path, [(f"{i}.jsonl", b"") for i in range(10_001 + rng.randrange(50))])


def many_untold(path: Path, rng: random.Random, outside: Path) -> None:
    """The end record says one member; the 64-bit record, which readers believe first, says a million."""
    entry = struct.pack("<4s6H3I5H2I", b"PK\x01\x02", 20, 20, 0, 0, 0, 33, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"a"
    listed = entry * 1_000_000
    wide = struct.pack("<4sQ2H2I4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 1_000_000, 1_000_000, len(listed), 4)
    locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, 4 + len(listed), 1)
    told = rng.choice(((1, 47), (0xFFFF, 0xFFFFFFFF)))
    end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, told[0], told[0], told[1], 4, 0)
    path.write_bytes(b"PK\x03\x04" + listed + wide + locator + end)


def many_in_tar(path: Path, rng: random.Random, outside: Path) -> None:
    """A million empty members, packed."""
    block = zlib.compressobj(9, zlib.DEFLATED, -15)
    hundred = b"".join(_info(f"{i}.jsonl").tobuf(tarfile.GNU_FORMAT) for i in range(10_100))
    path.write_bytes(b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + (block.compress(hundred) + block.flush(zlib.Z_FULL_FLUSH)) * 100 + bytes(8))


def huge_header(path: Path, rng: random.Random, outside: Path) -> None:
    """A header for a name of a gigabyte, packed."""
    info = _info("././@LongLink", rng.choice((tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.XGLTYPE)))
    info.size = 1 << 30
    path.write_bytes(gzip.compress(info.tobuf(tarfile.GNU_FORMAT) + bytes(1 << 20)))


def damaged_tar(path: Path, rng: random.Random, outside: Path) -> None:
    """A header with a wrong checksum, a size below zero, or one that is no number."""
    _tar(path, [(_info("rows.jsonl"), ROW)])
    data = bytearray(path.read_bytes())
    field = rng.choice((b"-0000000100\0", b"\xff" * 12, b"9999999999 \0", b"0x10       \0"))
    data[1024 + 124 : 1024 + 136] = field
    if rng.random() < 0.7:
        data[1024 + 148 : 1024 + 156] = b" " * 8
        data[1024 + 148 : 1024 + 156] = b"%06o\0 " % sum(data[1024 : 1024 + 512])
    path.write_bytes(bytes(data))


def cut(path: Path, rng: random.Random, outside: Path) -> None:
    """Cut off somewhere behind its first member."""
    rows = b"".join(b'{"text": "%d", "label": "y"}\n' % rng.getrandbits(64) for _ in range(400))
    if rng.random() < 0.5:
        _zip(path, [("rows.jsonl", rows)])
    else:
        _tar(path, [(_info("rows.jsonl"), rows)], rng.choice(("", "gz")))
    data = path.read_bytes()
    path.write_bytes(data[: rng.randint(700, min(len(data) - 1, 9000))])


def lying_size(path: Path, rng: random.Random, outside: Path) -> None:
    """A zip member that holds other bytes, or more of them, than its list says."""
    _zip(path, [("rows.jsonl", ROW * 500)])
    data = bytearray(path.read_bytes())
    at = data.rfind(b"PK\x01\x02")
    if rng.random() < 0.5:
        data[at + 16 : at + 20] = rng.randbytes(4)
    else:
        data[at + 20 : at + 24] = struct.pack("<I", rng.randint(1, 30))
    path.write_bytes(bytes(data))


def encrypted(path: Path, rng: random.Random, outside: Path) -> None:
    _zip(path, [("rows.jsonl", ROW)])
    data = bytearray(path.read_bytes())
    for magic, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.rfind(magic) + offset] |= 1
    path.write_bytes(bytes(data))


def nested(path: Path, rng: random.Random, outside: Path) -> None:
    """Archives in archives, and no row at the top."""
    inner = b""
    for depth in range(rng.randint(1, 5)):
        held = io.BytesIO()
        with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as z:
            for copy in range(rng.randint(1, 4)):
                z.writestr(f"{depth}-{copy}.zip", inner or ROW)
        inner = held.getvalue()
    path.write_bytes(inner)


def pickle_inside(path: Path, rng: random.Random, outside: Path) -> None:
    name = rng.choice(("archive/data.pkl", "model.pt", "a.pickle", "x/y.PKL", "clf.joblib"))
    body = b"cos\nsystem\n(S'touch %s/ran'\ntR." % str(outside).encode()
    if rng.random() < 0.5:
        _zip(path, [(name, body)])
    else:
        _tar(path, [(_info(name), body)])


FAMILIES: dict[str, Family] = {
    f.__name__: f
    for f in (
        *(zip_slip, tar_slip, pax_slip, long_name_slip, global_path, zip_link, tar_link_chain, tar_link_over_file, tar_device),
        *(twice, odd_name, nul_name, zip_bomb, tar_bomb, overlap, many_in_zip, many_untold, many_in_tar, huge_header),
        *(damaged_tar, cut, lying_size, encrypted, nested, pickle_inside),
    )
}
