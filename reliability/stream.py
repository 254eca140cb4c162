"""Memory of reading: a generated JSON lines file is judged and read by a run, each in a process of its own, and the peak is measured.

One decision: what is bounded is how much more memory the whole file takes than a 32nd part of it, for the libraries alone take most of
a small process; the peak is the system's own count (ru_maxrss) of that process.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

REPO = Path(__file__).resolve().parents[1]
MAX_GROWTH_MB = 96
PART = 32
READINGS = ("check", "run")
_WORDS = (
    *("the", "card", "was", "stolen", "on", "a", "train", "to", "old", "town", "and", "nobody", "could", "say", "when"),
    *("it", "had", "last", "been", "seen", "there", "by", "its", "owner", "who", "asks", "for", "money", "back", "again"),
)
PROBE = """
import json, resource, sys
from pathlib import Path
sys.path[:0] = [sys.argv[3]]
from luthier.parts.sources.mapping import mapping_from_text
mapping, path = mapping_from_text("classification:text=text,label=label"), Path(sys.argv[2])
if sys.argv[1] == "check":
    from luthier.stages.data.check import check_file
    document = check_file(path, mapping)
    told = {"rows": document.rows, "kept": document.kept}
else:
    from one_stage import TestContext
    from luthier.core.keys import SourceFile
    from luthier.stages.data.ingest import DataFile, Ingest
    class Context(TestContext):
        def observer(self, event):  # a run shows progress and keeps none of it
            pass
    folder = path.parent / "run"
    folder.mkdir()
    built = Context(folder).get(Ingest(files=(DataFile(source=SourceFile(path=str(path))),), mapping=mapping))
    told = {"rows": sum(built.result.ledger.values()), "kept": built.result.counts["any"]}
    for left in built.path.iterdir():
        left.unlink()
print(json.dumps({**told, "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10}))
"""


def stream(megabytes: int, seed: int, words_a_row: int = 60, readings: Sequence[str] = READINGS) -> dict[str, Any]:
    """A file of `megabytes`, and of a 32nd part of it, through both readings; a failure is growth beyond the bound, or a lost row."""
    failures: list[dict[str, Any]] = []
    trials: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="luthier-stream-") as folder:
        for reading in readings:
            peaks = {}
            for size in (max(1, megabytes // PART), megabytes):
                place = Path(folder) / f"{reading}-{size}"
                place.mkdir()
                rows = write_rows(place / "rows.jsonl", size << 20, seed, words_a_row)
                began = time.monotonic()
                told = measure(reading, place / "rows.jsonl")
                (place / "rows.jsonl").unlink()
                peaks[size] = told["peak_rss_mb"]
                trials.append({"reading": reading, "megabytes": size, "seconds": round(time.monotonic() - began, 1), **told})
                if (told["rows"], told["kept"]) != (rows, rows):
                    failures.append({"reading": reading, "megabytes": size, "rows": rows, **told})
            growth = peaks[megabytes] - min(peaks.values())
            if growth > MAX_GROWTH_MB:
                failures.append({"reading": reading, "growth_mb": growth})
    return {"trials": len(trials), "max_growth_mb": MAX_GROWTH_MB, "readings": trials, "failures": failures}


def write_rows(path: Path, num_bytes: int, seed: int, words_a_row: int) -> int:
    """Distinct rows until the file has `num_bytes`; returns how many."""
    rng, number, written = random.Random(seed), 0, 0
    with path.open("w", encoding="utf-8") as f:
        while written < num_bytes:
            number += 1
            text = f"{number} {' '.join(rng.choices(_WORDS, k=words_a_row))}"
            written += f.write(json.dumps({"text": text, "label": f"label {number % 7}"}) + "\n")
    return number


def measure(reading: str, path: Path) -> dict[str, Any]:
    """Rows, kept rows and peak memory of one reading in a new process."""
    command = [sys.executable, "-c", PROBE, reading, str(path), str(REPO / "tests" / "stages" / "data")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])
