"""A comparison whose sides disagree prints no ratio and writes no result; one whose sides agree does both."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

REPO = Path(__file__).resolve().parents[2]
RATIO = "x trl best"


@pytest.fixture(autouse=True)
def _beside_the_benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(REPO / "benchmarks"))


def trained(folder: Path, name: str, gradient: float, loss: float) -> dict[str, Any]:
    """What an arm of the training benchmark leaves: 2 seconds for the peer, 1 for Luthier."""
    path = folder / f"{name.replace(' ', '-')}-{gradient}.safetensors"
    save_file({"a": torch.full((4,), gradient)}, path)
    ours = name.startswith("luthier")
    made = {"seconds": [1.0 if ours else 2.0], "losses": [loss], "peak_mb": 100.0, "load": 0.0, "torch": "2", "gradients": str(path)}
    limit = {"R": [0.5], "gflops_per_second": 1.0, "unique_tokens": [3], "as_if_separate_tokens": [4]}
    return made | limit if ours else made


@pytest.mark.parametrize(
    ("gradient", "loss", "equal"), [(1.0, 1.0, True), (1.0 + 3e-5, 1.0, False), (1.0, 1.001, False)], ids=["equal", "gradients", "loss"]
)
def test_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], gradient: float, loss: float, equal: bool
) -> None:
    import training
    from peers import PEERS

    exact = PEERS["trl"].exact

    def theirs(self: Any, peer: Any, setting: Any, rows: Any, size: int) -> dict[str, Any]:
        return trained(tmp_path, "trl", gradient if setting == exact else 1.0, loss if setting == exact else 1.0)

    def made(self: Any, options: Any, folder: Path) -> None:
        self.options, self.folder, self.workload, self.peer = options, folder, training.WORKLOADS["W2"], PEERS["trl"]
        self.job = {"rows": [{"input_ids": [1, 2], "completion_mask": [0, 1]}] * 8}

    monkeypatch.setattr(training.Bench, "__init__", made)
    monkeypatch.setattr(training.Bench, "theirs", theirs)
    monkeypatch.setattr(training.Bench, "luthier", lambda self, rows, size, precision="float32": trained(tmp_path, "luthier", 1.0, 1.0))
    monkeypatch.setattr(training, "HERE", tmp_path)
    monkeypatch.setattr(sys, "argv", ["training.py", "W2", "--repeats", "1"])
    if equal:
        training.main()
        assert "2.00x trl best" in capsys.readouterr().out
        (written,) = (tmp_path / "results").glob("*.json")
        assert json.loads(written.read_text())["ratios"]["luthier"]["trl best"]["speed"] == 2.0
        return
    with pytest.raises(SystemExit, match=r"void: .* differs from Luthier"):
        training.main()
    assert RATIO not in capsys.readouterr().out
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("fault", ["", "logprob", "greedy", "tokens", "float64"])
def test_scoring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], fault: str) -> None:
    import scoring

    def arm(self: Any, name: str, rows: list[Any], size: Any = 0, precision: str = "float32") -> dict[str, Any]:
        ours = name == "luthier"
        done = {"logprobs": [-1.0] * len(rows), "greedy": [True] * len(rows), "tokens": [2] * len(rows), "rows": len(rows), "load": 0.0}
        done |= {"seconds": 1.0 if ours else 2.0, "load_seconds": 1.0, "peak_mb": 100.0, "torch": "2"}
        wrong = not ours and (precision == "float64") == (fault == "float64")
        if wrong and fault in ("logprob", "float64"):
            done["logprobs"] = [-1.001] * len(rows)
        elif wrong and fault == "greedy":
            done["greedy"] = [False] * len(rows)
        elif wrong and fault == "tokens":
            done["tokens"] = [3] * len(rows)
        return done

    monkeypatch.setattr(scoring.Bench, "__init__", lambda self, options, folder: self.__dict__.update(options=options, rows=[{}] * 4))
    monkeypatch.setattr(scoring.Bench, "arm", arm)
    monkeypatch.setattr(
        sys, "argv", ["scoring.py", "choices-0shot", "--peer-rows", "4", "--repeats", "1", "--out", str(tmp_path / "results")]
    )
    if not fault:
        scoring.main()
        assert "2.00x lm-eval best" in capsys.readouterr().out
        assert list((tmp_path / "results").glob("*.json"))
        return
    with pytest.raises(SystemExit, match="void: "):
        scoring.main()
    assert "x lm-eval" not in capsys.readouterr().out
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_generation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], share: float) -> None:
    import generation

    run = {"seconds": 1.0, "peak_mb": 100.0, "tokens": [[1, 2]], "load": 0.0}
    judge: Any = SimpleNamespace(agreement=lambda ours, theirs: {"share": share})
    options: Any = SimpleNamespace(prompts=1)
    monkeypatch.setattr(generation, "HERE", tmp_path)
    arms = {"luthier": [run], "generate": [{**run, "seconds": 2.0}]}
    if share == 1.0:
        generation.report(arms, judge, options, {"failed": {}})
        assert "2.00x generate" in capsys.readouterr().out
        return
    with pytest.raises(SystemExit, match=r"void: generate agrees on 0\.5000"):
        generation.report(arms, judge, options, {"failed": {}})
    assert "x generate" not in capsys.readouterr().out
    assert not (tmp_path / "results").exists()
