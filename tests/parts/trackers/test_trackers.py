"""Each tracker's numbers are read back with its own library: every point once, also over two sessions, and the verdict at the end."""

from __future__ import annotations

import json
import os
import sqlite3
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

import pytest

from luthier.core.config import Config, parse_config
from luthier.core.errors import MachineError, UserError
from luthier.parts.trackers.child import Budget, carry, without_secrets
from luthier.parts.trackers.contract import Ended, Point, Session, TrackedRun, Tracker
from luthier.parts.trackers.loading import TrackerConfig, known_trackers, load_tracker
from luthier.parts.trackers.sent import Sent

SETTINGS: dict[str, Any] = {"train.learning_rate": 0.01, "base": "toy", "train.rank": 8, "ok": True}
POINTS = [[step, name, 1.0 / (step + 1) + shift, 1e9 + step] for step in range(6) for name, shift in (("train/loss", 0), ("train/norm", 1))]
ENDED = Ended("done", 5, {"verdict/effect": 0.25, "verdict/low": 0.125}, {"decision": "better", "report": "/runs/report.html"})
MODULES = {"tensorboard": "tensorboard", "mlflow": "mlflow", "wandb": "wandb", "trackio": "trackio"}


def session(kind: str, home: Path, lines: list[dict[str, Any]]) -> subprocess.Popen[str]:
    """A tracker's process that is given these lines."""
    run = TrackedRun("toy", "0001-toy", str(home), SETTINGS)
    folder = home / "runs"
    folder.mkdir(parents=True, exist_ok=True)
    spec = {"tracker": {"kind": kind}, "run": asdict(run), "folder": str(folder), "budget_s": 5.0}
    (home / "lines").write_text("".join(json.dumps(x) + "\n" for x in (spec, *lines)))
    command = [sys.executable, "-m", "luthier.parts.trackers.child"]
    env = {**os.environ, "WANDB_MODE": "offline"}
    with (home / "lines").open() as stdin, (home / "log").open("w") as log:
        return subprocess.Popen(command, stdin=stdin, stdout=subprocess.PIPE, stderr=log, text=True, env=env)


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The `.luthier` folder of each tracker after a session that was killed and one that was given everything again."""
    kinds = [k for k, module in MODULES.items() if _installed(module)]
    homes = {kind: tmp_path_factory.mktemp(kind) for kind in kinds}
    for lines in ([{"points": POINTS[:6]}], [{"points": POINTS}, {"ended": asdict(ENDED)}]):
        started = {kind: session(kind, home, lines) for kind, home in homes.items()}
        for kind, process in started.items():
            out, _ = process.communicate(timeout=240)
            assert json.loads(out)["problem"] == "", (kind, out, (homes[kind] / "log").read_text())
    return homes


def _installed(module: str) -> bool:
    import importlib.util

    return importlib.util.find_spec(module) is not None


def home_of(homes: dict[str, Path], kind: str) -> Path:
    if kind not in homes:
        pytest.skip(f"{kind} is not installed (pip install 'luthier[trackers]')")
    return homes[kind]


def test_tensorboard_reads_back_every_point_once(homes: dict[str, Path]) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = home_of(homes, "tensorboard") / "tensorboard" / "0001-toy"
    assert len(list(folder.iterdir())) == 2  # a file for each session
    found = EventAccumulator(str(folder))
    found.Reload()
    for name in ("train/loss", "train/norm"):
        got = [(e.step, e.value, e.wall_time) for e in found.Scalars(name)]
        assert got == [(p[0], pytest.approx(p[2]), p[3]) for p in POINTS if p[1] == name]
    assert found.Scalars("verdict/effect")[0].value == 0.25
    assert found.Tensors("run/decision")[0].tensor_proto.string_val == [b"better"]
    assert b"train.learning_rate" in found.SummaryMetadata("_hparams_/session_start_info").plugin_data.content


def test_mlflow_reads_back_every_point_once(homes: dict[str, Path]) -> None:
    home = home_of(homes, "mlflow")
    code = f"""
