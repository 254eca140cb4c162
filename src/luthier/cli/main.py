"""The command line: parse, call the pipeline, print. Every verb takes `--json`.

One decision: this module imports nothing heavy; each verb imports what it needs when it is called, so
`luthier --help` answers at once.
"""

from __future__ import annotations

import os

import typer

from luthier.cli import bench_verb, compare_verb, data_verbs, doctor_verb, harness_verbs, model_verbs, project_verbs, run_verbs

app = typer.Typer(
    name="luthier",
    help="From an objective and raw data to a fine-tuned language model that is proven better.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command("init")(project_verbs.init)
app.command("import")(project_verbs.import_file)
app.command("plan")(project_verbs.plan)
app.command("bench")(bench_verb.bench)
app.command("run")(run_verbs.run)
app.command("train")(run_verbs.train)
app.command("eval")(run_verbs.evaluate)
app.command("compare")(compare_verb.compare)
app.command("harness")(harness_verbs.harness)
app.command("chat")(model_verbs.chat)
app.command("export")(model_verbs.export)
app.command("show")(project_verbs.show)
app.command("doctor")(doctor_verb.doctor)
app.command("schema")(project_verbs.schema)
app.add_typer(data_verbs.app, name="data", help="Look at data before anything is trained on it.")
app.add_typer(model_verbs.app, name="models", help="Base models by name.")


@app.callback(invoke_without_command=True)
def version(show: bool = typer.Option(False, "--version", help="Print the version and leave.")) -> None:
    """Handle `--version`."""
    if show:
        import luthier

        typer.echo(luthier.__version__)
        raise typer.Exit


def main() -> None:
    """The entry point of the `luthier` command."""
    # Read by OpenMP when torch loads it: threads that wait sleep instead of spinning (see docs/log.md).
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    app()
