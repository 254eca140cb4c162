"""Models of the Hugging Face hub: the local hub cache first, then a download of safetensors and JSON files only.

One decision: an id is looked up on this machine before the network is tried, and nothing is downloaded when
`HF_HUB_OFFLINE` is set or the caller says so.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from luthier.core.errors import MachineError, UserError
from luthier.engine.models.gguf_weights import Progress

_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(@[\w./-]+)?")
_WANTED = ["*.safetensors", "*.json", "*.jinja", "README.md", "tokenizer.model", "*.txt"]
_UNWANTED = ["*.py", "*/*", "*.bin", "*.pt", "*.pth"]


def is_hub_id(name: str) -> bool:
    """True for `owner/model`, with an optional `@revision`."""
    return _ID.fullmatch(name) is not None and ".." not in name


def offline() -> bool:
    """True when HF_HUB_OFFLINE is set to anything but 0, no or false."""
    return os.environ.get("HF_HUB_OFFLINE", "").lower() not in ("", "0", "no", "false")


def hub_folder(name: str, *, allow_network: bool, progress: Progress) -> Path:
    """The local folder of a hub model (`owner/model[@revision]`), downloaded when it is not there and may be.

    Raises UserError when it is not on this machine and may not be fetched, or does not exist; MachineError when the
    hub cannot be reached.
    """
    repo, _, revision = name.partition("@")
    local = _snapshot(repo, revision or None, local_only=True)
    if local is not None and (local / "config.json").is_file():
        return local
    if offline() or not allow_network:
        why = "HF_HUB_OFFLINE is set" if offline() else "the network may not be used here"
        fix = "unset HF_HUB_OFFLINE to download it, or name a local folder, a .gguf file or an embedded model (`luthier models list`)"
        raise UserError(f"the model must be on this machine, because {why}", f"{name} (not in the local hub cache)", fix=fix)
    progress("downloading", 0, 1)
    found = _snapshot(repo, revision or None, local_only=False)
    progress("downloading", 1, 1)
    if found is None:
        raise UserError("the hub must have the model's config.json", name)
    return found


def _snapshot(repo: str, revision: str | None, *, local_only: bool) -> Path | None:
    """The snapshot folder; None when it is looked for on this machine only and is not there."""
    try:
        import huggingface_hub
        from huggingface_hub import errors
    except ImportError:
        raise MachineError("huggingface_hub is needed for a hub model; install luthier[train]") from None
    try:
        path = huggingface_hub.snapshot_download(
            repo, revision=revision, allow_patterns=_WANTED, ignore_patterns=_UNWANTED, local_files_only=local_only
        )
    except errors.LocalEntryNotFoundError as err:
        if local_only:
            return None
        raise MachineError(f"the hub could not be reached for {repo}: {str(err.__cause__ or err).splitlines()[0][:200]}") from None
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as err:
        fix = "check the spelling; a private or gated model needs `hf auth login`"
        raise UserError("the hub must have the model", f"{repo}@{revision or 'main'} ({type(err).__name__})", fix=fix) from None
    except errors.HFValidationError as err:
        raise UserError("a hub id must be `owner/model`", repo, fix=str(err)[:160]) from None
    except (errors.HfHubHTTPError, errors.OfflineModeIsEnabled, OSError) as err:
        raise MachineError(f"the hub could not be reached for {repo}: {str(err).splitlines()[0][:200]}") from None
    return Path(path)
