"""luthier train --on URL: the same project trained by an OpenAI-compatible fine-tuning server, as a stage like any other.

One decision: only what the API has a place for is sent as hyperparameters (epochs, batch, seed); the rest of `train` goes along as
metadata, which a server may read, and the person is told so before anything leaves the machine.
"""

from __future__ import annotations

from dataclasses import dataclass

from luthier.core.artifacts import RemoteModel
from luthier.core.config import parse_config
from luthier.core.endpoint import read_key
from luthier.core.events import Note
from luthier.core.stage import Built
from luthier.pipeline.run import RunOptions
from luthier.pipeline.workspace import Workspace
from luthier.stages.train.remote import RemoteTrain, Where, hyperparameters, recipe_pieces


@dataclass(frozen=True, slots=True)
class RemoteOptions:
    """Where to train. model: the base's name there, the project's own when None; key_env: the variable that holds the API key.

    poll_s: seconds between two looks at a job that moves; longer and longer, up to 15 s, while it does not.
    """

    url: str
    model: str | None = None
    key_env: str = "OPENAI_API_KEY"
    poll_s: float = 1.0


def remote_stage(workspace: Workspace, where: RemoteOptions) -> RemoteTrain:
    """The stage of this project on that server. Raises UserError for an address, a length or a batch that is not allowed."""
    project = workspace.project
    settings = {"url": where.url, "model": where.model or project.base, "key_env": where.key_env, "poll_s": where.poll_s}
    place = parse_config(Where, settings, "--on")
    hyperparameters(project.train)
    recipe_pieces(project.train)
    last_only = project.prepare.train_on == "last"
    return RemoteTrain(dataset=workspace.graph.split, where=place, name=project.name, recipe=project.train, last_only=last_only)


def train_on(workspace: Workspace, where: RemoteOptions, options: RunOptions) -> Built[RemoteModel]:
    """Send, submit, follow, fetch; a rerun attaches to its job or finds the finished artifact. Raises LuthierError."""
    stage = remote_stage(workspace, where)
    if not workspace.store.is_built(stage):
        read_key(where.key_env, stage.where.url, "--key-env")
        said = "the server chooses method, learning rate, schedule and how long rows are treated; your settings go along as metadata"
        options.observer(Note(f"sent as hyperparameters: epochs and batch size; {said}", "warning"))
    return workspace.store.build(stage, workspace.project.execution, options.observer, options.stop_flag, options.wait)
