"""Configs: one clear message for every fault, and overrides that reach every leaf."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field

from luthier.core.config import Config, apply_overrides, parse_config, parse_yaml, read_yaml
from luthier.core.errors import UserError


class Lora(Config):
    kind: Literal["lora"] = "lora"
    rank: int = Field(default=16, ge=1)


class Full(Config):
    kind: Literal["full"] = "full"
    layers: int = 1


class Train(Config):
    method: Annotated[Lora | Full, Field(discriminator="kind")] = Lora()
    learning_rate: float = 2e-4
    sizes: tuple[int, ...] = (1, 2)


class Project(Config):
    name: str
    train: Train = Train()


def fault(data: object) -> str:
    with pytest.raises(UserError) as err:
        parse_config(Project, data)
    return str(err.value)


def test_an_unknown_key_names_the_nearest_one() -> None:
    assert fault({"name": "x", "trian": {}}) == "unknown key `trian`; did you mean `train`?"
    assert "did you mean `rank`" in fault({"name": "x", "train": {"method": {"kind": "lora", "rnk": 3}}})


def test_a_key_by_its_initials_or_in_the_wrong_section_is_named() -> None:
    assert fault({"name": "x", "train": {"lr": 1e-4}}) == "unknown key `train.lr`; did you mean `learning_rate`?"
    assert fault({"name": "x", "train": {"rate": 1e-4}}).endswith("did you mean `learning_rate`?")
    assert fault({"name": "x", "lr": 1e-4}).endswith("did you mean `train.learning_rate`?")
    assert fault({"name": "x", "train": {"rank": 4}}).endswith("did you mean `train.method.rank`?")
    assert fault({"name": "x", "train": {"method": {"kind": "full", "rank": 4}}}).endswith("known: kind, layers")  # of another method
    assert fault({"name": "x", "train": {"zzz": 4}}).endswith("known: learning_rate, method, sizes")


def test_a_wrong_value_says_what_must_hold_what_was_given_and_where() -> None:
    assert fault({"name": "x", "train": {"method": {"kind": "lora", "rank": 0}}}) == (
        "`train.method.lora.rank` must be greater than or equal to 1, got 0"
    )
    assert "`train.learning_rate` must be a valid number" in fault({"name": "x", "train": {"learning_rate": "fast"}})
    assert fault({}) == "`name` must be given"


def test_a_wrong_tag_names_the_nearest_one() -> None:
    assert "did you mean `lora`" in fault({"name": "x", "train": {"method": {"kind": "lorra"}}})


def test_every_fault_is_listed_at_once() -> None:
    text = fault({"nam": "x", "train": {"sizes": ["a"]}})
    assert "`name` must be given" in text
    assert "unknown key `nam`" in text
    assert "`train.sizes.0`" in text


def test_overrides_reach_leaves_and_lists_and_do_not_touch_their_input() -> None:
    data = {"name": "x", "train": {"sizes": [1, 2]}}
    out = apply_overrides(data, ["train.sizes.1=5", "train.method.rank=8", "train.method.kind=lora", "train.learning_rate=1e-3"])
    config = parse_config(Project, out)
    assert config.train.sizes == (1, 5)
    assert isinstance(config.train.method, Lora)
    assert config.train.method.rank == 8
    assert config.train.learning_rate == 1e-3
    assert data == {"name": "x", "train": {"sizes": [1, 2]}}


@pytest.mark.parametrize("text", ["train", "=3", "train.sizes.7=1", "train.sizes.x=1"])
def test_a_malformed_override_is_refused(text: str) -> None:
    with pytest.raises(UserError):
        apply_overrides({"train": {"sizes": [1]}}, [text])


def test_a_config_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Lora().rank = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\na: 2\n", "given twice"),
        ("a: [1\n", "valid YAML"),
        ("a: !!python/object/apply:os.system [ls]", "valid YAML"),
        ("? [1, 2]\n: 3", "plain text"),
        ("- 1", "mapping"),
        ("", "empty"),
    ],
)
def test_a_bad_yaml_file_is_one_message_with_its_place(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "luthier.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=words) as err:
        read_yaml(path)
    assert "luthier.yaml" in str(err.value)


def test_a_missing_file_names_the_nearest_one(tmp_path: Path) -> None:
    (tmp_path / "luthier.yaml").write_text("a: 1")
    with pytest.raises(UserError, match=r"did you mean `luthier\.yaml`"):
        read_yaml(tmp_path / "luthier.yml")


def test_floats_without_a_dot_are_floats() -> None:
    assert parse_yaml("a: 2e-4", "x") == {"a": 2e-4}


@settings(max_examples=300, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["name", "train", "method", "rank", "kind", "x"]), inner, max_size=4)
        ),
        max_leaves=8,
    )
)
def test_no_config_raises_anything_but_a_user_error(data: object) -> None:
    message = "fine"
    try:
        parse_config(Project, data)
    except UserError as err:
        message = str(err)
    assert message
