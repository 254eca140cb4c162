"""The eight sets of the full evaluation: each one a Luthier project as data, with every metric that fits its task.

One decision: the rows of a set are a stratified, seeded sample of its files where a whole file would take too long on two cores; the
split that draws them is part of the project, so the same rows are drawn everywhere.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BASE = "smollm2-135m-instruct"
TRAIN = {
    "method": {"kind": "lora", "rank": 16, "alpha": 32},
    "learning_rate": 1e-3,
    "schedule": {"kind": "cosine", "warmup_ratio": 0.1},
    "epochs": 2,
    "evaluations": 1,
    "train_sample": 0,
    "seed": 13,
}
"""The short tune, fixed before anything was measured."""
LABEL_METRICS = ["macro_f1", "mcc", "ece", {"kind": "ece", "scaling": "temperature"}, "brier", "log_loss"]
ENTITY_TYPES = ["person", "location", "corporation", "group", "product", "creative-work"]
Section = dict[str, Any]


@dataclass(frozen=True)
class EvaluationSet:
    """rows: test rows drawn unless said otherwise (0: all of the test file). tuned: also tuned, on so many rows."""

    name: str
    title: str
    rows: int
    shots: int
    project: Callable[[Path], Section]
    tuned: int = 0


def settings(chosen: EvaluationSet, data: Path, rows: int | None = None) -> Section:
    """The whole project file of a set. rows: test rows, the set's own number when None."""
    body = chosen.project(data)
    split = {"validation": 24, "train": chosen.tuned or 64, "seed": 13, "leakage": "drop", **body.pop("split", {})}
    rows = chosen.rows if rows is None else rows
    if rows:
        split["test"] = rows
        split["validation"] = min(split["validation"], max(10, rows))
    ways = [{"name": "zero-shot"}, {"name": f"few-shot-{chosen.shots}", "shots": chosen.shots}]
    evaluate = {**body.pop("evaluate", {}), "baselines": ways}
    return {
        "name": chosen.name.replace("_", "-"),
        "base": BASE,
        **body,
        "split": split,
        "evaluate": evaluate,
        "train": {**TRAIN, **body.pop("train", {})},
    }


def _labels(task_goal: str, files: list[Section], mapping: Section, prompt: Section) -> Section:
    return {
        "objective": {"task": "classify", "goal": task_goal, "metric": "accuracy", "metrics": LABEL_METRICS},
        "data": {"files": files, "mapping": {"kind": "classification", **mapping}, "prompt": prompt},
    }


def banking77(data: Path) -> Section:
    folder = data / "classification"
    names = json.loads((folder / "banking77_categories.json").read_text(encoding="utf-8"))
    files = [{"path": str(folder / "banking77_train.jsonl.gz"), "split": "train"}]
    files.append({"path": str(folder / "banking77_test.jsonl"), "split": "test"})
    system = "Name the intent of the customer's message. Answer with one of these intents and nothing else: {labels}"
    prompt = {"system": system, "user": "{text}", "label_text": {n: n.replace("_", " ").lower() for n in names}}
    return {
        **_labels("Route a banking message.", files, {"text": "text", "label": "category"}, prompt),
        "split": {"train": 308, "validation": 40},
    }


def ag_news(data: Path) -> Section:
    words = {"1": "World", "2": "Sports", "3": "Business", "4": "Science and technology"}
    prompt = {"system": "Name the topic of the news item: {labels}. Answer with the topic alone.", "user": "{title}\n{description}"}
    files = [{"path": str(data / "classification" / "ag_news_test.jsonl.gz")}]
    mapping = {"text": ["title", "description"], "label": "label"}
    return _labels("Sort news by topic.", files, mapping, {**prompt, "label_text": words})


def sst2(data: Path) -> Section:
    folder = data / "classification"
    files = [{"path": str(folder / f"sst2_{file}.jsonl"), "split": split} for file, split in (("train", "train"), ("test", "test"))]
    files.append({"path": str(folder / "sst2_dev.jsonl"), "split": "validation"})
    prompt = {"system": "Is this sentence of a film review {labels}? Answer with one word.", "user": "{text}", "labels_join": " or "}
    words = {"0": "negative", "1": "positive"}
    return _labels("Tell praise from criticism.", files, {"text": "text", "label": "label"}, {**prompt, "label_text": words})


def _written(task: str, goal: str, metric: Any, metrics: list[Any], data: Section, tokens: int) -> Section:
    return {
        "objective": {"task": task, "goal": goal, "metric": metric, "metrics": metrics},
        "data": data,
        "evaluate": {"decoding": {"kind": "text", "max_new_tokens": tokens}},
    }


