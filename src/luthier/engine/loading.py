"""The engine and the predictor that belong to a renderer: of a decoder, an encoder or an encoder-decoder.

One decision: the renderer of an artifact says what the model is; stages ask here and never look at a model themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from luthier.core.artifacts import BaseModel
from luthier.core.errors import EngineRefused, UserError
from luthier.core.execution import Execution
from luthier.engine.contract import Engine
from luthier.engine.decoding import Decoding
from luthier.engine.memory.least import check_least
from luthier.engine.methods.contract import MethodSpec
from luthier.engine.predictor import Answerer, Predictor
from luthier.engine.select import Dtype, load_engine, prepare_machine
from luthier.engine.text.load import AnyRenderer
from luthier.engine.text.plain import TextPolicy, TextRenderer
from luthier.engine.text.renderer import Renderer

_UNBOUNDED = 2**31 - 1


def load_for(
    renderer: AnyRenderer, folder: Path, method: MethodSpec | Path | None, execution: Execution, seed: int, dtype: Dtype = "float32"
) -> Engine:
    """The engine for `renderer` on the model in `folder`. method: what to train, or the folder of a trained adapter.

    Raises EngineRefused, UserError or CorruptArtifact.
    """
    if not isinstance(renderer, TextRenderer):
        adapter = method if isinstance(method, Path) else None
        spec: Any = None if isinstance(method, Path) else method
        return load_engine(folder, spec, execution, seed, adapter, dtype)
    if dtype == "bfloat16":
        must = "precision=float32 or float64 is wanted: only decoders are proven in bfloat16"
        raise EngineRefused(must, dtype, "train.precision")
    precision = prepare_machine(execution, dtype)
    check_least(folder, precision.itemsize, not isinstance(method, Path) and method is not None and method.kind == "full", execution)
    if renderer.answers is None:
        from luthier.engine.seq2seq.load import load_seq2seq

        return load_seq2seq(folder, method, execution, seed, precision)
    from luthier.engine.encoder.load import load_encoder

    return load_encoder(folder, renderer.answers, method, execution, seed, precision)


@contextmanager
def open_for(
    renderer: AnyRenderer, folder: Path, method: Any, execution: Execution, seed: int, dtype: Dtype = "float32"
) -> Iterator[Engine]:
    """`load_for` to train with, over `execution.nproc` processes where they are proven: on decoders."""
    if isinstance(renderer, TextRenderer):
        if execution.nproc > 1:
            raise EngineRefused("one process is wanted: only decoders are trained by several", execution.nproc, "execution.nproc")
        yield load_for(renderer, folder, method, execution, seed, dtype)
        return
    from luthier.engine.parallel.start import open_engine

    with open_engine(folder, method, execution, seed, dtype) as engine:
        yield engine


def renderer_for(base: BaseModel) -> AnyRenderer:
    """The renderer of an untuned base: its chat template, or plain text cut where the positions of an encoder-decoder end."""
    if base.kind == "decoder":
        return Renderer.from_model(Path(base.folder))
    if base.kind == "encoder":
        fix = "choose a decoder; an encoder is trained by a project of the task classify, multi_label or regression"
        raise UserError("a model that writes text is wanted", f"an encoder, which reads texts and writes none ({base.name})", fix=fix)
    policy = TextPolicy(max_length=base.context_length, cut="end") if base.context_length else TextPolicy(max_length=_UNBOUNDED)
    return TextRenderer.from_model(Path(base.folder), policy, None)


def predictor_for(engine: Any, renderer: AnyRenderer, decoding: Decoding, choices: tuple[str, ...]) -> Answerer:
    """What asks the engine. decoding and choices: of generated answers; an encoder's head needs neither."""
    from luthier.engine.encoder.engine import EncoderEngine
    from luthier.engine.encoder.predictor import EncoderPredictor

    if isinstance(renderer, TextRenderer) and isinstance(engine, EncoderEngine):
        return EncoderPredictor(engine, renderer)
    return Predictor(engine, renderer, decoding, choices)
