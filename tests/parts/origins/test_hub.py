"""Hub sets: what `datasets` saved, a folder as the hub has it, class names, splits, and what happens without a network."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from luthier.core.errors import LuthierError, MachineError, UserError
from luthier.parts.origins.fetching import bring
from luthier.parts.origins.hub import Hub

datasets = pytest.importorskip("datasets")
ROWS = {"text": ["a", "b", "c"], "label": [0, 1, -1]}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def named() -> object:
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])})
    return datasets.Dataset.from_dict(ROWS, features=features)


def rows(hub: Hub, home: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in bring(hub, home).files[0].read_text(encoding="utf-8").splitlines()]


WANTED = [{"text": "a", "label": "no"}, {"text": "b", "label": "yes"}, {"text": "c", "label": None}]


def test_a_saved_set_gives_class_names_and_says_so(tmp_path: Path) -> None:
    datasets.DatasetDict(train=named(), test=named()).save_to_disk(str(tmp_path / "set"))
    hub = Hub(name=str(tmp_path / "set"), split="test")
    assert rows(hub, tmp_path / "home") == WANTED
    assert bring(hub, tmp_path / "home").notes == ("the numbers of column label were turned into the names of its classes",)


def test_a_folder_named_like_a_hub_set_is_read_by_the_builder(tmp_path: Path) -> None:
    folder = tmp_path / "org" / "name"
    (folder / "data").mkdir(parents=True)
    named().to_parquet(str(folder / "data" / "train-00000-of-00001.parquet"))
    named().select([0]).to_parquet(str(folder / "data" / "test-00000-of-00001.parquet"))
    hub = Hub(name="org/name", split="train")
    assert hub.local(tmp_path) == "org/name"
    assert hub.local(tmp_path / "elsewhere") == ""
    assert rows(hub.placed(tmp_path), tmp_path / "home") == WANTED
    assert len(rows(Hub(name=str(folder), split="test"), tmp_path / "home")) == 1


@pytest.mark.parametrize(
    ("hub", "said"),
    [
        ({"name": "set"}, "the split must be named.*known: test, train"),
        ({"name": "set", "split": "tran"}, "did you mean `train`"),
        ({"name": "one", "split": "train"}, "without splits has none"),
        ({"name": "pickles", "split": "train"}, "the folder must hold a data set"),
        ({"name": "sounds", "split": "train"}, "must be parquet, json, csv, arrow, text, got audiofolder"),
    ],
)
def test_a_wrong_split_or_kind_is_one_message(tmp_path: Path, hub: dict[str, str], said: str) -> None:
    datasets.DatasetDict(train=named(), test=named()).save_to_disk(str(tmp_path / "set"))
    named().save_to_disk(str(tmp_path / "one"))
    (tmp_path / "pickles").mkdir()
    (tmp_path / "pickles" / "train.pkl").write_bytes(b"cos\nsystem\n(S'touch ran'\ntR.")
    (tmp_path / "sounds").mkdir()
    (tmp_path / "sounds" / "train.wav").write_bytes(b"RIFF")
    with pytest.raises(UserError, match=said) as err:
        bring(Hub(**{**hub, "name": str(tmp_path / hub["name"])}), tmp_path / "home")
    assert "\n" not in str(err.value)


def test_offline_is_one_message_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(MachineError, match=r"HF_HUB_OFFLINE is set.*save_to_disk") as err:
        bring(Hub(name="no-such-org/no-such-set", split="train"), tmp_path)
    assert "\n" not in str(err.value)


def test_columns_that_are_no_rows_are_refused_by_name(tmp_path: Path) -> None:
    datasets.Dataset.from_dict({"text": ["a"], "raw": [b"x"]}).save_to_disk(str(tmp_path / "set"))
    with pytest.raises(LuthierError, match=r"a bytes .*column raw"):
        bring(Hub(name=str(tmp_path / "set")), tmp_path / "home")
