"""Paths, archives, manifests and size: nothing outside is opened or written, and memory stays flat."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from luthier.core.errors import UserError
from luthier.parts.sources.archive import MAX_MEMBERS, is_unsafe_name
from luthier.parts.sources.rows import BadRow, RawRow
from luthier.parts.sources.source import open_rows

UNSAFE = ["../x", "/x", "a/../../x", "C:\\x", "C:x", "\\\\host\\x", "..\\x", "file:///x", "https://h/x", "a\0b", "~/x", "\\x"]
SAFE = ["x.jsonl", "a/b.jsonl", "a..b", "..a", "a/.b/c", "日本.csv"]


@pytest.mark.parametrize("name", UNSAFE)
def test_unsafe_names(name: str) -> None:
    assert is_unsafe_name(name)


@pytest.mark.parametrize("name", SAFE)
def test_safe_names(name: str) -> None:
    assert not is_unsafe_name(name)


def _zip(path: Path, *names: str) -> Path:
    with zipfile.ZipFile(path, "w") as z:
        for name in names:
            z.writestr(name, '{"a": 1}\n')
    return path


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("../../x.jsonl", "ok.jsonl"), "unsafe member name(s): '../../x.jsonl'"),
        (("model/data.pkl",), "unsafe pickle"),
        (("rows.jsonl",), "a zip archive"),
    ],
)
def test_zips_are_refused_with_the_reason_and_nothing_is_unpacked(tmp_path: Path, names: tuple[str, ...], said: str) -> None:
    (tmp_path / "in").mkdir()
    path = _zip(tmp_path / "in" / "rows.zip", *names)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError) as err:
        open_rows(path)
    assert said in str(err.value)
    assert sorted(tmp_path.rglob("*")) == before


def test_an_archive_of_very_many_members_is_refused_without_listing_it(tmp_path: Path) -> None:
    path = _zip(tmp_path / "rows.jsonl", *(f"f{i}" for i in range(MAX_MEMBERS + 1)))
    with pytest.raises(UserError, match="a zip archive"):
        open_rows(path)


def test_tars_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("{}\n")
    for name, mode in (("t.tar", "w"), ("t.tar.gz", "w:gz")):
        with tarfile.open(tmp_path / name, mode) as t:
            t.add(tmp_path / "a.jsonl", "../a.jsonl")
        with pytest.raises(UserError, match="a tar archive"):
            open_rows(tmp_path / name)


def test_a_manifest_opens_nothing_outside_its_folder(tmp_path: Path) -> None:
    secret = tmp_path / "secret.jsonl"
    secret.write_text('{"a": 1}\n')
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "ok.jsonl").write_text('{"a": 1}\n')
    (folder / "link.jsonl").symlink_to(secret)
    (folder / "list.json").write_text(
        json.dumps({"files": ["ok.jsonl", "link.jsonl", "../secret.jsonl", str(secret), "sub/../../secret.jsonl", ""]})
    )
    items = list(open_rows(folder / "list.json").items)
    assert [(type(i), i.at) for i in items] == [(RawRow, "entry 1"), *((BadRow, f"entry {n}") for n in range(2, 7))]


def test_a_missing_file_names_the_path_and_the_nearest_name(tmp_path: Path) -> None:
    (tmp_path / "train_rows.jsonl").write_text("{}\n")
    with pytest.raises(UserError, match=r"train_row\.jsonl; did you mean `train_rows\.jsonl`"):
        open_rows(tmp_path / "train_row.jsonl")
    with pytest.raises(UserError) as err:
        open_rows(tmp_path / "zzz.jsonl")
    assert "did you mean" not in str(err.value)


@pytest.mark.parametrize("name", ["", "a\0b.jsonl", "x" * 5000])
def test_odd_paths_are_user_errors(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError):
        open_rows(tmp_path / name)


PROBE = """
import resource, sys
from pathlib import Path
from luthier.parts.sources.source import open_rows
base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
items = list(open_rows(Path(sys.argv[1])).items)
print(len(items), type(items[0]).__name__, items[0].reason if hasattr(items[0], "reason") else "")
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - base) >> 10)
"""


@pytest.mark.parametrize(
    ("name", "start", "end"), [("a.jsonl", b'{"a": "', b'"}\n'), ("a.json", b'[{"a": "', b'"}]'), ("a.csv", b"a,b\nx", b",y\n")]
)
def test_a_line_of_100_mb_is_named_in_bounded_memory(tmp_path: Path, name: str, start: bytes, end: bytes) -> None:
    path = tmp_path / name
    with path.open("wb") as f:
        f.write(start)
        for _ in range(100):
            f.write(b"x" * (1 << 20))
        f.write(end)
    done = subprocess.run([sys.executable, "-c", PROBE, str(path)], capture_output=True, text=True, check=True)
    first, grown = done.stdout.strip().splitlines()
    assert first.startswith("1 BadRow")
    assert "too long: 104,857," in first
    assert int(grown) < 120, f"memory grew by {grown} MiB"
