"""Finding scorers: by name, by mapping, from a user's file; and what a wrong name gets."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from luthier.core.config import Config, parse_config
from luthier.core.errors import UserError
from luthier.core.keys import digest
from luthier.core.records import Example, Message, Source
from luthier.parts.scorers import Scorer, ScorerConfig, load
from luthier.parts.scorers.accuracy import Accuracy
from luthier.parts.scorers.loading import default_metric, known_scorers

ROW = Example((Message("user", "q"), Message("assistant", "yes")), Source("f.csv", "row 1"))
OWN = """
class Short:
    measure = "binary"
    name = "short"
    def __init__(self, limit: int = 5) -> None:
        self.limit = limit
    def __call__(self, example, output):
        return len(output) <= self.limit
"""


class Job(Config):
    metric: ScorerConfig


def test_a_stage_field_takes_a_name_a_mapping_or_a_scorer() -> None:
    assert Job(metric="accuracy").metric == Accuracy()  # type: ignore[arg-type]
    assert Job(metric={"kind": "accuracy", "normalise": "case"}).metric == Accuracy(normalise="case")  # type: ignore[arg-type]
    job = Job(metric=Accuracy())
    assert Job.model_validate(job.model_dump()) == job
    assert Job.model_validate_json(job.model_dump_json()) == job
    assert Job.model_json_schema()["properties"]["metric"]["anyOf"]


def test_an_unknown_metric_names_the_nearest_one() -> None:
    with pytest.raises(UserError, match=r"unknown metric `acuracy`; did you mean `accuracy`\? \(metric\)"):
        parse_config(Job, {"metric": "acuracy"})
    with pytest.raises(UserError, match="normalize"):
        parse_config(Job, {"metric": {"kind": "accuracy", "normalize": "case"}})
    with pytest.raises(UserError, match="name or a mapping"):
        load(3)


def test_a_scorer_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(OWN)
    scorer = load(f"{path}:Short")
    assert (scorer.name, scorer.measure) == ("short", "binary")
    assert [scorer(ROW, t).value for t in ("yes", "rather not")] == [1.0, 0.0]
    loose = load({"kind": "custom", "file": {"path": str(path)}, "class_name": "Short", "options": {"limit": 50}})
    assert loose(ROW, "rather not").value == 1.0
    assert digest(loose) != digest(scorer)


def test_the_file_s_bytes_are_in_the_key_and_its_path_is_not(tmp_path: Path) -> None:
    one, two = tmp_path / "one.py", tmp_path / "two.py"
    one.write_text(OWN)
    two.write_text(OWN)
    assert digest(load(f"{one}:Short")) == digest(load(f"{two}:Short"))
    before = load(f"{one}:Short")(ROW, "123456")
    one.write_text(OWN.replace("limit: int = 5", "limit: int = 6"))
    assert digest(load(f"{one}:Short")) != digest(load(f"{two}:Short"))
    assert (before.value, load(f"{one}:Short")(ROW, "123456").value) == (0.0, 1.0)


def _use(scorer: Scorer) -> None:
    scorer(ROW, f"{scorer.measure} {scorer.name}")


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ("class Shortt: pass", "did you mean `Shortt`"),
        ("class Short: pass", "callable"),
        ("def broken(:", "SyntaxError"),
        ("import no_such_module_here", "no_such_module_here"),
        ("1 / 0", "ZeroDivisionError"),
        ("import sys\nsys.exit(0)", "SystemExit"),
        ("class Short:\n    def __init__(self): self.no_such_thing", "AttributeError"),
        ("class Short:\n    def __call__(self, e, o): return 2", "number in"),
        ("class Short:\n    def __call__(self, e, o): return None", "number in"),
        ("class Short:\n    measure = 'binary'\n    def __call__(self, e, o): return 0.5", "0 or 1"),
        ("class Short:\n    measure = 'corpus'\n    def __call__(self, e, o): return 0.5", "binary or mean"),
    ],
)
def test_a_broken_scorer_is_the_users_error(tmp_path: Path, body: str, word: str) -> None:
    path = tmp_path / "mine.py"
    path.write_text(body)
    scorer = load(f"{path}:Short")
    with pytest.raises(UserError, match=word):
        _use(scorer)


def test_a_missing_file_is_the_users_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="must exist"):
        digest(load(f"{tmp_path}/none.py:Short"))
    with pytest.raises(UserError, match="must exist"):
        load(f"{tmp_path}/none.py:Short")(ROW, "x")


def test_every_task_has_a_known_default() -> None:
    for task in ("classify", "extract", "answer", "chat", "rewrite", "summarise", "translate", "tool_call"):
        assert default_metric(task) in known_scorers()
    assert default_metric("classify") == "accuracy"
    with pytest.raises(UserError, match="did you mean `classify`"):
        default_metric("clasify")


def test_finding_scorers_imports_nothing_heavy() -> None:
    code = (
        "import sys; from luthier.parts.scorers import load; load('macro_f1');"
        "print([m for m in ('numpy','scipy','torch','sqlalchemy','pyarrow','sklearn') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
