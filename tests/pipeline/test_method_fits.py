"""A method that the base cannot take is said before the data is read, in the words that training would use."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from luthier.core.errors import UserError
from luthier.core.events import ignore
from luthier.core.execution import Execution
from luthier.engine.methods.fits import HEADED_WORDS, check_method
from luthier.engine.select import load_engine
from luthier.parts.methods.loading import known_methods
from luthier.pipeline.plan import advice
from luthier.pipeline.run import RunOptions, run, train_only
from luthier.pipeline.workspace import Workspace
from toy_encoders import make_toy_encoder
from toy_project import environment, write_toy
from toys import save_toy

WRONG: dict[str, dict[str, Any]] = {
    "rank": {"kind": "lora", "rank": 999},
    "rank of a quantised base": {"kind": "qlora", "rank": 999, "stored": "q8_0"},
    "target": {"kind": "dora", "targets": ["q_prj"]},
    "layers": {"kind": "last_layers", "layers": 99},
    "biases": {"kind": "bitfit"},
    "tokens": {"kind": "prompt", "tokens": 600},
}
OTHER = {"rank", "target", "layers", "tokens"}
"""Cases that are wrong of a model of the generic engine too (GPT-2 has biases)."""


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_toy(tmp_path_factory.mktemp("bases") / "gpt2", "gpt2")


def spec_of(settings: dict[str, Any]) -> Any:
    return known_methods()[settings["kind"]](**settings).spec()


def test_a_family_of_the_fast_engine_needs_no_transformers(learner_base: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from luthier.engine.methods.fits import check_method; "
        "from luthier.engine.methods.lora import LoRASpec; check_method(Path(sys.argv[1]), 'decoder', LoRASpec(rank=4, alpha=8)); "
        "print('transformers' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(learner_base)], env=environment(), capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("case", WRONG)
def test_the_words_are_those_of_loading(case: str, learner_base: Path) -> None:
    spec = spec_of(WRONG[case])
    with pytest.raises(UserError) as early:
        check_method(learner_base, "decoder", spec)
    with pytest.raises(UserError) as late:
        load_engine(learner_base, spec, Execution(engine="reference"), 1)
    assert str(early.value) == str(late.value)


@pytest.mark.parametrize("case", sorted(OTHER))
def test_they_are_for_a_model_that_transformers_describes(case: str, gpt2: Path) -> None:
    spec = spec_of({**WRONG[case], **({"targets": ["c_atn"]} if case == "target" else {})})
    with pytest.raises(UserError) as early:
        check_method(gpt2, "decoder", spec)
    with pytest.raises(UserError) as late:
        load_engine(gpt2, spec, Execution(engine="reference"), 1)
    assert str(early.value) == str(late.value)


@pytest.mark.parametrize("kind", sorted(known_methods()))
def test_what_fits_is_let_through(kind: str, learner_base: Path) -> None:
    small = {"rank": 4, "size": 4, "tokens": 4, "layers": 1, "create": True}
    fields = {n: v for n, v in small.items() if n in known_methods()[kind].model_fields}
    check_method(learner_base, "decoder", spec_of({"kind": kind, **fields}))


def test_nothing_is_read_or_asked_before_it_is_said(learner_base: Path, tmp_path: Path) -> None:
    workspace = Workspace.open(write_toy(tmp_path / "toy", learner_base), ("train.method={kind: dora, rank: 999}",))
    for verb in (run, train_only):
        with pytest.raises(UserError, match="`rank` must be at most 64"):
            verb(workspace, RunOptions(ignore, lambda: False))
        assert [p.name.partition("-")[0] for p in workspace.store.artifacts.iterdir()] == ["base"]


def test_the_plan_says_what_an_encoder_takes(tmp_path: Path) -> None:
    file = write_toy(tmp_path / "toy", make_toy_encoder(tmp_path / "base"))
    said = list(advice(Workspace.open(file, ("train.method={kind: prompt}",))))
    assert f"a run would stop at once: an encoder is trained with {HEADED_WORDS}, got prompt (train.method.kind)" in said
    assert not any("would stop" in line for line in advice(Workspace.open(file)))