import json
from mlflow.tracking import MlflowClient
client = MlflowClient(tracking_uri="sqlite:///{home / "mlflow.db"}")
runs = client.search_runs([client.get_experiment_by_name("toy").experiment_id])
history = {{n: [[m.step, m.value] for m in client.get_metric_history(runs[0].info.run_id, n)] for n in ("train/loss", "train/norm")}}
info, data = runs[0].info, runs[0].data
print(json.dumps([len(runs), info.run_name, info.status, data.params, data.metrics, data.tags, history]))
"""
    env = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=240, check=True)
    count, name, status, params, metrics, tags, history = json.loads(done.stdout)
    assert (count, name, status) == (1, "0001-toy", "FINISHED")
    for curve, got in history.items():
        assert got == [[p[0], pytest.approx(p[2])] for p in POINTS if p[1] == curve]
    assert params == {k: str(v) for k, v in SETTINGS.items()}
    assert metrics["verdict/low"] == 0.125
    assert (tags["luthier.decision"], tags["luthier.report"]) == ("better", "/runs/report.html")


def wandb_records(file: Path) -> Iterator[Any]:
    """The records of an offline run: blocks of 32 KiB of (crc, length, type, data), as in LevelDB's log."""
    from wandb.proto import wandb_internal_pb2

    data, at, parts = file.read_bytes(), 7, b""
    assert data[:4] == b":W&B"
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        parts += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last of several
            record = wandb_internal_pb2.Record()
            record.ParseFromString(parts)
            parts = b""
            yield record


def test_wandb_reads_back_every_point_once(homes: dict[str, Path]) -> None:
    files = sorted((home_of(homes, "wandb") / "wandb").glob("offline-run-*/run-*.wandb"))
    records = [r for f in files for r in wandb_records(f)]
    rows = [{"/".join(i.nested_key) or i.key: json.loads(i.value_json) for i in r.history.item} for r in records if r.HasField("history")]
    for name in ("train/loss", "train/norm"):
        assert [(row["step"], row[name]) for row in rows if name in row] == [(p[0], pytest.approx(p[2])) for p in POINTS if p[1] == name]
    runs = [r.run for r in records if r.HasField("run")]
    assert {(r.run_id, r.display_name, r.project) for r in runs} == {(runs[0].run_id, "0001-toy", "toy")}
    config = {u.key: json.loads(u.value_json) for u in runs[0].config.update}
    assert config["train.learning_rate"] == 0.01
    summary = {i.key: json.loads(i.value_json) for r in records if r.HasField("summary") for i in r.summary.update}
    assert (summary["verdict/effect"], summary["decision"]) == (0.25, "better")


def test_trackio_reads_back_every_point_once(homes: dict[str, Path]) -> None:
    database = sqlite3.connect(home_of(homes, "trackio") / "trackio" / "toy.db")
    rows = [(step, json.loads(body)) for step, body in database.execute("select step, metrics from metrics order by id")]
    for name in ("train/loss", "train/norm"):
        assert [(s, b[name]) for s, b in rows if name in b] == [(p[0], pytest.approx(p[2])) for p in POINTS if p[1] == name]
    assert rows[-1][1]["verdict/effect"] == 0.25
    assert rows[-1][1]["decision"] == "better"
    config = json.loads(database.execute("select config from configs").fetchone()[0])
    assert config["train.rank"] == 8


class _Memory(Tracker):
    """A tracker in memory; the first calls of `fails` raise."""

    kind: str = "memory"

    calls: ClassVar[list[Any]] = []
    fails: ClassVar[list[str]] = []

    def open(self, run: TrackedRun) -> Session:
        self.did(("open", run.known))
        return _InMemory(self)

    def did(self, what: Any) -> None:
        if self.fails:
            raise OSError(self.fails.pop(0))
        self.calls.append(what)


class _InMemory:
    id = "m1"

    def __init__(self, tracker: _Memory) -> None:
        self.tracker = tracker

    def log(self, points: list[Point]) -> None:
        self.tracker.did([(p.step, p.name) for p in points])

    def finish(self, ended: Ended) -> None:
        self.tracker.did(ended.state)

    def close(self) -> None:
        self.tracker.did("close")


