"""Forgetting and memorisation on real toy runs: canaries that were learned and not, a probe of one's own, and who is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from luthier.cli.clean_tables import print_stories
from luthier.core.errors import UserError
from luthier.core.events import Event, Note
from luthier.core.ledger import count_fates, read_ledger
from luthier.core.rows import read_split
from luthier.core.stage import Built
from luthier.engine.text.prepared import read_prepared
from luthier.pipeline.data_story import folders_of, stories_of
from luthier.pipeline.run import resolved_yaml
from luthier.pipeline.workspace import Workspace
from luthier.report.side_effects import SideEffects
from toy_project import write_toy

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
    assert [(c.repeats, c.num_canaries) for c in found.memorisation.canaries] == [(1, 2), (3, 2)]
    assert found.planted_rows == 8
    assert "probe: ../../../own.jsonl" in resolved_yaml(workspace, workspace.home / "runs" / "0001-toy")
    assert len(read_split(workspace.store.build(workspace.graph.split, workspace.project.execution), "train")) == 60


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
    from luthier.stages.evaluate.probe import read_probe

    path = tmp_path / "probe.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    with pytest.raises(UserError, match=said):
        read_probe(path)


def test_the_shipped_probe_is_whole_and_a_missing_one_is_named(tmp_path: Path, learner_base: Path) -> None:
    from luthier.stages.evaluate.probe import GENERAL, read_probe

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
    ],
)
def test_a_watch_section_that_cannot_be_is_refused(override: tuple[str, ...], said: str, tmp_path: Path, learner_base: Path) -> None:
    with pytest.raises(UserError, match=said):
        Workspace.open(write_toy(tmp_path / "toy", learner_base), override)
