"""What `luthier data show` shows: rows as the model sees them, with the trained tokens marked, and the length report.

One decision: control characters of the data are shown as symbols and never sent to a terminal.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from luthier.core.artifacts import Dataset, Prepared
from luthier.core.errors import UserError
from luthier.core.rows import read_split
from luthier.core.stage import Built
from luthier.stages.data.prepare import read_lengths

if TYPE_CHECKING:
    from rich.text import Text

TRAINED_STYLE = "bold green"
OPEN, CLOSE = "[[", "]]"
BAR_WIDTH = 30


@dataclass(frozen=True, slots=True)
class ShownRow:
    """One rendered row: pieces of text in order, each trained or not. `note` says what the length limit did to it."""

    key: str
    source: str
    label: str | None
    pieces: tuple[tuple[str, bool], ...]
    num_tokens: int
    num_trained: int
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "key": self.key,
            "source": self.source,
            "label": self.label,
            "pieces": [{"text": text, "trained": trained} for text, trained in self.pieces],
            "num_tokens": self.num_tokens,
            "num_trained": self.num_trained,
            "note": self.note,
        }


@dataclass(frozen=True, slots=True)
class Shown:
    """The rows of one split and the length report."""

    split: str
    rows: tuple[ShownRow, ...]
    lengths: dict[str, Any]


def show(prepared: Built[Prepared], dataset: Built[Dataset], split: str, num_rows: int) -> Shown:
    """The first rows of `split` as they were rendered. Raises UserError for a split that is not prepared (test rows are sealed)."""
    from luthier.engine.text.load import load_renderer
    from luthier.engine.text.prepared import read_prepared

    if split not in prepared.result.counts:
        raise UserError(f"the split must be one of {', '.join(prepared.result.counts)}", repr(split), fix="test rows are sealed")
    stored = read_prepared(prepared.path, split)
    sizes: dict[str, list[int]] = {}
    for key, sequence in zip(stored.keys, stored.sequences, strict=True):
        sizes.setdefault(key.partition("#")[0], []).append(len(sequence.tokens))
    renderer = load_renderer(prepared.path / "renderer")
    rows = []
    for row in read_split(dataset, split)[:num_rows]:
        rendered = renderer.render(row.messages, row.tools)
        note = _note(len(rendered.tokens), sizes.get(row.key, []))
        trained = int((rendered.weights != 0).sum())
        rows.append(ShownRow(row.key, str(row.source), row.label, rendered.pieces, len(rendered.tokens), trained, note))
    return Shown(split, tuple(rows), read_lengths(prepared.path))


def _note(whole: int, stored: list[int]) -> str:
    if stored == [whole]:
        return ""
    if not stored:
        return "left out of training; see ledger.jsonl"
    pieces = " + ".join(map(str, stored))
    return f"shown whole; trained as {pieces} of {whole} tokens"


def coloured(row: ShownRow, plain: bool = False) -> Text:
    """The row as one text, trained tokens in green; with `plain`, between [[ and ]]."""
    from rich.text import Text

    out = Text()
    for text, trained in row.pieces:
        safe = visible(text)
        if trained and plain:
            out.append(f"{OPEN}{safe}{CLOSE}")
        else:
            out.append(safe, style=TRAINED_STYLE if trained else "")
    if row.note:
        out.append(f"\n({row.note})", style="yellow")
    return out


def visible(text: str) -> str:
    """Control characters as symbols (ESC becomes its picture), lines and tabs kept, so that data cannot steer a terminal."""
    return "".join(c if c in "\n\t" or not _steers(c) else chr(0x2400 + ord(c)) if ord(c) < 32 else "\ufffd" for c in text)


def _steers(char: str) -> bool:
    code = ord(char)
    return code < 32 or 127 <= code < 160 or 0x202A <= code <= 0x202E or 0x2066 <= code <= 0x2069


def lengths_table(lengths: dict[str, Any]) -> list[tuple[str, str]]:
    """The length report as (what, how much) lines, the histogram as bars."""
    if not lengths["num_rows"]:
        return [("rows", "0")]
    share = f"{100 * lengths['trained_share']:.1f} %"
    lines = [
        ("rows", f"{lengths['num_rows']:,}"),
        ("tokens", f"{lengths['num_tokens']:,} (mean {lengths['mean']:g} a row)"),
        ("trained tokens", share),
        *[(f"{p} % of rows have at most", str(n)) for p, n in lengths["percentiles"].items() if p in ("50", "90", "99")],
        ("longest", str(lengths["percentiles"]["100"])),
        (
            "limit",
            f"{lengths['max_length']} (longer rows: {lengths['policy']}; {lengths['num_cut']} cut, {lengths['num_dropped']} dropped)",
        ),
        ("limit that fits", f"{lengths['recommended_max_length']} ({100 * lengths['share_that_fits']:.1f} % of rows)"),
        *[(f"useful tokens, {name.replace('_', ' ')}", f"{100 * x:.1f} %") for name, x in lengths["efficiency"].items()],
    ]
    most = max(b["num_rows"] for b in lengths["histogram"])
    bars = [
        (f"{b['low']} to {b['high'] - 1}", f"{'█' * round(BAR_WIDTH * b['num_rows'] / most)} {b['num_rows']}") for b in lengths["histogram"]
    ]
    return lines + bars