def gsm8k(data: Path) -> Section:
    system = "Solve the problem step by step. The last line of your answer is #### and the number."
    rows = {
        "files": [{"path": str(data / "tasks" / "gsm8k_train.jsonl.gz")}],
        "mapping": {"kind": "prompt_completion", "prompt": "question", "completion": "answer"},
        "prompt": {"system": system, "user": "{question}"},
    }
    body = _written("answer", "Solve word problems.", "numeric_answer", ["token_f1", "distinct_n", "perplexity"], rows, 200)
    return {**body, "split": {"validation": 16}}


def wnut17(data: Path) -> Section:
    files = [
        {"path": str(data / "tasks" / f"wnut17_{file}.jsonl"), "split": split} for file, split in (("train", "train"), ("dev", "test"))
    ]
    system = 'List every named entity of the message as JSON, [{{"text": "...", "type": "..."}}], in order. Types: '
    rows = {
        "files": files,
        "mapping": {"kind": "entities", "tokens": "tokens", "tags": "ner_tags"},
        "prompt": {"system": f"{system}{', '.join(ENTITY_TYPES)}. Without any: []", "user": "{text}"},
    }
    entity = {"text": {"type": "string", "maxLength": 40}, "type": {"enum": ENTITY_TYPES}}
    item = {"type": "object", "properties": entity, "required": ["text", "type"], "additionalProperties": False}
    body = _written("extract", "Find named entities.", "entity_f1", ["exact_match", "valid_json", "perplexity"], rows, 96)
    body["evaluate"]["decoding"]["json_schema"] = {"type": "array", "items": item, "maxItems": 6}
    return {**body, "split": {"stratify": "none"}}


def multi30k(data: Path) -> Section:
    folder = data / "tasks"
    rows = {
        "files": [
            {"path": str(folder / "multi30k_en_de_train_8000.jsonl.gz"), "split": "train"},
            {"path": str(folder / "multi30k_en_de_val.jsonl"), "split": "test"},
        ],
        "mapping": {"kind": "prompt_completion", "prompt": "en", "completion": "de"},
        "prompt": {"system": "Translate the sentence from English into German. Answer with the translation alone.", "user": "{en}"},
    }
    metrics = [{"kind": "chrf", "word_order": 2}, "bleu", "ter", "perplexity"]
    return _written("translate", "Translate captions.", "chrf", metrics, rows, 64)


def xsum(data: Path) -> Section:
    rows = {
        "files": [{"path": str(data / "tasks" / "t0_xsum_summarize_DOC.jsonl")}],
        "mapping": {"kind": "prompt_completion"},
        "prompt": {"system": "Summarise the article in one sentence.", "user": "{prompt}"},
        "clean": {"repairs": ["end_of_text", "white_space"]},
    }
    metrics = ["rouge_1", "rouge_2", "rouge_l", "bertscore", {"kind": "length", "at_most": 40}, "distinct_n", "perplexity"]
    return {**_written("summarise", "One sentence of news.", "rouge_lsum", metrics, rows, 96), "split": {"validation": 16}}


def restaurants(data: Path) -> Section:
    folder = data / "tasks"
    schema = (
        "RESTAURANT(ID, NAME, FOOD_TYPE, CITY_NAME, RATING), LOCATION(RESTAURANT_ID, HOUSE_NUMBER, STREET_NAME, CITY_NAME), "
        "GEOGRAPHIC(CITY_NAME, COUNTY, REGION)"
    )
    rows = {
        "files": [{"path": str(folder / "text2sql_restaurants.jsonl")}],
        "mapping": {"kind": "prompt_completion", "prompt": "question", "completion": "query"},
        "prompt": {
            "system": f"Write one SQLite query that answers the question. Tables: {schema}. Answer with the query alone.",
            "user": "{question}",
        },
    }
    rows["clean"] = {"repairs": [], "checks": [{"kind": "near_duplicates", "threshold": 1.0, "keep": "first", "fate": "drop"}]}
    metric = {"kind": "sql_match", "database": {"path": str(folder / "text2sql_restaurants.sqlite")}, "empty": "unscored"}
    body = _written("sql", "Answer questions about restaurants.", metric, ["exact_match", "token_f1", "perplexity"], rows, 220)
    return {**body, "split": {"near": None, "validation": 10}, "train": {"batch_size": 8, "epochs": 4}}


SETS = {
    s.name: s
    for s in (
        EvaluationSet("banking77", "Banking77", 200, 24, banking77),
        EvaluationSet("ag_news", "AG News", 600, 8, ag_news, tuned=320),
        EvaluationSet("sst2", "SST-2", 0, 8, sst2),
        EvaluationSet("gsm8k", "GSM8K", 80, 4, gsm8k),
        EvaluationSet("wnut17", "WNUT17", 150, 8, wnut17),
        EvaluationSet("multi30k", "Multi30k, English to German", 150, 4, multi30k),
        EvaluationSet("xsum", "XSum", 80, 1, xsum),
        EvaluationSet("restaurants", "Text to SQL, restaurants", 50, 4, restaurants, tuned=64),
    )
}
