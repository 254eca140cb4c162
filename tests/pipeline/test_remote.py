"""`luthier train --on URL` against a small server of the OpenAI shape: what is sent, what comes back, and what a kill, a fault or
a wrong input leaves behind.

One decision: real HTTP on loopback and the real verb; the server counts what was posted, so "never twice" is a number.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save
from typer.testing import CliRunner

from fine_tuning_server import KEY, Server, serving
from luthier.cli.main import app
from luthier.core.artifacts import RemoteModel
from luthier.core.endpoint import check_url
from luthier.core.errors import AnswerIsNo, MachineError, UserError
from luthier.core.events import Event, Metric, Note
from luthier.core.stage import Built
from luthier.core.store import Interrupted
from luthier.pipeline.remote import RemoteOptions, train_on
from luthier.pipeline.run import RunOptions
from luthier.pipeline.workspace import Workspace
from luthier.stages.train import remote_client
from luthier.stages.train.remote_client import plain_id
from toy_project import ENV, write_toy

JOBS, FILES = "/fine_tuning/jobs", "/files"
TRAIN = {"method": {"kind": "lora", "rank": 8}, "learning_rate": 0.01, "epochs": 2, "batch_size": 16}


@pytest.fixture(scope="module")
def split_project(tmp_path_factory: pytest.TempPathFactory, learner_base: Path) -> Path:
    """A toy project whose rows are split already."""
    file = write_toy(tmp_path_factory.mktemp("split") / "toy", learner_base, train=TRAIN)
    workspace = Workspace.open(file)
    workspace.store.build(workspace.graph.split, workspace.project.execution)
    return file.parent


@pytest.fixture
def project(tmp_path: Path, split_project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it as the current folder, and a key in the environment."""
    shutil.copytree(split_project, tmp_path / "toy")
    monkeypatch.chdir(tmp_path / "toy")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    return tmp_path / "toy"


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(Server()) as state:
        yield state


def train(server: Server, said: list[Event] | None = None, stop: Any = None, overrides: tuple[str, ...] = ()) -> Built[RemoteModel]:
    """The verb without its terminal. `stop`: called at each look for a Ctrl-C."""
    events = said if said is not None else []
    workspace = Workspace.open(Path("luthier.yaml"), overrides)
    return train_on(workspace, RemoteOptions(server.url, "toy-base", poll_s=0.01), RunOptions(events.append, stop or (lambda: False)))


def adapter(rank: int = 2) -> dict[str, bytes]:
    """The two files of a PEFT adapter."""
    weights = {"base_model.model.layer.lora_A.weight": np.ones((rank, 4), np.float32)}
    return {"adapter_config.json": json.dumps({"peft_type": "LORA", "r": rank}).encode(), "adapter_model.safetensors": save(weights)}


def everything_below(folder: Path) -> bytes:
    return b"".join(p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file())


def test_the_rows_are_sent_the_job_is_followed_and_the_result_comes_back(project: Path, server: Server) -> None:
    server.results |= adapter()
    said: list[Event] = []
    built = train(server, said)
    result = built.result
    assert (result.model, result.job, result.trained_tokens) == (server.model_name, "ftjob-0001", 1234)
    assert result.rows == {"train": 60, "validation": 18}
    assert (built.path / "results" / result.results[0]).read_bytes() == server.results["step_metrics.csv"]
    assert (built.path / "adapter" / "adapter_model.safetensors").read_bytes() == server.results["adapter_model.safetensors"]
    assert result.adapter_sha256 is not None
    assert not (built.path / "scratch").exists()
    job = server.jobs["ftjob-0001"]
    assert (job["hyperparameters"]["n_epochs"], job["hyperparameters"]["batch_size"]) == (2, 16)
    recipe = json.loads("".join(v for k, v in sorted(job["metadata"].items()) if k.startswith("luthier_train_")))
    assert recipe["method"]["rank"] == 8
    assert recipe["learning_rate"] == 0.01
    losses = [(e.step, e.value) for e in said if isinstance(e, Metric) and e.name == "loss"]
    assert losses == [(1, 2.0), (2, 1.0)]
    notes = " ".join(e.text for e in said if isinstance(e, Note))
    assert "sending 60 train rows and 18 validation rows" in notes
    assert "Created fine-tuning job" in notes


