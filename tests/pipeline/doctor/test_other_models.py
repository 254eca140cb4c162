"""The doctor on a method other than LoRA: prefix tuning is proven, and what does not apply to it is said."""

from __future__ import annotations

from pathlib import Path

from unwatched import options

from luthier.pipeline.doctor.project import open_project, open_subject, prove
from toy_project import write_toy


def test_prefix_tuning_is_proven_and_what_does_not_apply_is_said(learner_base: Path, tmp_path: Path) -> None:
    file = write_toy(tmp_path / "toy", learner_base)
    workspace, name = open_project(file, ("train.method={kind: prefix, tokens: 3}",), None)
    with open_subject(workspace, name, options()) as subject:
        found = prove(subject, options())
    answers = {p.kind: p.answer for p in found.proofs}
    assert found.engine == "generic"
    assert not [(p.kind, p.faults, p.figures) for p in found.proofs if p.answer == "fails"]
    assert {kind for kind, answer in answers.items() if answer == "does not apply"} == {"merging"}
    proven = {p.kind: p.proven for p in found.proofs}
    assert "never merged" in proven["merging"]
    assert "of their tokens shared" in proven["packing"]
