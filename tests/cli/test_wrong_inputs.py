"""Wrong inputs: each gets one message with the right words, the right exit code, no traceback, and nothing is created."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from luthier.cli.main import app
from toy_project import luthier, toy_settings, write_settings, write_toy

Change = Callable[[Path, dict[str, Any]], None]


def setting(path: str, value: Any) -> Change:
    """A change of one setting of the project file."""

    def change(folder: Path, settings: dict[str, Any]) -> None:
        here: Any = settings
        *steps, last = path.split(".")
        for step in steps:
            here = here[int(step)] if isinstance(here, list) else here[step]
        if isinstance(here, list):
            here[int(last)] = value
        else:
            here[last] = value

    return change


def rows(text: str) -> Change:
    """Other bytes in the data file."""
    return lambda folder, settings: (folder / "rows.csv").write_text(text, encoding="utf-8") and None


def overlap(folder: Path, settings: dict[str, Any]) -> None:
    """A test set that repeats training rows."""
    head, *lines = (folder / "rows.csv").read_text().splitlines()
    copies = [f"{text.upper()}!,{label}" for text, label in (line.split(",") for line in lines[:42])]
    (folder / "test.csv").write_text("\n".join([head, *copies]) + "\n")
    settings["data"]["files"] = [{"path": "rows.csv", "split": "train"}, {"path": "test.csv", "split": "test"}]


# What the project file itself can say wrong: found before anything is created.
BEFORE: dict[str, tuple[Change, int, list[str]]] = {
    "an empty stop string": (
        setting("evaluate", {"decoding": {"kind": "text", "stop": ""}}),
        2,
        ["a stop string must not be empty", "evaluate.decoding"],
    ),
    "top p of nothing": (
        setting("evaluate", {"decoding": {"kind": "text", "temperature": 1, "top_p": 0}}),
        2,
        ["evaluate.decoding.top_p", "greater than 0", "got 0"],
    ),
    "min p above one": (
        setting("evaluate", {"decoding": {"kind": "text", "temperature": 1, "min_p": 1.5}}),
        2,
        ["evaluate.decoding.min_p", "less than or equal to 1", "got 1.5"],
    ),
    "a temperature below zero": (
        setting("evaluate", {"decoding": {"kind": "text", "temperature": -1}}),
        2,
        ["evaluate.decoding.temperature", "got -1"],
    ),
    "top k without a temperature": (
        setting("evaluate", {"decoding": {"kind": "text", "top_k": 5}}),
        2,
        ["temperature must be above 0 for top_k"],
    ),
    "a schema that is not there": (
        setting("evaluate", {"decoding": {"kind": "text", "json_schema": "absent.json"}}),
        2,
        ["schema must be a mapping or the path of a JSON file", "absent.json"],
    ),
    "wrong key": (setting("train.learning_rat", 0.1), 2, ["unknown key `train.learning_rat`", "did you mean `learning_rate`?"]),
    "a key by its initials": (setting("train.lr", 0.1), 2, ["unknown key `train.lr`", "did you mean `learning_rate`?"]),
    "a key in the wrong section": (setting("train.rank", 8), 2, ["unknown key `train.rank`", "did you mean `train.method.rank`?"]),
    "wrong section": (setting("evaluation", {}), 2, ["unknown key `evaluation`", "did you mean `evaluate`?"]),
    "wrong type": (setting("train.batch_size", "many"), 2, ["train.batch_size", "integer", "'many'"]),
    "out of range": (setting("train.learning_rate", -1), 2, ["train.learning_rate", "greater than 0", "-1"]),
    "missing key": (lambda f, s: s["objective"].pop("goal"), 2, ["`objective.goal` must be given"]),
    "missing data path": (setting("data.files.0.path", "row.csv"), 2, ["the data file must exist", "row.csv", "data.files.0.path"]),
    "no data files": (setting("data.files", []), 2, ["data.files"]),
    "unknown model": (
        setting("base", "smollm2-135m-instrct"),
        2,
        ["base model", "smollm2-135m-instrct", "did you mean `smollm2-135m-instruct`?"],
    ),
    "missing model folder": (setting("base", "./nowhere"), 2, ["folder must exist", "nowhere"]),
    "unknown metric": (setting("objective.metric", "acuracy"), 2, ["acuracy", "did you mean `accuracy`?"]),
    "unknown task": (setting("objective.task", "clasify"), 2, ["objective.task", "clasify", "did you mean `classify`?"]),
    "unknown method": (setting("train.method.kind", "lorra"), 2, ["train.method", "lorra"]),
    "unknown setting of a method": (
        setting("train.method", {"kind": "prefix", "token": 3}),
        2,
        ["unknown key `train.method.prefix.token`", "did you mean `tokens`?"],
    ),
    "a form that is not known": (
        setting("train.method", {"kind": "qlora", "stored": "q3_k"}),
        2,
        ["train.method.qlora.stored", "nf4", "q3_k"],
    ),
    "unknown mapping": (setting("data.mapping.kind", "clasification"), 2, ["mapping", "clasification", "did you mean `classification`?"]),
    "unknown split policy": (setting("split.leakage", "dropp"), 2, ["split.leakage", "'dropp'", "did you mean `drop`?"]),
    "epochs and steps": (setting("train.steps", 3), 2, ["`epochs` or `steps` must be given, not both"]),
    "bad name": (setting("name", "../elsewhere"), 2, ["name", "../elsewhere"]),
    "no baseline": (setting("evaluate.baselines", []), 2, ["at least one baseline must be given"]),
    "two baselines of one name": (setting("evaluate.baselines", [{"name": "a"}, {"name": "a"}]), 2, ["different names", "a, a"]),
    "share above one": (setting("split.test", 1.5), 2, ["split.test", "1.5"]),
    "no process": (setting("execution.nproc", 0), 2, ["execution.nproc", "greater than or equal to 1", "got 0"]),
    "weights divided by one process": (setting("execution.shard", True), 2, ["`shard` divides the weights", "nproc of 2 or more", "got 1"]),
    "more processes than rows in a step": (
        setting("execution.nproc", 9),
        2,
        ["an optimiser step must have a row for each process", "execution.nproc=9", "train.batch_size=8"],
    ),
    "a bar that is a number": (
        setting("objective.bars", {"accuracy": 0.8}),
        2,
        ["a bar must say which way it is, as {at_least: 0.8} or {at_most: 0.8}, got 0.8", "objective.bars.accuracy"],
    ),
    "bars as a list": (setting("objective.bars", ["accuracy"]), 2, ["`objective.bars` must be a mapping, got list"]),
    "a baseline of a bar that is a name": (
        setting("objective.bars", {"accuracy": {"no_worse_than": "zero-shot"}}),
        2,
        ["`objective.bars.accuracy.no_worse_than` must be a mapping, got 'zero-shot'"],
    ),
    "a baseline of a bar that is misspelt": (
        setting("objective.bars", {"accuracy": {"no_worse_than": {"baseline": "zeroshot"}}}),
        2,
        ["one of evaluate.baselines, got zeroshot", "did you mean `zero-shot`?"],
    ),
    "other rows as a list": (setting("evaluate.out_of_domain", ["forum.csv"]), 2, ["`evaluate.out_of_domain` must be a mapping, got list"]),
    "a perturbation that is no list": (
        setting("evaluate.perturbations", "typos"),
        2,
        ["`evaluate.perturbations` must be a list, got 'typos'"],
    ),
    "a case that is none": (
        setting("evaluate.perturbations", [{"kind": "casing", "to": "title"}]),
        2,
        ["`evaluate.perturbations.0.casing.to` must be 'upper', 'lower' or 'mixed', got 'title'"],
    ),
    "no number of shots": (
        setting("evaluate.baselines", [{"name": "zero-shot"}, {"name": "few", "shots": []}]),
        2,
        ["`shots` must be a number or a list of numbers, got an empty list for few"],
    ),
    "a tracker twice": (
        lambda f, s: s.update(track=["tensorboard", {"kind": "tensorboard"}]),
        2,
        ["each tracker must be listed once, got tensorboard, tensorboard"],
    ),
    "a probe that cannot be one": (
        lambda f, s: s.update(watch={"probe": "rows.csv"}),
        2,
        ["each line must be like", "rows.csv line 1"],
    ),
    "no number of repeats": (
        lambda f, s: s.update(watch={"canary_repeats": []}),
        2,
        ["`watch.canary_repeats` must be a list of at least 1 item, got list"],
    ),
    "single brace": (setting("data.prompt.user", "{text} {"), 2, ["literal brace"]),
}

# What only the data or the model can show: nothing but finished artifacts of earlier stages may stay.
DURING: dict[str, tuple[Change, int, list[str]]] = {
    "empty data": (rows(""), 2, ["rows.csv", "empty"]),
    "header only": (rows("text,label\n"), 2, ["rows.csv", "usable rows"]),
    "one class": (
        rows("text,label\n" + "".join(f"a{i},card\n" for i in range(130))),
        2,
        ["at least two classes", "only one class: 'card'"],
    ),
    "missing column": (setting("data.mapping.label", "lable"), 2, ["column `lable` not found", "'label'", "did you mean `label`?"]),
    "unknown placeholder": (setting("data.prompt.user", "{txt}"), 2, ["{txt}", "did you mean `text`?"]),
    "test set in the training set": (
        overlap,
        1,
        ["leakage", "test.csv row", "rows.csv row", "case, punctuation or spaces", "split.leakage"],
    ),
    "too few rows": (setting("split.test", 500), 2, ["more rows than", "500 test", "120 rows"]),
    "too long rows": (setting("prepare.max_length", 12), 2, ["at most 12 tokens", "rows.csv row", "too_long"]),
    "longer than the context": (setting("prepare.max_length", 100_000), 2, ["context of 512", "100000", "prepare.max_length"]),
    "more processes than rows": (
        lambda f, s: s.update(execution={"nproc": 61}, train={"batch_size": 64}),
        2,
        ["a training row for each process", "61 processes, 60 rows", "execution.nproc"],
    ),
    "a rank above the layers": (setting("train.method", {"kind": "dora", "rank": 999}), 2, ["`rank` must be at most", "got 999"]),
    "a target that no layer has": (setting("train.method", {"targets": ["q_prj"]}), 2, ["q_prj", "did you mean `q_proj`?"]),
    "biases that are not there": (setting("train.method", {"kind": "bitfit"}), 2, ["must have biases", "create: true"]),
    "more layers than there are": (setting("train.method", {"kind": "last_layers", "layers": 99}), 2, ["number of layers", "got 99"]),
    "shots above rows": (
        setting("evaluate.baselines", [{"name": "many", "shots": 100}]),
        2,
        ["no more shots than training rows", "100", "evaluate.baselines.many"],
    ),
    "not text": (lambda f, s: (f / "rows.csv").write_bytes(b"\x00\x01\x02\x03" * 200) and None, 2, ["rows.csv"]),
}


def call(monkeypatch: pytest.MonkeyPatch, folder: Path, *args: str) -> Any:
    monkeypatch.chdir(folder)
    return CliRunner().invoke(app, list(args))


def refused(done: Any, code: int, words: list[str]) -> None:
    """One message, the right code, no traceback and nothing on stdout."""
    assert done.exit_code == code, done.stderr
    assert done.stderr.count("error: ") == 1
    for word in words:
        assert word in done.stderr, (word, done.stderr)
    assert "Traceback" not in done.stderr
    assert "fault of Luthier" not in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("case", BEFORE)
def test_a_wrong_project_file_is_one_message_and_creates_nothing(
    tmp_path: Path, learner_base: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    change, code, words = BEFORE[case]
    write_toy(tmp_path, learner_base)
    settings = toy_settings(learner_base)
    change(tmp_path, settings)
    write_settings(tmp_path, settings)
    before = sorted(tmp_path.rglob("*"))
    refused(call(monkeypatch, tmp_path, "run"), code, words)
    if case not in ("unknown model", "missing model folder"):
        assert sorted(tmp_path.rglob("*")) == before
    assert not list(tmp_path.glob(".luthier/artifacts/*"))


@pytest.mark.parametrize("case", DURING)
def test_wrong_data_is_one_message_and_leaves_no_artifact_of_its_own(
    tmp_path: Path, learner_base: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    change, code, words = DURING[case]
    write_toy(tmp_path, learner_base)
    settings = toy_settings(learner_base)
    change(tmp_path, settings)
    write_settings(tmp_path, settings)
    refused(call(monkeypatch, tmp_path, "run"), code, words)
    records = list(tmp_path.glob(".luthier/artifacts/*/record.json"))
    assert len(records) == len(list(tmp_path.glob(".luthier/artifacts/*")))
    assert not list(tmp_path.glob(".luthier/artifacts/train-*"))


def test_labels_outside_the_list_are_set_aside_and_announced(tmp_path: Path, learner_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_toy(tmp_path, learner_base)
    settings = toy_settings(learner_base)
    settings["data"]["labels"] = ["card", "rate"]
    write_settings(tmp_path, settings)
    done = call(monkeypatch, tmp_path, "data", "show", "--json")
    assert done.exit_code == 0, done.stderr
    assert "40 of 120 rows set aside" in done.stderr
    assert "'cash'" in done.stderr
    settings["data"]["strict"] = True
    write_settings(tmp_path, settings)
    refused(call(monkeypatch, tmp_path, "run"), 2, ["no bad row is allowed (strict)", "rows.csv row 3", "cash"])


# Wrong words on the command line, in a finished project.
VERBS: dict[str, tuple[list[str], list[str]]] = {
    "bad override": (["run", "train.epochs"], ["an override must look like", "'train.epochs'"]),
    "unknown override": (["run", "train.epoch=3"], ["unknown key `train.epoch`", "did you mean `epochs`?"]),
    "override with bad YAML": (["run", "train.epochs=[1"], ["valid YAML", "train.epochs"]),
    "unknown run in show": (["show", "77"], ["a run of this project", "'77'"]),
    "unknown run in compare": (["compare", "1", "toi"], ["a run of this project", "'toi'", "did you mean `toy`?"]),
    "a further look without a reason": (
        ["run", "evaluate.baselines=[{name: zero-shot}]", "--reason", " "],
        ["each further one needs a reason, got none, after 1 look (run 1 on 20", '--reason "why"'],
    ),
    "a run with itself": (["compare", "1", "toy"], ["two different runs are wanted", "run 1 twice"]),
    "unknown model in chat": (["chat", "toyy", "--prompt", "hello"], ["toyy"]),
    "unknown number in chat": (["chat", "77", "--prompt", "hello"], ["a run of this project", "'77'", "its runs: 1 (toy)"]),
    "unknown split": (["eval", "--split", "tests"], ["train, validation or test", "'tests'", "did you mean `test`?"]),
    "unknown split in data show": (["data", "show", "--split", "tset"], ["tset"]),
    "no such file": (["run", "--file", "luthir.yaml"], ["the project file must exist", "did you mean `luthier.yaml`?"]),
    "a folder": (["run", "--file", "."], ["a YAML file is wanted", "folder"]),
    "init over something": (["init", ".", "--example", "banking-intents"], ["new or empty", "nothing is overwritten"]),
    "unknown example": (["init", "new", "--example", "banking"], ["'banking'", "did you mean `banking-intents`?"]),
    "init without a source": (["init", "new"], ["--example NAME and --data FILE", "banking-intents"]),
    "init from a missing file": (["init", "new", "--data", "rowz.csv"], ["the data file must exist, got rowz.csv (--data)"]),
    "unknown model in show": (["models", "show", "smollm2"], ["smollm2", "did you mean `smollm2-135m-instruct`?"]),
}


@pytest.mark.parametrize("case", VERBS)
def test_a_wrong_word_on_the_command_line_is_one_message(finished_toy: Path, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    args, words = VERBS[case]
    before = sorted(finished_toy.rglob("*"))
    refused(call(monkeypatch, finished_toy, *args), 2, words)
    assert [p for p in sorted(finished_toy.rglob("*")) if p not in before and p.suffix not in (".lock", ".db-journal")] == []


BYTES = {
    "not UTF-8": (b"name: caf\xe9\n", ["UTF-8", "0xe9", "offset 9"]),
    "not YAML": (b"name: [\n", ["valid YAML", "luthier.yaml:2"]),
    "a key twice": (b"name: a\nname: b\n", ["key `name` is given twice", "luthier.yaml:2:1"]),
    "a list": (b"- a\n", ["must be a mapping", "list"]),
    "empty": (b"", ["must not be empty", "luthier init"]),
    "a Python object": (b"name: !!python/object/apply:os.system ['true']\n", ["valid YAML"]),
}


@pytest.mark.parametrize("case", BYTES)
def test_a_project_file_that_cannot_be_read_is_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    data, words = BYTES[case]
    (tmp_path / "luthier.yaml").write_bytes(data)
    refused(call(monkeypatch, tmp_path, "run"), 2, words)
    assert [p.name for p in tmp_path.iterdir()] == ["luthier.yaml"]


def test_ambiguous_columns_print_the_mapping_to_paste(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "rows.csv").write_text("question,title,topic,intent\n" + "".join(f"q{i},t{i},a{i % 2},b{i % 3}\n" for i in range(30)))
    done = call(monkeypatch, tmp_path, "init", "new", "--data", "rows.csv")
    refused(done, 2, ["rows.csv", "mapping"])
    assert ", got" not in done.stderr  # the mapping ends the message, so it can be pasted
    assert not (tmp_path / "new").exists()


def test_a_base_that_is_not_there_is_said_before_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_toy(tmp_path, tmp_path / "gone")
    planned = call(monkeypatch, tmp_path, "plan")
    assert planned.exit_code == 0
    assert f"the base {tmp_path / 'gone'} is not there" in planned.stderr.replace("\n", "")


def test_with_json_an_error_is_one_document(finished_toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = call(monkeypatch, finished_toy, "show", "77", "--json")
    body = json.loads(done.stdout)
    assert (body["kind"], body["version"], body["exit_code"], done.exit_code) == ("error", 1, 2, 2)
    assert "77" in body["message"]


def test_no_traceback_reaches_a_user_from_a_process(tmp_path: Path) -> None:
    (tmp_path / "luthier.yaml").write_bytes(b"name: a\nbsae: x\n")
    done = luthier(tmp_path, "run")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "unknown key `bsae`; did you mean `base`?" in done.stderr


def test_a_stopped_run_cannot_be_compared_or_talked_to(finished_toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(finished_toy, tmp_path / "toy", symlinks=True)
    failed = call(monkeypatch, tmp_path / "toy", "run", "prepare.max_length=12", "name=stuck", "--reason", "a test")
    assert failed.exit_code == 2
    refused(
        call(monkeypatch, tmp_path / "toy", "compare", "1", "stuck"),
        2,
        ["must have reached its evaluation", "run 2 is failed", "luthier run"],
    )
    refused(call(monkeypatch, tmp_path / "toy", "chat", "stuck", "-p", "x"), 2, ["must have been trained", "run 2 is failed"])
