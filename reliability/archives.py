"""The trial of `hostile-archives`: each one must be refused with one message, at once, and nothing may be written but below the target.

One decision: two witnesses look on: every file around the target is compared before and after, and Python's own audit hook notes
each path that is opened for writing, made, linked or renamed.
"""

from __future__ import annotations

import hashlib
import os
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from hostile_archives import FAMILIES

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_PATHS = {"os.mkdir": (0,), "os.symlink": (0, 1), "os.link": (0, 1), "os.rename": (0, 1), "os.remove": (0,), "os.truncate": (0,)}


class Witness:
    """Notes every path that this process writes to while it is told to look."""

    def __init__(self) -> None:
        self.looking = False
        self.paths: list[str] = []
        sys.addaudithook(self._hook)

    def _hook(self, event: str, args: tuple[Any, ...]) -> None:
        if not self.looking:
            return
        if event == "open" and isinstance(args[2], int) and args[2] & _WRITES and not isinstance(args[0], int):
            self.paths.append(os.fsdecode(args[0]))
        elif event in _PATHS:
            folders = [a for a in args[1:] if isinstance(a, int) and a > 2] if event == "os.remove" else []
            base = f"/proc/self/fd/{folders[0]}" if folders else "."
            self.paths += [str(Path(os.path.realpath(base), os.fsdecode(args[i]))) for i in _PATHS[event]]


def hostile_archives(times: int, seed: int, max_seconds: float = 1.0) -> dict[str, Any]:
    """`times` archives, the families in turn; a failure is one that was kept, wrote elsewhere, took long, or ended in another error."""
    rng, failures, said, slowest, slowest_cpu = random.Random(seed), [], Counter[str](), 0.0, 0.0
    witness = Witness()
    names = list(FAMILIES)
    families: Counter[str] = Counter()
    for trial in range(times):
        family = names[trial % len(names)]
        families[family] += 1
        with tempfile.TemporaryDirectory(prefix="luthier-hostile-") as folder:
            found = _one(Path(folder).resolve(), family, rng, witness)
        slowest = max(slowest, found.pop("seconds"))
        said[found.pop("words")] += 1
        cpu = found.pop("cpu_seconds")
        slowest_cpu = max(slowest_cpu, cpu)
        if cpu > max_seconds:
            found["slow"] = True
        if found:
            failures.append({"trial": trial, "family": family, **found})
    return {
        "trials": times,
        "families": dict(families),
        "slowest_seconds": round(slowest, 3),
        "slowest_cpu_seconds": round(slowest_cpu, 3),
        "refusals": dict(said.most_common()),
        "failures": failures,
    }


def _one(root: Path, family: str, rng: random.Random, witness: Witness) -> dict[str, Any]:
    """One archive: what went wrong (nothing, when all is well), the refusal's first words, and how long it took."""
    from luthier.core.errors import UserError
    from luthier.parts.sources.unpack import unpack

    around, target = root / "around", root / "target"
    outside = around / "outside"
    outside.mkdir(parents=True)
    (outside / "secret.txt").write_text("as it was")
    archive = around / "rows.zip"
    FAMILIES[family](archive, rng, outside)
    before = _state(around)
    found: dict[str, Any] = {}
    words, witness.paths, witness.looking = "", [], True
    began, cpu = time.monotonic(), time.process_time()
    try:
        unpack(archive, target)
        found["kept"] = sorted(str(p.relative_to(target)) for p in target.rglob("*"))
    except UserError as err:
        words = str(err).partition(", got")[0]
    except Exception as err:  # noqa: BLE001 - what this trial is looking for
        found["error"] = f"{type(err).__name__}: {err}"[:300]
    finally:
        witness.looking = False
    found |= {"seconds": time.monotonic() - began, "cpu_seconds": time.process_time() - cpu, "words": words}
    elsewhere = [p for p in witness.paths if not Path(os.path.abspath(p)).is_relative_to(target)]
    if elsewhere:
        found["wrote"] = elsewhere[:5]
    if _state(around) != before or sorted(p.name for p in root.iterdir()) not in (["around"], ["around", "target"]):
        found["changed"] = "a file outside the target"
    if "kept" not in found and target.exists():
        found["left"] = sorted(str(p) for p in target.rglob("*"))[:5]
    return found


def _state(folder: Path) -> list[tuple[str, int, str]]:
    def seen(path: Path) -> str:
        return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() and not path.is_symlink() else "-"

    return sorted((str(p), p.lstat().st_mode, seen(p)) for p in folder.rglob("*"))
