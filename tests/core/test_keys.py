"""The pitfalls of content keys, one test each."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, ClassVar

import pytest

from luthier.core.artifacts import BaseModel, Checkpoint, Dataset
from luthier.core.config import Config
from luthier.core.errors import UserError
from luthier.core.keys import SourceFile, canonical, digest
from luthier.core.stage import Stage, topological


class Outer:
    class Rows(Stage[Dataset]):
        n: float = 1


class Other:
    class Rows(Stage[Dataset]):
        n: float = 1


class Rows(Stage[Dataset]):
    n: float = 1


class Options(Config):
    inner: Stage[Dataset]


class Fit(Stage[Checkpoint]):
    version: ClassVar[int] = 3
    several: tuple[Stage[Dataset], ...] = ()
    options: Options | None = None
    table: dict[str, Any] = {}


def test_two_classes_of_one_name_do_not_collide() -> None:
    assert len({Outer.Rows().key(), Other.Rows().key(), Rows().key()}) == 3


def test_whole_floats_and_integers_are_one_value() -> None:
    assert Rows(n=32).key() == Rows(n=32.0).key()
    assert digest({"a": 32}) == digest({"a": 32.0})
    assert digest({"a": 32}) != digest({"a": 32.5})


def test_true_is_not_one() -> None:
    assert digest(True) != digest(1)
    assert digest("1") != digest(1)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_without_a_canonical_form_raise(value: float) -> None:
    with pytest.raises(ValueError, match="cannot hold"):
        canonical(value)


@pytest.mark.parametrize("value", [{1, 2}, frozenset("a"), len, lambda: 0, object(), b"bytes", {1: "a"}])
def test_values_without_a_canonical_form_raise(value: object) -> None:
    with pytest.raises(TypeError, match="cannot hold"):
        canonical(value)


def test_order_of_mapping_keys_does_not_matter() -> None:
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert digest([1, 2]) != digest([2, 1])


def test_an_upstream_version_changes_every_key_below(monkeypatch: pytest.MonkeyPatch) -> None:
    fit = Fit(several=(Rows(),), options=Options(inner=Rows(n=2)))
    before = fit.key()
    monkeypatch.setattr(Rows, "version", 2)
    assert fit.key() != before


def test_inputs_inside_tuples_configs_and_mappings_are_found() -> None:
    fit = Fit(several=(Rows(n=1), Rows(n=2)), options=Options(inner=Rows(n=3)), table={"x": [Rows(n=4)]})
    assert {p: s.n for p, s in fit.inputs().items() if isinstance(s, Rows)} == {
        "several.0": 1,
        "several.1": 2,
        "options.inner": 3,
        "table.x.0": 4,
    }
    assert topological(fit)[-1] is fit
    assert len(topological(fit, fit)) == 5


def test_a_changed_input_inside_a_config_changes_the_key() -> None:
    assert Fit(options=Options(inner=Rows(n=3))).key() != Fit(options=Options(inner=Rows(n=4))).key()


def test_a_file_counts_by_its_bytes_and_not_by_its_path(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("same")
    (tmp_path / "b").write_text("same")
    (tmp_path / "c").write_text("other")
    keys = [digest(SourceFile(path=str(tmp_path / n))) for n in "abc"]
    assert keys[0] == keys[1] != keys[2]


def test_a_missing_file_is_the_users_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="must exist"):
        digest(SourceFile(path=str(tmp_path / "none")))


def test_a_stage_of_another_artifact_type_is_refused() -> None:
    class Base(Stage[BaseModel]):
        name: str

    with pytest.raises(ValueError):
        Fit(several=(Base(name="x"),))  # type: ignore[arg-type]
