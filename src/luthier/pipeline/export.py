"""luthier export: a model written for other programs, read back by one of them, and refused when it differs too much.

One decision: the folder appears under its name only after the comparison has passed; what was refused is left beside it
as `<name>.refused` with its figures, so that nobody ships it by accident and anybody can look.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from luthier.core.errors import AnswerIsNo, UserError, from_os_error
from luthier.core.events import Note, Observer
from luthier.core.files import files_below, fsync_path, fsync_tree, remove_tree, write_json
from luthier.core.keys import file_sha256
from luthier.pipeline import export_check as check
from luthier.pipeline.export_source import RECORD, ExportSource, find_source

Target = Literal["peft", "merged", "gguf"]
GgufKind = Literal["f16", "q8_0", "q4_k", "q4_0"]
DtypeName = Literal["float32", "float16", "bfloat16"]


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """What is wanted. kind: of a GGUF file; dtype: of a merged folder, the base's own when None; out: the folder to make."""

    to: Target
    kind: GgufKind = "f16"
    dtype: DtypeName | None = None
    out: Path | None = None
    force: bool = False


@dataclass(frozen=True, slots=True)
class Exported:
    """A finished export and what its export.json says."""

    folder: Path
    record: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Job:
    """An export under way: `variant` names the format in bounds and messages."""

    source: ExportSource
    options: ExportOptions
    variant: str
    observer: Observer


def export(model: str, file: Path, options: ExportOptions, observer: Observer) -> Exported:
    """Write, read back, compare, publish. Raises AnswerIsNo when the export differs beyond its bound, UserError, MachineError."""
    source = find_source(model, file)
    job = _Job(source, options, _variant(source, options), observer)
    suffix = {"peft": "peft", "merged": f"merged-{job.variant}", "gguf": f"gguf-{job.variant}"}[options.to]
    out = (options.out or Path(f"{source.name}-{suffix}")).absolute()
    _check_target(out, options.force)
    try:
        with _aside(out) as work:
            record, breaches = _make(job, work)
            write_json(work / RECORD, record)
            fsync_tree(work)
            if breaches:
                _refuse(work, out, breaches)
            _publish(work, out)
    except OSError as err:
        raise from_os_error(err, "writing the export to") from None
    return Exported(out, record)


def _variant(source: ExportSource, options: ExportOptions) -> str:
    """The format's name in BOUNDS. Raises UserError for a combination that has no meaning."""
    from luthier.engine.models.cache import HashMemory, cache_root
    from luthier.engine.models.folders import read_folder

    if options.dtype is not None and options.to != "merged":
        raise UserError("--dtype belongs to `--to merged`", options.dtype, "--dtype", "a GGUF file's precision is --type")
    if options.to == "peft":
        if source.adapter is None:
            raise UserError("a PEFT export needs an adapter", f"the base model {source.name}", "--to", "name a run or an adapter folder")
        from luthier.engine.export.loading import adapter_config

        kind = adapter_config(source.adapter)["peft_type"]
        if kind.startswith("LUTHIER_"):
            raise UserError("a PEFT export needs a method that PEFT has", kind, "--to", "use `--to merged`")
        return "peft"
    if options.to == "gguf":
        return options.kind
    if options.dtype is not None:
        return options.dtype
    from luthier.engine.export.folder import stored_dtype

    return stored_dtype(read_folder(source.base.folder, HashMemory(cache_root())).dtypes)


def _check_target(out: Path, force: bool) -> None:
    if not out.exists() and _earlier(out).exists():
        _earlier(out).rename(out)  # killed between the two renames of _publish
    if not out.exists():
        return
    if not force:
        fix = "choose another one, or replace an earlier export with --force"
        raise UserError("the export's folder must be new", str(out), "--out", fix)
    if not (out / RECORD).is_file():
        raise UserError("--force replaces an earlier export only", f"{out}, which holds no {RECORD}", "--out", "choose another folder")


