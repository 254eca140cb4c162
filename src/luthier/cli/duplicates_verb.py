"""data duplicates: the clusters of copies in a file as a table, and the file without them.

One decision: a copy is shown as what it changes of the row that stays, for that is what a person judges.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from luthier.cli.options import Json
from luthier.cli.process import emit, guard

if TYPE_CHECKING:
    from rich.text import Text

    from luthier.stages.data.duplicates import DataDuplicates, DuplicateCluster

SHOWN_CLUSTERS, SHOWN_ROWS, SHOWN_WORDS, CONTEXT_WORDS = 20, 10, 300, 4

DataFile = Annotated[Path, typer.Argument(help="A data file.")]
Map = Annotated[str | None, typer.Option("--map", help="The mapping: text:text=body, or YAML in braces.")]
Threshold = Annotated[
    float | None, typer.Option("--threshold", help="How alike copies are: 0.8 of their shingles, 0.95 with --semantic.", show_default=False)
]
Semantic = Annotated[bool, typer.Option("--semantic", help="Compare meanings (minilm-l6) instead of shingles; every pair, so slower.")]
Keep = Annotated[Literal["longest", "first", "heaviest"], typer.Option("--keep", help="The row of a cluster that stays.")]
Same = Annotated[Literal["row", "prompt"], typer.Option("--same", help="What is compared; prompt leaves answers and labels out.")]
Out = Annotated[Path | None, typer.Option("--out", help="Write the rows that stay to this new .jsonl or .csv file.")]


def duplicates(
    file: DataFile,
    mapping: Map = None,
    threshold: Threshold = None,
    semantic: Semantic = False,
    keep: Keep = "longest",
    same: Same = "row",
    json: Json = False,
    out: Out = None,
) -> None:
    """Clusters of exact, normalised and near copies in a data file, and which row of each would stay."""

    def verb() -> int:
        from luthier.cli.display import Display
        from luthier.core.config import parse_config
        from luthier.core.events import Progress
        from luthier.parts.checks.near_duplicates import NearDuplicates
        from luthier.parts.checks.semantic_duplicates import SemanticDuplicates
        from luthier.parts.sources.mapping import mapping_from_text
        from luthier.stages.data.duplicates import check_out, find_duplicates, write_distinct

        if out is not None:
            check_out(out)
        settings = {"keep": keep, "same": same, **({} if threshold is None else {"threshold": threshold})}
        check = parse_config(SemanticDuplicates if semantic else NearDuplicates, settings)
        chosen = mapping_from_text(mapping) if mapping is not None else None
        with Display() as display:
            found = find_duplicates(
                file,
                chosen,
                check,
                lambda what, done, total: display(Progress(what, done, total, "bytes" if what == "reading" else "rows")),
            )
        written = write_distinct(file, found, out) if out is not None else None
        found = found.model_copy(update={"out": None if out is None else str(out)})
        if json:
            emit(found)
        print_duplicates(found, written)
        return 0

    guard(verb, json)


def print_duplicates(found: DataDuplicates, written: int | None) -> None:
    """The counts, then the largest clusters as a table, then what was written."""
    from rich.table import Table
    from rich.text import Text

    from luthier.cli.tables import console

    out = console()
    kinds = ", ".join(f"{n:,} {kind}" for kind, n in found.copies.items()) or "none"
    aside = f"; {found.set_aside:,} rows could not be read and are not compared" if found.set_aside else ""
    out.print(Text(f"{found.file}: {found.stay:,} of {found.rows:,} rows stay; copies: {kinds}{aside}", style="bold"), soft_wrap=True)
    if found.clusters:
        table = Table(show_edge=False, pad_edge=False, title_justify="left")
        for name in ("cluster", "row", "what", "text"):
            table.add_column(name, overflow="fold", ratio=1 if name == "text" else None)
        for number, cluster in enumerate(found.clusters[:SHOWN_CLUSTERS], 1):
            add_cluster(table, number, cluster, plain=not out.color_system)
        out.print(table)
    if len(found.clusters) > SHOWN_CLUSTERS:
        out.print(Text(f"and {len(found.clusters) - SHOWN_CLUSTERS:,} smaller clusters; --json lists them all"))
    if written is not None:
        out.print(Text(f"{written:,} rows written to {found.out}"), soft_wrap=True)
    elif found.copies:
        out.print(Text("nothing was written; --out FILE writes the rows that stay"))


def add_cluster(table: object, number: int, cluster: DuplicateCluster, plain: bool) -> None:
    """One line for each row of a cluster: what stays in full, what goes by what differs."""
    from rich.table import Table
    from rich.text import Text

    from luthier.stages.data.show import visible

    assert isinstance(table, Table)
    table.add_section()
    texts = {row.at: row.text for row in cluster.rows}
    for i, row in enumerate(cluster.rows[:SHOWN_ROWS]):
        head = f"{number} ({cluster.size} rows)" if i == 0 else ""
        if row.of is None:
            table.add_row(head, row.at, "stays", Text(shortened(visible(row.text))))
        else:
            how = f"{row.how} {row.likeness:.2f}" if row.how in ("near", "semantic") else str(row.how)
            table.add_row(head, row.at, f"{how} of {row.of}", differences(visible(texts[row.of]), visible(row.text), plain))
    if cluster.size > SHOWN_ROWS:
        table.add_row("", "", f"and {cluster.size - SHOWN_ROWS:,} more", "")


def shortened(text: str) -> str:
    """The first words of a text on one line."""
    words = text.split()
    return " ".join(words[:40]) + (" …" if len(words) > 40 else "")


def differences(stays: str, goes: str, plain: bool) -> Text:
    """`goes` as changes of `stays`: words it adds in green (`[+ …]` where there are no colours), words it lacks in red (`[- …]`).

    The first 300 words of each are compared, and long runs of equal words are cut in the middle.
    """
    from rich.text import Text

    a, b = stays.split()[:SHOWN_WORDS], goes.split()[:SHOWN_WORDS]
    parts: list[tuple[str, str]] = []
    for tag, a0, a1, b0, b1 in difflib.SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        if tag == "equal":
            parts.append((_cut(b[b0:b1]), ""))
            continue
        if a1 > a0:
            parts.append((f"[- {' '.join(a[a0:a1])}]" if plain else " ".join(a[a0:a1]), "red strike"))
        if b1 > b0:
            parts.append((f"[+ {' '.join(b[b0:b1])}]" if plain else " ".join(b[b0:b1]), "bold green"))
    return Text(" ").join(Text(text, style=style) for text, style in parts)


def _cut(words: list[str]) -> str:
    if len(words) <= 2 * CONTEXT_WORDS + 1:
        return " ".join(words)
    return " ".join([*words[:CONTEXT_WORDS], "…", *words[-CONTEXT_WORDS:]])
