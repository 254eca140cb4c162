"""`luthier data review`: the keys on a real screen, a terminal killed in the middle, the document, and what to do without one."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input, OptionList, Static, TextArea
from typer.testing import CliRunner, Result

from luthier.cli.main import app
from luthier.cli.review_app import ChooseOne, EditText, ReviewApp
from luthier.core.database import Database
from luthier.core.database.review import ReviewQueue
from luthier.parts.checks.steps import load_step
from luthier.parts.sources.mapping import mapping_from_text
from luthier.pipeline.workspace import Workspace
from luthier.stages.data.review import ReviewPlan, open_queue
from luthier.stages.data.review_apply import outcomes
from luthier.stages.data.review_session import ReviewSession
from toy_project import environment

MAP = "classification:text=text,label=label"
LABELS = ("card", "loan", "pin")
ROWS = [
    ("where is it", "card"),
    ("where is it", "pin"),
    ("how much \x1b[31mis it", "card"),
    ("how much \x1b[31mis it", "loan"),
    ("fine", "pin"),
]


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"text": t, "label": label}) + "\n" for t, label in ROWS), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return path


def queue_of(file: Path) -> ReviewQueue:
    database = Database.in_folder(file.parent / ".luthier")
    return open_queue(database, ReviewPlan(file, mapping_from_text(MAP), (load_step("conflicts"),)), lambda what, done, total: None)


def played(queue: ReviewQueue, play: Callable[[Pilot[None], ReviewApp], Coroutine[Any, Any, None]], reviewer: str = "anna") -> None:
    """Open the screen, let `play` press keys, close it."""

    async def run() -> None:
        screen = ReviewApp(ReviewSession(queue, reviewer))
        async with screen.run_test(size=(100, 30)) as pilot:
            await pilot.pause()
            await play(pilot, screen)

    in_a_loop(run())


def shown(screen: ReviewApp, name: str) -> str:
    return str(screen.query_one(f"#{name}", Static).render())


def told(queue: ReviewQueue) -> list[tuple[str, str, dict[str, Any]]]:
    place = {item.id: item.place for item in queue.items()}
    return [(place[d.item], d.action, d.body) for d in queue.decisions()]


def in_a_loop(keys: Coroutine[Any, Any, None]) -> None:
    """Press the keys in an event loop of a thread of its own: a browser's tests may have left one running in this thread."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, keys).result()


def test_a_key_for_each_decision_and_the_screen_says_what_it_is_about(file: Path) -> None:
    queue = queue_of(file)

    async def play(pilot: Pilot[None], screen: ReviewApp) -> None:
        assert "rows.jsonl   reviewer anna   0 of 4 decided, 0 skipped   line 1" in shown(screen, "head")
        assert "conflicts (1.00): conflict with rows.jsonl line 2: same text" in shown(screen, "findings")
        assert "where is it" in shown(screen, "fields")
        assert "label: card" in shown(screen, "fields")
        await pilot.press("t")  # no label is suggested by a conflict: nothing happens
        await pilot.press("a", "r")
        assert "\x1b" not in shown(screen, "fields")
        await pilot.press("s", "u", "s", "a")
        assert "3 of 4 decided, 1 skipped" in shown(screen, "head")
        assert "Nothing is left" in shown(screen, "fields")
        await pilot.press("a", "l", "e", "q")

    played(queue, play)
    assert told(queue) == [("line 1", "accept", {}), ("line 2", "reject", {}), ("line 3", "skip", {}), ("line 4", "accept", {})]


def test_a_label_is_chosen_by_typing_and_a_text_is_edited(file: Path) -> None:
    queue = queue_of(file)

    async def play(pilot: Pilot[None], screen: ReviewApp) -> None:
        await pilot.press("l")
        assert isinstance(screen.screen, ChooseOne)
        assert screen.screen.choices == ["loan", "pin"]
        await pilot.press("escape")
        assert told(queue) == []
        await pilot.press("l", "p", "i")
        assert screen.screen.query_one(Input).value == "pi"
        assert screen.screen.query_one(OptionList).option_count == 1
        await pilot.press("enter")
        await pilot.press("l", "down", "enter")  # line 2 is a pin: card, then loan
        await pilot.press("e")
        assert isinstance(screen.screen, EditText)
        await pilot.press("ctrl+s")  # unchanged: refused, the row is still there
        assert len(told(queue)) == 2
        await pilot.press("e")
        screen.screen.query_one(TextArea).text = "how much is it"
        await pilot.press("ctrl+s")
        await pilot.press("e", "x", "escape", "q")

    played(queue, play)
    texts = {"texts": [{"path": ["text"], "text": "how much is it"}]}
    assert told(queue) == [("line 1", "relabel", {"label": "pin"}), ("line 2", "relabel", {"label": "loan"}), ("line 3", "edit", texts)]


