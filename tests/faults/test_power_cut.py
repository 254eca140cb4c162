"""A power cut at every file operation: whatever was not flushed may be lost, torn or there without what came before it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from acts import chain, state_of
from nursery import Ended, Fault, Nursery
from power import Step, Tree, lay, read_log, snapshot, states, steps_of
from torch import equal
from trials import SHORT, STORE, WITHOUT_DATABASE

from luthier.core.execution import Execution
from luthier.core.record import hash_files
from luthier.core.store import Store
from luthier.engine.checkpoint.folder import load_newest, save_checkpoint
from toy_project import write_toy


def record(nursery: Nursery, root: Path, *act: str) -> tuple[Tree, list[Step]]:
    """Do something once, recorded: the tree before it and its steps. The account of the steps must be the tree that is really there."""
    before, log = snapshot(root), root.parent / "operations.log"
    done: Ended = nursery.run(root.parent, ("do", *act), Fault(str(root), "record", log=str(log), ignore=("lease.json", ".lock")))
    assert done.code == 0, done.said
    steps, after = steps_of(read_log(log), before, root)
    found = {name: data for name, data in snapshot(root).items() if not name.endswith((".lock", "lease.json"))}
    assert after == found
    return before, steps


def step_and_salt(folder: Path) -> tuple[int, int]:
    """Which checkpoint is read; its bytes must be those that were saved."""
    found = load_newest(folder)
    assert found is not None
    salt = found.state["loop"]["salt"]
    assert equal(found.state["adapter.a"], state_of(found.step, salt)["adapter.a"])
    return found.step, salt


@pytest.mark.parametrize(("step", "salt"), [(3, 0), (2, 7)], ids=["a new step", "a step saved again"])
def test_a_checkpoint_is_the_old_one_or_the_new_one(nursery: Nursery, tmp_path: Path, step: int, salt: int) -> None:
    root, again = tmp_path / "checkpoints", tmp_path / "again"
    for saved in (1, 2):
        save_checkpoint(root, saved, state_of(saved))
    before, steps = record(nursery, root, "save", str(root), str(step), str(salt))
    seen = set()
    for cut, tree in states(before, steps, seed=0):
        lay(tree, again)
        seen.add(step_and_salt(again))
        if cut == len(steps):
            assert step_and_salt(again) == (step, salt)  # what was said to be saved is saved
    assert seen == {(2, 0), (step, salt)}


def test_a_file_is_the_old_one_or_the_new_one(nursery: Nursery, tmp_path: Path) -> None:
    root, again = tmp_path / "files", tmp_path / "again"
    root.mkdir()
    (root / "settings.json").write_text("old " * 300)
    before, steps = record(nursery, root, "write", str(root / "settings.json"), "new " * 500)
    seen = set()
    for cut, tree in states(before, steps, seed=0):
        lay(tree, again)
        text = (again / "settings.json").read_text()
        seen.add(text)
        assert cut < len(steps) or text == "new " * 500
    assert seen == {"old " * 300, "new " * 500}


def test_a_careless_write_is_found_out(nursery: Nursery, tmp_path: Path) -> None:
    root, again = tmp_path / "files", tmp_path / "again"
    root.mkdir()
    (root / "settings.json").write_text("old " * 300)
    before, steps = record(nursery, root, "write_carelessly", str(root / "settings.json"), "new " * 500)
    thirds = 0
    for _, tree in states(before, steps, seed=0):
        lay(tree, again)
        thirds += (again / "settings.json").read_text() not in ("old " * 300, "new " * 500)
    assert thirds >= 3  # empty, half, zeros


def test_an_artifact_is_whole_or_not_there_and_the_next_build_ends_the_same(nursery: Nursery, tmp_path: Path) -> None:
    root, again = tmp_path / "store", tmp_path / "again"
    root.mkdir()
    before, steps = record(nursery, root, "build", str(root))
    wanted = hash_files(Store(root).build(chain(1), Execution()).path)
    num_whole = num_absent = 0
    for cut, tree in states(before, steps, seed=0, limit=4):
        lay(tree, again)
        for path in again.rglob("*"):  # a cut restores bytes, not permissions
            os.chmod(path, 0o755)
        found = Store(again).find(chain(1))
        num_whole, num_absent = num_whole + (found is not None), num_absent + (found is None)
        assert cut < len(steps) or found is not None
        assert hash_files(Store(again).build(chain(1), Execution()).path) == wanted
    assert num_whole > 5  # few: all but the rename is flushed by then
    assert num_absent > 10


def test_a_saved_step_has_its_measurements_and_an_artifact_has_no_scratch(nursery: Nursery, learner_base: Path, tmp_path: Path) -> None:
    """Over the states of a whole training: the names of files must be flushed too, not only their bytes."""
    root, log = tmp_path / "toy", tmp_path / "operations.log"
    write_toy(root, learner_base, train=SHORT, split={"train": 24, "validation": 6, "test": 30, "seed": 3})
    fault = Fault(str(root / STORE), "record", log=str(log), ignore=(*WITHOUT_DATABASE, "lease.json", ".lock"))
    assert nursery.run(root, ("train",), fault).code == 0
    steps, _ = steps_of(read_log(log), {}, root / STORE)
    saved = 0
    for _, tree in states({}, steps, seed=0, limit=1, every=11):
        assert not [name for name in tree if name.startswith("artifacts/train-") and "/scratch" in name]
        for name in tree:
            work, found, step = name.removesuffix("/COMMITTED").partition("/scratch/checkpoints/step-")
            if found and name.endswith("/COMMITTED") and work.startswith("work/"):
                of_step = f'{{"step": {int(step.partition("-")[0])}, "split": "train", "name": "loss"'.encode()
                assert of_step in (tree[f"{work}/metrics.jsonl"] or b"")  # what comes after it may be torn
                assert f"{work}/samples.jsonl" in tree
                saved += 1
    assert saved > 20
