"""Real runs of a toy model with a planted fault: each is diagnosed right, live and once, and the one that is fine is not."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from luthier.core.events import Event, Note
from luthier.pipeline.workspace import Workspace
from luthier.report.curves import read_curves
from luthier.report.diagnose import diagnose
from toy_project import FILLERS, WORDS, write_toy

STEADY = ("train.schedule={kind: constant}", "train.early_stopping=null")
RUNS = {
    "healthy": ("train.epochs=7", "train.evaluations=6", "train.learning_rate=0.005", "train.early_stopping=null"),
    "overfitting": (
        *STEADY, "train.epochs=16", "train.evaluations=6", "train.train_sample=0", "train.method={kind: lora, rank: 32}",
        "train.learning_rate=0.005", "split={train: 30, validation: 30, test: 20, seed: 3, near: null}",
    ),
    "underfitting": ("train.epochs=2", "train.evaluations=4", "train.learning_rate=1e-6"),
    "diverged": (*STEADY, "train.epochs=4", "train.evaluations=4", "train.method={kind: full}", "train.learning_rate=1"),
}  # fmt: skip


def write_labels_at_random(folder: Path) -> None:
    """Rows whose labels follow from nothing: all that can be learned is the rows themselves."""
    rng, texts = random.Random(0), {f"{FILLERS[i % 10]} {FILLERS[i // 10 % 10]} {FILLERS[i * 7 % 10]}" for i in range(90)}
    lines = [f"{text},{rng.choice(list(WORDS))}" for text in sorted(texts)]
    (folder / "rows.csv").write_text("\n".join(["text,label", *lines]) + "\n", encoding="utf-8")


@pytest.mark.parametrize("finding", RUNS)
def test_a_planted_fault_is_said_while_it_trains_and_diagnosed_at_the_end(finding: str, tmp_path: Path, learner_base: Path) -> None:
    file = write_toy(tmp_path / "toy", learner_base)
    if finding == "overfitting":
        write_labels_at_random(file.parent)
    workspace, events = Workspace.open(file, RUNS[finding]), list[Event]()
    built = workspace.store.build(workspace.graph.train, workspace.project.execution, events.append)
    assert diagnose(read_curves(built.path / "metrics.jsonl")).finding == finding
    said = [e.text for e in events if isinstance(e, Note) and ", seen at step " in e.text]
    if finding == "healthy":
        assert said == []
        return
    mine = [text for text in said if text.startswith(f"{finding}, seen at step ")]
    assert len(mine) == 1, said
    assert "To try: `train." in mine[0]
    assert events.index(next(e for e in events if isinstance(e, Note) and e.text == mine[0])) < len(events) - 1