def test_the_suggestion_of_a_check_is_taken_with_one_key(file: Path) -> None:
    finding = {"check": "label_errors", "reason": "it looks [bold]like 'pin'", "score": 0.9, "suggestion": "pin"}
    body = {"path": str(file), "sha256": "0", "mapping": {}, "label_column": "label", "labels": dict.fromkeys(LABELS, "")}
    item = {"fields": {"text": "where [red]is it", "label": "card"}, "label": "card", "findings": [finding]}
    queue = ReviewQueue.create(Database.in_folder(file.parent / "x"), "one", "rows.jsonl", body, [("line 1", item)])

    async def play(pilot: Pilot[None], screen: ReviewApp) -> None:
        assert "it looks [bold]like 'pin'" in shown(screen, "findings")
        assert "where [red]is it" in shown(screen, "fields")
        assert "looks like: pin" in shown(screen, "fields")
        await pilot.press("l")
        assert isinstance(screen.screen, ChooseOne)
        assert screen.screen.choices == ["pin", "loan"]
        await pilot.press("escape", "t", "q")

    played(queue, play)
    assert told(queue) == [("line 1", "relabel", {"label": "pin"})]


def test_what_reviewers_said_is_shown_when_a_row_is_settled(file: Path) -> None:
    queue = queue_of(file)
    for name, action in (("anna", "accept"), ("ben", "reject")):
        ReviewSession(queue, name).decide(action)  # type: ignore[arg-type]
    disputed = {place: o.words for place, o in outcomes(queue.items(), queue.decisions()).items() if o.disputed}
    assert disputed == {"line 1": "reviewers disagree: accepted by anna; rejected by ben"}

    async def run() -> None:
        screen = ReviewApp(ReviewSession(queue, "ben", disputed))
        async with screen.run_test(size=(100, 30)) as pilot:
            await pilot.pause()
            assert disputed["line 1"] in shown(screen, "findings")
            await pilot.press("a")
            assert "Nothing is left" in shown(screen, "fields")

    in_a_loop(run())
    assert outcomes(queue.items(), queue.decisions())["line 1"].words == "accepted by anna, ben"


