"""data review: look at suspected rows on a terminal, and write what was decided.

One decision: without a terminal nothing waits for a key: the queue is a document, decisions come from a file and go to one, and
the message says how.
"""

from __future__ import annotations

import getpass
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from luthier.cli.options import DEFAULT, File, Json
from luthier.cli.process import emit, guard, say

if TYPE_CHECKING:
    from luthier.core.database.review import ReviewQueue
    from luthier.stages.data.review_apply import Applied

DataFile = Annotated[Path | None, typer.Argument(help="A data file; the queue that was opened last when not given.", show_default=False)]
Map = Annotated[str | None, typer.Option("--map", help="The mapping: classification:text=title,label=topic, or YAML in braces.")]
Checks = Annotated[list[str] | None, typer.Option("--check", help="A check that fills the queue; again for more.", show_default=False)]
Sample = Annotated[int, typer.Option("--sample", min=0, help="Rows that no check suspects, drawn at random, at the queue's end.")]
Reviewer = Annotated[str | None, typer.Option("--reviewer", help="Who decides; the name of your login when not given.", show_default=False)]
Settle = Annotated[bool, typer.Option("--settle", help="Ask only about rows on which reviewers disagree, and show what was said.")]
Apply = Annotated[Path | None, typer.Option("--apply", help="Write the rows after the review to this new .jsonl or .csv file.")]
DisputedOption = Annotated[
    Literal["stop", "keep", "set_aside"], typer.Option("--disputed", help="What becomes of rows on which reviewers disagree.")
]
Export = Annotated[Path | None, typer.Option("--export", help="Write every decision to this new .jsonl file.")]
Import = Annotated[Path | None, typer.Option("--import", help="Add the decisions of this .jsonl file.")]


def review(
    data: DataFile = None,
    mapping: Map = None,
    check: Checks = None,
    sample: Sample = 0,
    reviewer: Reviewer = None,
    settle: Settle = False,
    apply: Apply = None,
    disputed: DisputedOption = "stop",
    export: Export = None,
    import_: Import = None,
    file: File = DEFAULT,
    json: Json = False,
) -> None:
    """Look at suspected rows one by one: accept, edit, reject, relabel; --apply writes what was decided."""

    def verb() -> int:
        from luthier.stages.data.review_apply import apply_review, export_decisions, import_decisions

        queue = _queue(data, mapping, check, sample, file)
        wanted = [path for path in (apply, export, import_) if path is not None]
        if import_ is not None:
            new, known = import_decisions(queue, import_, reviewer)
            say(f"{new:,} decisions added, {known:,} were there already")
        if export is not None:
            say(f"{export_decisions(queue, export):,} decisions written to {export}")
        applied = apply_review(queue, apply, disputed) if apply is not None else None
        if not wanted and not json:
            _on_terminal(queue, reviewer, settle)
        document = document_of(queue, applied, file.parent)
        if json:
            emit(document)
        print_review(document)
        return 0

    guard(verb, json)


def _queue(data: Path | None, mapping: str | None, check: list[str] | None, sample: int, file: Path) -> ReviewQueue:
    """The queue of the file, or the one that was opened last. Raises UserError when there is none."""
    from luthier.cli.display import Display
    from luthier.core.database.review import ReviewQueue
    from luthier.core.errors import UserError
    from luthier.core.events import Progress
    from luthier.parts.checks.steps import step_from_text
    from luthier.parts.sources.mapping import mapping_from_text
    from luthier.pipeline.workspace import database_in, home_of
    from luthier.stages.data.review import ReviewPlan, open_queue

    home = home_of(file)
    if data is None:
        if mapping is not None or check or sample:
            raise UserError("--map, --check and --sample need a data file")
        found = ReviewQueue.latest(database_in(home)) if (home / "luthier.db").is_file() else None
        if found is None:
            raise UserError("a data file is wanted", f"none, and no review has been opened in {home}", fix="luthier data review FILE")
        return found
    plan = ReviewPlan(
        data, mapping_from_text(mapping) if mapping is not None else None, tuple(step_from_text(text) for text in check or ()), sample
    )
    with Display() as display:
        return open_queue(
            database_in(home),
            plan,
            lambda what, done, total: display(Progress(what, done, total, "bytes" if what == "reading" else "rows")),
        )


