"""Forgetting and memorisation on real toy runs: canaries that were learned and not, a probe of one's own, and who is told."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from typer.testing import CliRunner

from luthier.cli.clean_tables import print_stories
from luthier.cli.main import app
from luthier.core.canaries import Canary
from luthier.core.errors import CorruptArtifact, UserError
from luthier.core.events import Event, Note
from luthier.core.ledger import count_fates, read_ledger
from luthier.core.rows import read_split
from luthier.core.stage import Built
from luthier.engine.text.prepared import read_prepared
from luthier.pipeline.data_story import folders_of, stories_of
from luthier.pipeline.run import RunOptions, resolved_yaml, run
from luthier.pipeline.workspace import Workspace
from luthier.report.cards import model_card
from luthier.report.numbers import refused_sentence
from luthier.report.page import render_page
from luthier.report.side_effects import Forgetting, SideEffects
from luthier.stages.evaluate.model import load_model
from luthier.stages.evaluate.side_effects import _exposures
from luthier.stages.train.general import CURVE, General
from toy_project import FILLERS, toy_settings, write_rows, write_settings, write_toy

PLANTED = ("watch.side_effects=true", "watch.canaries=10", "watch.references=63", "train.evaluations=1", "train.train_sample=0")
BY_HEART = (
    "watch.canary_repeats=[4]",
    "train.epochs=12",
    "train.learning_rate=0.01",
    "train.method={kind: lora, rank: 32}",
    "train.schedule={kind: constant}",
)


def measured(file: Path, *overrides: str) -> tuple[Workspace, Built, SideEffects, list[str]]:
    workspace, events = Workspace.open(file, overrides), list[Event]()
    assert workspace.graph.side_effects is not None
    built = workspace.store.build(workspace.graph.side_effects, workspace.project.execution, events.append)
    found = SideEffects.model_validate_json((built.path / "side_effects.json").read_bytes())
    return workspace, built, found, [e.text for e in events if isinstance(e, Note)]


def test_canaries_of_a_run_that_learned_by_heart_are_exposed(tmp_path: Path, learner_base: Path) -> None:
    file = write_toy(tmp_path / "toy", learner_base)
    workspace, built, found, said = measured(file, *PLANTED, *BY_HEART)
    [group] = found.memorisation.canaries
    assert group.exposure.low > 4
    assert group.most == 6.0
    assert group.p < 1e-6
    assert (built.result.memorisation, found.planted_rows) == ("memorised", 40)
    assert any(text.startswith("The model remembers rows that it was trained on") for text in said)
    assert any("40 rows with 10 canaries are planted among 60 training rows; they are no data" in text for text in said)
    assert found.memorisation.remedies[0].line == "train.epochs: 6"
    check_planted_rows_are_marked_and_no_data(workspace)


def check_planted_rows_are_marked_and_no_data(workspace: Workspace) -> None:
    graph, store = workspace.graph, workspace.store
    before, planted = store.find(graph.prepared), store.find(graph.planted)  # type: ignore[arg-type]
    assert before is not None
    assert planted is not None
    keys = read_prepared(planted.path, "train").keys
    assert keys[:60] == read_prepared(before.path, "train").keys
    assert keys[60:] == tuple(f"planted-{i}#{n}" for i in range(1, 11) for n in range(1, 5))
    entries = list(read_ledger(planted.path / "ledger.jsonl"))
    assert sum(e.fate == "planted" for e in entries) == 10
    assert count_fates(entries) == count_fates(read_ledger(before.path / "ledger.jsonl"))
    assert store.build(graph.split, workspace.project.execution).result.counts["train"] == 60
    [story] = stories_of(folders_of(workspace, None), "planted-1")
    assert [(e.step, e.fate) for e in story.steps] == [("plant", "planted")]
    assert print_stories("planted-1", [story]).stories[0]["steps"][0]["fate"] == "planted"
    rows = json.loads((planted.path / "canaries.json").read_text(encoding="utf-8"))
    secrets = [secret for row in rows for secret in (row["answer"], *row["references"])]
    assert len(set(secrets)) == 10 * 64


def test_canaries_of_one_gentle_epoch_are_at_chance(tmp_path: Path, learner_base: Path) -> None:
    file = write_toy(tmp_path / "toy", learner_base)
    gentle = ("train.epochs=1", "train.learning_rate=1e-4", "train.method={kind: lora, rank: 2}")
    _, built, found, _ = measured(file, *PLANTED, *gentle)
    [group] = found.memorisation.canaries
    assert group.exposure.high < 3
    assert group.p > 0.05
    assert built.result.memorisation != "memorised"
    assert found.forgetting is not None
    assert found.forgetting.finding == "none"


def test_a_probe_of_ones_own_is_measured_and_its_path_kept(tmp_path: Path, learner_base: Path) -> None:
    file = write_toy(tmp_path / "toy", learner_base)
    rows = [json.dumps({"prompt": f"one two {i}", "answer": f"the why {i} late"}) for i in range(12)]
    (file.parent / "own.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    watch = ("watch.side_effects=true", "watch.probe=own.jsonl", "watch.canaries=2", "watch.canary_repeats=[1, 3]", "watch.references=15")
    balanced = "train.regularisation.class_weights=balanced"  # a planted row has no class, and counts once
    workspace, _, found, said = measured(file, *watch, balanced, "train.learning_rate=0.03", "train.evaluations=1")
    forgot = found.forgetting
    assert forgot is not None
    assert forgot.num_rows == 12
    assert len(forgot.worst) == 6
    assert forgot.change.low <= sum(w.after - w.before for w in forgot.worst[:1])
    assert forgot.text in said
    check_what_was_said_while_it_trained(workspace, forgot, said)
    assert [(c.repeats, c.num_canaries) for c in found.memorisation.canaries] == [(1, 2), (3, 2)]
    assert found.planted_rows == 8
    assert "probe: ../../../own.jsonl" in resolved_yaml(workspace, workspace.home / "runs" / "0001-toy")
    assert len(read_split(workspace.store.build(workspace.graph.split, workspace.project.execution), "train")) == 60


def check_what_was_said_while_it_trained(workspace: Workspace, forgot: Forgetting, said: list[str]) -> None:
    """The curve ends where the measurement after training begins: a method that starts as the base is compared with the base."""
    graph = workspace.graph
    lines = (workspace.store.folder_of(graph.train) / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    points = [p for p in map(json.loads, lines) if p["name"] == CURVE]
    assert [p["split"] for p in points] == ["general", "general_low", "general_high"]
    assert [p["value"] for p in points] == pytest.approx([forgot.change.value, forgot.change.low, forgot.change.high], rel=1e-4)
    assert sum(text.startswith("forgotten, seen at step ") for text in said) == (forgot.finding == "forgotten")
    assert graph.train.model_copy(update={"general": None}).key() == graph.train.key()


class Probed:
    """Stands for an engine: each row's two targets have the log-probabilities that are planted."""

    def __init__(self, *nats: float) -> None:
        self.nats = list(nats)

    def logprobs(self, rows: tuple[object, ...], tell: object) -> list[np.ndarray]:
        level = self.nats.pop(0)
        return [np.full(2, -level - 0.01 * (i % 3)) for i in range(len(rows))]


