"""What is shipped: a source archive, the wheel made from it, and that wheel in an environment of its own."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from toy_project import environment

ROOT = Path(__file__).resolve().parents[2]
WRITTEN_BY_USE = ("__pycache__", ".luthier")


@dataclass(frozen=True)
class Shipped:
    """The source archive's and the wheel's names of files, and the folder of the environment that the wheel is installed in."""

    source: frozenset[str]
    wheel: frozenset[str]
    place: Path

    def call(self, folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
        """A program of the environment, run in `folder`."""
        command = [str(self.place / "bin" / args[0]), *args[1:]]
        kept = {k: v for k, v in environment().items() if k != "PYTHONPATH"}
        return subprocess.run(command, cwd=folder, env=kept, capture_output=True, text=True, timeout=120, check=False)


def run(*command: str | Path, cwd: Path) -> None:
    done = subprocess.run([str(c) for c in command], cwd=cwd, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shipped]:
    """The wheel is built from the unpacked source archive, as a package index's users would."""
    pytest.importorskip("hatchling", reason="hatchling builds the archive and the wheel")
    work = tmp_path_factory.mktemp("shipped")
    run(sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", work / "dist", cwd=ROOT)
    archive = next((work / "dist").glob("*.tar.gz"))
    with tarfile.open(archive) as packed:
        source = frozenset(m.name.partition("/")[2] for m in packed.getmembers() if m.isfile())
        packed.extractall(work / "source", filter="data")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", work / "dist", cwd=next((work / "source").iterdir()))
    wheel = next((work / "dist").glob("*.whl"))
    run(sys.executable, "-m", "venv", "--without-pip", work / "own", cwd=work)
    own = work / "own" / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", own, "install", "--quiet", "--no-deps", "--no-index", wheel, cwd=work)
    libraries = next((work / "own").glob("lib/python*/site-packages"))
    (libraries / "others.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")  # what Luthier depends on
    with zipfile.ZipFile(wheel) as packed:
        yield Shipped(source, frozenset(packed.namelist()), work / "own")


def files_below(folder: str) -> set[str]:
    """Paths of the checkout's files that are not code, against its root."""
    found = (p for p in (ROOT / folder).rglob("*") if p.is_file() and p.suffix != ".py")
    return {p.relative_to(ROOT).as_posix() for p in found if not set(p.parts) & set(WRITTEN_BY_USE)}


def test_every_file_that_is_not_code_is_shipped(shipped: Shipped) -> None:
    examples, beside = files_below("examples"), files_below("src/luthier")
    assert len(examples) > 5
    assert any(name.endswith(".css") for name in beside)
    assert not {f"luthier/{name}" for name in examples} - shipped.wheel
    assert not {name.removeprefix("src/") for name in beside} - shipped.wheel
    assert not (examples | beside | {"pyproject.toml", "README.md", "LICENSE", "NOTICE"}) - shipped.source


def test_every_module_is_shipped_and_nothing_else(shipped: Shipped) -> None:
    modules = {p.relative_to(ROOT / "src").as_posix() for p in (ROOT / "src").rglob("*.py")}
    assert {name for name in shipped.wheel if name.endswith(".py")} == modules
    assert not [name for name in shipped.wheel | shipped.source if set(Path(name).parts) & set(WRITTEN_BY_USE)]


def test_it_works_in_an_environment_of_its_own(shipped: Shipped, tmp_path: Path) -> None:
    where = shipped.call(tmp_path, "python", "-c", "import luthier; print(luthier.__file__)")
    assert Path(where.stdout.strip()).is_relative_to(shipped.place), where.stderr
    for words in (["--help"], ["doctor", "--help"]):
        done = shipped.call(tmp_path, "luthier", *words)
        assert done.returncode == 0, done.stderr
        assert "Usage" in done.stdout
    for name in sorted(p.parent.name for p in (ROOT / "examples").glob("*/luthier.yaml")):
        done = shipped.call(tmp_path, "luthier", "init", name, "--example", name)
        assert done.returncode == 0, done.stderr
        made = {p.relative_to(tmp_path).as_posix() for p in (tmp_path / name).rglob("*") if p.is_file()}
        assert {f"examples/{path}" for path in made} == {path for path in files_below("examples") if path.startswith(f"examples/{name}/")}
    planned = shipped.call(tmp_path / "banking-intents", "luthier", "plan")
    assert planned.returncode == 0, planned.stderr
    page = "from importlib.resources import files; print(files('luthier.report').joinpath('templates/report.css').is_file())"
    assert shipped.call(tmp_path, "python", "-c", page).stdout.strip() == "True"