def test_only_training_and_validation_rows_leave_the_machine(project: Path, server: Server) -> None:
    from luthier.core.records import read_records

    train(server)
    sent = {f["filename"]: server.contents[f["id"]].decode() for f in server.files.values() if f["purpose"] == "fine-tune"}
    assert len(sent) == 2
    split = next((project / ".luthier" / "artifacts").glob("split-*"))
    text_of = {
        name: {m.content for r in read_records(split / f"{name}.jsonl") for m in r.messages if m.role == "user"}  # type: ignore[union-attr]
        for name in ("train", "test")
    }
    whole = "".join(sent.values())
    assert all(json.dumps(t) in whole for t in text_of["train"])
    assert not any(json.dumps(t) in whole for t in text_of["test"])
    first = json.loads(next(t for n, t in sent.items() if "train" in n).splitlines()[0])
    assert [m["role"] for m in first["messages"]] == ["system", "user", "assistant"]


def test_a_second_run_finds_the_artifact_and_asks_nobody(project: Path, server: Server) -> None:
    one = train(server)
    before = len(server.requests)
    two = train(server)
    assert (two.cached, two.key, len(server.requests)) == (True, one.key, before)
    other = train(server, overrides=("train.epochs=3",))
    assert other.key != one.key
    assert server.posts(JOBS) == 2


def test_the_key_is_sent_and_kept_nowhere(project: Path, server: Server) -> None:
    said: list[Event] = []
    train(server, said)
    assert set(server.keys) == {f"Bearer {KEY}"}
    assert KEY.encode() not in everything_below(project)
    assert KEY not in repr(said)


def test_the_verb_prints_one_document(project: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_client.Client, "pause", lambda self, seconds: time.sleep(0.005))
    done = CliRunner().invoke(app, ["train", "--on", server.url, "--remote-model", "toy-base", "--json"])
    assert done.exit_code == 0, done.stderr
    document = json.loads(done.stdout)
    assert (document["kind"], document["remote"]["model"]) == ("train_remote", server.model_name)
    assert server.model_name in done.stderr
    assert "no adapter was given" in done.stderr
    shown = CliRunner().invoke(app, ["show", "artifacts"])
    assert "remotetrain" in shown.stdout + shown.stderr


def test_ctrl_c_leaves_the_job_running_and_a_rerun_attaches(project: Path, server: Server) -> None:
    with pytest.raises(Interrupted, match=r"ftjob-0001 goes on at 127\.0\.0\.1"):
        train(server, stop=lambda: server.posts(JOBS) > 0)
    assert server.jobs["ftjob-0001"]["status"] != "cancelled"
    built = train(server)
    assert (built.result.job, server.posts(JOBS), server.posts(FILES)) == ("ftjob-0001", 1, 2)


