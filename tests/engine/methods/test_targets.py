"""Which layers a method adapts: names, patterns, the head and the embedding; and what a model cannot take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from luthier.core.errors import EngineRefused, UserError
from luthier.core.execution import Execution
from luthier.engine.methods.bitfit import BitFitSpec
from luthier.engine.methods.bottleneck import BottleneckSpec
from luthier.engine.methods.dora import DoRASpec
from luthier.engine.methods.ia3 import IA3Spec
from luthier.engine.methods.last_layers import LastLayersSpec
from luthier.engine.methods.lora import LoRASpec
from luthier.engine.methods.prefix import PrefixSpec
from luthier.engine.methods.prompt import PromptSpec
from luthier.engine.methods.qlora import QLoRASpec
from luthier.engine.methods.targets import layers_of, saved_modules, select
from luthier.engine.select import load_engine
from toys import save_toy

REFERENCE = Execution(engine="reference")


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two layers, hidden 48, keys and values 16 wide, an MLP of 40, no biases, an untied head."""
    return save_toy(tmp_path_factory.mktemp("targets") / "llama", "llama")


@pytest.fixture(scope="module")
def model(llama: Path) -> Any:
    from luthier.engine.export.loading import load_plain

    return load_plain(llama)


def test_entries_name_layers_by_their_last_parts_or_by_pattern(model: Any) -> None:
    layers = layers_of(model)
    assert len(select(("all-linear",), layers)) == 14
    assert select(("q_proj",), layers) == ("model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.q_proj")
    assert select(("self_attn.q_proj",), layers) == select(("q_proj",), layers)
    assert select(("model.layers.1.*",), layers) == tuple(n for n in layers.linear if ".1." in n)
    assert select(("lm_head", "embed_tokens"), layers) == ("lm_head", "model.embed_tokens")
    assert select(("all-linear", "lm_head"), layers) == (*layers.linear, "lm_head")


def test_a_selection_is_saved_by_short_names_only_where_they_mean_it(model: Any) -> None:
    layers = layers_of(model)
    assert saved_modules(select(("q_proj", "v_proj"), layers), layers) == ("q_proj", "v_proj")
    assert saved_modules(select(("model.layers.1.*q_proj",), layers), layers) == ("model.layers.1.self_attn.q_proj",)


@pytest.mark.parametrize("targets", [("embed_tokens", "q_proj"), ("lm_head",), ("model.layers.1.*", "embed_tokens", "lm_head")], ids=str)
@pytest.mark.parametrize("spec", [LoRASpec, DoRASpec])
def test_head_embedding_and_patterns_load_in_peft(llama: Path, tmp_path: Path, spec: Any, targets: tuple[str, ...]) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    engine = load_engine(llama, spec(4, 8.0, targets), REFERENCE, 3)
    state = engine.state()
    engine.load_state({k: v + 0.1 * torch.randn(v.shape, generator=torch.Generator().manual_seed(1)) for k, v in state.items()})
    engine.save_adapter(tmp_path)
    plain: Any = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(llama, dtype=torch.float32), str(tmp_path))
    ids = torch.arange(3, 23)[None]
    with torch.no_grad():
        wanted = plain(ids).logits[0]
        found = engine._model.get_output_embeddings()(engine._hidden(ids[0].numpy()))
    assert torch.allclose(found, wanted, atol=1e-4)
    assert {m for n in state if (m := n.rpartition(".lora_")[0])} == {
        f"adapter.base_model.model.{n}" for n in select(targets, layers_of(AutoModelForCausalLM.from_pretrained(llama)))
    }


def test_a_tied_head_is_adapted_but_not_merged(tmp_path: Path) -> None:
    from luthier.engine.export.loading import load_tuned, merge

    folder = save_toy(tmp_path / "tied", "llama-tied")
    load_engine(folder, LoRASpec(2, 4.0, ("lm_head",)), REFERENCE, 0).save_adapter(tmp_path / "a")
    with pytest.raises(EngineRefused, match="tied to the embedding"):
        merge(load_tuned(folder, tmp_path / "a"))


REFUSED: dict[str, tuple[Any, str]] = {
    "unknown layer": (LoRASpec(2, 4.0, ("q_prj",)), "q_prj.*did you mean `q_proj`"),
    "a pattern of nothing": (LoRASpec(2, 4.0, ("model.layers.7.*",)), "model.layers.7"),
    "rank above a side": (LoRASpec(17, 4.0), "`rank` must be at most 16, the smaller side of .*k_proj.*got 17.*use rank=16"),
    "rank of DoRA": (DoRASpec(41, 4.0, ("down_proj",)), "at most 40"),
    "no biases": (BitFitSpec(), "must have biases, got llama, which has none.*create: true"),
    "more layers than there are": (LastLayersSpec(3), "at most the model's number of layers, got 3.*it has 2"),
    "a wide bottleneck": (BottleneckSpec(size=49), "`size` must be at most 48"),
    "unknown layer of IA3": (IA3Spec(("key",)), "key"),
    "a prompt as long as the context": (PromptSpec(256), "below the model's context of 256"),
    "a prefix as long as the context": (PrefixSpec(256), "below the model's context of 256"),
    "blocks that do not fit": (QLoRASpec(2, 4.0, stored="q4_0"), "whole blocks of 32 values for q4_0, got 48.*stored: nf4"),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("engine", ["reference", "auto"])
def test_what_a_model_cannot_take_is_one_message(llama: Path, case: str, engine: Any) -> None:
    spec, words = REFUSED[case]
    with pytest.raises(UserError, match=words) as caught:
        load_engine(llama, spec, Execution(engine=engine), 0)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("spec", [IA3Spec(), BottleneckSpec(size=2)], ids=["ia3", "bottleneck"])
def test_layers_are_found_by_the_names_of_other_architectures(tmp_path: Path, spec: Any) -> None:
    from transformers import AutoModelForCausalLM, GPT2Config, GPTNeoXConfig, OPTConfig

    shape = {"vocab_size": 61, "max_position_embeddings": 64}
    configs = [
        GPT2Config(**shape, n_embd=16, n_layer=2, n_head=2),
        GPTNeoXConfig(**shape, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2),
        OPTConfig(**shape, hidden_size=16, ffn_dim=32, num_hidden_layers=2, num_attention_heads=2, word_embed_proj_dim=16),
    ]
    for config in configs:
        installed = spec.install(AutoModelForCausalLM.from_config(config).requires_grad_(False), 0)
        assert len(installed.parameters) % 2 == 0
        assert all(p.requires_grad for p in installed.parameters.values())


def test_a_foreign_method_is_refused_by_name(llama: Path, tmp_path: Path) -> None:
    from peft import LoHaConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    get_peft_model(AutoModelForCausalLM.from_pretrained(llama), LoHaConfig(r=2, target_modules=["q_proj"])).save_pretrained(tmp_path)
    with pytest.raises(EngineRefused, match=r"LOHA.*known: .*dora"):
        load_engine(llama, None, REFERENCE, 0, tmp_path)
