"""The trial of `mutated-inputs`: `luthier data check` on each spoilt file, in this process, and a run's reading of every eighth.

One decision: what is asked of each is what a user relies on: an exit code of 0, 1 or 2, one document with the reason, no traceback,
every row kept or set aside with its place, and the lines of a JSON lines file all counted.
"""

from __future__ import annotations

import contextlib
import io
import json
import random
import resource
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from mutations import mutant, seeds

RUN_EVERY = 8
_CODES = {"accept": 0, "repair": 0, "warn": 0, "quarantine": 1, "reject": 2}
MAX_RSS_MB = 500


def mutated_inputs(times: int, seed: int) -> dict[str, Any]:
    """`times` spoilt files; a failure says which rule did not hold, with the file's name and the trial's number."""
    failures: list[dict[str, Any]] = []
    verdicts: Counter[str] = Counter()
    slowest, runs, begun = 0.0, 0, seeds()
    with tempfile.TemporaryDirectory(prefix="luthier-mutated-") as folder:
        for trial in range(times):
            rng = random.Random(f"{seed} {trial}")
            path, source = write_mutant(Path(folder), begun, rng)
            before = time.process_time()
            verdict, faults = judged(path)
            if trial % RUN_EVERY == 0 and not faults:
                runs += 1
                faults = read_by_a_run(path, Path(folder) / "run")
            slowest = max(slowest, time.process_time() - before)
            verdicts[verdict] += 1
            failures += [{"trial": trial, "source": source, "file": path.name, "fault": fault} for fault in faults]
            path.unlink()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    if peak > MAX_RSS_MB:
        failures.append({"fault": f"peak memory {peak} MiB"})
    return {
        "trials": times,
        "seed_files": len(begun),
        "read_by_a_run": runs,
        "verdicts": dict(verdicts.most_common()),
        "slowest_cpu_seconds": round(slowest, 2),
        "peak_rss_mb": peak,
        "failures": failures,
    }


def write_mutant(folder: Path, begun: list[tuple[str, bytes]], rng: random.Random) -> tuple[Path, str]:
    """A spoilt file in `folder`, and the name of the one that it was made from."""
    seed = rng.choice(begun)
    name, data = mutant(seed, rng)
    path = folder / f"m-{name}"
    path.write_bytes(data)
    return path, seed[0]


def judged(path: Path) -> tuple[str, list[str]]:
    """The verdict of `luthier data check FILE --json`, carried out in this process, and every rule that did not hold."""
    from luthier.cli.main import app

    out, err = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = app(["data", "check", "--json", "--", str(path)], standalone_mode=False)
    except BaseException as error:  # noqa: BLE001 - what this trial is looking for
        return "raised", [f"{type(error).__name__}: {error}"[:300]]
    if "Traceback" in out.getvalue() + err.getvalue() or code not in (0, 1, 2):
        return "fault", [f"exit code {code}: {err.getvalue()[-300:]}"]
    document = json.loads(out.getvalue())
    if document["kind"] != "data_check":
        return "fault", [f"no document but {out.getvalue()[:200]}"]
    return document["verdict"], list(_unsound(document, code, path))


def _unsound(document: dict[str, Any], code: int, path: Path) -> list[str]:
    faults = []
    verdict, aside = document["verdict"], len(document["set_aside"])
    if code != _CODES[verdict]:
        faults.append(f"{verdict} with exit code {code}")
    if verdict != "reject" and document["kept"] + aside != document["rows"]:
        faults.append(f"{document['kept']} kept and {aside} set aside of {document['rows']} rows")
    if verdict == "reject" and not any(f["reason"] for f in document["findings"]):
        faults.append("a reject without a reason")
    if any("Traceback" in p["reason"] or not p["reason"].strip() or not p["at"] for p in (*document["set_aside"], *document["findings"])):
        faults.append("a place without a reason, or with a traceback")
    if document["format"] == "jsonl" and verdict != "reject" and not _recoded(document):
        lines = sum(bool(line.strip(b" \t\r")) for line in path.read_bytes().split(b"\n"))
        if lines != document["rows"]:
            faults.append(f"{lines} lines and {document['rows']} rows")
    return faults


def _recoded(document: dict[str, Any]) -> bool:
    """True when lines were found in other bytes than the file's own."""
    return any(p["at"] == "file" for p in document["changes"])


def read_by_a_run(path: Path, folder: Path) -> list[str]:
    """What a run's reading says of the file: one message, or a ledger with every row that `data check` counts."""
    import shutil

    from one_stage import TestContext

    from luthier.core.errors import LuthierError
    from luthier.core.keys import SourceFile
    from luthier.core.ledger import read_ledger
    from luthier.parts.sources.mapping import mapping_from
    from luthier.stages.data.check import check_file
    from luthier.stages.data.ingest import DataFile, Ingest

    document = check_file(path)
    if document.mapping is None or document.format not in ("jsonl", "json", "csv", "tsv", "parquet", "arrow"):
        return []
    stage = Ingest(files=(DataFile(source=SourceFile(path=str(path))),), mapping=mapping_from(document.mapping))
    folder.mkdir()
    try:
        built = TestContext(folder).get(stage)
        told = {entry.source for entry in read_ledger(built.path / "ledger.jsonl")}
        if len(told) != document.rows:
            return [f"{len(told)} rows in the ledger, {document.rows} in the document"]
    except LuthierError as err:
        return [] if str(err) and err.exit_code in (1, 2) else [f"exit code {err.exit_code}: {err}"[:300]]
    except Exception as err:  # noqa: BLE001 - what this trial is looking for
        return [f"{type(err).__name__} when read by a run: {err}"[:300]]
    finally:
        shutil.rmtree(folder)
    return []
