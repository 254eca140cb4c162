"""How well rows that do not belong are found: planted outliers, rows about something else than the task, rows in another language.

One decision: what is planted is real text of other sets (and, for outliers, garble); it is judged by the checks with their own
settings, and everything else that a check flags among the rows of the task counts as false, whether or not it is odd.
"""

from __future__ import annotations

import gzip
import json
import random
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from label_errors import DATA, banking77, rate

Rows = list[str]
ROWS, PLANTED = 1000, 10
"""Rows of the task in a round of outliers, and planted rows of each kind among them (1 % each)."""
READ = 1
"""Rounds in which the base model reads every row too."""
KNOWN, JUDGED, FOREIGN = 300, 500, 50
"""Relevance: rows of the task that are given, that are judged, and rows of each other kind among these."""
ABOUT = "Questions of a bank's customers about their cards, accounts, transfers, top-ups and payments."
SHARES = (0.01, 0.05)
INTENTS = 20


def outliers(times: int, seed: int) -> dict[str, Any]:
    """`times` rounds: share of the planted rows of each kind that is found, and of the rows of the task that is flagged."""
    from luthier.parts.checks.outliers import Outliers
    from luthier.parts.checks.perplexity import Perplexity

    rng, bank, others = random.Random(seed), banking77()[0], foreign()
    found: dict[str, dict[str, list[bool]]] = {}
    for i in range(times):
        texts = {"banking77": rng.sample(bank, ROWS), **{kind: rng.sample(rows, PLANTED) for kind, rows in others.items()}}
        texts["garble"] = [garble(rng) for _ in range(PLANTED)]
        for name, check in {"outliers": Outliers(), **({"perplexity": Perplexity()} if i < READ else {})}.items():
            for kind, hits in flagged(check, texts).items():
                found.setdefault(name, {}).setdefault(kind, []).extend(hits)
    shares = {name: {kind: rate(sum(hits), len(hits)) for kind, hits in kinds.items()} for name, kinds in found.items()}
    return {"trials": sum(len(hits) for kinds in found.values() for hits in kinds.values()), "flagged": shares, "failures": []}


def relevance(times: int, seed: int) -> dict[str, Any]:
    """`times` draws of rows of the task, of which some are given and others judged among rows about something else."""
    rng, (bank, intents), others = random.Random(seed), banking77(), foreign()
    wanted = set(sorted(set(intents))[:INTENTS])
    own = [text for text, intent in zip(bank, intents, strict=True) if intent in wanted]
    near = {"other intents": [text for text, intent in zip(bank, intents, strict=True) if intent not in wanted]}
    sets = {"among other subjects": (bank, others), f"{INTENTS} intents among the others": (own, near)}
    made: dict[str, dict[str, Any]] = {}
    trials = 0
    for name, (rows, foreigners) in sets.items():
        told: dict[str, dict[str, list[bool]]] = {}
        for _ in range(times):
            drawn = rng.sample(rows, KNOWN + JUDGED)
            texts = {"task": drawn[KNOWN:], **{kind: rng.sample(other, FOREIGN) for kind, other in foreigners.items()}}
            for rule, hits in judged_relevance(drawn[:KNOWN], texts, described=others is foreigners).items():
                for kind, each in hits.items():
                    told.setdefault(rule, {}).setdefault(kind, []).extend(each)
        made[name] = {rule: {**shares(hits), "precision": precision(hits)} for rule, hits in told.items()}
        trials += sum(len(h) for hits in told.values() for h in hits.values())
    return {"trials": trials, "given": KNOWN, "about": ABOUT, "flagged": made, "failures": []}


def languages(times: int, seed: int) -> dict[str, Any]:
    """At most `times` texts of each set: the share that is called another language than the wanted one, at the check's own settings."""
    from luthier.parts.checks.language import Language, language_of

    rng, made, trials = random.Random(seed), {}, 0
    for name, (code, rows) in spoken().items():
        texts = rng.sample(rows, min(times, len(rows)))
        each: dict[str, Any] = {"language": code}
        for wanted in ("en", "de", "zh"):
            hits = [not Language(languages=(wanted,))(text).passed for text in texts]
            each["flagged as foreign" if wanted == code else f"found foreign to {wanted}"] = rate(sum(hits), len(hits))
        each["not judged"] = rate(sum(language_of(text, sure=0.0) is None for text in texts), len(texts))
        made[name] = each
        trials += len(texts)
    return {"trials": trials, "sets": made, "failures": []}


