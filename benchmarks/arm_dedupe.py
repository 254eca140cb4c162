"""One arm of the near-duplicate benchmark, in a fresh process. Usage: arm_dedupe.py JOB.json OUT.json

One decision: the clock runs from texts in memory to the cluster of every row. Luthier's arm normalises and chooses the rows
that stay inside it; the peer's arm is given the normalised texts and the numbers in them, which is less work.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Rows = list[dict[str, Any]]


def luthier(job: dict[str, Any], rows: Rows) -> Callable[[], list[int]]:
    """`NearDuplicates` over plain texts, as the check, the verb and the cleaning stage use it."""
    from luthier.core.records import Source, Text
    from luthier.parts.checks.near_duplicates import NearDuplicates

    records = [Text(row["text"], Source("rows.jsonl", f"line {i + 1}")) for i, row in enumerate(rows)]
    rows.clear()

    def work() -> list[int]:
        labels = list(range(len(records)))
        for cluster in NearDuplicates(threshold=job["threshold"], num_perm=job["num_perm"]).clusters(records):
            members = [*cluster.kept, *(c.row for c in cluster.copies)]
            for i in members:
                labels[i] = min(members)
        return labels

    return work


def datasketch(job: dict[str, Any], rows: Rows) -> Callable[[], list[int]]:
    """MinHashLSH, insert and query one row after another, candidates judged by true Jaccard, union-find.

    how "default": `update` for each shingle (sha1) and the bands that datasketch chooses; "best": `update_batch` with xxhash and
    the bands that Luthier uses, so that both find the same pairs.
    """
    import xxhash
    from datasketch import MinHash, MinHashLSH

    best = job["how"] == "datasketch best"
    blank = (
        MinHash(num_perm=job["num_perm"], seed=1, hashfunc=xxhash.xxh32_intdigest) if best else MinHash(num_perm=job["num_perm"], seed=1)
    )

    def sketch(shingles: set[str]) -> Any:
        made = blank.copy()
        if best:
            made.update_batch([s.encode() for s in shingles])
        else:
            for s in shingles:
                made.update(s.encode())
        return made

    def work() -> list[int]:
        index = MinHashLSH(threshold=job["threshold"], num_perm=job["num_perm"], params=tuple(job["bands"]) if best else None)
        parent = list(range(len(rows)))

        def root(i: int) -> int:
            while parent[i] != i:
                parent[i] = parent[parent[i]]
                i = parent[i]
            return i

        for i, row in enumerate(rows):
            own = shingles_of(row["plain"])
            made = sketch(own)
            for j in index.query(made):
                if root(i) == root(j) or rows[j]["numbers"] != row["numbers"]:
                    continue
                other = shingles_of(rows[j]["plain"])
                if len(own & other) >= job["threshold"] * len(own | other):
                    a, b = sorted((root(i), root(j)))
                    parent[b] = a
            index.insert(i, made, check_duplication=False)
        return [root(i) for i in range(len(rows))]

    return work


def shingles_of(text: str) -> set[str]:
    """Runs of 5 characters; a shorter text is one."""
    return {text[i : i + 5] for i in range(max(1, len(text) - 4))}


def peak_mb() -> float:
    """Largest resident memory of this process so far, MiB."""
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text())
    with Path(job["rows"]).open(encoding="utf-8") as f:
        rows = [json.loads(line) for line in f]
    work = luthier(job, rows) if job["how"] == "luthier" else datasketch(job, rows)
    start = time.perf_counter()
    labels = work()
    seconds = time.perf_counter() - start
    Path(sys.argv[2]).write_text(json.dumps({"seconds": seconds, "peak_mb": peak_mb(), "labels": labels}))


if __name__ == "__main__":
    main()
