"""Plain text files: what a row is, the text to the byte, what is set aside or refused, and archives of texts."""

from __future__ import annotations

import gzip
import io
import tarfile
import tracemalloc
import zipfile
from pathlib import Path

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from luthier.core.errors import UserError
from luthier.parts.origins.archive import picked
from luthier.parts.sources.mapping import mapping_from, mapping_from_text, shown_mapping
from luthier.parts.sources.rows import BadRow, Limits, RawRow
from luthier.parts.sources.source import open_rows
from luthier.stages.data.check import check_file

TEXT = "\n# One\nIt is  one. \n\n  Two, and\nits second line\n \t \n\nThree é 日本\n\n"
ROWS = {
    "file": {"line 2": "# One\nIt is  one. \n\n  Two, and\nits second line\n \t \n\nThree é 日本"},
    "paragraph": {"line 2": "# One\nIt is  one. ", "line 5": "  Two, and\nits second line", "line 9": "Three é 日本"},
    "line": {"line 2": "# One", "line 3": "It is  one. ", "line 5": "  Two, and", "line 6": "its second line", "line 9": "Three é 日本"},
}
ENCODED = {
    "a.txt": TEXT.encode(),
    "a.md": TEXT.encode(),
    "A.TXT": TEXT.encode(),
    "bom.txt": b"\xef\xbb\xbf" + TEXT.encode(),
    "wide.txt": TEXT.encode("utf-16"),
    "windows.txt": TEXT.replace("\n", "\r\n").encode(),
    "mac.txt": TEXT.replace("\n", "\r").encode(),
    "a.txt.gz": gzip.compress(TEXT.encode()),
    "a.md.zst": zstandard.ZstdCompressor().compress(TEXT.encode()),
}


def rows_of(path: Path, document: str = "file", limits: Limits | None = None) -> tuple[dict[str, str], dict[str, str]]:
    """(text by place, reason by place of what is set aside)."""
    items = list(open_rows(path, limits, mapping_from({"kind": "text", "document": document})).items)
    good = {i.at: i.fields["text"] for i in items if isinstance(i, RawRow)}
    return good, {i.at: i.reason for i in items if isinstance(i, BadRow)}


@pytest.mark.parametrize("document", ROWS)
@pytest.mark.parametrize("name", ENCODED)
def test_rows_are_cut_as_the_mapping_says_in_every_encoding(tmp_path: Path, name: str, document: str) -> None:
    (tmp_path / name).write_bytes(ENCODED[name])
    assert rows_of(tmp_path / name, document) == (ROWS[document], {})


