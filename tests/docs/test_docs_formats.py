"""The samples of docs/data-formats.md are read by the real readers under the mapping that stands beside them."""

from __future__ import annotations

from pathlib import Path

import pytest
from doc_blocks import REPO, Block, blocks_of

from luthier.core.config import parse_yaml
from luthier.parts.sources.mapping import CLASSES, mapping_from
from luthier.stages.data.check import check_file

PAGE = REPO / "docs" / "data-formats.md"


def _samples() -> dict[str, dict[str, Block]]:
    """kind -> language -> block."""
    out: dict[str, dict[str, Block]] = {}
    for block in blocks_of(PAGE):
        if block.heading.strip("`") in CLASSES:
            out.setdefault(block.heading.strip("`"), {})[block.language] = block
    return out


SAMPLES = _samples()


def test_every_kind_has_a_sample_and_its_mapping() -> None:
    assert set(SAMPLES) == set(CLASSES)
    assert all("yaml" in blocks and {"csv", "jsonl"} & set(blocks) for blocks in SAMPLES.values())


@pytest.mark.parametrize("kind", sorted(SAMPLES))
def test_the_sample_is_accepted(kind: str, tmp_path: Path) -> None:
    blocks = SAMPLES[kind]
    sample = blocks.get("jsonl") or blocks["csv"]
    mapping = mapping_from(parse_yaml(blocks["yaml"].text, kind)["data"]["mapping"])
    assert mapping.kind == kind
    file = tmp_path / f"rows.{sample.language}"
    file.write_text(sample.text, encoding="utf-8")
    document = check_file(file, mapping)
    assert document.kept == document.rows == len(sample.text.splitlines()) - (sample.language == "csv")
    assert document.verdict in ("accept", "warn"), document
