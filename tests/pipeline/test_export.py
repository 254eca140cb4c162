"""luthier export on a finished toy run: each format read back by other libraries, refused when wrong, and never half written."""

from __future__ import annotations

import errno
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from luthier.cli.main import app
from luthier.core.errors import AnswerIsNo, EngineRefused, LuthierError, MachineError, UserError
from luthier.core.events import Event, Note, Progress, ignore
from luthier.engine.export import folder as merged_folder
from luthier.engine.export import gguf_file
from luthier.pipeline import export_check
from luthier.pipeline.export import ExportOptions, export
from luthier.pipeline.export_source import find_source
from toy_models import make_toy_base

MISSING = Path("no-project.yaml")


@pytest.fixture
def project(finished_toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the finished toy project, as the current folder."""
    folder = tmp_path / "toy"
    shutil.copytree(finished_toy, folder, symlinks=True)
    monkeypatch.chdir(folder)
    return folder


def adapter_of(project: Path) -> Path:
    return next((project / ".luthier" / "artifacts").glob("train-*")) / "adapter"


def copied_adapter(project: Path, name: str) -> Path:
    """A writable copy of the run's adapter."""
    shutil.copytree(adapter_of(project), project / name, copy_function=shutil.copyfile)
    return project / name


def call(*args: str) -> Any:
    return CliRunner().invoke(app, list(args))


def test_merged_is_a_folder_that_transformers_loads_with_the_logits_of_peft(project: Path, learner_base: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    done = call("export", "1", "--to", "merged", "--out", "merged", "--json")
    assert done.exit_code == 0, done.stderr
    record = json.loads(done.stdout)["record"]
    base = AutoModelForCausalLM.from_pretrained(learner_base, dtype=torch.float32)
    ours, theirs = AutoModelForCausalLM.from_pretrained("merged"), PeftModel.from_pretrained(base, str(adapter_of(project)))
    tokens = torch.randint(3, 300, (4, 30), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.allclose(ours(tokens).logits, theirs(tokens).logits, atol=1e-4, rtol=0)
        with theirs.disable_adapter():
            assert not torch.allclose(ours(tokens).logits, theirs(tokens).logits, atol=0.1)
    assert ours.dtype == torch.float32
    wanted = AutoTokenizer.from_pretrained(learner_base)
    assert AutoTokenizer.from_pretrained("merged").chat_template == wanted.chat_template
    assert Path("merged/generation_config.json").read_bytes() == (learner_base / "generation_config.json").read_bytes()
    assert record["measured"]["prompts"] >= 64
    assert record["prompts"]["validation rows"] == 18
    assert record["measured"]["max_logit_error"] <= 1e-4
    assert record["measured"]["equal_tokens"] + record["measured"]["near_ties"] == record["measured"]["tokens"]
    assert not list(Path().glob(".merged*"))


def test_the_record_names_source_and_files(project: Path) -> None:
    done = export("toy", Path("luthier.yaml"), ExportOptions("peft"), ignore)
    assert done.folder.name == "0001-toy-peft"
    written = json.loads((done.folder / "export.json").read_text(encoding="utf-8"))
    assert written == done.record
    for name, entry in written["files"].items():
        body = (done.folder / name).read_bytes()
        assert (entry["bytes"], entry["sha256"]) == (len(body), hashlib.sha256(body).hexdigest())
    assert {"adapter_config.json", "adapter_model.safetensors", "README.md"} == set(written["files"])
    checkpoint = json.loads((adapter_of(project).parent / "record.json").read_text(encoding="utf-8"))
    assert written["source"]["key"] == checkpoint["key"]
    assert written["source"]["base_sha256"] == checkpoint["result"]["base_sha256"]
    assert written["source"]["adapter_sha256"] == checkpoint["result"]["adapter_sha256"]
    again = export(str(done.folder), MISSING, ExportOptions("merged", out=Path("from-peft")), ignore)
    assert again.record["source"]["base_sha256"] == written["source"]["base_sha256"]


@pytest.mark.parametrize("kind", ["f16", "q8_0", "q4_0"])
def test_gguf_of_a_run_is_loaded_by_transformers(kind: str, project: Path) -> None:
    from transformers import AutoModelForCausalLM

    done = call("export", "1", "--to", "gguf", "--type", kind, "--json")
    assert done.exit_code == 0, done.stderr
    record = json.loads(done.stdout)["record"]
    name = f"0001-toy-{kind}.gguf"
    merged = export("1", Path("luthier.yaml"), ExportOptions("merged", out=Path("merged")), ignore).folder
    model = AutoModelForCausalLM.from_pretrained(f"0001-toy-gguf-{kind}", gguf_file=name)
    exact = AutoModelForCausalLM.from_pretrained(merged)
    tokens = torch.randint(3, 300, (4, 30), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        divergence = torch.nn.functional.kl_div(
            torch.log_softmax(model(tokens).logits, -1), torch.log_softmax(exact(tokens).logits, -1), log_target=True, reduction="none"
        )
    assert float(divergence.sum(-1).mean()) <= record["bound"]["kl"]
    assert record["measured"]["mean_kl"] <= record["bound"]["kl"]
    assert record["tensors"][kind.upper()] >= 14


def test_the_same_model_gives_the_same_bytes(project: Path) -> None:
    one, two = (export("1", Path("luthier.yaml"), ExportOptions("gguf", "q8_0", out=Path(n)), ignore) for n in ("one", "two"))
    assert one.record["files"] == two.record["files"]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_chosen_precision_is_rounded_once(dtype: Any, project: Path) -> None:
    rounded = export("1", Path("luthier.yaml"), ExportOptions("merged", dtype=dtype, out=Path("rounded")), ignore).folder
    exact = export("1", Path("luthier.yaml"), ExportOptions("merged", out=Path("exact")), ignore).folder
    wanted, found = load_file(exact / "model.safetensors"), load_file(rounded / "model.safetensors")
    assert wanted.keys() == found.keys()
    assert all(torch.equal(found[n], wanted[n].to(getattr(torch, dtype))) for n in wanted)
    assert json.loads((rounded / "config.json").read_text())["dtype"] == dtype


def test_the_stored_precision_of_the_base_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    base = make_toy_base(tmp_path / "base", dtype="bfloat16")
    assert export(str(base), MISSING, ExportOptions("merged", out=Path("out")), ignore).record["type"] == "bfloat16"


@pytest.mark.parametrize("arch", ["gpt2", "gemma2", "phi3"])
def test_other_decoders_are_merged_and_have_no_gguf(arch: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    base = make_toy_base(tmp_path / "base", arch=arch, hidden=64)
    assert export(str(base), MISSING, ExportOptions("merged", out=Path("out")), ignore).record["measured"]["max_logit_error"] <= 1e-4
    with pytest.raises(EngineRefused, match="--to merged"):
        export(str(base), MISSING, ExportOptions("gguf", out=Path("gguf")), ignore)


def test_a_wrong_file_is_refused_and_left_aside(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted fault: q and k in the order of transformers, which every GGUF reader takes for llama.cpp's."""
    with monkeypatch.context() as broken:
        broken.setattr(gguf_file, "_permuted", lambda name, values, config: values)
        done = call("export", "1", "--to", "gguf", "--type", "q8_0", "--out", "out")
    assert done.exit_code == 1
    assert "refused" in done.stderr
    assert not Path("out").exists()
    figures = json.loads(Path("out.refused/export.json").read_text(encoding="utf-8"))
    assert figures["measured"]["mean_kl"] > figures["bound"]["kl"]
    assert call("export", "1", "--to", "gguf", "--type", "q8_0", "--out", "out").exit_code == 0


def test_an_unmerged_adapter_is_refused(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from luthier.engine.export import loading

    monkeypatch.setattr(loading, "merge", lambda model: model.unload())
    with pytest.raises(AnswerIsNo, match="logit difference"):
        export("1", Path("luthier.yaml"), ExportOptions("merged", out=Path("out")), ignore)


def test_another_template_is_refused(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = merged_folder.write_model

    def without_line_ends(folder: Path, *rest: Any) -> None:
        write(folder, *rest)
        template = json.loads((folder / "tokenizer_config.json").read_text())["chat_template"]
        merged_folder.write_template(folder, template.replace("\\n", " "))

    monkeypatch.setattr(merged_folder, "write_model", without_line_ends)
    with pytest.raises(AnswerIsNo, match="other tokens"):
        export("1", Path("luthier.yaml"), ExportOptions("merged", out=Path("out")), ignore)
    assert not Path("out").exists()


def test_existing_folders(project: Path) -> None:
    options = ("export", "1", "--to", "peft", "--out", "out")
    assert call(*options).exit_code == 0
    second = call(*options)
    assert (second.exit_code, "--force" in second.stderr) == (2, True)
    assert call(*options, "--force").exit_code == 0
    Path("mine").mkdir()
    Path("mine/thesis.txt").write_text("years of work")
    refused = call("export", "1", "--to", "peft", "--out", "mine", "--force")
    assert (refused.exit_code, "replaces an earlier export only" in refused.stderr) == (2, True)
    assert Path("mine/thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("7", "--to", "merged"), "a run, an adapter folder or a base model"),
        (("toyy", "--to", "merged"), "toyy"),
        (("1", "--to", "merged", "--type", "q8_0"), "--type belongs"),
        (("1", "--to", "gguf", "--dtype", "float16"), "--dtype belongs"),
    ],
)
def test_wrong_arguments_get_one_message(args: tuple[str, ...], message: str, project: Path) -> None:
    done = call("export", *args)
    assert done.exit_code == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_base_has_no_adapter_to_export(learner_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="needs an adapter"):
        export(str(learner_base), MISSING, ExportOptions("peft"), ignore)


def refused(folder: Path, kind: type[LuthierError], match: str) -> None:
    with pytest.raises(kind, match=match):
        export(str(folder), MISSING, ExportOptions("merged", out=Path("out")), ignore)
    assert not Path("out").exists()


def rewritten(folder: Path, change: Any) -> Path:
    """The folder with its weights changed by `change`."""
    weights = change(load_file(folder / "adapter_model.safetensors"))
    save_file(weights, folder / "adapter_model.safetensors", {"format": "pt"})
    return folder


def test_an_adapter_of_another_model_is_refused(project: Path, tmp_path: Path) -> None:
    other = make_toy_base(tmp_path / "other", hidden=32)
    folder = copied_adapter(project, "other-shape")
    settings = json.loads((folder / "adapter_config.json").read_text()) | {"base_model_name_or_path": str(other)}
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    refused(folder, UserError, "has shape")
    deeper = make_toy_base(tmp_path / "deeper", hidden=64, layers=3)
    (folder / "adapter_config.json").write_text(json.dumps(settings | {"base_model_name_or_path": str(deeper)}))
    refused(folder, UserError, "layers.2.*is missing")


def test_missing_and_unexpected_tensors_are_refused(project: Path) -> None:
    first = rewritten(copied_adapter(project, "less"), lambda w: dict(list(w.items())[1:]))
    refused(first, UserError, "is missing")
    second = rewritten(copied_adapter(project, "more"), lambda w: w | {"base_model.model.extra.lora_A.weight": torch.zeros(2, 2)})
    refused(second, UserError, "not part of it")
    third = rewritten(copied_adapter(project, "nan"), lambda w: {n: t * float("nan") for n, t in w.items()})
    refused(third, UserError, "finite")


def test_hostile_and_pickled_weights_are_refused(project: Path) -> None:
    folder = copied_adapter(project, "hostile")
    (folder / "adapter_model.safetensors").write_bytes((1 << 60).to_bytes(8, "little") + b"{}")
    refused(folder, UserError, "header must fit")
    (folder / "adapter_model.safetensors").unlink()
    (folder / "adapter_model.bin").write_bytes(b"\x80\x04.")
    refused(folder, UserError, "pickle can run any program")


def test_an_adapter_that_changes_its_base_is_refused(project: Path) -> None:
    folder = copied_adapter(project, "pissa")
    settings = json.loads((folder / "adapter_config.json").read_text()) | {"init_lora_weights": "pissa"}
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    refused(folder, EngineRefused, "leaves its base unchanged")


def test_an_export_remembers_the_hash_of_its_base(project: Path, tmp_path: Path) -> None:
    folder = export("1", Path("luthier.yaml"), ExportOptions("peft", out=Path("peft")), ignore).folder
    other = make_toy_base(tmp_path / "same-shape", hidden=64, seed=5)
    settings = json.loads((folder / "adapter_config.json").read_text()) | {"base_model_name_or_path": str(other)}
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    refused(folder, UserError, "trained on")


def test_a_full_disk_is_one_message_and_leaves_nothing(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(model: Any, folder: Path) -> None:
        (folder / "model.safetensors").write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device", str(folder / "model.safetensors"))

    monkeypatch.setattr(merged_folder, "_save", full)
    with pytest.raises(MachineError, match="disk full while writing the export"):
        export("1", Path("luthier.yaml"), ExportOptions("merged", out=Path("out")), ignore)
    assert not list(Path().glob("*out*"))
    assert not list(Path().glob(".out*"))


def test_what_a_killed_export_left_is_cleared(project: Path) -> None:
    left = Path(".out.999999999.aside")
    left.mkdir()
    (left / "model.safetensors").write_bytes(b"half")
    export("1", Path("luthier.yaml"), ExportOptions("peft", out=Path("out")), ignore)
    assert not left.exists()


def test_a_kill_between_the_two_renames_loses_no_export(project: Path) -> None:
    """--force: the earlier export stands aside for a moment; a process killed in it leaves nothing under the name."""
    first = export("1", Path("luthier.yaml"), ExportOptions("peft", out=Path("out")), ignore)
    Path("out").rename(".out.old")
    with pytest.raises(UserError, match="must be new"):
        export("1", Path("luthier.yaml"), ExportOptions("peft", out=Path("out")), ignore)
    assert json.loads(Path("out/export.json").read_text(encoding="utf-8")) == first.record
    assert not Path(".out.old").exists()


def test_a_context_that_is_too_short_for_the_proof_is_refused(learner_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = find_source(str(learner_base), MISSING)
    monkeypatch.setattr(export_check, "LONGEST", 3)
    with pytest.raises(EngineRefused, match="64 prompts must fit"):
        export_check.choose_prompts(source)


def test_progress_and_finer_tensors_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    base = make_toy_base(tmp_path / "base", hidden=40)
    said: list[Event] = []
    export(str(base), MISSING, ExportOptions("gguf", "q4_0", out=Path("out")), said.append)
    units = {e.unit for e in said if isinstance(e, Progress)}
    assert units == {"greedy answers", "prompts read by the source", "tensors written", "prompts read by the export"}
    notes = [e.text for e in said if isinstance(e, Note) and "not a multiple of 32" in e.text]
    assert sum("(2 tensors)" in text for text in notes) == len(notes) - 1 == 7  # a line for each kind of tensor, and the embedding


def test_q4_k_is_read_back_within_its_bound_and_nearer_than_q4_0(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A toy whose rows are whole super-blocks; its layers weigh less than its embedding, as in a trained model."""
    monkeypatch.chdir(tmp_path)
    base = make_toy_base(tmp_path / "base", hidden=256)
    weights = load_file(base / "model.safetensors")
    save_file({n: w if w.dim() == 1 or "embed" in n else 0.4 * w for n, w in weights.items()}, base / "model.safetensors", {"format": "pt"})
    finer, coarser = (export(str(base), MISSING, ExportOptions("gguf", kind, out=Path(kind)), ignore).record for kind in ("q4_k", "q4_0"))
    assert finer["tensors"] == {"Q8_0": 1, "Q4_K": 14, "F32": 5}
    assert finer["tensors_of_another_type"] == ["model.embed_tokens.weight: Q8_0, embedding and output head are kept in 8 bits"]
    assert 0 < finer["measured"]["mean_kl"] <= finer["bound"]["kl"]
    assert finer["measured"]["mean_kl"] < coarser["measured"]["mean_kl"]
    assert Path("q4_k/base-q4_k.gguf").is_file()


def test_the_built_in_prompts_are_64_different_ones(learner_base: Path) -> None:
    texts = {messages[0].content for messages in export_check.built_in_prompts()}
    assert len(texts) == 64
    arrays, counts = export_check.choose_prompts(find_source(str(learner_base), MISSING))
    assert (len(arrays), counts) == (64, {"built-in prompts": 64})
    assert len({a.tobytes() for a in arrays}) == 64
    assert all(a.dtype == np.int32 for a in arrays)


@pytest.mark.slow
def test_the_real_model_as_gguf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight prompts keep it short; docs/export.md has the figures on 64."""
    from luthier.engine.models.resolve import resolve

    try:
        resolve("smollm2-135m-instruct", allow_network=False)
    except LuthierError as err:
        pytest.skip(f"the embedded model is not in the cache: {err}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(export_check, "NUM_PROMPTS", 8)
    done = export("smollm2-135m-instruct", MISSING, ExportOptions("gguf", "q8_0", out=Path("out")), ignore)
    assert done.record["tensors"] == {"Q8_0": 211, "F32": 61}
    assert done.record["measured"]["mean_kl"] < 5e-3
    assert done.record["measured"]["equal_tokens"] >= 0.9 * done.record["measured"]["tokens"]
