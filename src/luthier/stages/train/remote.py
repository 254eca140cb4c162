"""RemoteTrain: the rows of a project trained by an OpenAI-compatible fine-tuning server, and the result brought back.

One decision: what was sent and submitted is written down before and after each step, and the server is asked for a job with
this stage's key before one is submitted; so a killed or repeated run attaches to its job and never pays for two.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from luthier.core.artifacts import Dataset, RemoteModel
from luthier.core.config import Config
from luthier.core.endpoint import check_url, read_key
from luthier.core.errors import AnswerIsNo, MachineError, UserError
from luthier.core.events import Metric, Note, Progress
from luthier.core.files import write_json
from luthier.core.keys import fields_of, file_sha256
from luthier.core.rows import read_split
from luthier.core.stage import Context, Stage
from luthier.stages.train.recipe import Recipe
from luthier.stages.train.remote_client import Client, Refused, Unreachable, plain_id
from luthier.stages.train.remote_result import fetch_result
from luthier.stages.train.remote_rows import write_rows

STATE = "scratch/remote.json"
KEY = "luthier_key"
RECIPE = "luthier_train"
"""Metadata of the job: the stage's key, and the settings of `train` that are not at their defaults, as compact JSON in pieces."""
_PIECE, _PIECES = 512, 12
_ENDED = ("succeeded", "failed", "cancelled")
LONGEST_POLL_S = 15.0
_METRICS = {"train_loss": ("train", "loss"), "valid_loss": ("validation", "loss"), "full_valid_loss": ("validation", "full_loss"),
            "train_mean_token_accuracy": ("train", "token_accuracy"), "valid_mean_token_accuracy": ("validation", "token_accuracy"),
            "full_valid_mean_token_accuracy": ("validation", "full_token_accuracy")}  # fmt: skip
_STEP_OF = re.compile(r"^Step (\d+)/(\d+)\b")


class Where(Config):
    """The server, how its key is named, and the name of the base there. The key itself is never stored."""

    url: str
    model: str = Field(min_length=1, max_length=200)
    key_env: str = "OPENAI_API_KEY"
    poll_s: float = Field(default=1.0, gt=0)

    @field_validator("url")
    @classmethod
    def _allowed(cls, value: str) -> str:
        return check_url(value, "--on", "--key-env")


class RemoteTrain(Stage[RemoteModel]):
    """One job on another machine. Only training and validation rows leave this one; sealed test rows never do."""

    dataset: Stage[Dataset]
    where: Where
    name: str
    recipe: Recipe
    last_only: bool = False

    def identity(self) -> dict[str, Any]:
        """Everything but the name of the key's variable and the pace of asking."""
        return {**fields_of(self), "where": {"url": self.where.url, "model": self.where.model}}

    def build(self, ctx: Context) -> RemoteModel:
        """Leaves `adapter/` when the server gives one, the other result files in `results/`, and `metrics.jsonl`."""
        hyperparameters(self.recipe)
        key = read_key(self.where.key_env, self.where.url, "--key-env")
        with Client(self.where.url, key, ctx.stop_requested, self.where.poll_s) as client:
            try:
                return _Run(self, ctx, client).go()
            except Refused as err:
                raise UserError(
                    f"the server must accept what it is sent: {err.words}", f"{err.status} {err.code}".strip(), client.host
                ) from None


def hyperparameters(recipe: Recipe) -> dict[str, int]:
    """What the API has a place for. Raises UserError for a length or a batch that it cannot say."""
    fix = "for example `luthier train --on URL train.steps=null train.epochs=2`"
    if recipe.steps is not None:
        raise UserError("a remote job's length is in whole epochs", f"train.steps={recipe.steps}", "train.steps", fix)
    epochs = 1.0 if recipe.epochs is None else recipe.epochs
    if epochs != int(epochs) or not 1 <= epochs <= 50:
        raise UserError("a remote job takes 1 to 50 whole epochs", f"{epochs:g}", "train.epochs", fix)
    if recipe.batch_size > 256:
        raise UserError("a remote job takes at most 256 rows a step", recipe.batch_size, "train.batch_size")
    return {"n_epochs": int(epochs), "batch_size": recipe.batch_size}


