"""The site builds without a warning, fetches nothing from elsewhere, and every link and every named verb exists."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType

import pytest
from doc_blocks import REPO, all_blocks, commands_of, documents

_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
_CODE = re.compile(r"^```.*?^```\s*$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", REPO / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return folder


class _Assets(HTMLParser):
    """Addresses that a browser fetches by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag in ("script", "img", "iframe", "source"):
            self.found.append(values.get("src") or "")
        if tag == "link" and values.get("rel") in ("stylesheet", "preload", "icon", "preconnect", "dns-prefetch"):
            self.found.append(values.get("href") or "")


def test_no_page_fetches_anything_from_another_host(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 12
    for page in pages:
        assets = _Assets()
        assets.feed(page.read_text(encoding="utf-8"))
        foreign = [a for a in assets.found if re.match(r"(https?:)?//", a)]
        assert not foreign, (page.name, foreign)


def test_generated_pages_and_schemas_are_in_the_site(site: Path, generator: ModuleType) -> None:
    for name in generator.pages():
        built = site / "reference" / name.replace(".md", ".html")
        assert built.is_file(), name
        if name.endswith(".json"):
            assert json.loads(built.read_text(encoding="utf-8"))["properties"]


def test_the_reference_holds_every_setting(generator: ModuleType) -> None:
    from luthier.pipeline.project import Project

    page = generator.configuration_page()
    for path, cls in generator.sections(Project, ""):
        assert not path or f"## `{path}`" in page
        for name in cls.model_fields:
            assert f"`{name}`" in page, (path, name)


def test_every_setting_has_a_meaning_and_every_meaning_a_setting(generator: ModuleType) -> None:
    from luthier.pipeline.project import Project

    known = generator.meanings()
    paths = {}
    for path, cls in generator.sections(Project, ""):
        for name, field in cls.model_fields.items():
            paths[f"{path}.{name}" if path else name] = field
    assert set(known) <= set(paths)
    empty = [p for p, f in paths.items() if not generator.is_tag(p.rpartition(".")[2], f) and not generator.meaning(f, known.get(p, ""))]
    assert empty == []


def test_every_document_has_a_kind_and_a_version(generator: ModuleType) -> None:
    documents = generator.documents()
    assert {"plan", "run", "train", "eval", "compare", "chat", "data_check", "data_show", "doctor"} <= set(documents)
    assert all("version" in cls.model_fields for cls in documents.values())


def test_every_verb_that_is_named_exists_and_every_verb_is_named(generator: ModuleType) -> None:
    helps = generator.verbs()
    named = {
        tuple(m.split()) for page in documents() for m in re.findall(r"`luthier ([a-z]+(?: [a-z]+)?)", page.read_text(encoding="utf-8"))
    }
    named |= {tuple(words[1:3]) for b in all_blocks("bash", "console") for words, _ in commands_of(b) if words[0] == "luthier"}
    known = {tuple(name.split()) for name in helps}
    for words in named:
        assert words in known or words[:1] in known or words[0] in {k[0] for k in known if len(k) == 1}, words
    readme = (REPO / "README.md").read_text(encoding="utf-8")
    assert [name for name in helps if f"`luthier {name}`" not in readme] == []


def test_every_option_in_an_example_is_in_the_help(generator: ModuleType) -> None:
    helps = generator.verbs()
    for block in all_blocks("bash", "console"):
        for words, _ in commands_of(block):
            verb = " ".join(words[1:3]) if " ".join(words[1:3]) in helps else words[1] if words[0] == "luthier" else ""
            for option in [w for w in words if verb and w.startswith("--")]:
                assert option in helps[verb], f"{block}: {option}"


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", _CODE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[\s]+", "-", re.sub(r"[^\w\s-]", "", h.lower()).strip()) for h in headings}


@pytest.mark.parametrize("page", documents(), ids=lambda p: str(p.relative_to(REPO)))
def test_internal_links_resolve(page: Path, generator: ModuleType) -> None:
    generated = {(REPO / "docs" / "reference" / name).resolve() for name in generator.pages()}
    for link in _LINK.findall(_CODE.sub("", page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists() or target in generated, link
        if anchor and target.suffix == ".md" and target.exists():
            assert anchor in _anchors(target), link


def test_every_capability_names_a_command_and_a_test_that_exists() -> None:
    text = (REPO / "docs" / "capabilities.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([A-M]\d[^|]*) \| [^|]+ \| ([^|]+) \| `([^`]+)` \|$", text, re.MULTILINE)
    assert len(rows) == len(re.findall(r"^\| [A-M]\d", text, re.MULTILINE)) > 40
    for name, command, test in rows:
        assert "`luthier " in command, name
        file, _, function = test.partition("::")
        assert f"def {function}(" in (REPO / file).read_text(encoding="utf-8"), test


def test_the_examples_say_where_their_data_come_from() -> None:
    for folder in (p.parent for p in (REPO / "examples").glob("*/luthier.yaml")):
        text = (folder / "README.md").read_text(encoding="utf-8")
        assert "Licence: CC BY 4.0" in text
        assert all(f"`data/{f.name}`" in text for f in (folder / "data").iterdir())
