"""What a finished remote job leaves: its result files, and its adapter where the server gives one.

One decision: a result file is taken by what the server calls it, from a short list of names and endings that cannot run
anything; an adapter's safetensors header and numbers are checked before it is kept.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from luthier.core.errors import LuthierError, MachineError
from luthier.core.events import Note
from luthier.core.files import remove_tree
from luthier.core.keys import file_sha256
from luthier.core.stage import Context

if TYPE_CHECKING:
    from luthier.stages.train.remote_client import Client

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
ADAPTER = (CONFIG, WEIGHTS)
_KEPT = (".csv", ".json", ".jsonl", ".txt")


@dataclass(frozen=True, slots=True)
class Found:
    """names: the files in `results/`; adapter_sha256: of the weights in `adapter/`, None when there is none."""

    names: tuple[str, ...]
    adapter_sha256: str | None


def fetch_result(client: Client, job: dict[str, Any], ctx: Context) -> Found:
    """Bring back every result file of a job that may be kept; each other one is named. Starts over after a kill."""
    results, adapter = ctx.dir / "results", ctx.dir / "adapter"
    remove_tree(results)
    remove_tree(adapter)
    listed = job.get("result_files")
    names: list[str] = []
    for entry in listed if isinstance(listed, list) else []:
        if ctx.stop_requested():
            ctx.stop("the job is done; its result is fetched again")
        about = client.file(str(entry))
        called = PurePosixPath(str(about.get("filename") or "").replace("\\", "/")).name
        if called in ADAPTER:
            adapter.mkdir(exist_ok=True)
            client.download(str(entry), adapter / called)
        elif PurePosixPath(called).suffix in _KEPT:
            results.mkdir(exist_ok=True)
            name = f"{entry}{PurePosixPath(called).suffix}"
            client.download(str(entry), results / name)
            names.append(name)
        else:
            ctx.observer(Note(f"the result file {client.clean(called) or entry} was left at {client.host}", "warning"))
    return Found(tuple(names), _check_adapter(ctx, client) if adapter.is_dir() else None)


def _check_adapter(ctx: Context, client: Client) -> str:
    """The sha256 of the adapter's weights. Raises MachineError for half an adapter, or one that is not what it says."""
    from luthier.engine.models.safety import non_finite, read_header

    folder = ctx.dir / "adapter"
    missing = [name for name in ADAPTER if not (folder / name).is_file()]
    if missing:
        raise MachineError(f"{client.host} gives an adapter without its {missing[0]}")
    try:
        faults = [f.reason for f in non_finite(folder / WEIGHTS, read_header(folder / WEIGHTS))]
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (LuthierError, ValueError) as err:
        raise MachineError(f"the adapter of {client.host} cannot be used: {client.clean(str(err))}") from None
    if not isinstance(config, dict) or not config.get("peft_type"):
        faults.append(f"{CONFIG} names no method (peft_type)")
    if faults:
        raise MachineError(f"the adapter of {client.host} cannot be used: {faults[0]}")
    return file_sha256(folder / WEIGHTS)
