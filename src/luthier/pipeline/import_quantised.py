"""A 4-bit base of a foreign job becomes QLoRA's `stored`; every setting of its quantisation gets a line.

One decision: what changes the values of the weights (the form, double quantisation) is told apart from what does not (how bytes
are held); a base that the project keeps in float32 is said to be at least as exact.
"""

from __future__ import annotations

from dataclasses import dataclass

from luthier.pipeline.import_job import Job, Line

FLOAT32 = "the base is kept in float32: the result is at least as exact and takes more memory"
_DOUBLE = "the scales of blocks stay in float32, 4.5 bits a weight instead of 4.1: at least as exact"
_PRODUCTS = "weights are dequantised to float32 and multiplied there, which is more exact"
_THEIRS = "the other tool's default"
_BESIDE = ("bnb_4bit_compute_dtype", "bnb_4bit_quant_storage", "quantization_device_map")
_BITSANDBYTES = ("bitsandbytes", "bnb")


@dataclass(frozen=True, slots=True)
class FourBit:
    """What a tool calls its settings of a 4-bit base; default_double: whether it quantises scales too where the file is silent.

    switches: of a base in 4 or 8 bits. section: where the settings stand, with a dot at its end, or nothing.
    """

    switches: tuple[str, ...] = ("load_in_4bit", "load_in_8bit")
    form: str = "bnb_4bit_quant_type"
    double: str = "bnb_4bit_use_double_quant"
    program: str = ""
    section: str = ""
    default_double: bool = True


def carry_four_bit(job: Job, names: FourBit) -> None:
    """The form of the base and the fate of every setting beside it. Called when the method is known."""
    method = job.project.get("train", {}).get("method", {})
    if method.get("kind") == "qlora":
        _carry_form(job, names)
        _carry_double(job, names)
        _carry_rest(job, names)
    for key in _settings(job, names):
        if not any(line.key == job.paths.get(key, key) for line in job.lines):
            job.leave(key, "of a base in 8 bits" if method.get("kind") == "qlora" else FLOAT32)


def _settings(job: Job, names: FourBit) -> list[str]:
    """Every key of the job that is about a quantised base."""
    keys = [*names.switches, *((names.program,) if names.program else ())]
    if not names.section:
        return [*keys, names.form, names.double, *_BESIDE]
    inner = job.get(names.section.rstrip("."), {})
    return keys + ([names.section + name for name in inner] if isinstance(inner, dict) else [names.section.rstrip(".")])


def _carry_form(job: Job, names: FourBit) -> None:
    key = names.section + names.form
    form = job.get(key)
    if form is None:
        job.add("train.method.stored", "nf4", _THEIRS)
    elif form == "nf4":
        job.carry(key, "train.method.stored")
    else:
        job.carry_as(key, "train.method.stored", "nf4", "NF4 is the form of 4 bits here, of the same size")
    program = job.get(names.program) if names.program else None
    if program in _BITSANDBYTES:
        job.ignore((names.program,), "NF4 is that of bitsandbytes")
    elif program is not None:
        job.leave(names.program, "NF4 of bitsandbytes instead")


def _carry_double(job: Job, names: FourBit) -> None:
    key = names.section + names.double
    if job.get(key) is not None:
        job.leave(key, _DOUBLE)
    elif names.default_double:
        job.lines.append(Line(job.paths.get(key, key), "", "not carried", "", f"{_THEIRS} is true: {_DOUBLE}"))


def _carry_rest(job: Job, names: FourBit) -> None:
    job.ignore((f"{names.section}bnb_4bit_quant_storage", "quantization_device_map"), "how packed bytes are held changes no value")
    compute = f"{names.section}bnb_4bit_compute_dtype"
    if job.get(compute) == "float32":
        job.ignore((compute,), "products are in float32")
    else:
        job.leave(compute, _PRODUCTS)
