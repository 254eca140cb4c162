"""What a task gives a project that does not say otherwise: its metric, and the words of `data.prompt: default`.

One decision: the bar of every task is the verdict itself (better than the best untuned way of answering); an absolute bar
depends on what the model is for, which only the user knows, so none is made up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

from luthier.core.errors import UserError, did_you_mean

Task = Literal[
    "classify",
    "extract",
    "answer",
    "chat",
    "rewrite",
    "summarise",
    "translate",
    "tool_call",
    "multi_label",
    "regression",
    "rank",
    "pretrain",
    "code",
    "sql",
]
OTHER_NAMES = {"regress": "regression"}
"""Spellings of a task that are read as another one."""


@dataclass(frozen=True, slots=True)
class TaskDefaults:
    """metric: what decides, None where it cannot do without `settings`. system: the instruction of the default prompt."""

    metric: str | None
    system: str
    settings: str = ""


_TASKS: dict[str, TaskDefaults] = {
    "classify": TaskDefaults("accuracy", "Classify the text. Answer with one label only. Labels: {labels}"),
    "extract": TaskDefaults(
        "entity_f1", 'List the entities of the text as JSON: [{{"text": "...", "type": "..."}}]. Answer with JSON only.'
    ),
    "answer": TaskDefaults("exact_match", "Answer the question. Give the answer only."),
    "chat": TaskDefaults("token_f1", "You are a helpful assistant."),
    "rewrite": TaskDefaults("token_f1", "Rewrite the text. Answer with the new text only."),
    "summarise": TaskDefaults("rouge_lsum", "Sum up the text. Answer with the summary only."),
    "translate": TaskDefaults("chrf", "Translate the text. Answer with the translation only."),
    "tool_call": TaskDefaults("valid_json", "Call the tool that does what is asked. Answer with JSON only."),
    "multi_label": TaskDefaults("multi_label_f1", "Name every label that fits the text, as a JSON list. Labels: {labels}"),
    "regression": TaskDefaults("pearson", "Rate the text. Answer with one number only."),
    "rank": TaskDefaults("ndcg", "Put the items in order, the best first. Answer with a JSON list of all items."),
    "pretrain": TaskDefaults("log_likelihood", ""),
    "code": TaskDefaults(
        None, "Write Python code that does what is asked. Answer with code only.", "{kind: code_tests, tests: NAME_OF_A_META_COLUMN}"
    ),
    "sql": TaskDefaults(
        None,
        "Write one SQLite query that answers the question. Answer with the query only.",
        "{kind: sql_match, database: {path: data.sqlite}}",
    ),
}


def defaults_of(task: str) -> TaskDefaults:
    """Raises UserError for an unknown task, with the nearest one."""
    if task not in _TASKS:
        raise UserError(f"unknown task `{task}`", fix=did_you_mean(task, get_args(Task)))
    return _TASKS[task]


def own_name(task: Any) -> Any:
    """The task's name for any of its spellings."""
    return OTHER_NAMES.get(task, task) if isinstance(task, str) else task


def default_prompt(task: str, mapping: Any) -> dict[str, str]:
    """What `data.prompt: default` stands for: the task's instruction, and the text columns of the mapping (as written in YAML).

    Raises UserError for a mapping whose rows bring their own prompt.
    """
    kind = mapping.get("kind") if isinstance(mapping, dict) else None
    if task == "pretrain":
        raise UserError("raw text has no prompt", "default", "data.prompt", "leave data.prompt out")
    if kind in ("classification", "multi_label", "regression"):
        text = mapping.get("text", "text")
        user = "\n".join(f"{{{column}}}" for column in ([text] if isinstance(text, str) else text))
    elif kind == "prompt_completion":
        user = f"{{{mapping.get('prompt', 'prompt')}}}"
    elif kind == "entities":
        user = "{text}"
    else:
        must = "the default prompt goes with classification, multi_label, regression, prompt_completion or entities"
        raise UserError(must, f"kind: {kind}", "data.prompt", "write `data.prompt` out, or leave it away where rows bring their own")
    return {"system": defaults_of(task).system, "user": user}
