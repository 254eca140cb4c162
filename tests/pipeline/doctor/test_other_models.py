"""The doctor on what is not a decoder with LoRA: prefix tuning is proven, an encoder is refused with what does not apply."""

from __future__ import annotations

from pathlib import Path

import pytest
from unwatched import options

from luthier.core.errors import UserError
from luthier.pipeline.doctor.project import open_project, open_subject, prove
from toy_encoders import make_toy_encoder, make_toy_seq2seq
from toy_project import toy_settings, write_settings, write_toy


def test_prefix_tuning_is_proven_and_what_does_not_apply_is_said(learner_base: Path, tmp_path: Path) -> None:
    file = write_toy(tmp_path / "toy", learner_base)
    workspace, name = open_project(file, ("train.method={kind: prefix, tokens: 3}",), None)
    with open_subject(workspace, name, options()) as subject:
        found = prove(subject, options())
    answers = {p.kind: p.answer for p in found.proofs}
    assert found.engine == "reference"
    assert not [(p.kind, p.faults, p.figures) for p in found.proofs if p.answer == "fails"]
    assert {kind for kind, answer in answers.items() if answer == "does not apply"} == {"packing", "merging"}
    proven = {p.kind: p.proven for p in found.proofs}
    assert "never merged" in proven["merging"]
    assert "nothing is packed" in proven["packing"]


@pytest.mark.parametrize("kind", ["an encoder", "an encoder-decoder"])
def test_another_kind_of_model_is_refused_at_once(kind: str, tmp_path: Path) -> None:
    base = make_toy_encoder(tmp_path / "base") if kind == "an encoder" else make_toy_seq2seq(tmp_path / "base")
    write_toy(tmp_path / "toy", base)
    settings = toy_settings(base)
    if kind == "an encoder":
        settings = {**settings, "data": {k: v for k, v in settings["data"].items() if k != "prompt"}, "prepare": {}}
        del settings["evaluate"]
    workspace, name = open_project(write_settings(tmp_path / "toy", settings), (), None)
    with (
        pytest.raises(UserError, match=rf"the proofs are of decoders, got .*, {kind}, which .* to prove .*--machine"),
        open_subject(workspace, name, options()),
    ):
        pass
    assert not workspace.store.is_built(workspace.graph.prepared)
