"""luthier train --on URL: what the verb says and prints about a model that was tuned elsewhere."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, Any

import typer

from luthier.cli.process import emit, say

if TYPE_CHECKING:
    from luthier.pipeline.remote import RemoteOptions

On = Annotated[str | None, typer.Option("--on", help="Train on an OpenAI-compatible fine-tuning server: its base address.")]
RemoteModelName = Annotated[str | None, typer.Option("--remote-model", help="The base's name on that server; the project's by default.")]
KeyEnv = Annotated[str, typer.Option("--key-env", help="The environment variable that holds the server's API key.")]


def remote_options(on: str | None, remote_model: str | None, key_env: str, local: dict[str, bool]) -> RemoteOptions | None:
    """Where to train, None for here. local: options of this machine, and whether they are given. Raises UserError for both at once."""
    from luthier.core.errors import UserError
    from luthier.pipeline.remote import RemoteOptions

    if on is None:
        if remote_model is not None:
            raise UserError("--remote-model belongs to --on", remote_model, "--remote-model", "the local base is `base=NAME`")
        return None
    for option, given in local.items():
        if given:
            raise UserError(f"{option} is of this machine", "it with --on", option, "leave one of them out")
    return RemoteOptions(on, remote_model, key_env)


def show_remote(workspace: Any, where: RemoteOptions, wait: bool, json: bool) -> int:
    """Train there and say where the model is."""
    from luthier.cli.documents import RemoteTrainDocument
    from luthier.cli.run_verbs import watched
    from luthier.pipeline.remote import train_on

    built = watched(lambda options: train_on(workspace, where, options), wait)
    result = built.result
    if json:
        body = result.model_dump(mode="json")
        emit(RemoteTrainDocument(key=built.key, folder=str(built.path), cached=built.cached, remote=body))
    say(f"{result.model} at {result.url} (job {result.job})")
    say(f"adapter: {os.path.relpath(built.path / 'adapter')}" if result.adapter_sha256 else "no adapter was given: ask the server")
    return 0
