"""Archives: what an honest one holds is unpacked to the byte; a hostile one leaves nothing, within or outside the target."""

from __future__ import annotations

import io
import os
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from luthier.core.errors import UserError
from luthier.parts.sources import tar
from luthier.parts.sources.archive import folded, kind_of_archive, why_odd_name
from luthier.parts.sources.rows import Limits, Meter
from luthier.parts.sources.streams import file_chunks
from luthier.parts.sources.unpack import unpack
from luthier.stages.data.check import check_file, exit_code

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "reliability"))
from archives import Witness, hostile_archives
from hostile_archives import FAMILIES

ROWS = b'{"text": "a cat", "label": "pet"}\n{"text": "a car", "label": "thing"}\n'
LONG = "folder/" * 12 + "r" * 120 + ".jsonl"
NAMES = ["rows.jsonl", "a/b/rows.csv", "日本/データ.jsonl", LONG, "read.me", "a/empty.jsonl"]
FORMS = {"gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}


def content(name: str) -> bytes:
    return b"" if "empty" in name else ROWS * (len(name) * 40)


def make_tar(path: Path, form: int, kind: str) -> Path:
    with tarfile.open(path, f"w:{kind}", format=form) as t:
        folder = tarfile.TarInfo("./a")
        folder.type, folder.mode = tarfile.DIRTYPE, 0o755
        t.addfile(folder)
        for name in NAMES:
            info = tarfile.TarInfo(f"./{name}")
            info.size, info.mode = len(content(name)), 0o4777
            t.addfile(info, io.BytesIO(content(name)))
    return path


def make_zip(path: Path, packed: int) -> Path:
    with zipfile.ZipFile(path, "w", packed) as z:
        z.mkdir("a")
        for name in NAMES:
            z.writestr(name, content(name))
    return path


@pytest.mark.parametrize("kind", ["gnu", "gnu gz", "pax", "pax gz", "zip stored", "zip deflated"])
def test_what_an_honest_archive_holds_is_unpacked_to_the_byte(tmp_path: Path, kind: str) -> None:
    form, _, packed = kind.partition(" ")
    if form == "zip":
        path = make_zip(tmp_path / "x.zip", zipfile.ZIP_STORED if packed == "stored" else zipfile.ZIP_DEFLATED)
    else:
        path = make_tar(tmp_path / "x.tar", FORMS[form], packed)
    assert kind_of_archive(path) == (form if form == "zip" else f"tar{'.gz' if packed else ''}")
    got = unpack(path, tmp_path / "out")
    assert [str(f.relative_to(tmp_path / "out")) for f in got.files] == [n for n in NAMES if n != "read.me"]
    assert got.left == ("read.me",)
    for file in got.files:
        assert file.read_bytes() == content(str(file.relative_to(tmp_path / "out")))
        assert file.stat().st_mode & 0o7777 == 0o600


@pytest.mark.parametrize("form", FORMS)
def test_headers_are_read_as_tarfile_reads_them(tmp_path: Path, form: str) -> None:
    path = make_tar(tmp_path / "x.tar", FORMS[form], "")
    with tarfile.open(path) as t:
        wanted = [(m.name.removeprefix("./"), m.size, m.isdir()) for m in t.getmembers()]
    got = [
        (h.name.removeprefix("./").rstrip("/"), h.size, h.kind == "5") for h, _ in tar.members(tar.Blocks(file_chunks(path, Meter(0)), "x"))
    ]
    assert got == wanted


def test_a_zst_tar_is_read_and_a_cut_one_refused(tmp_path: Path) -> None:
    import zstandard

    data = zstandard.compress(make_tar(tmp_path / "x.tar", tarfile.PAX_FORMAT, "").read_bytes())
    (tmp_path / "x.tar.zst").write_bytes(data)
    assert len(unpack(tmp_path / "x.tar.zst", tmp_path / "out").files) == len(NAMES) - 1
    (tmp_path / "x.tar.zst").write_bytes(data[:-4])
    with pytest.raises(UserError, match="zstd ends early"):
        unpack(tmp_path / "x.tar.zst", tmp_path / "cut")
    assert not (tmp_path / "cut").exists()


def test_each_family_of_hostile_archives_leaves_nothing() -> None:
    got = hostile_archives(len(FAMILIES), seed=1, max_seconds=2.0)  # the trial itself allows 1 s on a quiet machine
    assert got["failures"] == []
    assert set(got["families"]) == set(FAMILIES)


def test_the_witness_sees_every_way_of_writing(tmp_path: Path) -> None:
    witness = Witness()
    witness.looking = True
    (tmp_path / "a").write_bytes(b"x")
    (tmp_path / "b").mkdir()
    os.symlink("a", tmp_path / "c")
    os.link(tmp_path / "a", tmp_path / "d")
    os.rename(tmp_path / "a", tmp_path / "e")
    os.close(os.open(tmp_path / "f", os.O_WRONLY | os.O_CREAT))
    (tmp_path / "e").read_bytes()
    witness.looking = False
    assert {Path(p).name for p in witness.paths} >= {"a", "b", "c", "d", "e", "f"}


def test_limits_are_the_callers(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "x.zip", zipfile.ZIP_DEFLATED)
    with pytest.raises(UserError, match="expand more than 2 times"):
        unpack(path, tmp_path / "out", Limits(ratio_from=1000, max_ratio=2))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["rows\u202e.jsonl", "nul.csv", "a/ b /x", "x:y", "a" * 256, "/".join("abcdefghijklmnopq")])
def test_odd_names(name: str) -> None:
    assert why_odd_name(name)


def test_names_that_are_one_file_somewhere_are_one() -> None:
    assert folded("A/Caf\u00e9.jsonl") == folded("a/CAFE\u0301.jsonl") != folded("a/cafe.jsonl")


def test_an_archive_is_judged_by_its_files(tmp_path: Path) -> None:
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w") as z:
        z.writestr("data/train.jsonl", ROWS * 2)
        z.writestr("data/test.jsonl", b'{"text": "A cat!", "label": "pet"}\n{"text": "a new one", "label": "thing"}\n')
        z.writestr("LICENSE", "free")
    check = check_file(path)
    said = " | ".join(f"{p.at}: {p.reason}" for p in (*check.set_aside, *check.changes))
    assert (check.verdict, check.format, check.rows, check.kept) == ("quarantine", "zip", 6, 5)
    assert "test.jsonl line 1: leak: a copy, but for case" in said
    assert "left in the archive, for they are no data files: LICENSE" in said
    (tmp_path / "bad.zip").write_bytes(path.read_bytes()[:-30])
    bad = check_file(tmp_path / "bad.zip")
    assert (bad.verdict, exit_code(bad.verdict)) == ("reject", 2)
