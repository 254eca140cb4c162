"""models list|pull|show, chat, export."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from luthier.cli.options import DEFAULT, File, Json
from luthier.cli.process import emit, guard, say

app = typer.Typer(no_args_is_help=True, add_completion=False)
Name = Annotated[str, typer.Argument(help="An embedded name, a folder, a .gguf file or a hub id.")]


@app.command("list")
def list_models(json: Json = False) -> None:
    """The embedded models and what is in the cache."""

    def verb() -> int:
        from luthier.cli.documents import ModelsDocument
        from luthier.cli.tables import print_table
        from luthier.engine.models.catalogue import list_models as rows_of

        rows = rows_of()
        if json:
            emit(ModelsDocument(models=tuple(dataclasses.asdict(r) for r in rows)))
        cells = [
            (r.name, f"{r.num_parameters / 1e6:.0f} M", r.licence, "in the cache" if r.present else "to pull", r.description) for r in rows
        ]
        print_table("", ("name", "parameters", "licence", "state", ""), cells)
        return 0

    guard(verb, json)


@app.command("pull")
def pull(name: Name, json: Json = False) -> None:
    """Fetch or convert a base model once, into the cache."""

    def verb() -> int:
        from luthier.cli.display import Display
        from luthier.cli.documents import ModelDocument
        from luthier.core.events import Progress
        from luthier.engine.models.resolve import resolve

        with Display() as display:
            info = resolve(name, progress=lambda what, done, total: display(Progress("models", done, total, what)))
        for note in info.notes:
            say(note)
        if json:
            emit(ModelDocument(model=info.artifact().model_dump(mode="json")))
        say(f"{info.name}: {info.folder}")
        return 0

    guard(verb, json)


@app.command("show")
def show(name: Name, json: Json = False) -> None:
    """Every fact about a base model."""

    def verb() -> int:
        from luthier.cli.documents import ModelDocument
        from luthier.cli.tables import print_table
        from luthier.engine.models.catalogue import describe

        facts: dict[str, Any] = describe(name)
        if json:
            emit(ModelDocument(model=facts))
        print_table("", ("", ""), [(k.replace("_", " "), v) for k, v in facts.items() if not isinstance(v, (dict, list))])
        return 0

    guard(verb, json)


Model = Annotated[str, typer.Argument(help="A run (number or name), an adapter folder, or a base model's name.")]
Prompt = Annotated[str | None, typer.Option("--prompt", "-p", help="Ask once and leave; otherwise a conversation starts.")]
System = Annotated[str | None, typer.Option("--system", help="The system message; a run's own one by default.")]
Tokens = Annotated[int, typer.Option("--max-new-tokens", min=1, max=8192)]
Temperature = Annotated[float, typer.Option("--temperature", help="0 takes the most likely token each time.")]
TopP = Annotated[float, typer.Option("--top-p", help="Draw from the likeliest tokens that hold this much probability.")]
Seed = Annotated[int, typer.Option("--seed", help="Of the draws, when the temperature is above 0.")]


def chat(
    model: Model,
    prompt: Prompt = None,
    system: System = None,
    max_new_tokens: Tokens = 256,
    temperature: Temperature = 0.0,
    top_p: TopP = 1.0,
    seed: Seed = 0,
    file: File = DEFAULT,
    json: Json = False,
) -> None:
    """Talk to a base model, an adapter, or the tuned model of a run."""

    def verb() -> int:
        from luthier.cli.documents import ChatDocument
        from luthier.core.config import parse_config
        from luthier.engine.decoding import Decoding
        from luthier.pipeline.chat import Conversation, open_model

        given = {"max_new_tokens": max_new_tokens, "temperature": temperature, "top_p": top_p, "seed": seed}
        talk: Conversation = open_model(model, file, system, parse_config(Decoding, given, "chat"))
        if prompt is not None:
            answer = _asked(talk, prompt, max_new_tokens)
            if json:
                emit(ChatDocument(model=talk.name, prompt=prompt, answer=answer.text, finish=answer.finish))
            else:
                typer.echo(answer.text)
            return 0
        say(f"{talk.name}; an empty line or Ctrl-D ends, /reset starts over")
        while (line := _read()) is not None:
            if line == "/reset":
                talk.reset()
            else:
                typer.echo(_asked(talk, line, max_new_tokens).text)
        return 0

    guard(verb, json)


def _asked(talk: Any, words: str, limit: int) -> Any:
    """The answer of a conversation; where it was cut, that is said."""
    answer = talk.ask(words)
    if answer.finish == "length":
        say(f"the answer was cut at {limit} tokens (--max-new-tokens), or where the model's positions end")
    return answer


def _read() -> str | None:
    """The next line typed, or None at an empty line or the end of input."""
    if sys.stdin.isatty():
        sys.stderr.write("> ")
        sys.stderr.flush()
    line = sys.stdin.readline()
    return line.strip() or None


To = Annotated[Literal["peft", "merged", "gguf"], typer.Option("--to", help="An adapter folder, a merged folder, or one GGUF file.")]
Kind = Annotated[
    Literal["f16", "q8_0", "q4_k", "q4_0"] | None, typer.Option("--type", help="Of a GGUF file; f16 by default.", show_default=False)
]
Dtype = Annotated[
    Literal["float32", "float16", "bfloat16"] | None,
    typer.Option("--dtype", help="Of a merged folder; the base's own by default.", show_default=False),
]
Out = Annotated[Path | None, typer.Option("--out", help="The folder to make; named after model and format by default.")]
Force = Annotated[bool, typer.Option("--force", help="Replace an earlier export.")]


def export(
    model: Model,
    to: To,
    type: Kind = None,
    dtype: Dtype = None,
    out: Out = None,
    force: Force = False,
    file: File = DEFAULT,
    json: Json = False,
) -> None:
    """Write a model for other programs, read it back, and refuse it when it differs from its source."""

    def verb() -> int:
        from luthier.cli.display import Display
        from luthier.cli.documents import ExportDocument
        from luthier.core.errors import UserError
        from luthier.pipeline.export import ExportOptions
        from luthier.pipeline.export import export as make

        if type is not None and to != "gguf":
            raise UserError("--type belongs to `--to gguf`", type, "--type", "a merged folder's precision is --dtype")
        options = ExportOptions(to, type or "f16", dtype, out, force)
        with Display() as display:
            done = make(model, file, options, display)
        if json:
            emit(ExportDocument(folder=str(done.folder), record=done.record))
        m = done.record["measured"]
        say(f"exported {done.folder}")
        say(
            f"read back on {m['prompts']} prompts: {m['equal_tokens']} of {m['tokens']} greedy tokens equal, "
            f"largest logit difference {m['max_logit_error']:.3g}, "
            f"mean KL {m['mean_kl']:.3g} nats a token (bound {done.record['bound']['kl']:g})"
        )
        return 0

    guard(verb, json)
