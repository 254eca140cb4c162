"""luthier harness: tasks of lm-evaluation-harness answered by Luthier's engine.

One decision: tasks, prompts and metrics are the harness's own, untouched; only the model that it asks is ours.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.core.errors import UserError, did_you_mean


@dataclass(frozen=True)
class Wanted:
    """tasks: names or groups the harness knows. num_fewshot and limit: None for the task's own number and for all rows."""

    tasks: tuple[str, ...]
    num_fewshot: int | None = None
    limit: int | None = None
    include_path: Path | None = None


def run_harness(model: str, wanted: Wanted) -> dict[str, dict[str, Any]]:
    """Metrics by task. model: a base model's name or an adapter folder. Raises UserError for a task that nobody knows."""
    try:
        from lm_eval.evaluator import simple_evaluate
        from lm_eval.tasks import TaskManager
    except ImportError:
        raise UserError("lm-evaluation-harness must be installed", None, "luthier harness", "pip install 'luthier[harness]'") from None
    from luthier.engine.harness import LuthierLM

    tasks = TaskManager(include_path=str(wanted.include_path) if wanted.include_path else None)
    for name in wanted.tasks:
        if name not in tasks.all_tasks:
            raise UserError("a task must be one that the harness knows", repr(name), "--tasks", did_you_mean(name, tasks.all_tasks))
    base, adapter = _base_and_adapter(model)
    done: Any = simple_evaluate(
        model=LuthierLM(base, adapter),
        tasks=list(wanted.tasks),
        num_fewshot=wanted.num_fewshot,
        limit=wanted.limit,
        task_manager=tasks,
        bootstrap_iters=1000,
    )
    assert done is not None
    return {task: {k: _plain(v) for k, v in figures.items()} for task, figures in done["results"].items()}


def _base_and_adapter(model: str) -> tuple[str, str | None]:
    config = Path(model) / "adapter_config.json"
    if not config.is_file():
        return model, None
    return json.loads(config.read_text(encoding="utf-8"))["base_model_name_or_path"], model


def _plain(value: Any) -> Any:
    """What JSON can hold: a number that is not finite becomes None."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)