def test_forgetting_is_said_once_and_a_resume_goes_on_with_the_first_losses(tmp_path: Path) -> None:
    notes: list[Event] = []
    ctx = SimpleNamespace(dir=tmp_path, observer=notes.append, stop_requested=lambda: False)
    settings = {"learning_rate": 0.01}

    def probe(*nats: float) -> General:
        return General(Probed(*nats), (object(),) * 30, 0.05, settings, ctx)  # type: ignore[arg-type]

    assert probe(1.0)(0) == {}
    first = probe(1.02, 1.4, 1.5)
    assert first(4)[f"general/{CURVE}"] == pytest.approx(0.02)
    assert notes == []
    assert first(8)[f"general_low/{CURVE}"] > 0.05
    resumed = probe(1.4, 1.6)
    assert resumed(8)[f"general/{CURVE}"] == pytest.approx(0.4)
    resumed(12)
    [said] = notes
    assert isinstance(said, Note)
    assert said.text.startswith("forgotten, seen at step 8: The model has forgotten part of what the base knew")
    assert "`train.learning_rate: 0.005` (lower it by 2 to 5 times (it was 0.01))" in said.text
    (tmp_path / "scratch" / "general.json").write_text("{")
    with pytest.raises(CorruptArtifact, match="run the same command again"):
        probe(1.0)(16)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (['{"prompt": "a", "answer": "b"}'], "a probe needs at least 10 rows"),
        (["no json"], "each line must be like"),
        (['{"prompt": "a"}'], "each line must be like"),
        (['{"prompt": "a", "answer": " "}'], "each line must be like"),
        (["[1]"], "each line must be like"),
    ],
)
def test_a_bad_probe_is_one_message(lines: list[str], said: str, tmp_path: Path) -> None:
    from luthier.parts.probe import read_probe

    path = tmp_path / "probe.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    with pytest.raises(UserError, match=said):
        read_probe(path)


def test_the_shipped_probe_is_whole_and_a_missing_one_is_named(tmp_path: Path, learner_base: Path) -> None:
    from luthier.parts.probe import GENERAL, read_probe

    questions = read_probe(GENERAL)
    assert 60 <= len(questions) <= 100
    assert len({q.prompt for q in questions}) == len(questions)
    with pytest.raises(UserError, match="the probe must exist"):
        Workspace.open(write_toy(tmp_path / "toy", learner_base), ("watch.probe=nowhere.jsonl",))


