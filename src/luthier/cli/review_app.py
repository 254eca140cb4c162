"""The review on a terminal: one suspected row at a time, a key for each decision.

One decision: the screen holds no state of its own; what it shows comes from the session, which has stored every decision before
the next row appears, so closing or killing the terminal loses nothing.
"""

from __future__ import annotations

import os
import sys
from typing import ClassVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Footer, Input, OptionList, Static, TextArea
from textual.widgets.option_list import Option

from luthier.core.errors import UserError
from luthier.stages.data.review_session import ReviewSession, Steps, editable_texts, edited, relabelled, suggestion_of
from luthier.stages.data.show import visible

HUNG_UP = 129
"""Exit code of a process that ended with its terminal (128 + SIGHUP)."""
NOTHING_LEFT = "Nothing is left to decide in this session. u takes the last decision back, q leaves."


class ChooseOne(ModalScreen[str | None]):
    """A list narrowed by typing; the first match is chosen by Enter, Escape chooses nothing."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "back"),
        Binding("down", "move(1)", "next", show=False),
        Binding("up", "move(-1)", "previous", show=False),
    ]
    CSS = "ChooseOne { align: center middle; } ChooseOne > * { width: 80%; } OptionList { max-height: 16; }"

    def __init__(self, title: str, choices: list[str], first: str | None = None) -> None:
        super().__init__()
        self.title_text, self.first = title, first
        self.choices = sorted(choices, key=lambda choice: choice != first)
        self.shown = list(self.choices)

    def compose(self) -> ComposeResult:
        """The title, what is typed, and what matches it."""
        yield Static(self.title_text, markup=False)
        yield Input(placeholder="type to narrow the list")
        yield OptionList()

    def on_mount(self) -> None:
        """Show everything."""
        self._list()
        self.query_one(Input).focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Narrow the list."""
        typed = event.value.casefold()
        self.shown = [choice for choice in self.choices if typed in choice.casefold()]
        self._list()

    def _list(self) -> None:
        options = self.query_one(OptionList)
        options.clear_options()
        options.add_options([Option(Text(visible(choice))) for choice in self.shown])
        options.highlighted = 0 if self.shown else None

    def action_move(self, by: int) -> None:
        """Move the mark."""
        options = self.query_one(OptionList)
        if self.shown:
            options.highlighted = ((options.highlighted or 0) + by) % len(self.shown)

    def on_input_submitted(self, _event: Input.Submitted) -> None:
        """Enter: the marked choice."""
        at = self.query_one(OptionList).highlighted
        if at is not None:
            self.dismiss(self.shown[at])

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """A click, or Enter inside the list."""
        self.dismiss(self.shown[event.option_index])