class _Run:
    """One build: its state on disk, and the steps from rows to result."""

    def __init__(self, stage: RemoteTrain, ctx: Context, client: Client) -> None:
        self.stage, self.ctx, self.client, self.key = stage, ctx, client, stage.key()
        path = ctx.dir / STATE
        self.state: dict[str, Any] = {"files": {}, "job": None, "attempt": 0, "seen": []}
        if path.exists():
            self.state |= json.loads(path.read_text(encoding="utf-8"))
        self.rows: dict[str, int] = {}
        self.sent: dict[str, str] = {}
        self.total_steps = 0

    def go(self) -> RemoteModel:
        paths = self.write()
        self.forget_lost()
        if self.state["job"] is None:
            self.submit(paths)
        job = self.follow()
        model = job.get("fine_tuned_model")
        if not isinstance(model, str) or not model:
            raise MachineError(f"{self.client.host} calls the job {self.state['job']} done and names no model")
        found = fetch_result(self.client, job, self.ctx)
        self.note(f"model {self.client.clean(model)} at {self.client.host}" + (", its adapter is here" if found.adapter_sha256 else ""))
        tokens = job.get("trained_tokens")
        return RemoteModel(
            url=self.stage.where.url,
            base=self.stage.where.model,
            model=self.client.clean(model),
            job=str(self.state["job"]),
            trained_tokens=tokens if isinstance(tokens, int) else None,
            hyperparameters=_plain(job.get("hyperparameters")),
            sent=self.sent,
            rows=self.rows,
            results=found.names,
            adapter_sha256=found.adapter_sha256,
        )

    def write(self) -> dict[str, Path]:
        """The rows as files to send, by split."""
        dataset = self.ctx.get(self.stage.dataset)
        if dataset.result.kind != "example":
            raise UserError("a remote job needs rows with a prompt and an answer", f"rows of kind {dataset.result.kind}", "data")
        paths = {}
        for split in ("train", "validation"):
            if split == "train" or dataset.result.counts.get(split):
                paths[split] = self.ctx.dir / "scratch" / f"{split}.jsonl"
                self.rows[split] = write_rows(paths[split], read_split(dataset, split), self.stage.last_only)
                self.sent[split] = file_sha256(paths[split])
        return paths

    def forget_lost(self) -> None:
        """Drop a remembered job that the server no longer knows, aloud."""
        try:
            if self.state["job"] is not None:
                self.client.job(self.state["job"])
        except Refused as err:
            if err.status != 404:
                raise
            self.note(f"{self.client.host} no longer knows the job {self.state['job']}", "warning")
            self.state |= {"job": None, "seen": []}
        except Unreachable:
            return  # `follow` says what goes on

    def submit(self, paths: dict[str, Path]) -> None:
        """Attach to the job of this key when the server has one that has not failed; otherwise send the rows and submit."""
        found = self.find()
        if found is None:
            self.ask_to_stop("nothing was submitted")
            rows = " and ".join(f"{n:,} {split} rows" for split, n in self.rows.items())
            self.note(f"sending {rows} to {self.client.host}; test rows stay here")
            ids = {split: self.send(split, path) for split, path in paths.items()}
            self.ask_to_stop("nothing was submitted")
            self.state["attempt"] += 1
            self.save()
            found = self.create(ids)
        self.state |= {"job": plain_id(found.get("id"), "job"), "seen": []}
        self.save()
        self.note(f"job {self.state['job']} at {self.client.host}")

    def find(self) -> dict[str, Any] | None:
        """The newest job with this stage's key that runs or has succeeded."""
        alive = (job for job in self.client.jobs({KEY: self.key}) if job.get("status") not in ("failed", "cancelled"))
        return next(alive, None)

    def send(self, split: str, path: Path) -> str:
        """The id of the file on the server; what a killed run sent is used again."""
        name = f"luthier-{self.key[:12]}-{split}.jsonl"
        known = self.client.find_file(name, path.stat().st_size)
        return known or self.client.upload(path, name)

    def create(self, ids: dict[str, str]) -> dict[str, Any]:
        """Submit. When no answer comes the job may exist all the same: look for it, then try once more."""
        body: dict[str, Any] = {
            "model": self.stage.where.model,
            "training_file": ids["train"],
            "method": {"type": "supervised", "supervised": {"hyperparameters": hyperparameters(self.stage.recipe)}},
            "suffix": re.sub(r"[^A-Za-z0-9-]+", "-", self.stage.name)[:64].strip("-") or "luthier",
            "seed": self.stage.recipe.seed,
            "metadata": {KEY: self.key, **recipe_pieces(self.stage.recipe)},
        }
        if "validation" in ids:
            body["validation_file"] = ids["validation"]
        token = f"{self.key}-{self.state['attempt']}"
        try:
            return self.client.create(body, token)
        except (Unreachable, Refused) as err:
            if isinstance(err, Refused) and err.status < 500:
                raise
        self.client.pause(self.stage.where.poll_s)
        return self.find() or self.client.create(body, token)

    def follow(self) -> dict[str, Any]:
        """Ask until the job has ended; events become metrics, progress and notes. The job as it ended."""
        wait_s = self.stage.where.poll_s
        going_on = f"the job {self.state['job']} goes on at {self.client.host}"
        while True:
            try:
                job = self.client.job(self.state["job"])
                moved = self.tell(job)
            except Unreachable as err:
                self.ask_to_stop(going_on)
                raise MachineError(f"{err}; as far as is known {going_on}: run the same command again to attach to it") from None
            if job.get("status") in _ENDED:
                return self.ended(job)
            self.ask_to_stop(going_on)
            wait_s = self.stage.where.poll_s if moved else min(LONGEST_POLL_S, wait_s * 1.5)
            self.client.pause(wait_s)

    def tell(self, job: dict[str, Any]) -> bool:
        """Pass on what is new; True when something was."""
        seen = set(self.state["seen"])
        new = self.client.events(self.state["job"], seen.__contains__)
        for event in new:
            self.pass_on(event)
        self.state["seen"] = [*self.state["seen"], *(str(e.get("id")) for e in new)][-2000:]
        if new:
            self.save()
        if not self.total_steps:
            self.ctx.observer(Progress("remotetrain", 0, 1, self.client.clean(str(job.get("status")))))
        return bool(new)

    def pass_on(self, event: dict[str, Any]) -> None:
        """One event: its figures as metrics, its step as progress, its words as a note."""
        data, words = event.get("data"), self.client.clean(str(event.get("message") or ""))
        figures = data if isinstance(data, dict) else {}
        step, total = figures.get("step"), figures.get("total_steps")
        found = _STEP_OF.match(words)
        if found:
            step, total = int(found[1]), int(found[2])
        if isinstance(step, int):
            for name, (split, ours) in _METRICS.items():
                if isinstance(figures.get(name), (int, float)):
                    self.ctx.observer(Metric(step, split, ours, float(figures[name])))
        if isinstance(step, int) and isinstance(total, int) and total > 0:
            self.total_steps = total
            self.ctx.observer(Progress("remotetrain", step, total, "steps"))
        elif event.get("type") != "metrics" and words:
            self.note(words, "warning" if event.get("level") in ("warn", "error") else "info")

    def ended(self, job: dict[str, Any]) -> dict[str, Any]:
        """The job when it succeeded. A job that failed is forgotten, so that the next run submits anew."""
        if job["status"] == "succeeded":
            return job
        name = self.state["job"]
        self.state |= {"job": None, "seen": []}
        self.save()
        error = job.get("error")
        why = self.client.clean(str(error.get("message") or error.get("code") or "")) if isinstance(error, dict) else ""
        reason = f": {why}" if why else ""
        raise AnswerIsNo(
            f"the job {name} {_words(job['status'])} at {self.client.host}{reason}; run the same command again to submit a new one"
        )

    def ask_to_stop(self, done: str) -> None:
        if self.ctx.stop_requested():
            self.ctx.stop(done)

    def note(self, text: str, level: str = "info") -> None:
        self.ctx.observer(Note(text, level))

    def save(self) -> None:
        write_json(self.ctx.dir / STATE, self.state)


def recipe_pieces(recipe: Recipe) -> dict[str, str]:
    """The settings of `train` that are not at their defaults as metadata of the job. Raises UserError when they do not fit."""
    text = json.dumps(recipe.model_dump(mode="json", exclude_defaults=True), separators=(",", ":"), sort_keys=True)
    pieces = [text[i : i + _PIECE] for i in range(0, len(text), _PIECE)]
    if len(pieces) > _PIECES:
        raise UserError(f"the settings of `train` must fit {_PIECE * _PIECES:,} characters of metadata", len(text), "train")
    return {f"{RECIPE}_{n}": piece for n, piece in enumerate(pieces, 1)} if text != "{}" else {}


def _words(status: str) -> str:
    return "was cancelled" if status == "cancelled" else "failed"


def _plain(value: Any) -> dict[str, Any]:
    """Hyperparameters as the server reports them: numbers and short words only."""
    items = value.items() if isinstance(value, dict) else ()
    return {str(k)[:64]: v if isinstance(v, (int, float)) else str(v)[:64] for k, v in items if v is not None}