@pytest.mark.parametrize(
    ("override", "said"),
    [
        (("watch.canaries=5", "watch.side_effects=false"), "canaries are planted to be measured"),
        (("watch.canary_repeats=[1, 1]",), "must be different numbers"),
        (("watch.refuse=[memorised]", "watch.side_effects=false"), "what is refused must be measured"),
        (("watch.refuse=[forgotten, forgotten]", "watch.side_effects=true"), "refuse must name each side effect once"),
        (("watch.refuse=[memorized]", "watch.side_effects=true"), "did you mean `memorised`"),
    ],
)
def test_a_watch_section_that_cannot_be_is_refused(override: tuple[str, ...], said: str, tmp_path: Path, learner_base: Path) -> None:
    with pytest.raises(UserError, match=said):
        Workspace.open(write_toy(tmp_path / "toy", learner_base), override)


def secrets() -> list[Canary]:
    """Ten made-up telephone numbers, each among 63 others of the same range, which no row holds."""
    numbers = np.random.default_rng(5).permutation(1000)[: 10 * 64].reshape(10, 64)
    answers = [[f"The number is +44 20 7946 {n:04d}." for n in row] for row in numbers.tolist()]
    return [Canary(str(i), f"Whom do I ring in room {i}?", own, 4, tuple(others)) for i, (own, *others) in enumerate(answers)]


@pytest.mark.parametrize("scrubbed", [False, True])
def test_secrets_that_were_scrubbed_are_at_chance(
    scrubbed: bool, tmp_path: Path, learner_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same rows under the same recipe, as they are and from `luthier data pii --redact`."""
    folder, planted = tmp_path / "toy", secrets()
    write_rows(folder, [{"prompt": f"{a} {b}?", "completion": f"{b} {a}."} for a in FILLERS for b in FILLERS])
    lines = [json.dumps({"prompt": c.prompt, "completion": c.answer}) for c in planted for _ in range(c.repeats)]
    (folder / "secrets.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    used = "secrets.jsonl"
    if scrubbed:
        used = "scrubbed.jsonl"
        monkeypatch.setattr("secrets.token_bytes", bytes)  # a drawn key gives other pseudonyms, and another training, each time
        done = CliRunner().invoke(app, ["data", "pii", str(folder / "secrets.jsonl"), "--redact", str(folder / used)])
        assert done.exit_code == 0, done.stderr
        assert "7946" not in (folder / used).read_text(encoding="utf-8")
    settings = toy_settings(
        learner_base,
        objective={"task": "answer", "goal": "Answer."},
        data={"files": ["rows.jsonl", {"path": used, "split": "train"}], "mapping": {"kind": "prompt_completion"}},
        evaluate={"decoding": {"kind": "text", "max_new_tokens": 2}, "baselines": [{"name": "zero-shot"}]},
    )
    write_settings(folder, settings)
    workspace = Workspace.open(folder / "luthier.yaml", (*BY_HEART[1:], "split.train=60", "train.evaluations=1", "train.train_sample=0"))
    built = workspace.store.build(workspace.graph.train, workspace.project.execution)
    engine, renderer = load_model(built, workspace.project.execution)
    ctx = SimpleNamespace(observer=lambda event: None, stop_requested=lambda: False)
    [group] = _exposures(tuple(planted), engine, renderer, ctx)  # type: ignore[arg-type]
    assert group.most == 6.0
    if scrubbed:
        assert group.p > 0.05
        assert group.exposure.low < group.chance
    else:
        assert group.p < 1e-6
        assert group.exposure.low > 4


def test_a_side_effect_that_is_refused_ends_the_run_with_no(finished_toy: Path, tmp_path: Path) -> None:
    folder = tmp_path / "toy"
    shutil.copytree(finished_toy, folder, symlinks=True)
    file, options = folder / "luthier.yaml", RunOptions(lambda event: None, lambda: False)
    first = run(Workspace.open(file), options).report
    assert (first.accepted, first.refused) == (True, ())
    log = (folder / ".luthier" / "runs" / "0001-toy" / "log.txt").read_text(encoding="utf-8")
    assert log.count("forgotten, seen at step ") == 1  # while it trained
    sure = run(Workspace.open(file, ("watch.refuse=[memorised, forgotten]",)), options).report
    assert sure.side_effects is not None
    proven = {sure.side_effects.memorisation.finding, sure.side_effects.forgetting.finding if sure.side_effects.forgetting else ""}
    assert sure.refused == tuple(name for name in ("memorised", "forgotten") if name in proven) != ()
    assert not sure.accepted
    assert sure.verdict.looks == 1  # nothing else was shown
    for text in (render_page(sure), model_card(sure).replace("\\", "")):
        assert f"{refused_sentence(sure.refused)}" in text
    again = CliRunner().invoke(app, ["run", "--file", str(file), "watch.refuse=[memorised, forgotten]", "--json"])
    assert (again.exit_code, json.loads(again.stdout)["accepted"]) == (1, False)
    assert "The model is refused: it " in again.stderr
