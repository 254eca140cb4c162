"""luthier bench and plan --probe on a toy project: every family of candidate, reuse, resume, and the sealed rows left alone."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from luthier.core.events import Event, Note, StageFinished, ignore
from luthier.core.files import remove_tree
from luthier.core.store import Interrupted
from luthier.pipeline.bench import Bench, machine, planned, run_bench
from luthier.pipeline.bench_candidates import Candidate, base_stage, bases_of, candidates
from luthier.pipeline.run import RunOptions
from luthier.pipeline.workspace import Workspace
from luthier.stages.evaluate import footprint
from toy_encoders import make_toy_encoder
from toy_project import luthier, toy_settings, write_extraction, write_settings, write_toy

OPTIONS = RunOptions(ignore, lambda: False)
ZERO_SHOT = {"baselines": [{"name": "zero-shot"}]}
NAMES = {
    "most frequent answer",
    "TF-IDF + logistic regression",
    "nearest neighbours on toy-bert embeddings",
    "linear head on toy-bert embeddings",
    "learner, zero-shot",
    "learner, tuned",
    "toy-bert, tuned",
}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_toy_encoder(tmp_path_factory.mktemp("base") / "toy-bert")


def project(folder: Path, base: Path, encoder: Path, **bench: Any) -> Workspace:
    plan = {"encoder": str(encoder), "bases": [str(encoder)], "steps": 12, "timed_rows": 6, **bench}
    write_toy(folder, base)
    return Workspace.open(write_settings(folder, toy_settings(base, bench=plan, evaluate=ZERO_SHOT)))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, learner_base: Path, encoder: Path) -> Iterator[tuple[Workspace, Bench]]:
    """A finished bench. Three candidates are timed in processes of their own, which take seconds; the others have planted times."""
    real, planted = footprint._in_own_process, footprint._Timed([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 0.02, 200.0)

    def timed(job: Any, tell: Any) -> Any:
        kind = getattr(job.model.result, "kind", "tuned")
        return real(job, tell) if kind in ("constant", "tfidf", "decoder") else planted

    workspace = project(tmp_path_factory.mktemp("bench") / "toy", learner_base, encoder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(footprint, "_in_own_process", timed)
        yield workspace, run_bench(workspace, OPTIONS)


def test_every_family_is_measured_on_the_same_validation_rows(finished: tuple[Workspace, Bench]) -> None:
    _, bench = finished
    table = bench.table
    assert {r.name for r in table.rows} == NAMES
    assert (table.num_rows, table.num_training_rows) == (18, 60)
    for row in table.rows:
        assert row.low <= row.value <= row.high
        assert 0 < row.latency_low <= row.latency_ms <= row.latency_high
        assert row.peak_memory_mb > 50
        assert row.energy_wh_per_1000 > 0
        assert row.cost_per_1000 is None
        assert row.group_letters
    assert table.row("TF-IDF + logistic regression").value == 1.0  # the keyword gives the label
    assert table.row("learner, tuned").size_mb > table.row("learner, zero-shot").size_mb
    assert table.row("learner, zero-shot").tokens_per_character is not None
    assert table.row("most frequent answer").tokens_per_character is None
    assert {r.licence_fit for r in table.rows if r.base} == {"not stated"}
    assert {r.name for r in table.rows if r.perplexity} == {"learner, zero-shot", "learner, tuned"}
    assert [r.value for r in table.rows] == sorted((r.value for r in table.rows), reverse=True)
    assert len(table.pairs) == 21


def test_perplexity_of_the_rows_own_text_is_that_of_plain_transformers(finished: tuple[Workspace, Bench], learner_base: Path) -> None:
    import torch
    from tokenizers import Tokenizer
    from transformers import AutoModelForCausalLM

    workspace, bench = finished
    row = bench.table.row("learner, zero-shot")
    assert row.perplexity is not None
    assert row.bits_per_character is not None
    model, tokenizer = AutoModelForCausalLM.from_pretrained(learner_base), Tokenizer.from_file(str(learner_base / "tokenizer.json"))
    lines = (workspace.store.folder_of(workspace.graph.split) / "validation.jsonl").read_text(encoding="utf-8").splitlines()
    texts = [m["content"] for line in lines for m in json.loads(line)["messages"] if m["role"] == "user"]
    nats = tokens = characters = 0.0
    for ids in (tokenizer.encode(text).ids for text in texts):
        with torch.no_grad():
            nats += (len(ids) - 1) * float(model(input_ids=torch.tensor([ids]), labels=torch.tensor([ids])).loss)
        tokens, characters = tokens + len(ids) - 1, characters + len(tokenizer.decode(ids[1:]))
    assert row.perplexity["value"] == pytest.approx(math.exp(nats / tokens), rel=1e-4)
    assert row.bits_per_character["value"] == pytest.approx(nats / math.log(2) / characters, rel=1e-4)
    for figure in (row.perplexity, row.bits_per_character):
        assert figure["low"] < figure["value"] < figure["high"]


def test_the_table_and_the_plot_are_kept(finished: tuple[Workspace, Bench]) -> None:
    _, bench = finished
    body = json.loads((bench.folder / "bench.json").read_text())
    assert body["decision"]["answer"] in ("yes", "no", "not proven")
    plot = (bench.folder / "pareto.svg").read_text()
    assert plot.startswith("<svg")
    assert "TF-IDF + logistic regression" in plot


def test_sealed_rows_are_not_looked_at(finished: tuple[Workspace, Bench]) -> None:
    workspace, _ = finished
    assert workspace.database.looks(workspace.graph.split.key()) == 0
    sealed = {
        json.loads(line)["key"] for line in (workspace.store.folder_of(workspace.graph.split) / "test.jsonl").read_text().splitlines()
    }
    for file in workspace.store.artifacts.glob("evaluate-*/predictions.jsonl"):
        assert not sealed & {json.loads(line)["key"] for line in file.read_text().splitlines()}


def test_nothing_is_measured_twice(finished: tuple[Workspace, Bench]) -> None:
    workspace, bench = finished
    events: list[Event] = []
    again = run_bench(Workspace.open(workspace.file), RunOptions(events.append, lambda: False))
    assert again.table == bench.table
    assert all(e.cached for e in events if isinstance(e, StageFinished))
    assert {state for _, state, _ in planned(workspace)} == {"built"}


def test_a_further_base_measures_only_itself(finished: tuple[Workspace, Bench], tmp_path: Path, learner_base: Path, encoder: Path) -> None:
    workspace, _ = finished
    shutil.copytree(workspace.root, tmp_path / "toy", symlinks=True)
    other = make_toy_encoder(tmp_path / "other-bert", seed=5)
    more = project(tmp_path / "toy", learner_base, encoder, bases=[str(encoder), str(other)])
    states = {name: state for name, state, _ in planned(more)}
    assert [name for name, state in states.items() if state != "built"] == ["other-bert, tuned"]


def test_a_stopped_bench_goes_on_where_it_was(finished: tuple[Workspace, Bench], tmp_path: Path) -> None:
    """Two figures are taken away; the bench is stopped after the first is measured again, and then measures the other alone."""
    workspace, bench = finished
    shutil.copytree(workspace.root, tmp_path / "toy", symlinks=True)
    copy = Workspace.open(tmp_path / "toy" / "luthier.yaml")
    for name in ("most frequent answer", "TF-IDF + logistic regression"):
        remove_tree(copy.store.folder_of(next(c for c in candidates_of(copy) if c.name == name).footprint))
    assert [state for _, state, _ in planned(copy)][:3] == ["in progress", "in progress", "built"]
    seen: list[str] = []

    def watch(event: Event) -> None:
        if isinstance(event, Note) and event.text.startswith("candidate"):
            seen.append(event.text)

    with pytest.raises(Interrupted):
        run_bench(copy, RunOptions(watch, lambda: len(seen) == 2))
    assert "candidate 2 of 7" in seen[-1]
    assert "left" in seen[-1]
    assert [state for _, state, _ in planned(copy)][:2] == ["built", "in progress"]
    events: list[Event] = []
    again = run_bench(Workspace.open(copy.file), RunOptions(events.append, lambda: False))
    assert [e.stage for e in events if isinstance(e, StageFinished) and not e.cached] == ["measure"]
    assert again.decision.reason == bench.decision.reason == "few rows"  # 60 training rows


def candidates_of(workspace: Workspace) -> list[Candidate]:
    """The candidates of a workspace whose bases are built."""
    kinds: Any = {
        name: workspace.store.build(base_stage(workspace, name), workspace.project.execution).result.kind for name in bases_of(workspace)
    }
    return [c for c in candidates(workspace, kinds.__getitem__, machine()) if isinstance(c, Candidate)]


def test_a_task_without_labels_skips_what_cannot_answer_it(tmp_path: Path, learner_base: Path, encoder: Path) -> None:
    file = write_extraction(tmp_path / "people", learner_base)
    settings = {"encoder": str(encoder), "bases": [str(encoder)]}
    file.write_text(file.read_text() + f"bench: {json.dumps(settings)}\n")
    listed = list(planned(Workspace.open(file)))
    assert [(name, what) for name, state, what in listed if state == "skipped"] == [
        ("TF-IDF + logistic regression", "it gives one label to a row, and the task is extract"),
        ("linear head", "it gives one label to a row, and the task is extract"),
        ("toy-bert, tuned", "an encoder's head does not answer the task extract"),
    ]
    assert [name for name, state, _ in listed if state == "to build"] == [
        "most frequent answer",
        "nearest neighbours on toy-bert embeddings",
        "learner, zero-shot",
        "learner, tuned",
    ]


def test_the_verbs(finished: tuple[Workspace, Bench]) -> None:
    workspace, bench = finished
    done = luthier(workspace.root, "bench", "bench.price_per_hour=0.5", "--json")
    assert done.returncode == 0, done.stderr
    body = json.loads(done.stdout)
    assert (body["kind"], len(body["table"]["rows"])) == ("bench", 7)
    slow = next(r for r in body["table"]["rows"] if r["name"] == "learner, zero-shot")
    assert slow["cost_per_1000"] == pytest.approx(slow["latency_ms"] / 3600 * 0.5)
    assert "money/1,000" in done.stderr
    assert "bits a character" in done.stderr
    assert "TF-IDF + logistic regression" in done.stderr
    assert "cannot be told apart" in done.stderr
    probed = luthier(workspace.root, "plan", "--probe", "--json")
    assert probed.returncode == 0, probed.stderr
    assert json.loads(probed.stdout)["probe"]["reason"] == bench.decision.reason
    assert "Do not fine-tune yet: there are 60 training rows" in probed.stderr