def test_the_whole_file_is_a_row_unless_it_is_said_otherwise(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(TEXT)
    assert [i.fields for i in open_rows(tmp_path / "a.txt").items if isinstance(i, RawRow)] == [{"text": ROWS["file"]["line 2"]}]
    judged = check_file(tmp_path / "a.txt")
    assert (judged.verdict, judged.format, judged.mapping, judged.kept) == ("accept", "text", {"kind": "text", "text": "text"}, 1)
    given_one = check_file(tmp_path / "a.txt", mapping_from_text("text:document=paragraph"))
    assert (given_one.kept, given_one.mapping) == (3, {"kind": "text", "text": "text", "document": "paragraph"})
    assert shown_mapping(mapping_from_text("text:document=file")) == {"kind": "text", "text": "text"}


def test_the_column_is_the_one_that_the_mapping_names(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one")
    items = open_rows(tmp_path / "a.txt", mapping=mapping_from({"kind": "text", "text": "body"})).items
    assert [i.fields for i in items if isinstance(i, RawRow)] == [{"body": "one"}]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\x00\ufeff"), max_size=8), max_size=12))
def test_no_text_is_lost_or_made_up(tmp_path: Path, parts: list[str]) -> None:
    text = "x\n" + "\n".join(parts)
    (tmp_path / "a.txt").write_bytes(text.encode())
    plain = [line for line in text.split("\n") if line.encode().strip()]
    for document in ROWS:
        good, bad = rows_of(tmp_path / "a.txt", document)
        assert not bad
        assert [line for row in good.values() for line in row.split("\n") if line.encode().strip()] == plain
        for at, row in good.items():
            assert row in text
            assert text.split("\n")[int(at.split()[1]) - 1] == row.split("\n")[0]


def test_bytes_that_are_not_utf8_cost_their_row_and_are_named(tmp_path: Path) -> None:
    content = b"one\n\ncaf\xe9 two\n\nthree"
    (tmp_path / "a.txt").write_bytes(content)
    good, bad = rows_of(tmp_path / "a.txt", "paragraph")
    assert good == {"line 1": "one", "line 5": "three"}
    assert f"byte 0xe9 at offset {content.index(0xE9)}" in bad["line 3"]
    assert "convert it first" in bad["line 3"]
    judged = check_file(tmp_path / "a.txt")
    assert judged.verdict == "reject"
    assert "a.txt" in judged.findings[0].reason
    assert "byte 0xe9" in judged.findings[0].reason


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "an empty file"),
        (b" \n\n\t\n", "blank lines only"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "a PNG image"),
        (b"%PDF-1.7\n" + bytes(range(256)), "a PDF document"),
        (bytes(range(256)) * 8, "binary data"),
        ("so it is".encode("utf-16-le") * 9, "UTF-16 without a BOM"),
        (b"PK\x03\x04" + bytes(60), "a zip archive"),
        (b"\x80\x04\x95" + bytes(60), "an unsafe pickle"),
    ],
)
def test_what_is_no_text_is_refused_by_name(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(UserError, match=said):
        open_rows(tmp_path / "a.txt")


def test_rows_in_json_are_read_as_rows_and_a_text_that_is_like_it_is_text(tmp_path: Path) -> None:
    for content, format_ in (
        ('{"text": "one"}\n{"text": "two"}\n', "jsonl"),
        ('[\n {"text": "one"},\n {"text": "two"}\n]', "json"),
        ("{one} is a word in braces\n", "text"),
        ('{"text": never closed\n', "text"),
        ("[a link](https://example.com)\n", "text"),
        ("[1] a footnote\n", "text"),
    ):
        (tmp_path / "a.md").write_text(content)
        opened = open_rows(tmp_path / "a.md")
        assert opened.format == format_
        assert len(list(opened.items)) == (1 if format_ == "text" else 2)
        assert len(opened.changes) == (format_ != "text")


def test_plain_text_under_a_mapping_of_columns_is_one_clear_message(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one")
    judged = check_file(tmp_path / "a.txt", mapping_from({"kind": "classification"}))
    assert judged.verdict == "reject"
    for words in ("no columns", "a mapping of kind classification", "task: pretrain", "mapping: {kind: text}"):
        assert words in judged.findings[0].reason


def test_a_document_over_the_limit_is_named_with_the_way_out_and_never_held(tmp_path: Path) -> None:
    path, limits = tmp_path / "long.txt", Limits(max_row_bytes=1 << 20)
    with path.open("wb") as f:
        for _ in range(120):
            f.write(b"a line of some text\n" * 1000 + b"\n")
    tracemalloc.start()
    good, bad = rows_of(path, "file", limits)
    with_paragraphs, none = rows_of(path, "paragraph", Limits(max_row_bytes=1 << 14))
    held = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert not good
    assert "2,400,119 bytes, at most 1 MiB" in bad["line 1"]
    assert "document: paragraph" in bad["line 1"]
    assert (with_paragraphs, len(none)) == ({}, 120)
    assert held < 3 << 20
    assert len(rows_of(path, "paragraph", limits)[0]) == 120


def _zip(path: Path, members: dict[str, str]) -> Path:
    with zipfile.ZipFile(path, "w") as z:
        for name, text in members.items():
            z.writestr(name, text)
    return path


def _tar(path: Path, members: dict[str, str]) -> Path:
    with tarfile.open(path, "w:gz") as t:
        for name, text in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(text.encode())
            t.addfile(info, io.BytesIO(text.encode()))
    return path


@pytest.mark.parametrize(("make", "name"), [(_zip, "x.zip"), (_tar, "x.tar.gz")])
def test_an_archive_of_texts_is_a_row_for_each_and_texts_beside_rows_stay_in_it(tmp_path: Path, make, name: str) -> None:
    texts = {"a/one.txt": "one\n\nmore", "b/two.md": "two", "LICENSE": "x"}
    judged = check_file(make(tmp_path / name, texts))
    assert (judged.kept, judged.verdict) == (2, "repair")
    assert "LICENSE" in judged.changes[0].reason
    mixed = make(tmp_path / f"mixed-{name}", {"rows.jsonl": '{"text": "a"}\n', "train_README.md": "about it", "notes/n.txt": "n"})
    judged = check_file(mixed)
    assert (judged.kept, judged.format) == (1, "zip" if name == "x.zip" else "tar.gz")
    assert "train_README.md, notes/n.txt" in judged.changes[0].reason
    (tmp_path / "all").mkdir()
    assert [f.name for f in picked(mixed, tmp_path / "all").files] == ["rows.jsonl"]
    (tmp_path / "some").mkdir()
    assert [f.name for f in picked(mixed, tmp_path / "some", "notes/*").files] == ["n.txt"]


def test_a_folder_of_split_texts_is_judged_together_and_a_copy_is_a_leak(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("one\n\ntwo\n\nthree")
    (tmp_path / "test.txt").write_text("four\n\nTwo.")
    judged = check_file(tmp_path, mapping_from_text("text:document=paragraph"))
    assert (judged.rows, judged.kept, judged.verdict) == (5, 4, "quarantine")
    assert judged.set_aside[0].at == "test.txt line 3"