def _on_terminal(queue: ReviewQueue, reviewer: str | None, settle: bool) -> None:
    """Review until the reviewer leaves. Raises UserError where there is no terminal, with what to do instead."""
    from luthier.core.errors import MachineError, UserError
    from luthier.stages.data.review_apply import outcomes
    from luthier.stages.data.review_session import ReviewSession

    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        fix = "look at the queue with --json, decide in a file and add it with --import FILE --reviewer NAME, then --apply OUT"
        raise UserError("a review needs a terminal", "input or output that is none", queue.name, fix)
    try:
        from luthier.cli.review_app import ReviewApp
    except ModuleNotFoundError as err:
        if (err.name or "").partition(".")[0] != "textual":
            raise
        raise MachineError("the review on a terminal needs textual: pip install 'luthier[data]'") from None
    ends = outcomes(queue.items(), queue.decisions())
    disputed = {place: outcome.words for place, outcome in ends.items() if outcome.disputed}
    if settle and not disputed:
        raise UserError("there must be rows on which reviewers disagree", "none", "--settle")
    ReviewApp(ReviewSession(queue, reviewer or _login(), disputed if settle else None)).run()


def _login() -> str:
    from luthier.core.errors import UserError

    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        raise UserError("a reviewer must have a name", "a login without one", fix="give --reviewer NAME") from None


def document_of(queue: ReviewQueue, applied: Applied | None, project: Path = Path()) -> Any:
    """The state of the queue as a document. project: the folder of the project file, from which the line to paste names the new file."""
    from luthier.cli.documents import DataReviewDocument
    from luthier.stages.data.review_apply import outcomes, sample_rate
    from luthier.stages.data.review_session import agreement, counts_by_reviewer

    items, decisions = queue.items(), queue.decisions()
    ends = outcomes(items, decisions)
    return DataReviewDocument(
        file=queue.body["path"],
        queue=queue.number,
        checks=tuple(queue.body["checks"]),
        mapping=queue.body["mapping"],
        rows=queue.body["rows"],
        set_aside=queue.body["set_aside"],
        notes=tuple(queue.body["notes"]),
        labels=tuple(queue.body["labels"]),
        reviewers=counts_by_reviewer(decisions),
        agreement=agreement(decisions),
        undecided=sum(o.action is None and not o.disputed for o in ends.values()),
        disputed=sum(o.disputed for o in ends.values()),
        sample=sample_rate(items, decisions),
        items=tuple({"at": i.place, **i.body, "outcome": ends[i.place].action, "words": ends[i.place].words} for i in items),
        applied=None if applied is None else _written(applied, project),
    )


def _written(applied: Applied, project: Path) -> dict[str, Any]:
    """What was written, and the line under `data` of the project that reads it."""
    from luthier.stages.data.fixes import files_line

    line = files_line(applied.out, project)
    return {"out": str(applied.out), "ledger": str(applied.ledger), "fates": dict(applied.fates), "yaml": line}


def print_review(document: Any) -> None:
    """How far the review is, who decided what, how well they agree, and what to do next."""
    from luthier.cli.tables import print_table

    total = len(document.items)
    say(f"{Path(document.file).name}: {total:,} of {document.rows:,} rows in the queue, {total - document.undecided:,} decided about")
    for note in document.notes:
        say(f"- {note}")
    if document.set_aside:
        say(f"- {document.set_aside:,} rows could not be read and are not in the queue; luthier data check lists them")
    if document.reviewers:
        actions = ("accept", "relabel", "edit", "reject", "skip")
        print_table("", ("reviewer", *actions), [(name, *(n.get(a, 0) for a in actions)) for name, n in document.reviewers.items()])
    found = document.agreement
    if found["measure"] is not None:
        name = {"cohen_kappa": "Cohen's kappa", "krippendorff_alpha": "Krippendorff's alpha"}[found["measure"]]
        value = f"{found['value']:.2f} ({found['low']:.2f} to {found['high']:.2f}, {found['strength']})"
        say(f"agreement of {', '.join(found['reviewers'])}: {name} {value}; the same on {found['same']:,} of {found['items']:,} rows")
    elif len(document.reviewers) > 1:
        say(f"agreement: {found['why']}; the same on {found['same']:,} of {found['items']:,} rows")
    if document.sample is not None:
        s = document.sample
        rate = f"{s['value']:.1%} ({s['low']:.1%} to {s['high']:.1%})"
        say(f"drawn at random: {s['wrong']:,} of {s['decided']:,} rows were not accepted: {rate} of what no check suspects")
    if document.disputed:
        say(f"reviewers disagree on {document.disputed:,} rows; luthier data review --settle asks about those alone")
    if document.applied is not None:
        fates = ", ".join(f"{n:,} {fate.replace('_', ' ')}" for fate, n in document.applied["fates"].items())
        say(f"written to {document.applied['out']}: {fates}; every row's fate is in {document.applied['ledger']}")
        if document.undecided:
            say(f"{document.undecided:,} suspected rows are kept undecided")
        say(f"to use them, under data of the project file in the place of {Path(document.file).name}:\n  {document.applied['yaml']}")
    else:
        say("next: luthier data review goes on; luthier data review --apply OUT.jsonl writes the rows as decided")
