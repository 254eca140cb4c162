"""The machine: interpreter, processor, memory, disk, SQLite, libraries, models and arithmetic.

One decision: nothing is repaired here and nothing is guessed; a check that cannot be carried out says so.
"""

from __future__ import annotations

import importlib
import os
import platform
import shutil
import sys
import time
from importlib import metadata
from pathlib import Path

from luthier.pipeline.doctor.document import Check, Level

LIBRARIES = {"train": ("torch", "transformers", "peft", "safetensors", "tokenizers", "gguf"), "data": ("pyarrow", "zstandard", "ftfy")}
REPORT_LIBRARIES = ("altair", "vl_convert")
MIN_DISK_GB, MIN_MEMORY_GB = 4.0, 4.0


def examine(home: Path) -> tuple[Check, ...]:
    """Check interpreter, processor, memory, disk, SQLite, libraries, models and arithmetic. `home`: where `.luthier` is or will be."""
    checks = [_python(), _processor(), _memory(), _disk(home), _writable(home), _sqlite()]
    for extra, names in LIBRARIES.items():
        checks += [_library(name, extra) for name in names]
    checks += [_library(name, "report") for name in REPORT_LIBRARIES]
    checks += [_arithmetic(), _models()]
    return tuple(checks)


def _python() -> Check:
    ok = sys.version_info >= (3, 11)
    return Check(name="Python", level="ok" if ok else "failed", found=platform.python_version(), matters="3.11 or newer is needed")


def _processor() -> Check:
    cores = len(os.sched_getaffinity(0))
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    vector = next((f for f in ("avx512f", "avx2") if f in flags), "no AVX2 seen")
    level: Level = "ok" if cores >= 2 else "warning"
    return Check(
        name="processor", level=level, found=f"{cores} cores, {vector}", matters="training time scales with cores and vector width"
    )


def _memory() -> Check:
    available_gb = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    level: Level = "ok" if available_gb >= MIN_MEMORY_GB else "warning"
    return Check(
        name="free memory", level=level, found=f"{available_gb:.1f} GB", matters=f"the default model trains in about {MIN_MEMORY_GB:.0f} GB"
    )


def _disk(home: Path) -> Check:
    there = next(p for p in (home, *home.resolve().parents) if p.exists())
    free_gb = shutil.disk_usage(there).free / 2**30
    level: Level = "ok" if free_gb >= MIN_DISK_GB else "warning"
    return Check(
        name="free disk", level=level, found=f"{free_gb:.1f} GB at {there}", matters="models, checkpoints and artifacts are written here"
    )


def _writable(home: Path) -> Check:
    there = next(p for p in (home, *home.resolve().parents) if p.exists())
    ok = os.access(there, os.W_OK)
    return Check(
        name="write permission",
        level="ok" if ok else "failed",
        found=str(there),
        matters="everything is kept in .luthier beside the project file",
    )


def _sqlite() -> Check:
    import sqlite3

    from luthier.core.database import journal_mode

    found = f"{sqlite3.sqlite_version}, journal mode {journal_mode()}"
    return Check(name="SQLite", level="ok", found=found, matters="before 3.51.3 a WAL can be corrupted by two writers, so TRUNCATE is used")


def _library(name: str, extra: str) -> Check:
    package = {"vl_convert": "vl-convert-python"}.get(name, name)
    try:
        importlib.import_module(name)
        return Check(name=name, level="ok", found=metadata.version(package), matters=f"part of luthier[{extra}]")
    except ImportError as err:
        return Check(name=name, level="failed", found=str(err), matters=f"pip install 'luthier[{extra}]'")


def _arithmetic() -> Check:
    try:
        import torch
    except ImportError:
        return Check(name="matrix product", level="failed", found="torch is missing", matters="pip install 'luthier[train]'")
    a, b = torch.randn(1024, 576), torch.randn(1536, 576)
    best_s = 9e9
    for _ in range(8):
        start = time.perf_counter()
        torch.mm(a, b.T)
        best_s = min(best_s, time.perf_counter() - start)
    rate = 2 * 1024 * 576 * 1536 / best_s / 1e9
    error = float(((a[:64].double() @ b.T.double()) - (a[:64] @ b.T)).abs().max())
    level: Level = "ok" if error < 1e-3 else "failed"
    words = "training speed follows this rate; the error is against float64"
    return Check(
        name="matrix product",
        level=level,
        found=f"{rate:.0f} GFLOP/s on {torch.get_num_threads()} threads, error {error:.0e}",
        matters=words,
    )


def _models() -> Check:
    from luthier.engine.models.catalogue import list_models

    present = [m.name for m in list_models() if m.present]
    found = ", ".join(present) or "none in the cache"
    return Check(name="base models", level="ok", found=found, matters="`luthier models pull smollm2-135m-instruct` fetches the default one")
