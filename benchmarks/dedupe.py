"""W10, near duplicates, side by side with datasketch. Usage: dedupe.py 10000 | dedupe.py 1000000 --no-peer | dedupe.py quality

One decision: rows are halves of different real texts put together, so they resemble each other as real rows do, and every
fifth row is a planted copy. No ratio is printed unless 99 % of the rows are in the same cluster in both arms; the peer's
"best" uses the same bands, batch updates and a fast hash. Rows are made again from the seed at each run.
"""

from __future__ import annotations

import argparse
import datetime
import gzip
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from arm_dedupe import shingles_of
from plots import bars

from luthier.core.records import Source, Text
from luthier.parts.checks.near_duplicates import NearDuplicates
from luthier.parts.checks.semantic_duplicates import SemanticDuplicates
from luthier.parts.duplicates.near import Sketch
from luthier.parts.duplicates.text import normalised_text, numbers_in
from luthier.stats.intervals import wilson

HERE = Path(__file__).resolve().parent
WANTED = ("datasketch==2.0.0", "xxhash==4.1.0")
ARMS = ("luthier", "datasketch default", "datasketch best")
THRESHOLD, NUM_PERM, LEAST_SAME = 0.8, 128, 0.99
Run = dict[str, Any]


def pool(data: Path) -> list[str]:
    """Real short texts: Banking77, SST-2, and the titles of AG News, each once."""
    found: list[str] = []
    folder = data / "classification"
    with gzip.open(folder / "banking77_train.jsonl.gz", "rt", encoding="utf-8") as f:
        found += [json.loads(line)["text"] for line in f]
    with (folder / "sst2_train.jsonl").open(encoding="utf-8") as f:
        found += [json.loads(line)["text"] for line in f]
    with gzip.open(folder / "ag_news_test.jsonl.gz", "rt", encoding="utf-8") as f:
        found += [json.loads(line)["title"] for line in f]
    return list(dict.fromkeys(text for text in found if len(text.split()) >= 6))