@pytest.mark.parametrize("moment", ["after the first file", "after the job"])
def test_a_killed_run_never_submits_twice(project: Path, server: Server, moment: str) -> None:
    server.stays_at = "running"
    command = [sys.executable, "-m", "luthier", "train", "--on", server.url, "--remote-model", "toy-base"]
    run = subprocess.Popen(command, env={**os.environ, **ENV}, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 60
    while time.monotonic() < until and not (server.posts(FILES) if moment == "after the first file" else server.posts(JOBS)):
        time.sleep(0.005)
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    server.stays_at = None
    built = train(server)
    assert built.result.job == "ftjob-0001"
    assert (server.posts(JOBS), server.posts(FILES)) == (1, 2)


def test_a_job_whose_answer_was_lost_is_found_not_repeated(project: Path, server: Server) -> None:
    server.cut_after_create = 1
    assert train(server).result.job == "ftjob-0001"
    assert server.posts(JOBS) == 1


@pytest.mark.parametrize("filters", [True, False])
def test_another_machine_attaches_to_the_same_job(project: Path, server: Server, filters: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The state on disk is gone; the server still has the job under the stage's key, whether or not it filters by metadata."""
    server.filters = filters
    for n in range(4):
        server.jobs[f"ftjob-x{n}"] = {"id": f"ftjob-x{n}", "metadata": {"luthier_key": "other"}, "status": "running"}
    first = train(server)
    monkeypatch.setenv("LUTHIER_HOME", str(project / "elsewhere"))
    second = train(server)
    assert (second.result.job, second.key, server.posts(JOBS)) == (first.result.job, first.key, 1)


def test_a_busy_server_and_a_restart_are_waited_for(project: Path, server: Server) -> None:
    server.busy = 3
    assert train(server).result.model == server.model_name


def test_a_server_that_is_gone_leaves_the_job_to_come_back_to(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_client, "TRIES", 2)
    state = Server(stays_at="running")
    with serving(state), pytest.raises(Interrupted):
        train(state, stop=lambda: state.posts(JOBS) > 0)
    with pytest.raises(MachineError, match=r"cannot be reached.*ftjob-0001 goes on at .* run the same command again"):
        train(state)
    calls = iter([False] * 3)
    with pytest.raises(Interrupted, match="goes on"):
        train(state, stop=lambda: next(calls, True))
    state.stays_at = None
    with serving(state):
        assert train(state).result.job == "ftjob-0001"
    assert state.posts(JOBS) == 1


def test_a_job_that_the_server_forgot_is_submitted_again_aloud(project: Path, server: Server) -> None:
    with pytest.raises(Interrupted):
        train(server, stop=lambda: server.posts(JOBS) > 0)
    del server.jobs["ftjob-0001"]
    server.jobs["ftjob-other"] = {"id": "ftjob-other", "metadata": None, "status": "running"}
    said: list[Event] = []
    assert train(server, said).result.job == "ftjob-0002"
    assert any("no longer knows the job ftjob-0001" in e.text for e in said if isinstance(e, Note))


def test_a_failed_job_is_said_and_the_next_run_submits_anew(project: Path, server: Server) -> None:
    server.fails_with = {"message": "out\x1b[31m of memory\n"}
    with pytest.raises(AnswerIsNo, match=r"ftjob-0001 failed at 127.*: out \[31m of memory; run the same command again"):
        train(server)
    server.fails_with = None
    assert train(server).result.job == "ftjob-0002"
    assert server.posts(FILES) == 2


@pytest.mark.parametrize(
    ("results", "message"),
    [
        ({"adapter_model.safetensors": adapter()["adapter_model.safetensors"]}, "without its adapter_config.json"),
        (adapter() | {"adapter_model.safetensors": (1 << 60).to_bytes(8, "little") + b"{}"}, "cannot be used"),
        (adapter() | {"adapter_model.safetensors": save({"a": np.full((2, 2), np.nan, np.float32)})}, "cannot be used"),
        (adapter() | {"adapter_config.json": b"[]"}, "names no method"),
    ],
)
def test_a_broken_adapter_is_refused(project: Path, server: Server, results: dict[str, bytes], message: str) -> None:
    server.results = results
    with pytest.raises(MachineError, match=message):
        train(server)
    assert not list((project / ".luthier" / "artifacts").glob("remotetrain-*"))
    server.jobs["ftjob-0001"]["result_files"] = [server.add_file(n, c, "fine-tune-results")["id"] for n, c in adapter().items()]
    assert train(server).result.adapter_sha256


def test_pickles_and_paths_in_names_of_results_write_nothing(project: Path, server: Server) -> None:
    server.results = {"../../../evil.csv": b"a\n1\n", "adapter_model.bin": b"\x80\x04.", "run.py": b"x"}
    said: list[Event] = []
    built = train(server, said)
    assert [p.name for p in (built.path / "results").iterdir()] == list(built.result.results) == ["file-0003.csv"]
    assert not list(project.parent.rglob("evil.csv"))
    left = [e.text for e in said if isinstance(e, Note) and "was left at" in e.text]
    assert [t.split()[3] for t in left] == ["adapter_model.bin", "run.py"]


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("ftp://host/v1", "a base address"),
        ("api.example.com/v1", "a base address"),
        ("https://", "a base address"),
        ("https://host:99999/v1", "a base address"),
        ("http://api.example.com/v1", "plain http is for this machine only"),
        ("http://10.0.0.5:8000/v1", "plain http is for this machine only"),
        ("http://127.0.0.1.example.com/v1", "plain http is for this machine only"),
        ("https://me:secret@host/v1", "must not hold a user or a password"),
        ("https://host/v1?key=1", "must end with its path"),
        ("https://host/v1#x", "must end with its path"),
    ],
)
def test_addresses_that_are_not_allowed(url: str, message: str, project: Path) -> None:
    with pytest.raises(UserError, match=message):
        check_url(url, "--on", "--key-env")
    done = CliRunner().invoke(app, ["train", "--on", url])
    assert done.exit_code == 2
    assert "Traceback" not in done.stderr
    assert "secret" not in done.stderr