def judged_relevance(known: Rows, texts: dict[str, Rows], described: bool) -> dict[str, dict[str, list[bool]]]:
    """Which texts of each kind are flagged, by rule: rows of the task in a file at each share; with `described` a description too."""
    from luthier.core.keys import SourceFile
    from luthier.parts.checks.relevance import Relevance

    with tempfile.TemporaryDirectory() as aside:
        path = Path(aside) / "task.jsonl"
        path.write_text("".join(json.dumps({"text": text}) + "\n" for text in known), encoding="utf-8")
        found = scores(Relevance(to=SourceFile(path=str(path)), share=max(SHARES)), texts)
    out = {
        f"rows, share {share}": {kind: [score >= 1 - share - 1e-9 for score in each] for kind, each in found.items()} for share in SHARES
    }  # a score is 1 less the p-value
    return {**out, "description": flagged(Relevance(to=ABOUT), texts)} if described else out


def scores(check: Callable[..., Any], texts: dict[str, Rows]) -> dict[str, list[float]]:
    """All texts judged together; for each kind, the score of each finding, 0 where there is none."""
    from luthier.core.records import Source, Text

    flat = [(kind, text) for kind, rows in texts.items() for text in rows]
    found = {f.row: f.score for f in check([Text(text, Source("planted", f"row {i}")) for i, (_, text) in enumerate(flat)])}
    return {kind: [found.get(i, 0.0) for i, (k, _) in enumerate(flat) if k == kind] for kind in texts}


def flagged(check: Callable[..., Any], texts: dict[str, Rows]) -> dict[str, list[bool]]:
    """All texts judged together; for each kind, whether each was flagged."""
    return {kind: [score > 0 for score in each] for kind, each in scores(check, texts).items()}


def shares(hits: dict[str, list[bool]]) -> dict[str, Any]:
    """The share flagged of each kind."""
    return {kind: rate(sum(each), len(each)) for kind, each in hits.items()}


def precision(hits: dict[str, list[bool]]) -> dict[str, Any]:
    """Of all that is flagged, the share that is not of the task, in the mixture of the trial."""
    foreigners = sum(sum(each) for kind, each in hits.items() if kind != "task")
    flagged_rows = foreigners + sum(hits["task"])
    return rate(foreigners, flagged_rows) if flagged_rows else {"of": 0}


def foreign() -> dict[str, Rows]:
    """Texts about other things than a bank's customers ask."""
    alpaca = _lines(DATA / "instruction" / "alpaca_en_demo.jsonl")
    with gzip.open(DATA / "tasks" / "gsm8k_train.jsonl.gz", "rt", encoding="utf-8") as f:
        maths = [json.loads(line)["question"] for line in f]
    films = [row["text"] for row in _lines(DATA / "classification" / "sst2_train.jsonl")]
    asked = ["\n".join(filter(None, (row["instruction"], row["input"]))) for row in alpaca]
    return {"alpaca": asked, "gsm8k": maths, "sst2": films}


def spoken() -> dict[str, tuple[str, Rows]]:
    """Texts by source with their language."""
    captions = _lines(DATA / "tasks" / "multi30k_en_de_val.jsonl")
    tweets = _lines(DATA / "classification" / "tweeteval_emotion_test.jsonl")
    return {
        "Multi30k captions, English": ("en", [row["en"] for row in captions]),
        "Multi30k captions, German": ("de", [row["de"] for row in captions]),
        "Alpaca instructions, English": ("en", [row["instruction"] for row in _lines(DATA / "instruction" / "alpaca_en_demo.jsonl")]),
        "Alpaca instructions, Chinese": (
            "zh",
            [row["instruction"] for row in _lines(DATA / "instruction" / "alpaca_zh_demo_sample.jsonl")],
        ),
        "Banking77": ("en", banking77()[0]),
        "SST-2 phrases": ("en", [row["text"] for row in _lines(DATA / "classification" / "sst2_train.jsonl")]),
        "Tweets": ("en", [row["text"] for row in tweets]),
    }


def garble(rng: random.Random) -> str:
    """Keyboard noise of 8 to 14 words."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    return " ".join("".join(rng.choices(letters, k=rng.randint(3, 9))) for _ in range(rng.randint(8, 14)))


def _lines(path: Path) -> Sequence[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
