"""A whole run on a GPT-2 shape: fused and transposed layers from the project file to the merged model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from luthier.core.events import Event, Note
from luthier.core.execution import Execution
from luthier.engine.contract import TokenSequence
from luthier.engine.export.loading import load_tuned, merge
from luthier.engine.select import load_engine
from luthier.pipeline.run import RunOptions, run
from luthier.pipeline.workspace import Workspace
from toy_models import make_toy_base
from toy_project import write_toy


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("gpt2")
    base = make_toy_base(root / "base", arch="gpt2", hidden=64)
    return write_toy(root / "toy", base, train={"method": {"kind": "lora", "rank": 8}, "learning_rate": 0.01, "epochs": 1, "batch_size": 20,
                     "evaluations": 1, "train_sample": 4}, evaluate={"baselines": [{"name": "zero-shot"}]})  # fmt: skip


def test_a_run_on_gpt2_takes_the_generic_engine_says_so_and_its_adapter_merges(project: Path) -> None:
    notes: list[str] = []

    def watch(event: Event) -> None:
        if isinstance(event, Note):
            notes.append(event.text)

    outcome = run(Workspace.open(project, ()), RunOptions(watch, lambda: False))
    assert outcome.report.training is not None
    assert outcome.report.training.engine.startswith("generic")
    assert any("engine: generic, because a faster one refused: the fast engine computes llama" in text for text in notes)
    (adapter,) = project.parent.glob(".luthier/artifacts/train-*/adapter")
    assert set(json.loads((adapter / "adapter_config.json").read_text())["target_modules"]) == {"c_attn", "c_proj", "c_fc"}
    ids = torch.arange(5, 45)[None]
    with torch.no_grad():
        found = merge(load_tuned(project.parent.parent / "base", adapter))(input_ids=ids).logits[0].log_softmax(-1)
    row = TokenSequence(ids[0].numpy().astype(np.int32), np.r_[0.0, np.ones(39)].astype(np.float32))
    engine = load_engine(project.parent.parent / "base", None, Execution(), 0, adapter)
    assert engine.logprobs([row])[0] == pytest.approx(found[torch.arange(39), ids[0, 1:]].numpy(), abs=1e-4)