class EditText(ModalScreen[str | None]):
    """One text in an editor; Ctrl+S keeps the change, Escape leaves the text as it was."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+s", "keep", "keep", priority=True),
        Binding("escape", "dismiss(None)", "back", priority=True),
    ]

    def __init__(self, title: str, text: str) -> None:
        super().__init__()
        self.title_text, self.text = title, text

    def compose(self) -> ComposeResult:
        """The title and the editor."""
        yield Static(self.title_text, markup=False)
        yield TextArea(self.text)
        yield Footer()

    def action_keep(self) -> None:
        """Give the text back."""
        self.dismiss(self.query_one(TextArea).text)


class ReviewApp(App[None]):
    """Rows one after the other, with what the checks say about each."""

    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("a", "accept", "accept"),
        Binding("t", "take", "take the suggestion"),
        Binding("l", "relabel", "relabel"),
        Binding("e", "edit", "edit"),
        Binding("r", "reject", "reject"),
        Binding("s", "skip", "skip"),
        Binding("u", "undo", "undo"),
        Binding("q", "quit", "quit"),
    ]
    CSS = "#row { height: 1fr; padding: 1 0; } #head { text-style: bold; } #findings { color: $warning; }"

    def __init__(self, session: ReviewSession) -> None:
        super().__init__()
        self.session = session

    def compose(self) -> ComposeResult:
        """Progress, findings, the row, the keys."""
        yield Static(id="head", markup=False)
        yield Static(id="findings", markup=False)
        with VerticalScroll(id="row"):
            yield Static(id="fields", markup=False)
        yield Footer()

    def on_mount(self) -> None:
        """Show the first item, and watch that somebody can see it."""
        self.draw()
        if not self.is_headless:
            self.set_interval(2.0, self._end_without_terminal)

    def _end_without_terminal(self) -> None:
        """A terminal that was closed reads as an endless end of input: the process ends, as a hang-up would end it."""
        if not os.isatty(sys.__stdin__.fileno() if sys.__stdin__ else 0):
            os._exit(HUNG_UP)

    def draw(self) -> None:
        """The current item, or that nothing is left."""
        session, item = self.session, self.session.current
        total = len(session.items)
        head = f"{session.queue.name}   reviewer {session.reviewer}   {session.done} of {total} decided, {session.skipped} skipped"
        self.query_one("#head", Static).update(Text(head if item is None else f"{head}   {item.place}"))
        self.query_one("#findings", Static).update(self._findings())
        self.query_one("#fields", Static).update(Text(NOTHING_LEFT) if item is None else self._fields())
        self.query_one("#row", VerticalScroll).scroll_home(animate=False)

    def _findings(self) -> Text:
        item = self.session.current
        if item is None:
            return Text()
        lines = [f"{f['check']} ({f['score']:.2f}): {visible(f['reason'])}" for f in item.body["findings"]]
        lines += [visible(self.session.settle[item.place])] if self.session.settle else []
        return Text("\n".join(lines))

    def _fields(self) -> Text:
        item = self.session.current
        assert item is not None
        column = self.session.queue.body["label_column"]
        out = Text()
        for path, text in editable_texts(item, column):
            out.append(f"{name_of(path)}\n", style="bold cyan").append(f"{visible(text)}\n\n")
        if item.body["label"] is not None:
            out.append(f"{column or 'label'}: ", style="bold cyan").append(visible(item.body["label"]))
            suggestion = suggestion_of(item)
            if suggestion is not None:
                out.append("   looks like: ", style="bold cyan").append(visible(suggestion), style="bold")
        return out

    def _decide(self, action: str, body: dict[str, object] | None = None) -> None:
        if self.session.current is None:
            self.notify("nothing is left to decide")
            return
        try:
            self.session.decide(action, body)  # type: ignore[arg-type]
        except UserError as err:
            self.notify(str(err), severity="warning", markup=False)
        self.draw()

    def action_accept(self) -> None:
        """The row is right as it stands."""
        self._decide("accept")

    def action_reject(self) -> None:
        """The row goes."""
        self._decide("reject")

    def action_skip(self) -> None:
        """Another time."""
        self._decide("skip")

    def action_take(self) -> None:
        """The suggested label is right."""
        item = self.session.current
        suggestion = suggestion_of(item) if item is not None else None
        if suggestion is None:
            self.notify("no label is suggested here")
        else:
            self._decide("relabel", relabelled(suggestion))

    def action_relabel(self) -> None:
        """Another label is right: choose it."""
        item = self.session.current
        labels = [label for label in self.session.queue.body["labels"] if item is not None and label != item.body["label"]]
        if item is None or not labels:
            self.notify("there is no other label to choose")
            return

        def chosen(label: str | None) -> None:
            if label is not None:
                self._decide("relabel", relabelled(label))

        self.push_screen(ChooseOne(f"the right label of {item.place}", labels, suggestion_of(item)), chosen)

    def action_edit(self) -> None:
        """A text is to be changed: choose which, then change it."""
        item = self.session.current
        texts = list(editable_texts(item, self.session.queue.body["label_column"])) if item is not None else []
        if not texts:
            self.notify("there is no text to edit")
        elif len(texts) == 1:
            self._edit(*texts[0])
        else:
            by_name = {name_of(path): (path, text) for path, text in texts}

            def chosen(name: str | None) -> None:
                if name is not None:
                    self._edit(*by_name[name])

            self.push_screen(ChooseOne("the text to edit", list(by_name)), chosen)

    def _edit(self, path: Steps, text: str) -> None:
        def kept(after: str | None) -> None:
            if after is not None:
                self._decide("edit", edited({path: after}))

        self.push_screen(EditText(f"{name_of(path)}   (Ctrl+S keeps, Escape goes back)", text), kept)

    def action_undo(self) -> None:
        """Take the last decision back."""
        if self.session.undo() is None:
            self.notify("there is nothing to take back")
        self.draw()


def name_of(path: Steps) -> str:
    """A text's place in a row in words: `messages.1.content`."""
    return ".".join(map(str, path))
