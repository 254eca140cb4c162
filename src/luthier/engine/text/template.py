"""A model's chat template, run in a sandbox: it sees messages and tools as plain data and can only make text.

One decision: a template is a stranger's program. It runs in Jinja's immutable sandbox with fewer filters, a budget of
loop steps, seconds and characters, and a clock that stands still on a declared date. Within these limits it gives
the same text as `transformers.apply_chat_template`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

from luthier.core.errors import UserError
from luthier.engine.text.budget import MAX_TEMPLATE_CHARS, Budget, TemplateLimit, guarded_filter, guarded_method, join_text, operate

_FILTERS = (
    "abs,capitalize,count,d,default,dictsort,e,escape,first,float,groupby,indent,int,items,join,last,length,list,lower,map,max,"
    "min,reject,rejectattr,replace,reverse,round,safe,select,selectattr,sort,string,sum,title,trim,truncate,unique,upper,"
    "urlencode,wordcount"
)
_GLOBALS = ("range", "cycler", "joiner")
_STRFTIME = re.compile(r"(?:[^%]|%-?[A-Za-z%]){0,100}")
_FAULTS = (
    jinja2.TemplateError, ArithmeticError, LookupError, TypeError, ValueError, AttributeError, RecursionError, MemoryError,
    NotImplementedError, AssertionError,
)  # fmt: skip


class _Refusal(jinja2.TemplateError):
    """The template itself called `raise_exception`."""


class _Generation(Extension):
    """`{% generation %} ... {% endgeneration %}`: marks the assistant's text; the text passes through unchanged."""

    tags = {"generation"}

    def parse(self, parser: Any) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=line)


class _SafeNamespace(Namespace):
    """A namespace without underscore names, which would reach Python's own attributes."""

    def __setitem__(self, name: str, value: Any) -> None:
        if str(name).startswith("_"):
            raise TemplateLimit(f"a namespace attribute must not begin with an underscore ({name})")
        super().__setitem__(name, value)


class _Environment(ImmutableSandboxedEnvironment):
    """The sandbox with a budget: operators, filters, string methods, loops and macros count against it."""

    intercepted_binops = frozenset({"*", "**", "%", "+"})

    def __init__(self, today: date) -> None:
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols])
        self.budget = Budget()
        self.concat = self._concat  # type: ignore[assignment]
        self.finalize = self._finalize
        self.filters = {name: guarded_filter(name, self.filters[name], self.budget) for name in _FILTERS.split(",")}
        self.filters["tojson"] = guarded_filter("tojson", _to_json, self.budget)
        self.globals = {name: self.globals[name] for name in _GLOBALS}
        self.globals |= {"namespace": _SafeNamespace, "dict": dict, "raise_exception": _raise, "strftime_now": _clock(today)}

    def tick(self) -> str:
        """One turn of a loop, a macro or a block."""
        self.budget.tick()
        return ""

    def join(self, parts: Sequence[Any]) -> str:
        """What `~` does."""
        return join_text(parts, self.budget)

    def _concat(self, parts: Any) -> str:
        return join_text(list(parts), self.budget)

    def _finalize(self, value: Any) -> Any:
        if isinstance(value, (list, tuple, dict)):
            self.budget.measure(value)
        return value

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        return operate(operator, left, right, self.budget)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """Called for every attribute: string methods that can grow a text are replaced by counted ones."""
        return guarded_method(value, self.budget)


class _Count(NodeTransformer):
    """Put a `tick` at the head of every loop, macro, call block and block; route `~` through `join`."""

    def _ticking(self, node: Any) -> Any:
        self.generic_visit(node)
        tick = nodes.Call(nodes.EnvironmentAttribute("tick"), [], [], None, None, lineno=node.lineno)
        node.body.insert(0, nodes.ExprStmt(tick, lineno=node.lineno))
        return node

    visit_For = visit_Macro = visit_CallBlock = visit_Block = _ticking

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        parts = nodes.List(node.nodes, lineno=node.lineno)
        return nodes.Call(nodes.EnvironmentAttribute("join"), [parts], [], None, None, lineno=node.lineno)


def _to_json(value: Any, ensure_ascii: bool = False, indent: int | None = None, separators: Any = None, sort_keys: bool = False) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise(message: object) -> None:
    raise _Refusal(str(message)[:300])


def _clock(today: date) -> Callable[[str], str]:
    """`strftime_now` on the declared date, at midnight."""

    def strftime_now(fmt: str) -> str:
        if not isinstance(fmt, str) or not _STRFTIME.fullmatch(fmt):
            raise TemplateLimit("strftime_now takes plain directives such as %d %B %Y")
        return today.strftime(fmt)

    return strftime_now


class ChatTemplate:
    """A compiled chat template. Raises UserError when it is not a template or uses what the sandbox has not."""

    def __init__(self, source: str, *, today: date, special_tokens: Mapping[str, str]) -> None:
        if len(source) > MAX_TEMPLATE_CHARS:
            raise UserError(f"a chat template must be at most {MAX_TEMPLATE_CHARS} characters", len(source))
        self.source = source
        self._environment = _Environment(today)
        self._special = dict(special_tokens)
        try:
            tree = _Count().visit(self._environment.parse(source))
            code = self._environment.compile(tree)
            self._template = jinja2.Template.from_code(self._environment, code, self._environment.make_globals(None))
        except jinja2.TemplateError as err:
            raise UserError(f"the chat template must be valid: {err.message or err}", where=f"line {getattr(err, 'lineno', '?')}") from None
        except (RecursionError, MemoryError, SyntaxError, ValueError, OverflowError, ArithmeticError) as err:
            raise UserError("the chat template must compile", type(err).__name__) from None

    def render(self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]], *, add_generation_prompt: bool) -> str:
        """The text of a conversation. Raises UserError when the template refuses it, fails, or passes a limit."""
        variables = {
            **self._special,
            "messages": list(messages),
            "tools": list(tools) or None,
            "documents": None,
            "add_generation_prompt": add_generation_prompt,
        }
        self._environment.budget.start(sum(len(m.get("content") or "") for m in messages) + (len(str(tools)) if tools else 0))
        try:
            return self._template.render(variables)
        except _Refusal as err:
            raise UserError(f"the chat template refuses these messages: {err.message}") from None
        except TemplateLimit as err:
            raise UserError(f"the chat template was stopped: {err.message}") from None
        except jinja2.exceptions.SecurityError as err:
            raise UserError(f"the chat template was stopped by the sandbox: {err.message}") from None
        except _FAULTS as err:
            raise UserError("the chat template must render these messages", f"{type(err).__name__}: {str(err)[:200]}") from None