def test_addresses_that_are_allowed() -> None:
    for url in (
        "https://api.example.com/v1",
        "https://10.0.0.5/v1",
        "http://localhost:8000/v1",
        "http://[::1]:8000/v1",
        "http://127.9.9.9/v1",
    ):
        assert check_url(url + "/", "--on", "--key-env") == url


@pytest.mark.parametrize("name", ["../../etc/passwd", "a/b", "", None, "a?b", "..", "x" * 300, 7])
def test_an_id_that_is_no_plain_one_never_reaches_a_path(name: Any) -> None:
    with pytest.raises(MachineError, match="without a plain id"):
        plain_id(name, "job")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("train.epochs=null", "train.steps=5"), "whole epochs"),
        (("train.epochs=1.5",), "1 to 50 whole epochs"),
        (("train.epochs=51",), "1 to 50 whole epochs"),
        (("train.batch_size=257",), "at most 256 rows a step"),
    ],
)
def test_what_the_api_cannot_say_is_refused_unsent(project: Path, server: Server, overrides: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        train(server, overrides=overrides)
    assert server.requests == []


def test_wrong_inputs_get_one_message(project: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    def verb(*args: str) -> str:
        done = CliRunner().invoke(app, ["train", "--on", server.url, *args])
        assert done.exit_code == 2, done.stderr
        assert "Traceback" not in done.stderr
        assert KEY not in done.stderr
        return done.stderr

    assert "Model no-such-base is not available" in verb("--remote-model", "no-such-base")
    monkeypatch.setenv("MY_KEY", "sk-wrong-key-123456")
    refused = verb("--key-env", "MY_KEY", "--remote-model", "toy-base")
    assert "must accept the key" in refused
    assert "sk-wrong" not in refused
    monkeypatch.setenv("MY_KEY", "two\nlines")
    assert "one line of printable ASCII" in verb("--key-env", "MY_KEY", "--remote-model", "toy-base")
    server.redirect_to = "http://169.254.169.254/latest"
    assert "a redirect would carry the key" in verb("--remote-model", "toy-base")
    server.redirect_to = None
    both = {"--profile": ("--profile",), "--nproc": ("--nproc", "2")}
    mixed = [(("--on", server.url, *args), f"{option} is of this machine") for option, args in both.items()]
    for args, message in [(("--remote-model", "x"), "belongs to --on"), *mixed]:
        done = CliRunner().invoke(app, ["train", *args])
        assert (done.exit_code, message in done.stderr) == (2, True), done.stderr
    monkeypatch.delenv("OPENAI_API_KEY")
    done = CliRunner().invoke(app, ["train", "--on", "https://api.example.com/v1"])
    assert (done.exit_code, "no OPENAI_API_KEY" in done.stderr) == (2, True)


def test_a_row_weight_is_refused(project: Path, server: Server) -> None:
    rows = (project / "rows.csv").read_text(encoding="utf-8").splitlines()
    (project / "rows.csv").write_text("\n".join([rows[0] + ",weight", *(r + ",2" for r in rows[1:])]) + "\n", encoding="utf-8")
    with pytest.raises(UserError, match="must have the weight 1"):
        train(server, overrides=("data.mapping.weight=weight",))
    assert server.posts(FILES) == 0
