"""Rows with tools: training, its watched metric, the baseline and the final evaluation all show the model the row's tools."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from luthier.core.events import ignore
from luthier.engine.fast.engine import FastEngine
from luthier.pipeline.doctor.project import carry_out, open_project, open_subject
from luthier.pipeline.doctor.proofs.parity import Parity
from luthier.pipeline.run import RunOptions
from luthier.pipeline.workspace import Workspace
from toy_models import CHATML
from toy_project import toy_rows, toy_settings, write_settings

WITH_TOOLS = "{% if tools %}{{ '<|im_start|>tools\\n' + (tools | tojson) + '<|im_end|>\\n' }}{% endif %}" + CHATML


def write_tool_rows(folder: Path, learner: Path) -> Path:
    """A project whose rows each declare a tool of their own name."""
    shutil.copytree(learner, folder / "base")
    config = folder / "base" / "tokenizer_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"chat_template": WITH_TOOLS}), encoding="utf-8")
    rows = []
    for i, (text, label) in enumerate(toy_rows(12)):
        turns = [{"role": "user", "content": text}, {"role": "assistant", "content": label}]
        rows.append({"messages": turns, "tools": [{"name": f"tool_{i}", "parameters": {}}]})
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")
    settings = toy_settings(
        folder / "base",
        objective={"task": "chat", "goal": "Answer."},
        data={"files": ["rows.jsonl"], "mapping": {"kind": "messages", "messages": "messages"}},
        split={"train": 20, "validation": 6, "test": 6, "seed": 3},
        evaluate={"decoding": {"kind": "text", "max_new_tokens": 4}, "baselines": [{"name": "zero-shot"}]},
    )
    settings["train"].update(epochs=1)
    return write_settings(folder, settings)


def test_every_answer_is_asked_for_with_the_tools_of_its_row(tmp_path: Path, learner_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = Workspace.open(write_tool_rows(tmp_path, learner_base), ())
    asked: list[list[int]] = []
    sample = FastEngine.sample

    def recorded(self: FastEngine, prompts: Any, *rest: Any) -> Any:
        asked.extend(p.tolist() for p in prompts)
        return sample(self, prompts, *rest)

    monkeypatch.setattr(FastEngine, "sample", recorded)
    for stage in (workspace.graph.tuned, workspace.graph.baseline):
        workspace.store.build(stage, workspace.project.execution)
    with open_subject(*open_project(workspace.file, (), None), RunOptions(observer=ignore, stop_flag=lambda: False)) as subject:
        texts = [subject.renderer.tokenizer.spell(ids) for ids in asked]
        assert (
            len(texts) == 4 + 2 * (6 + 8) + 6 + 6 + 6
        )  # samples before training, watched twice, the baseline chosen, and both evaluations
        assert all(text.startswith("<|im_start|>tools\n[{") and '"name": "tool_' in text for text in texts)
        assert carry_out(Parity(), subject).answer == "holds"
