"""record.json: what an artifact is, where it came from, and the hash of each of its files.

One decision: a record is written last and hashes everything beside it and itself, so a folder with a record is
complete, and one byte changed anywhere is found on the next read.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import platform
import re
import resource
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import luthier
from luthier.core.errors import CorruptArtifact
from luthier.core.files import files_below, json_bytes, write_atomic

RECORD = "record.json"
SCRATCH = "scratch"
SELF, _UNSET = "record_sha256", "0" * 64
_SHA256 = re.compile(r"[0-9a-f]{64}")
WATTS_PER_CORE = 10.0
_PACKAGES = ("torch", "transformers", "peft", "tokenizers", "safetensors", "numpy", "scipy", "pydantic")


@functools.cache
def provenance() -> dict[str, Any]:
    """Machine, interpreter, packages and the project's git revision, as far as they can be told."""
    packages = {}
    for name in _PACKAGES:
        try:
            packages[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            packages[name] = "not installed"
    return {
        "luthier": luthier.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "packages": packages,
        "git": _git_revision(),
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def _git_revision() -> str:
    try:
        done = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, timeout=5, check=False)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return "unknown"
    return done.stdout.strip() or "not a repository"


def process_cost() -> dict[str, float]:
    """So far: peak resident memory of this process (MB), CPU seconds with those of ended processes that it started, and
    energy in Wh at WATTS_PER_CORE (an estimate)."""
    own, started = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = own.ru_utime + own.ru_stime + started.ru_utime + started.ru_stime
    return {
        "peak_memory_mb": round(own.ru_maxrss / 1024, 1),
        "cpu_seconds": round(cpu_s, 1),
        "energy_wh_estimate": round(cpu_s * WATTS_PER_CORE / 3600, 3),
    }


def hash_files(folder: Path) -> dict[str, str]:
    """sha256 of every file below `folder` except the record and the scratch folder, by relative path."""
    out = {}
    for path in files_below(folder):
        relative = path.relative_to(folder)
        if relative.parts[0] != SCRATCH and relative.parts != (RECORD,):
            with path.open("rb") as f:
                out[relative.as_posix()] = hashlib.file_digest(f, "sha256").hexdigest()
    return out


def write_record(folder: Path, body: dict[str, Any]) -> None:
    """Complete `body` with file hashes, time and provenance, and write it durably."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    record = {"record": 1, **body, "finished": stamp, "provenance": provenance(), "files": hash_files(folder), SELF: _UNSET}
    text = json_bytes(record)
    write_atomic(folder / RECORD, text.replace(_UNSET.encode(), hashlib.sha256(text).hexdigest().encode()))


def read_record(folder: Path) -> dict[str, Any]:
    """The record of a finished artifact. Raises CorruptArtifact when it is missing, not JSON, or not as it was written."""
    try:
        text = (folder / RECORD).read_bytes()
        record = json.loads(text)
    except FileNotFoundError:
        raise CorruptArtifact(_damage(folder, f"{RECORD} is missing")) from None
    except ValueError:
        raise CorruptArtifact(_damage(folder, f"{RECORD} is not valid JSON")) from None
    own = str(record.get(SELF)) if isinstance(record, dict) else ""
    if not _SHA256.fullmatch(own) or own != hashlib.sha256(text.replace(own.encode(), _UNSET.encode())).hexdigest():
        raise CorruptArtifact(_damage(folder, f"{RECORD} differs from its own sha256"))
    return record


def verify(folder: Path) -> dict[str, Any]:
    """Check every file against the record and return the record. Raises CorruptArtifact naming the file."""
    record = read_record(folder)
    found, wanted = hash_files(folder), record.get("files", {})
    for name in sorted(set(found) | set(wanted)):
        if name not in found:
            raise CorruptArtifact(_damage(folder, f"{name} is missing"))
        if name not in wanted:
            raise CorruptArtifact(_damage(folder, f"{name} is not in the record"))
        if found[name] != wanted[name]:
            raise CorruptArtifact(_damage(folder, f"{name} differs from its recorded sha256"))
    return record


def _damage(folder: Path, fault: str) -> str:
    return f"the artifact {folder} is damaged: {fault}; delete that folder and run the same command again to rebuild it"