def _carry(folder: Path, lines: list[dict[str, Any]], budget: Budget, fails: tuple[str, ...] = ()) -> tuple[str, list[Any]]:
    _Memory.calls[:], _Memory.fails[:] = [], list(fails)
    run = TrackedRun("toy", "0001-toy", str(folder), {})
    words = carry(_Memory(), run, folder, [json.dumps(x) + "\n" for x in lines], budget)
    return words, list(_Memory.calls)


ONE = [{"points": [[0, "a", 1.0, 0.0], [1, "a", 1.0, 0.0]]}, {"ended": asdict(ENDED)}]


def test_a_session_is_opened_once_and_what_was_sent_is_not_sent_again(tmp_path: Path) -> None:
    assert _carry(tmp_path, ONE, Budget(5)) == ("", [("open", ""), [(0, "a"), (1, "a")], "done", "close"])
    assert _carry(tmp_path, ONE, Budget(5)) == ("", [])  # nothing new: not even opened
    more = [{"points": [[1, "a", 1.0, 0.0], [2, "a", 1.0, 0.0], [0, "b", 1.0, 0.0]]}]
    assert _carry(tmp_path, more, Budget(5)) == ("", [("open", "m1"), [(2, "a"), (0, "b")], "close"])
    assert Sent.read(tmp_path, _Memory()).last == {"a": 2, "b": 0}


def test_a_failure_is_tried_again_and_nothing_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    assert _carry(tmp_path, ONE, Budget(30), fails=("down", "down")) == ("", [("open", ""), [(0, "a"), (1, "a")], "done", "close"])


def test_a_tracker_is_given_up_when_the_budget_is_spent_and_goes_on_another_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    monkeypatch.setenv("SOME_API_KEY", "abc123secret")
    budget = Budget(20)
    words, calls = _carry(tmp_path, ONE, budget, fails=("down at https://me:pw@host/x with abc123secret",) * 50)
    assert (words, calls) == ("OSError: down at https://...@host/x with ${SOME_API_KEY}", [])
    assert 20 - 8 < budget.spent <= 20
    assert _carry(tmp_path, ONE, Budget(5))[1][0] == ("open", "")


def test_no_secret_is_in_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0123456789")
    monkeypatch.setenv("DB_PASSWORD", "hunter22")
    said = without_secrets("401 for 0123456789 at postgresql://bob:hunter22@db/x\n and hunter22")
    assert said == "401 for ${WANDB_API_KEY} at postgresql://...@db/x and ${DB_PASSWORD}"


class _Holder(Config):
    track: tuple[TrackerConfig, ...]


def test_every_tracker_has_words_and_a_project_names_it_or_gives_options(monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(known_trackers()) == set(MODULES)
    assert all(cls.__doc__ and cls.needs == (MODULES[kind],) for kind, cls in known_trackers().items())
    got = parse_config(_Holder, {"track": ["tensorboard", {"kind": "mlflow", "uri": "https://mlflow.example"}]})
    assert got.track == (load_tracker("tensorboard"), load_tracker({"kind": "mlflow", "uri": "https://mlflow.example"}))
    assert parse_config(_Holder, got.model_dump(mode="json")) == got


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("tensorbord", "did you mean `tensorboard`"),
        ({"kind": "wandb", "mod": "online"}, "did you mean `mode`"),
        ({"kind": "mlflow", "uri": "https://me:pw@mlflow.example"}, "a password must not stand in the project file"),
    ],
)
def test_a_wrong_tracker_is_told_with_the_nearest(value: object, said: str) -> None:
    with pytest.raises(UserError, match=said):
        parse_config(_Holder, {"track": [value]})


def test_what_could_not_work_is_said_before_anything_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MachineError, match=r"needs wandb: pip install 'luthier\[trackers\]'"):
        load_tracker("wandb").check()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    load_tracker("wandb").check()
    with pytest.raises(UserError, match="must have WANDB_API_KEY"):
        load_tracker({"kind": "wandb", "mode": "online"}).check()
    with pytest.raises(UserError, match="must have MLFLOW_LOGIN"):
        load_tracker({"kind": "mlflow", "uri": "https://${MLFLOW_LOGIN}@mlflow.example"}).check()
