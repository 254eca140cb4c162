"""A project on an encoder-decoder: asked, trained, evaluated and talked to by the same verbs."""

from __future__ import annotations

from pathlib import Path

import pytest

from luthier.core.events import ignore
from luthier.engine.decoding import Decoding
from luthier.pipeline.chat import open_model
from luthier.pipeline.plan import advice
from luthier.pipeline.run import RunOptions, run
from luthier.pipeline.workspace import Workspace
from toy_encoders import make_toy_seq2seq
from toy_project import FILLERS, toy_settings, write_rows, write_settings

OPTIONS = RunOptions(ignore, lambda: False)
PHRASES = {"stolen": "please block my card", "wrong": "check the rate", "late": "when"}
BASELINES = [{"name": "zero-shot"}, {"name": "few-shot-2", "shots": 2}]


def _workspace(folder: Path, base: Path) -> Workspace:
    rows = []
    for i in range(40):
        for word, phrase in PHRASES.items():
            rows.append({"prompt": f"{FILLERS[i % 10]} {FILLERS[i // 10]} {word}", "completion": phrase})
    write_rows(folder, rows)
    settings = toy_settings(
        base,
        objective={"task": "summarise", "goal": "Say it in other words.", "metric": "exact_match"},
        data={"files": ["rows.jsonl"], "mapping": {"kind": "prompt_completion"}},
        prepare={"max_length": 64},
        evaluate={
            "decoding": {"kind": "text", "max_new_tokens": 8},
            "baselines": [{"name": "zero-shot"}, {"name": "few-shot-2", "shots": 2}],
        },
    )
    settings["train"] |= {"learning_rate": 0.01, "epochs": 10, "method": {"kind": "lora", "rank": 16}}
    return Workspace.open(write_settings(folder, settings))


@pytest.mark.parametrize("arch", ["t5", "bart"])
def test_it_learns_to_answer_and_is_better_than_the_untuned_base(arch: str, tmp_path: Path) -> None:
    base = make_toy_seq2seq(tmp_path / f"toy-{arch}", arch)
    workspace = _workspace(tmp_path / "toy", base)
    assert any(f"toy-{arch} is an encoder-decoder" in line for line in advice(workspace))
    outcome = run(workspace, OPTIONS)
    assert outcome.report.verdict.decision == "better"
    assert outcome.report.verdict.tuned >= 0.9
    assert outcome.report.model.kind == "seq2seq"
    assert [c.name for c in outcome.report.candidates if c.split == "validation"] == ["zero-shot", "few-shot-2"]
    assert "AutoModelForSeq2SeqLM" in (outcome.folder / "model_card.md").read_text()
    talk = open_model("1", workspace.file, None, Decoding(max_new_tokens=8))
    assert talk.ask("it is late").text == "when"
    assert isinstance(open_model(str(base), workspace.file, None, Decoding(max_new_tokens=2)).ask("it is late").text, str)
