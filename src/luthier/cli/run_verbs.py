"""run, train, eval: the verbs that build."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Annotated, Any, Literal

import typer

from luthier.cli.options import DEFAULT, File, Json, Nproc, Overrides, Reason, Wait, overridden
from luthier.cli.process import emit, guard, say, stoppable
from luthier.cli.remote import KeyEnv, On, RemoteModelName, remote_options, show_remote


def run(
    overrides: Overrides = None,
    file: File = DEFAULT,
    wait: Wait = False,
    reason: Reason = None,
    nproc: Nproc = None,
    json: Json = False,
) -> None:
    """The whole flow to a verdict and a report. Does only what changed; Ctrl-C is safe."""

    def verb() -> int:
        from luthier.cli.documents import RunDocument
        from luthier.cli.tables import console
        from luthier.pipeline.run import run as run_all
        from luthier.pipeline.workspace import Workspace
        from luthier.report.terminal import print_summary

        workspace = Workspace.open(file, overridden(overrides, nproc))
        outcome = watched(lambda options: run_all(workspace, options), wait, reason)
        verdict = outcome.report.verdict
        if json:
            emit(
                RunDocument(
                    run=outcome.number,
                    name=workspace.project.name,
                    folder=str(outcome.folder),
                    cached=outcome.cached,
                    verdict=verdict.model_dump(mode="json"),
                    bars=tuple(bar.model_dump(mode="json") for bar in outcome.report.bars),
                    refused=outcome.report.refused,
                    accepted=outcome.report.accepted,
                )
            )
        if outcome.cached:
            say(f"nothing changed since run {outcome.number}")
        print_summary(outcome.report, console())
        say(f"run {outcome.number}: report {os.path.relpath(outcome.folder / 'report.html')}")
        return 0 if outcome.report.accepted else 1

    guard(verb, json)


def watched(work: Callable[[Any], Any], wait: bool, reason: str | None = None) -> Any:
    """Run `work` under the live display with Ctrl-C answered by a saved stop."""
    from luthier.cli.display import Display
    from luthier.pipeline.run import RunOptions

    with stoppable() as flag, Display() as display:
        return work(RunOptions(observer=display, stop_flag=flag, wait=wait, reason=reason))


Profile = Annotated[bool, typer.Option("--profile", help="Show where the time of a step goes instead of training.")]
Steps = Annotated[int, typer.Option("--profile-steps", min=1, max=100, help="Steps to profile.")]
LrRange = Annotated[
    int | None,
    typer.Option("--lr-range", min=10, max=1000, help="Sweep the learning rate over so many steps instead of training; 60 will do."),
]


def train(
    overrides: Overrides = None,
    file: File = DEFAULT,
    wait: Wait = False,
    profile: Profile = False,
    profile_steps: Steps = 3,
    lr_range: LrRange = None,
    on: On = None,
    remote_model: RemoteModelName = None,
    key_env: KeyEnv = "OPENAI_API_KEY",
    nproc: Nproc = None,
    json: Json = False,
) -> None:
    """Train only: everything up to the adapter, nothing sealed is touched."""

    def verb() -> int:
        from luthier.cli.documents import TrainDocument
        from luthier.pipeline.run import train_only
        from luthier.pipeline.workspace import Workspace

        workspace = Workspace.open(file, overridden(overrides, nproc))
        elsewhere = remote_options(
            on, remote_model, key_env, {"--profile": profile, "--lr-range": lr_range is not None, "--nproc": nproc is not None}
        )
        if elsewhere is not None:
            if workspace.project.track:
                say("the trackers are given nothing: the training is on another server")
            return show_remote(workspace, elsewhere, wait, json)
        if profile:
            return show_profile(workspace, profile_steps, wait, json)
        if lr_range is not None:
            return show_lr_range(workspace, lr_range, wait, json)
        built = watched(lambda options: train_only(workspace, options), wait)
        result = built.result
        if json:
            emit(TrainDocument(key=built.key, folder=str(built.path), cached=built.cached, checkpoint=result.model_dump(mode="json")))
        best = ", ".join(f"{name} {value:.4f}" for name, value in sorted(result.best.items()))
        say(f"{result.stopped}; best at step {result.best_step}: {best}")
        say(f"adapter: {os.path.relpath(built.path / 'adapter')}")
        return 0

    guard(verb, json)


def show_profile(workspace: Any, num_steps: int, wait: bool, json: bool) -> int:
    """Profile instead of training; the project's artifacts stay as they are."""
    from luthier.cli.profile import show
    from luthier.pipeline.profile import profile_project

    os.environ.setdefault("KINETO_LOG_LEVEL", "5")  # read when torch is loaded: the tracer's own notes stay off the terminal
    found, engine = watched(lambda options: profile_project(workspace, num_steps, options), wait)
    show(found, engine, json)
    return 0


def show_lr_range(workspace: Any, num_steps: int, wait: bool, json: bool) -> int:
    """Sweep instead of training; the project's artifacts stay as they are."""
    from luthier.cli.lr_range import show
    from luthier.pipeline.lr_range import range_test

    show(watched(lambda options: range_test(workspace, num_steps, options), wait), json)
    return 0


OfBase = Annotated[bool, typer.Option("--base", help="The untuned base, asked in the way that is best on validation rows; trains nothing.")]
Split = Annotated[str, typer.Option("--split", help="validation (default) or test; a test evaluation is counted as a look.")]


def evaluate(
    overrides: Overrides = None,
    file: File = DEFAULT,
    split: Split = "validation",
    base: OfBase = False,
    wait: Wait = False,
    reason: Reason = None,
    json: Json = False,
) -> None:
    """Evaluate the tuned model, or the untuned base, on validation rows or on the sealed test rows."""

    def verb() -> int:
        from luthier.cli.documents import EvalDocument
        from luthier.cli.tables import print_scores
        from luthier.pipeline.looks import demand_reason, take_look
        from luthier.pipeline.workspace import Workspace

        workspace = Workspace.open(file, tuple(overrides or ()))
        graph, execution = workspace.graph, workspace.project.execution
        needed: Any = graph.prompting if base else graph.train
        wanted: Any = graph.baseline if base else graph.tuned
        stage = wanted.on(_known_split(split))
        if left := [s.name for s in wanted.others if s not in stage.others]:
            say(f"not measured: {', '.join(left)}: a temperature is fitted on validation rows and judged on others (`--split test`)")
        shown = (stage,) if base else None
        if split == "test":
            demand_reason(workspace, reason, shown)
        watched(lambda o: workspace.store.build(needed, execution, o.observer, o.stop_flag, o.wait), wait)
        looks = take_look(workspace, None, reason, shown) if split == "test" else None
        built = watched(lambda o: workspace.store.build(stage, execution, o.observer, o.stop_flag, o.wait), wait)
        if json:
            body = built.result.model_dump(mode="json")
            emit(EvalDocument(key=built.key, folder=str(built.path), cached=built.cached, looks=looks, predictions=body))
        print_scores(built.result, looks)
        say(f"predictions: {os.path.relpath(built.path / 'predictions.jsonl')}")
        return 0

    guard(verb, json)


def _known_split(split: str) -> Literal["train", "validation", "test"]:
    from luthier.core.errors import UserError, did_you_mean

    known: tuple[Literal["train", "validation", "test"], ...] = ("train", "validation", "test")
    for name in known:
        if name == split:
            return name
    raise UserError("a split must be train, validation or test", repr(split), "--split", did_you_mean(split, known))
