"""Every example of the documentation does what it says: YAML is checked, Python and commands are executed.

One decision: the blocks of a page share one folder with a finished toy project, in their order, so a page reads
like a session; a project that `luthier init` writes there is pointed at the toy model before it is run.
"""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from doc_blocks import REPO, Block, all_blocks, blocks_of, commands_of, documents
from typer.testing import CliRunner, Result

from fine_tuning_server import KEY, Server, serving
from luthier.cli.main import app
from luthier.core.config import parse_config, parse_yaml
from luthier.pipeline.project import Project
from luthier.stages.train.remote_client import Client
from toy_project import toy_rows, toy_settings

ANSWERS = ("run", "compare")
"""Verbs whose exit code 1 is an answer and not a failure."""
REMOTE = "https://api.example.com/v1"
BLOCKS = all_blocks("yaml")
PAGES = [p for p in documents() if any(b.language in ("python", "console", "bash") for b in blocks_of(p))]


def _merged(fragment: dict[str, Any]) -> dict[str, Any]:
    """A small project with the fragment's sections in it; keys inside a section replace whole values, a task brings its own metric."""
    whole = toy_settings(Path("base"))
    if "task" in fragment.get("objective", {}):
        whole["objective"] = {}
    for section, value in fragment.items():
        known = whole.get(section)
        if section == "objective" and isinstance(value, dict) and "task" in value:
            known = {k: v for k, v in (known or {}).items() if k not in ("metric", "metrics")}  # another task has other metrics
            if value["task"] == "pretrain":  # raw text is not asked for
                del whole["evaluate"]["baselines"]
        whole[section] = {**known, **value} if isinstance(known, dict) and isinstance(value, dict) else value
    return whole


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_yaml_is_a_project_or_a_part_of_one(block: Block) -> None:
    data = parse_yaml(block.text, str(block))
    whole = {"name", "objective", "base", "data"} <= set(data)
    parse_config(Project, data if whole else _merged(data), str(block))


def test_the_readme_shows_a_whole_project() -> None:
    assert any({"name", "objective", "base", "data"} <= set(parse_yaml(b.text, str(b))) for b in BLOCKS if b.page.name == "README.md")


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(REPO)))
def test_examples_of_a_page_run_in_order(page: Path, finished_toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "page"
    shutil.copytree(finished_toy, home, symlinks=True)
    (home / "tickets.csv").write_text("text,label\n" + "".join(f"{t},{label}\n" for t, label in toy_rows()), encoding="utf-8")
    (home / "notes.txt").write_text("A neck is bolted.\n\nA top is carved.\n", encoding="utf-8")
    settings = parse_yaml((finished_toy / "luthier.yaml").read_text(encoding="utf-8"), "luthier.yaml")
    monkeypatch.chdir(home)
    names: dict[str, Any] = {"__name__": "docs"}
    for block in blocks_of(page):
        if block.language == "python":
            with contextlib.redirect_stdout(None):
                exec(compile(block.text, str(block), "exec"), names)
        elif block.language in ("console", "bash"):
            _session(block, settings, monkeypatch)


def _session(block: Block, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    for words, needs_real_model in commands_of(block):
        if words[0] == "cd":
            monkeypatch.chdir(words[1])
            continue
        if needs_real_model:
            continue
        result = _on_a_server(words[1:], monkeypatch) if REMOTE in words else CliRunner().invoke(app, words[1:])
        allowed = (0, 1) if words[1] in ANSWERS else (0,)
        assert result.exit_code in allowed, f"{block}: {' '.join(words)} ended with {result.exit_code}\n{result.output}"
        if words[1] == "init":
            for file in Path(words[2]).glob("luthier*.yaml"):
                _point_at_toy(file, settings)


def _on_a_server(words: list[str], monkeypatch: pytest.MonkeyPatch) -> Result:
    """The command with the address of the documentation replaced by a small server that offers every model."""
    monkeypatch.setattr(Client, "pause", lambda self, seconds: None)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with serving(Server(models=tuple(words))) as server:
        return CliRunner().invoke(app, [server.url if w == REMOTE else w for w in words])


def _point_at_toy(file: Path, settings: dict[str, Any]) -> None:
    """Put the toy model and its recipe into a new project file; what `init` wrote about the data stays."""
    data = parse_yaml(file.read_text(encoding="utf-8"), str(file))
    data |= {name: settings[name] for name in ("base", "train", "evaluate", "execution")}
    if data["data"]["files"][0]["path"].endswith("tickets.csv"):
        data["data"]["prompt"]["system"] = "Labels: {labels}"
    data["prepare"] = {"too_long": "cut_start", "max_length": settings["prepare"]["max_length"]}
    file.write_text(yaml.safe_dump(data, sort_keys=False), encoding="utf-8")


def test_few_lines_need_the_real_model() -> None:
    lines = [words for b in all_blocks("console", "bash") for words, real in commands_of(b) if real]
    commands = [words for b in all_blocks("console", "bash") for words, _ in commands_of(b) if words[0] == "luthier"]
    assert len(lines) <= 6
    assert len(commands) >= 20
