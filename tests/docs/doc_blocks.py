"""The fenced blocks of the documentation, and the files that they come from."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
NEEDS_REAL_MODEL = "# needs the real model"
_FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```\s*$", re.MULTILINE | re.DOTALL)


def documents() -> list[Path]:
    """Every Markdown file that is written by hand."""
    found = [*REPO.glob("*.md"), *(REPO / "docs").rglob("*.md"), *(REPO / "examples").glob("*/*.md")]
    return sorted(found)


@dataclass(frozen=True)
class Block:
    """A fenced block: its page, line, language, text, and the headings above it (nearest last)."""

    page: Path
    line: int
    language: str
    text: str
    heading: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(REPO)}:{self.line}"


def blocks_of(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page in order."""
    text = page.read_text(encoding="utf-8")
    for match in _FENCE.finditer(text):
        above = re.sub(r"^```.*?^```\s*$", "", text[: match.start()], flags=re.MULTILINE | re.DOTALL)
        headings = re.findall(r"^#+ (.+)$", above, re.MULTILINE)
        line = text.count("\n", 0, match.start()) + 1
        yield Block(page, line, match.group(1), match.group(2), headings[-1] if headings else "")


def all_blocks(*languages: str) -> list[Block]:
    """The blocks of every page in one of `languages`."""
    return [b for page in documents() for b in blocks_of(page) if b.language in languages]


def commands_of(block: Block) -> Iterator[tuple[list[str], bool]]:
    """(words, needs the real model) of each `luthier` or `cd` line of a console or bash block; output lines are left out."""
    for raw in block.text.splitlines():
        line = raw.strip()
        if block.language == "console":
            if not line.startswith("$ "):
                continue
            line = line[2:]
        words = shlex.split(line, comments=True)
        if words and words[0] in ("luthier", "cd"):
            yield words, NEEDS_REAL_MODEL in line
