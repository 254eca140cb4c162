"""models list|pull|show, and chat."""

from __future__ import annotations

import dataclasses
import sys
from typing import Annotated, Any

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


def chat(
    model: Model, prompt: Prompt = None, system: System = None, max_new_tokens: Tokens = 256, file: File = DEFAULT, json: Json = False
) -> None:
    """Talk to a base model, an adapter, or the tuned model of a run."""

    def verb() -> int:
        from luthier.cli.documents import ChatDocument
        from luthier.pipeline.chat import Conversation, open_model

        talk: Conversation = open_model(model, file, system, max_new_tokens)
        if prompt is not None:
            answer = talk.ask(prompt)
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
                typer.echo(talk.ask(line).text)
        return 0

    guard(verb, json)


def _read() -> str | None:
    """The next line typed, or None at an empty line or the end of input."""
    if sys.stdin.isatty():
        sys.stderr.write("> ")
        sys.stderr.flush()
    line = sys.stdin.readline()
    return line.strip() or None