class Terminal:
    """The command in a real terminal of its own."""

    def __init__(self, folder: Path, *words: str) -> None:
        self.master, slave = pty.openpty()
        command = [sys.executable, "-m", "luthier", "data", "review", *words]
        env = {**environment(), "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30"}
        self.process = subprocess.Popen(command, cwd=folder, env=env, stdin=slave, stdout=slave, stderr=slave, start_new_session=True)
        os.close(slave)
        self.seen = ""

    def until(self, words: str) -> None:
        """Read the screen until the words are on it."""
        end = time.monotonic() + 90
        while words not in self.seen:
            assert time.monotonic() < end, self.seen[-2000:]
            if select.select([self.master], [], [], 0.2)[0]:
                with contextlib.suppress(OSError):
                    self.seen += os.read(self.master, 65536).decode("utf-8", "replace")

    def press(self, key: str) -> None:
        os.write(self.master, key.encode())

    def kill(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(timeout=30)
        os.close(self.master)


def test_a_terminal_killed_in_the_middle_goes_on_where_it_was(file: Path) -> None:
    first = Terminal(file.parent, file.name, "--map", MAP, "--check", "conflicts", "--reviewer", "anna")
    first.until("0 of 4 decided")
    first.press("a")
    first.until("line 2")
    first.press("r")
    first.until("line 3")
    first.kill()
    queue = queue_of(file)
    assert told(queue) == [("line 1", "accept", {}), ("line 2", "reject", {})]
    second = Terminal(file.parent, "--reviewer", "anna")
    second.until("2 of 4 decided")
    second.press("a")
    second.until("line 4")
    second.press("q")
    second.until("--apply OUT.jsonl writes")
    assert second.process.wait(timeout=60) == 0
    assert told(queue) == [("line 1", "accept", {}), ("line 2", "reject", {}), ("line 3", "accept", {})]


def test_a_closed_terminal_ends_the_review(file: Path) -> None:
    """Without it the process would read the end of its input for ever."""
    review = Terminal(file.parent, file.name, "--map", MAP, "--check", "conflicts", "--reviewer", "anna")
    review.until("0 of 4 decided")
    review.press("a")
    review.until("1 of 4 decided")
    os.close(review.master)
    assert review.process.wait(timeout=60) in (129, -signal.SIGHUP)
    assert told(queue_of(file)) == [("line 1", "accept", {})]


def call(*args: str) -> Result:
    return CliRunner().invoke(app, ["data", "review", *args], env={"COLUMNS": "200", "NO_COLOR": "1"})


def test_without_a_terminal_it_says_what_to_do(file: Path) -> None:
    done = call(file.name, "--map", MAP, "--check", "conflicts")
    assert done.exit_code == 2
    for word in ("needs a terminal", "--json", "--import FILE --reviewer NAME", "--apply OUT"):
        assert word in done.stderr
    assert "Traceback" not in done.stderr


def test_the_whole_review_without_a_terminal(file: Path) -> None:
    done = call(file.name, "--map", MAP, "--check", "conflicts", "--json")
    assert done.exit_code == 0, done.stderr
    document = json.loads(done.stdout)
    assert (document["kind"], document["version"], document["undecided"]) == ("data_review", 1, 4)
    for name, actions in {"anna": ("accept", "reject", "accept", "reject"), "ben": ("accept", "reject", "accept", "accept")}.items():
        lines = [{"at": item["at"], "action": action} for item, action in zip(document["items"], actions, strict=True)]
        Path(f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        assert call("--import", f"{name}.jsonl", "--reviewer", name).exit_code == 0
    done = call("--export", "all.jsonl")
    assert "8 decisions written" in done.stderr
    assert "agreement of anna, ben: Cohen's kappa 0.50" in done.stderr
    assert "the same on 3 of 4 rows" in done.stderr
    disputed = call("--apply", "out.jsonl")
    assert disputed.exit_code == 1
    assert "reviewers disagree on 1 rows" in disputed.stderr
    done = call("--apply", "out.jsonl", "--disputed", "set_aside", "--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["applied"]["fates"] == {"kept": 3, "dropped": 1, "set_aside": 1}
    assert len(Path("out.jsonl").read_text(encoding="utf-8").splitlines()) == 3
    assert len(Path("out.ledger.jsonl").read_text(encoding="utf-8").splitlines()) == 5


@pytest.mark.parametrize("out", ["out.jsonl", "my rows, {new}.csv"])
def test_the_line_that_apply_prints_works_as_it_is_pasted(file: Path, out: str) -> None:
    assert call(file.name, "--map", MAP, "--check", "conflicts", "--json").exit_code == 0
    project = Path("project")
    project.mkdir()
    given = ["--apply", out, "--file", str(project / "luthier.yaml")]
    shutil.copytree(".luthier", project / ".luthier")
    done = call(*given)
    assert done.exit_code == 0, done.stderr
    head, line = done.stderr.rstrip("\n").split("\n")[-2:]
    assert head == "to use them, under data of the project file in the place of rows.jsonl:"
    data = f"data:\n  mapping: {{kind: classification, text: text, label: label}}\n{line}\n"
    (project / "luthier.yaml").write_text(f"name: p\nobjective: {{task: classify, goal: g}}\nbase: minilm-l6\n{data}", encoding="utf-8")
    workspace = Workspace.open(project / "luthier.yaml")
    built = workspace.store.build(workspace.graph.rows, workspace.project.execution)
    assert sum(built.result.counts.values()) == len(ROWS)


@pytest.mark.parametrize(
    ("args", "word"),
    [
        ([], "luthier data review FILE"),
        (["--map", MAP], "need a data file"),
        (["rows.jsonl", "--map", MAP, "--check", "conflict"], "did you mean `conflicts`"),
        (["rows.jsonl", "--map", MAP, "--check", "conflicts", "--apply", "out.parquet"], ".jsonl or .csv"),
        (["nothing.jsonl"], "nothing.jsonl"),
        (["rows.jsonl", "--map", MAP, "--check", "{kind: conflicts, fat: drop}", "--json"], "fate"),
    ],
)
def test_what_cannot_be_done_is_one_message(file: Path, args: list[str], word: str) -> None:
    done = call(*args)
    assert done.exit_code == 2, done.stderr
    assert word in done.stderr
    assert "Traceback" not in done.stderr