def made_rows(texts: list[str], num: int, seed: int) -> Iterator[tuple[str, int | None]]:
    """(text, the earlier row that it was copied from or None): 16 % near copies, 4 % exact ones."""
    rng = random.Random(seed)
    recent: list[tuple[int, str]] = []
    for i in range(num):
        draw = rng.random()
        if draw < 0.2 and recent:
            of, text = rng.choice(recent)
            yield (text if draw < 0.04 else EDITS[rng.choice(sorted(EDITS))](text, rng)), of
            continue
        a, b = (rng.choice(texts).split() for _ in range(2))
        text = " ".join([*a[: len(a) // 2], *b[len(b) // 2 :]])
        recent.append((i, text))
        if len(recent) > 10_000:
            recent[rng.randrange(10_000)] = recent.pop()
        yield text, None


def _typo(text: str, rng: random.Random) -> str:
    places = [i for i, c in enumerate(text) if c.isalpha()]
    at = rng.choice(places)
    return text[:at] + rng.choice([c for c in "abcdefghijklmnopqrstuvwxyz" if c != text[at].lower()]) + text[at + 1 :]


def _word(change: Callable[[list[str], int], None]) -> Callable[[str, random.Random], str]:
    def edit(text: str, rng: random.Random) -> str:
        words = text.split()
        change(words, rng.randrange(len(words)))
        return " ".join(words)

    return edit


def _swap(words: list[str], at: int) -> None:
    other = (at + 1) % len(words)
    words[at], words[other] = words[other], words[at]


EDITS: dict[str, Callable[[str, random.Random], str]] = {
    "one letter changed": _typo,
    "a word left out": _word(lambda words, at: words.__delitem__(at)),
    "a word doubled": _word(lambda words, at: words.insert(at, words[at])),
    "a word put before or after": lambda text, rng: rng.choice([f"please {text}", f"{text} please", f"hello {text}", f"{text} thanks"]),
    "two words swapped": _word(_swap),
    "case and punctuation": lambda text, rng: rng.choice([text.upper(), text + "!!", text.replace(" ", "  "), text.title() + " ..."]),
}


def peer_python() -> Path:
    """The interpreter of datasketch's own environment, which is made when it is missing."""
    folder = HERE / ".venvs" / "datasketch"
    python = folder / "bin" / "python"
    if not (folder / "installed").is_file():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", *WANTED], check=True)
        (folder / "installed").write_text("ok")
    return python


def run_arm(how: str, rows: Path, folder: Path) -> Run:
    """One fresh process. Raises CalledProcessError with what it said."""
    job, out = folder / "job.json", folder / "out.json"
    bands = Sketch(THRESHOLD, NUM_PERM, 13).bands()
    job.write_text(json.dumps({"how": how, "rows": str(rows), "threshold": THRESHOLD, "num_perm": NUM_PERM, "bands": bands}))
    python = Path(sys.executable) if how == "luthier" else peer_python()
    load = os.getloadavg()[0]
    subprocess.run([str(python), str(HERE / "arm_dedupe.py"), str(job), str(out)], check=True)
    return {**json.loads(out.read_text()), "load": load}


def planted(plain: list[str], copied: list[int | None], labels: list[int]) -> dict[str, Any]:
    """Of the planted copies that lie at or above the threshold: how many are in the cluster of their original."""
    found = total = 0
    for i, of in enumerate(copied):
        if of is None:
            continue
        a, b = shingles_of(plain[i]), shingles_of(plain[of])
        if numbers_in(plain[i]) == numbers_in(plain[of]) and len(a & b) >= THRESHOLD * len(a | b):
            total += 1
            found += labels[i] == labels[of]
    return interval(found, total)


def interval(successes: int, num: int) -> dict[str, Any]:
    """A share with its Wilson interval at 95 %."""
    e = wilson(successes, num)
    return {"share": e.value, "low": e.low, "high": e.high, "n": num}


def speed(num: int, options: argparse.Namespace) -> None:
    """Make the rows, run the arms by turns, check, print and write."""
    arms = ARMS[:1] if options.no_peer else ARMS
    with tempfile.TemporaryDirectory() as name:
        folder, rows = Path(name), Path(name) / "rows.jsonl"
        plain: list[str] = []
        copied: list[int | None] = []
        with rows.open("w", encoding="utf-8") as f:
            for text, of in made_rows(pool(options.data), num, options.seed):
                plain.append(normalised_text(text))
                copied.append(of)
                f.write(json.dumps({"text": text, "plain": plain[-1], "numbers": numbers_in(plain[-1])}) + "\n")
        runs: dict[str, list[Run]] = {arm: [] for arm in arms}
        for _ in range(options.repeats):
            for arm in arms:
                runs[arm].append(run_arm(arm, rows, folder))
                print(f"{arm}: {runs[arm][-1]['seconds']:.1f} s, {runs[arm][-1]['peak_mb']:.0f} MB", flush=True)
    report(num, runs, {arm: planted(plain, copied, done[0]["labels"]) for arm, done in runs.items()}, options)


def report(num: int, runs: dict[str, list[Run]], recall: dict[str, Any], options: argparse.Namespace) -> None:
    """Write benchmarks/results/<date>-W10-<rows>.json and .svg. SystemExit where the best peer's clusters are others."""
    ours = runs["luthier"][0]["labels"]
    same = {a: sum(x == y for x, y in zip(ours, r[0]["labels"], strict=True)) / num for a, r in runs.items() if a != "luthier"}
    if same.get("datasketch best", 1.0) < LEAST_SAME:
        raise SystemExit(f"void: {same['datasketch best']:.4f} of the rows are in the same cluster, {LEAST_SAME} are wanted")
    arms = {}
    for arm, done in runs.items():
        rates = [num / r["seconds"] for r in done]
        arms[arm] = {"rows_per_second": statistics.median(rates), "least": min(rates), "most": max(rates)}
        arms[arm] |= {"peak_mb": max(r["peak_mb"] for r in done), "seconds": [r["seconds"] for r in done]}
        arms[arm] |= {"machine_load": max(r["load"] for r in done), "planted_copies_found": recall[arm]}
    ratios = {arm: arms["luthier"]["rows_per_second"] / arms[arm]["rows_per_second"] for arm in same}
    settings = {"rows": num, "repeats": options.repeats, "seed": options.seed, "threshold": THRESHOLD, "num_perm": NUM_PERM}
    written(f"W10-dedupe-{num}", {"settings": settings, "arms": arms, "ratios": ratios, "rows_in_the_same_cluster": same}, arms)
    for arm, ratio in ratios.items():
        print(f"W10 {num:,} rows: {ratio:.1f}x {arm}, memory {arms['luthier']['peak_mb'] / arms[arm]['peak_mb']:.2f} of it")


def written(name: str, made: dict[str, Any], arms: dict[str, Any] | None = None) -> None:
    """The dated result, and its plot when there are arms."""
    stem = HERE / "results" / f"{datetime.date.today().isoformat()}-{name}"
    stem.parent.mkdir(exist_ok=True)
    stem.with_suffix(".json").write_text(json.dumps(made, indent=1) + "\n")
    if arms:
        bars(arms, f"{name}: rows a second, median and range", stem.with_suffix(".svg"))


def quality(options: argparse.Namespace) -> None:
    """Planted copies found, by edit; PAWS pairs joined, by meaning. Every figure with its interval."""
    with (options.data / "classification" / "banking77_test.jsonl").open(encoding="utf-8") as f:
        texts = [t for t in (json.loads(line)["text"] for line in f) if len(t.split()) >= 6]
    with (options.data / "noisy" / "neardup_paws_pairs.jsonl").open(encoding="utf-8") as f:
        paws = [json.loads(line) for line in f]
    rng = random.Random(options.seed)
    chosen = rng.sample(texts, 300)
    checks: dict[str, NearDuplicates | SemanticDuplicates] = {f"near {t}": NearDuplicates(threshold=t) for t in (0.7, 0.8, 0.9)}
    if not options.no_semantic:
        checks |= {f"semantic {t}": SemanticDuplicates(threshold=t) for t in (0.95, 0.98)}
    sets = {name: [(t, edit(t, rng)) for t in chosen] for name, edit in EDITS.items()}
    for meaning in (True, False):
        sets[f"PAWS, {'same' if meaning else 'other'} meaning"] = [(p["text_a"], p["text_b"]) for p in paws if p["same_meaning"] is meaning]
    made = {
        name: {kind: interval(joined_pairs(check, pairs), len(pairs)) for kind, pairs in sets.items()} for name, check in checks.items()
    }
    for name, shares in made.items():
        for kind, e in shares.items():
            print(f"{name}: {kind}: {100 * e['share']:.1f} % ({100 * e['low']:.1f} to {100 * e['high']:.1f}), n={e['n']}")
    written("W10-dedupe-quality", {"settings": {"seed": options.seed, "pairs": len(chosen)}, "shares_joined": made})


def joined_pairs(check: NearDuplicates | SemanticDuplicates, pairs: list[tuple[str, str]]) -> int:
    """How many pairs the check puts into one cluster, all of them given to it together."""
    records = [Text(text, Source("pairs", str(i))) for i, text in enumerate(t for pair in pairs for t in pair)]
    label = list(range(len(records)))
    for number, cluster in enumerate(check.clusters(records)):
        for i in (*cluster.kept, *(c.row for c in cluster.copies)):
            label[i] = -1 - number
    return sum(label[2 * i] == label[2 * i + 1] for i in range(len(pairs)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", help="how many rows, or `quality`")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seed", type=int, default=13)
    parser.add_argument("--no-peer", action="store_true", help="Luthier alone: datasketch takes an hour for a million rows")
    parser.add_argument("--no-semantic", action="store_true")
    parser.add_argument("--data", type=Path, default=HERE.parents[1] / "shared" / "data")
    options = parser.parse_args()
    if options.what == "quality":
        quality(options)
    elif options.what.isdigit() and int(options.what) >= 100:
        speed(int(options.what), options)
    else:
        raise SystemExit(f"`quality` or a number of rows from 100 is wanted, got {options.what!r}")


if __name__ == "__main__":
    main()
