"""HTML left in a text: tags taken out, character references read, code and mathematics left alone.

One decision: a parser finds the tags and only elements that a page shows are taken, so `List<String>`, `a < b` and
`<name>` stay; a text that shows markup on purpose (`&lt;b&gt;`, a fenced block, a whole document) keeps it.
Sources: https://html.spec.whatwg.org/#named-character-references (through html.unescape); Pandoc's rule for `$...$`.
"""

from __future__ import annotations

import html
import re
from html.parser import HTMLParser
from itertools import accumulate
from typing import Literal

from luthier.parts.repairs.contract import MAX_ROUNDS, Repair

_WORD = re.compile(r"\w+")
_BLOCK = frozenset(
    _WORD.findall(
        "address article aside blockquote body br center dd div dl dt footer form head header hr html li main nav "
        "h1 h2 h3 h4 h5 h6 ol p pre section table tbody tfoot thead title tr ul"
    )
)
_CELL = frozenset(("td", "th"))
_INLINE = frozenset(
    _WORD.findall("a abbr b big button cite code em font i iframe img input label link meta s small span strike strong sub sup u")
)
_HIDDEN = ("script", "style")
_KNOWN = _BLOCK | _CELL | _INLINE | frozenset(_HIDDEN)
_KEPT = re.compile(
    r"(```[\s\S]*?(?:```|\Z)|~~~[\s\S]*?(?:~~~|\Z)|(?<!`)`[^`\n]{1,1000}`(?!`)"  # code
    r"|\$\$[\s\S]{1,2000}?\$\$|\$(?=\S)[^$\n]{0,300}\S\$(?!\d)|\$[^$\s]\$(?!\d)|\\\([\s\S]{1,2000}?\\\)|\\\[[\s\S]{1,2000}?\\\])"  # maths
)
_REFERENCE = re.compile(r"&(?:[A-Za-z][A-Za-z0-9]{1,31}|#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6});")
_DOCUMENT = re.compile(r"\s{0,100}(?:<!doctype|<html|<\?xml)\b", re.IGNORECASE)
_TAG_END = re.compile(">")


class Html(Repair):
    """Tags of known elements go (a block leaves a line end), scripts go with their text, references become their characters."""

    kind: Literal["html"] = "html"

    def __call__(self, text: str) -> str:
        if ("<" not in text and "&" not in text) or _DOCUMENT.match(text):
            return text
        before = text
        for _ in range(MAX_ROUNDS):
            after = _round(before)
            if after == before:
                return after
            before = after
        return text


def _round(text: str) -> str:
    """One pass; where reading `&lt;` would make new markup of what is shown on purpose, such references stay."""
    read = _pass(text, markup=True)
    if _pass(read, markup=True) != read:
        read = _pass(text, markup=False)
    return read if text[-1:].isspace() else read.rstrip(" \n")


def _pass(text: str, markup: bool) -> str:
    out: list[str] = []
    for i, part in enumerate(_KEPT.split(text)):
        out.append(part if i % 2 else _without_tags(part, markup))
    return "".join(out)


def _without_tags(text: str, markup: bool) -> str:
    """`text` is outside code and mathematics. markup: also read the references to `<`, `>` and `&`."""

    def read(found: re.Match[str]) -> str:
        said = html.unescape(found.group())
        return found.group() if said in ("<", ">", "&") and not markup else said.replace("\xa0", " ")

    out, at = "", 0
    spans = _Tags(text).spans() if "<" in text else []
    for start, end, between in spans:
        out += _REFERENCE.sub(read, text[at:start])
        if between == "\n" and out and not out.endswith("\n"):
            out = out.rstrip(" ") + "\n"
        elif between and out and not out[-1].isspace():
            out += between
        at = end
    return out + _REFERENCE.sub(read, text[at:])


class _Tags(HTMLParser):
    """Where the tags of known elements stand in a text: (start, end, what stands for it)."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self._text = text
        self._lines = [0, *accumulate(len(line) for line in text.split("\n"))]
        self._found: list[tuple[int, int, str]] = []
        self._names: list[tuple[str, bool, bool]] = []
        self.feed(text)

    def _at(self) -> int:
        line, column = self.getpos()
        return self._lines[line - 1] + line - 1 + column

    def _take(self, name: str, end: int, opens: bool, bare: bool) -> None:
        between = "\n" if name in _BLOCK else " " if name in _CELL else ""
        self._found.append((self._at(), end, between))
        self._names.append((name, opens, bare))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        valued = not attrs or any(value is not None for _, value in attrs)
        if tag in _KNOWN and valued:
            self._take(tag, self._at() + len(self.get_starttag_text() or ""), opens=True, bare=not attrs)

    def handle_endtag(self, tag: str) -> None:
        end = _TAG_END.search(self._text, self._at())
        if tag in _KNOWN and end and end.end() - self._at() <= len(tag) + 16:
            self._take(tag, end.end(), opens=False, bare=True)

    def handle_comment(self, data: str) -> None:
        end = self._at() + len(data) + len("<!---->")
        if self._text[self._at() : end] == f"<!--{data}-->":
            self._take("", end, opens=True, bare=False)

    def spans(self) -> list[tuple[int, int, str]]:
        """The spans in order, none overlapping; a script's covers its text; `a<b>c` without a `</b>` is a comparison."""
        closed = {name for name, opens, _ in self._names if not opens}
        out: list[tuple[int, int, str]] = []
        hidden = -1
        for (start, end, between), (name, opens, bare) in zip(self._found, self._names, strict=True):
            compared = opens and bare and len(name) == 1 and name not in closed and self._text[:start][-1:].isalnum()
            if compared or (out and start < out[-1][1]):
                continue
            if name in _HIDDEN and not opens and hidden >= 0:
                out[hidden:] = [(out[hidden][0], end, "\n")]
                hidden = -1
                continue
            if name in _HIDDEN and opens:
                hidden = len(out)
            out.append((start, end, between))
        return out
