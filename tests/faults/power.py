"""What may be on disk after a power cut, from a record of every file operation (the method of ALICE, OSDI 2014).

One decision: nothing is ordered but by a flush. An operation is on disk for certain once its file (bytes) or its folder
(names) was flushed after it; until then it may be there, missing, half there, or there without those before it. A
rename is one operation, on disk once either of its two folders is flushed.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

Tree = dict[str, bytes | None]
"""Path below the root -> bytes of a file, None for a folder. A symbolic link is a file that begins with LINK."""
LINK = b"\0link\0"
WHOLE, HALF, ZEROS = "whole", "half", "zeros"


@dataclass(frozen=True, slots=True)
class Op:
    """One recorded operation; paths are absolute."""

    kind: str
    path: str
    other: str
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Step:
    """An operation on numbered files and folders (inodes). `flushed_by`: the inodes of which a flush makes it certain."""

    kind: str
    inode: int
    place: tuple[int, str] = (0, "")
    target: tuple[int, str] = (0, "")
    offset: int = 0
    data: bytes = b""
    is_folder: bool = False

    @property
    def flushed_by(self) -> tuple[int, ...]:
        if self.kind == "bytes" or self.kind == "size":
            return (self.inode,)
        return (self.place[0], self.target[0]) if self.kind == "move" else (self.place[0],)


@dataclass
class Disk:
    """Folders (inode -> name -> inode) and files (inode -> bytes); inode 1 is the root."""

    folders: dict[int, dict[str, int]] = field(default_factory=lambda: {1: {}})
    files: dict[int, bytes] = field(default_factory=dict)
    next_inode: int = 2

    @classmethod
    def of(cls, tree: Tree) -> Disk:
        disk = cls()
        for path, data in sorted(tree.items()):
            parent, name = disk.find(path)
            disk.folders[parent][name] = disk.new(data is None)
            if data is not None:
                disk.files[disk.next_inode - 1] = data
        return disk

    def new(self, is_folder: bool) -> int:
        inode, self.next_inode = self.next_inode, self.next_inode + 1
        (self.folders if is_folder else self.files)[inode] = {} if is_folder else b""  # type: ignore[assignment]
        return inode

    def find(self, path: str) -> tuple[int, str]:
        """The inode of the folder that a path is in, and its name there."""
        at, parts = 1, path.split("/")
        for part in parts[:-1]:
            at = self.folders[at][part]
        return at, parts[-1]

    def at(self, path: str) -> int:
        parent, name = self.find(path)
        return self.folders[parent][name]

    def tree(self) -> Tree:
        """What a reader sees from the root down."""
        out: Tree = {}

        def walk(inode: int, prefix: str) -> None:
            for name, child in self.folders[inode].items():
                out[prefix + name] = None if child in self.folders else self.files[child]
                if child in self.folders:
                    walk(child, f"{prefix}{name}/")

        walk(1, "")
        return out

    def bear(self, step: Step) -> None:
        """Make the file or folder of an `add`, without a name."""
        if step.is_folder:
            self.folders[step.inode] = {}
        else:
            self.files[step.inode] = step.data

    def carry_out(self, step: Step, how: str = WHOLE) -> None:
        match step.kind:
            case "add":
                self.folders[step.place[0]][step.place[1]] = step.inode
            case "drop":
                self.folders[step.place[0]].pop(step.place[1], None)
            case "move":
                if self.folders[step.place[0]].get(step.place[1]) == step.inode:
                    del self.folders[step.place[0]][step.place[1]]
                self.folders[step.target[0]][step.target[1]] = step.inode
            case "size":
                self.files[step.inode] = self.files[step.inode][: step.offset].ljust(step.offset, b"\0")
            case "bytes":
                data = step.data[: len(step.data) // 2] if how == HALF else bytes(len(step.data)) if how == ZEROS else step.data
                old = self.files[step.inode].ljust(step.offset, b"\0")
                self.files[step.inode] = old[: step.offset] + data + old[step.offset + len(data) :]


def snapshot(root: Path) -> Tree:
    """The tree below a folder as it is now."""
    out: Tree = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        out[name] = LINK + os.readlink(path).encode() if path.is_symlink() else None if path.is_dir() else path.read_bytes()
    return out


def lay(tree: Tree, root: Path) -> None:
    """Put a tree into an empty or absent folder."""
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    for name, data in sorted(tree.items()):
        if data is None:
            (root / name).mkdir()
        elif data.startswith(LINK):
            (root / name).symlink_to(data[len(LINK) :].decode())
        else:
            (root / name).write_bytes(data)


def read_log(log: Path) -> list[Op]:
    """The operations of a record, in order."""
    data, at, ops = log.read_bytes(), 0, []
    while at < len(data):
        end = data.index(b"\n", at)
        kind, path, other, offset, length = data[at:end].decode().split("\t")
        at = end + 1
        size = int(length) if kind in ("write", "symlink") else 0
        ops.append(Op(kind, path, other, int(offset), data[at : at + size]))
        at += size
    return ops


def steps_of(ops: list[Op], before: Tree, root: Path) -> tuple[list[Step], Tree]:
    """The record as steps, and the tree at its end by our own account (equal to the real one, or the record missed something)."""
    disk, steps, base = Disk.of(before), [], os.path.realpath(root) + "/"
    for op in ops:
        name, other = op.path.removeprefix(base), op.other.removeprefix(base)
        if f"{op.path}/" == base:  # the root itself: only its flushes matter
            steps += [Step("flush", 1)] if op.kind == "fsync" else []
            continue
        if name.endswith(" (deleted)"):
            continue
        step = _step(op, name, other, disk)
        if step.kind == "add":
            disk.bear(step)
        disk.carry_out(step)
        steps.append(step)
    return steps, disk.tree()


def _step(op: Op, name: str, other: str, disk: Disk) -> Step:
    place = disk.find(name)
    match op.kind:
        case "create" | "mkdir" | "symlink":
            data = LINK + op.data if op.kind == "symlink" else b""
            return Step("add", disk.new(op.kind == "mkdir"), place, data=data, is_folder=op.kind == "mkdir")
        case "unlink" | "rmdir":
            return Step("drop", disk.at(name), place)
        case "rename":
            return Step("move", disk.at(name), place, disk.find(other))
        case "write":
            return Step("bytes", disk.at(name), offset=op.offset, data=op.data)
        case "truncate":
            return Step("size", disk.at(name), offset=op.offset)
        case "fsync":
            return Step("flush", disk.at(name))
    raise AssertionError(op.kind)


def pending(steps: list[Step], cut: int) -> list[int]:
    """Which of `steps[:cut]` no later flush before the cut has made certain."""
    flushed: set[int] = set()
    out = []
    for i in range(cut - 1, -1, -1):
        if steps[i].kind == "flush":
            flushed.add(steps[i].inode)
        elif not flushed.intersection(steps[i].flushed_by):
            out.append(i)
    return out[::-1]


def choices(open_: list[int], steps: list[Step], rng: random.Random, limit: int) -> Iterator[Mapping[int, str]]:
    """Ways in which the uncertain steps may have reached the disk: step -> how; a step that is not named did not."""
    everything = dict.fromkeys(open_, WHOLE)
    yield everything
    yield {}
    for i in open_:
        yield {k: v for k, v in everything.items() if k != i}
        yield {i: WHOLE}
        if steps[i].kind == "bytes":
            yield {**everything, i: HALF}
            yield {**everything, i: ZEROS}
    if len(open_) <= 6:
        for kept in product((True, False), repeat=len(open_)):
            yield {i: WHOLE for i, k in zip(open_, kept, strict=True) if k}
    else:
        for _ in range(limit):
            yield {i: rng.choice((WHOLE, WHOLE, HALF)) for i in open_ if rng.random() < 0.5}


def after_cut(before: Tree, steps: list[Step], cut: int, how: Mapping[int, str]) -> Tree:
    """The tree that a reader finds when the power is cut after `steps[:cut]`."""
    disk, uncertain = Disk.of(before), set(pending(steps, cut))
    for i, step in enumerate(steps[:cut]):
        if step.kind == "add":  # its bytes may be there though no name leads to them
            disk.bear(step)
        if step.kind != "flush" and (i not in uncertain or i in how):
            disk.carry_out(step, how.get(i, WHOLE))
    return disk.tree()


def states(before: Tree, steps: list[Step], seed: int, limit: int = 20, every: int = 1) -> Iterator[tuple[int, Tree]]:
    """(operations before the cut, tree) of every different state enumerated, each tree once. every: look at a cut of so many alone."""
    rng, seen = random.Random(seed), set()
    for cut in range(len(steps) % every, len(steps) + 1, every):
        for how in choices(pending(steps, cut), steps, rng, limit):
            tree = after_cut(before, steps, cut, how)
            mark = hashlib.sha256(repr(sorted(tree.items())).encode()).digest()
            if mark not in seen or cut == len(steps):
                seen.add(mark)
                yield cut, tree