def _make(job: _Job, work: Path) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Fill `work` and compare it with its source; (the record, how its bound is broken)."""
    from luthier.engine.export.fidelity import BOUNDS, answer_logits, compare
    from luthier.engine.export.loading import load_tuned, merge

    source = job.source
    tuned = load_tuned(source.base.folder, source.adapter)
    readings, wanted = check.read_source(source, tuned, job.observer)
    check.check_own_reading(readings, wanted)
    merged = tuned if job.options.to == "peft" else merge(tuned)
    del tuned
    extra = _write(job, merged, work)
    del merged
    found = _read_back(job, work)
    measured = compare(wanted, answer_logits(found, readings, check.progress_of(job.observer, "prompts read by the export")))
    bound = BOUNDS[job.variant]
    origins = check.choose_prompts(source)[1]
    record = {
        "kind": "export",
        "version": 1,
        "to": job.options.to,
        "type": job.variant,
        "source": source.identity(),
        "files": {p.relative_to(work).as_posix(): {"bytes": p.stat().st_size, "sha256": file_sha256(p)} for p in files_below(work)},
        "prompts": origins,
        "measured": dataclasses.asdict(measured),
        "bound": dataclasses.asdict(bound),
        "programs": _programs(),
        **extra,
    }
    return record, measured.breaches(bound, job.variant)


def _write(job: _Job, model: Any, work: Path) -> dict[str, Any]:
    """The files of the format; what the record adds for it. `model`: merged, float32 (unused for peft)."""
    from luthier.engine.export.folder import write_card, write_model, write_template
    from luthier.engine.methods.folder import CONFIG, OWN, WEIGHTS

    source, kind = job.source, job.options.to
    if kind == "peft":
        assert source.adapter is not None
        for name in (CONFIG, WEIGHTS, OWN):
            if name != OWN or (source.adapter / OWN).is_file():
                shutil.copyfile(source.adapter / name, work / name)
        extra: dict[str, Any] = {}
    elif kind == "merged":
        write_model(work, model, source.base.folder, job.variant)  # type: ignore[arg-type]
        if source.renderer.style.origin != "model":
            write_template(work, source.renderer.style.template)
        extra = {}
    else:
        extra = _write_gguf(job, model, work)
    lines = {"model": source.name, "base": source.base.name, "format": f"{kind} {job.variant}", "figures": f"see {RECORD}"}
    write_card(work, lines, source.base.licence)
    return extra


def _write_gguf(job: _Job, model: Any, work: Path) -> dict[str, Any]:
    from luthier.engine.export.gguf_file import GgufText, architecture_of, write_gguf
    from luthier.engine.export.gguf_vocabulary import Roles, read_vocabulary

    renderer, config = job.source.renderer, model.config.to_dict()
    architecture_of(config)
    roles = Roles(dict(renderer.style.special), renderer.end_of_turn)
    vocabulary = read_vocabulary(renderer.tokenizer.data, roles, config["vocab_size"])
    text = GgufText(job.source.name, job.source.base.licence, vocabulary, renderer.style.template)
    stored = write_gguf(work / _gguf_name(job), model, text, job.options.kind, check.progress_of(job.observer, "tensors written"))
    for line in stored.lines():
        job.observer(Note(f"not {job.variant}: {line}", "warning"))
    return {"tensors": stored.counts, "tensors_of_another_type": list(stored.exceptions)}


def _gguf_name(job: _Job) -> str:
    return f"{job.source.name}-{job.variant}.gguf"


def _read_back(job: _Job, work: Path) -> Any:
    """The export as another program loads it, after its text side has been compared."""
    from luthier.engine.export.loading import load_plain, load_tuned
    from luthier.engine.text.renderer import Renderer

    policy = job.source.renderer.policy
    if job.options.to == "peft":
        return load_tuned(job.source.base.folder, work)
    if job.options.to == "merged":
        check.check_text(Renderer.from_model(work, policy), job.source)
        return load_plain(work)
    text = check.text_of_gguf(work / _gguf_name(job), work / ".text")
    try:
        check.check_text(Renderer.from_model(text, policy), job.source)
    finally:
        remove_tree(text)
    return load_plain(work, _gguf_name(job))


def _programs() -> dict[str, str]:
    from importlib import metadata

    import luthier

    return {"luthier": luthier.__version__} | {n: metadata.version(n) for n in ("torch", "transformers", "peft", "safetensors", "gguf")}


@contextlib.contextmanager
def _aside(out: Path) -> Iterator[Path]:
    """A folder beside `out` to work in, removed at the end unless it was renamed; what a killed process left is removed first."""
    out.parent.mkdir(parents=True, exist_ok=True)
    for old in out.parent.glob(f".{out.name}.*.aside"):
        if not _alive(old.name.split(".")[-2]):
            remove_tree(old)
    work = out.parent / f".{out.name}.{os.getpid()}.aside"
    work.mkdir()
    try:
        yield work
    finally:
        remove_tree(work)


def _alive(pid: str) -> bool:
    """True for a process of this machine, whoever owns it."""
    try:
        os.kill(int(pid), 0)
    except PermissionError:
        return True
    except (ValueError, OverflowError, ProcessLookupError):
        return False
    return True


def _earlier(out: Path) -> Path:
    """Where an export stands while another one takes its place."""
    return out.with_name(f".{out.name}.old")


def _publish(work: Path, out: Path) -> None:
    """`work` becomes `out`; an earlier export there is set aside first and removed last."""
    remove_tree(_earlier(out))
    if out.exists():
        out.rename(_earlier(out))
    work.rename(out)
    fsync_path(out.parent)
    remove_tree(_earlier(out))


def _refuse(work: Path, out: Path, breaches: tuple[str, ...]) -> None:
    kept = out.with_name(f"{out.name}.refused")
    if (kept / RECORD).is_file():
        remove_tree(kept)
    if kept.exists():
        raise AnswerIsNo(f"the export was refused and removed: {'; '.join(breaches)}")
    work.rename(kept)
    raise AnswerIsNo(f"the export was refused: {'; '.join(breaches)}; it is left as {kept} with its figures in {RECORD}")
