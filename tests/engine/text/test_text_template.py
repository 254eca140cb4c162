"""The chat template: the same text as transformers gives, and nothing that a hostile one wants."""

from __future__ import annotations

import time
from datetime import date

import pytest
from chat_styles import STYLES
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.core.errors import UserError
from luthier.engine.text.template import ChatTemplate

TODAY = date(2025, 3, 7)
SPECIAL = {"bos_token": "<s>", "eos_token": "</s>"}
TALKS = (
    [{"role": "user", "content": "Hi"}],
    [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello you"}],
    [
        {"role": "user", "content": "  spaces \n and <b>tags & 'quotes'</b> "},
        {"role": "assistant", "content": "naïve 日本 🙂"},
        {"role": "user", "content": ""},
        {"role": "assistant", "content": "{{ 7 * 7 }} {% raw %}"},
    ],
)
TOOLS = [
    {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}
]
# constructs of real templates, one by one
CONSTRUCTS = (
    "{% for m in messages %}{{ loop.index }}{{ m.content | trim | upper }}{% if not loop.last %},{% endif %}{% endfor %}",
    "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n * 3 }}",
    "{% macro show(m) %}[{{ m['role'] ~ ':' ~ m.content }}]{% endmacro %}{% for m in messages %}{{ show(m) }}{% endfor %}",
    "{{ tools | tojson }}{{ messages | tojson(indent=4) }}",
    "{% for m in messages if m.role == 'user' %}{{ m.content.split(' ')[-1] }}{% else %}none{% endfor %}",
    "{{ messages | map(attribute='role') | join(', ') }}{{ messages | selectattr('role', 'equalto', 'user') | list | length }}",
    "{% for m in messages %}{% if loop.index0 > 0 %}{% break %}{% endif %}{{ m.content }}{% endfor %}",
    "{{ 'a' ~ 1 ~ none ~ [1, 'x'] ~ true }}{{ [1] + [2] }}{{ 'x%s-%d' % ('y', 3) }}{{ 2 ** 3 % 5 }}{{ 7 // 2 }}",
    "{{ messages[0].content.replace('H', 'J').strip() }}{{ ', '.join(['a', 'b']) }}{{ undefined_name }}",
    "  {% if messages %}\n  {{ bos_token }}\n  {% endif %}\n\n  {%- for m in messages -%}  {{ m.role }}  {%- endfor %}\n",
    "{% generation %}{% for m in messages %}{{ m.content }}{% endfor %}{% endgeneration %}{{ messages[::-1] | length }}",
    "{% set x %}{{ messages[0].role }}{% endset %}{{ x }}{% filter upper %}abc{% endfilter %}",
    "{{ range(3) | list }}{{ {'a': 1}.items() | list }}",
)


def ours(source: str, messages: list, tools: list | None = None, generation: bool = True) -> str:
    return ChatTemplate(source, today=TODAY, special_tokens=SPECIAL).render(messages, tools or (), add_generation_prompt=generation)


def theirs(source: str, messages: list, tools: list | None = None, generation: bool = True) -> str:
    from transformers.utils.chat_template_utils import render_jinja_template

    rendered, _ = render_jinja_template([messages], tools=tools, chat_template=source, add_generation_prompt=generation, **SPECIAL)
    return rendered[0]


@pytest.mark.parametrize("generation", [True, False])
@pytest.mark.parametrize("talk", range(len(TALKS)))
@pytest.mark.parametrize("name", list(STYLES))
def test_the_styles_of_the_field_equal_transformers(name: str, talk: int, generation: bool) -> None:
    source = STYLES[name].template
    assert ours(source, TALKS[talk], None, generation) == theirs(source, TALKS[talk], None, generation)


@pytest.mark.parametrize("source", CONSTRUCTS)
def test_constructs_of_real_templates_equal_transformers(source: str) -> None:
    assert ours(source, TALKS[2], TOOLS) == theirs(source, TALKS[2], TOOLS)
    assert ours(source, TALKS[2]) == theirs(source, TALKS[2])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(max_size=30), min_size=1, max_size=4))
def test_any_text_equals_transformers(texts: list[str]) -> None:
    talk = [{"role": ("user", "assistant")[i % 2], "content": t} for i, t in enumerate(texts)]
    for name in ("chatml", "llama3", "gemma"):
        assert ours(STYLES[name].template, talk) == theirs(STYLES[name].template, talk)


def test_the_clock_stands_still() -> None:
    assert ours("{{ strftime_now('%d %B %Y %H:%M') }}", TALKS[0]) == "07 March 2025 00:00"


def test_a_template_may_refuse() -> None:
    with pytest.raises(UserError, match="refuses these messages: System role not supported"):
        ours(STYLES["gemma"].template, [{"role": "system", "content": "x"}])


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.__class__ }}{{ messages.__init__.__globals__ }}",
        "{{ self.__init__.__globals__ }}",
        "{{ self._TemplateReference__context }}",
        "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
        "{{ joiner.__init__.__globals__ }}",
        "{{ namespace.__init__.__globals__ }}",
        "{{ strftime_now.__globals__ }}",
        "{{ raise_exception.__code__ }}",
        "{{ ''['__class__']['__base__'] }}",
        "{{ messages | map(attribute='__class__') | list | first | attr('mro') }}",
        "{{ '{0.__class__.__init__}'.format(messages) }}",
        "{{ '{0.__class__}'.format_map({'0': 1}) }}",
        "{{ ''|attr('__class__') }}",
        "{% set ns = namespace() %}{% set ns.__class__ = 1 %}",
        "{{ messages.append(1) }}",
        "{{ messages[0].update({'role': 'x'}) }}",
        "{{ messages.clear() }}",
        "{% include '/etc/passwd' %}",
        "{% import 'os' as os %}",
        "{% extends 'x' %}",
        "{{ lipsum(1000) }}",
        "{{ config }}{{ request.application }}",
        "{{ [1, 2, 3] | random }}",
        "{{ get_flashed_messages.__globals__ }}",
    ],
)
def test_ways_out_of_the_sandbox_are_refused_or_empty(source: str) -> None:
    talk = [{"role": "user", "content": "Hi"}]
    try:
        text = ours(source, talk)
    except UserError:
        text = ""
    assert text == ""
    assert talk == [{"role": "user", "content": "Hi"}]


@pytest.mark.parametrize(
    "source",
    [
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
        "{% for i in range(99999) %}{% for j in range(99999) if false %}{% endfor %}{% endfor %}",
        "{% for i in range(10 ** 12) %}x{% endfor %}",
        "{{ range(99999999) | list }}",
        "{% macro f(n) %}{{ f(n - 1) ~ f(n - 1) if n else 'x' }}{% endmacro %}{{ f(60) }}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{% block a %}{{ self.a() }}{{ self.a() }}{% endblock %}",
        "{% for i in [1, [2]] recursive %}{{ loop([1, [2]]) }}{% endfor %}",
        "{{ 'x' * 10 ** 10 }}",
        "{{ 10 ** 10 * 'x' }}",
        "{{ [0] * 10 ** 10 }}",
        "{{ 9 ** 9 ** 9 }}",
        "{% set ns = namespace(s='xxxxxxxxxx') %}{% for i in range(60) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
        "{% set ns = namespace(s='xxxxxxxxxx') %}{% for i in range(60) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
        "{% set ns = namespace(s=[1]) %}{% for i in range(60) %}{% set ns.s = [ns.s, ns.s] %}{% endfor %}{{ ns.s }}",
        "{% set ns = namespace(s=[1]) %}{% for i in range(60) %}{% set ns.s = [ns.s, ns.s] %}{% endfor %}{{ ns.s | tojson }}",
        "{% set ns = namespace(s=[1]) %}{% for i in range(60) %}{% set ns.s = [ns.s, ns.s] %}{% endfor %}{{ '' ~ ns.s }}",
        "{% set ns = namespace(s=[1]) %}{% for i in range(60) %}{% set ns.s = [ns.s, ns.s] %}{% endfor %}{{ '%s' % ns.s }}",
        "{% set ns = namespace(n=9) %}{% for i in range(60) %}{% set ns.n = ns.n * ns.n %}{% endfor %}{{ ns.n }}",
        "{{ '%9999999999d' % 1 }}",
        "{{ '%*d' % (999999999, 1) }}",
        "{{ 'x'.ljust(10 ** 10) }}",
        "{{ 'x'.center(10 ** 10) }}",
        "{{ '1'.zfill(10 ** 10) }}",
        "{{ '{:>9999999999}'.format(1) }}",
        "{{ ('x' * 100000).replace('x', 'y' * 100000) }}",
        "{{ ('x' * 100000) | replace('x', 'y' * 100000) }}",
        "{{ ('y' * 1000000).join(range(1000) | map('string')) }}",
        "{{ range(99999) | join('y' * 1000000) }}",
        "{{ ('\\n' * 100000) | indent(99999) }}",
        "{{ messages | tojson(indent=999999999) }}",
        "{{ strftime_now('%9999999999d') }}",
        "{% set a = 'x' * 1000000 %}{% for i in range(90000) %}{{ a }}{% endfor %}",
        "{% set a = 'x' * 1000000 %}{% set b %}{% for i in range(90000) %}{{ a }}{% endfor %}{% endset %}",
        "{{ 'x' | center(10 ** 10) }}",
    ],
)
def test_bombs_are_stopped_soon(source: str) -> None:
    start = time.perf_counter()
    with pytest.raises(UserError):
        ours(source, TALKS[0])
    assert time.perf_counter() - start < 8


@pytest.mark.parametrize(
    "source", ["{% if %}", "{{ a b }}", "{% for x in %}", "{{", "{" * 10, "{{ x | nosuchfilter }}", "x" * 600_000, "{{ " + "(" * 5000]
)
def test_broken_templates_are_user_errors(source: str) -> None:
    if source == "{" * 10:
        with pytest.raises(UserError):
            ours(source, TALKS[0])
        return
    with pytest.raises(UserError):
        ChatTemplate(source, today=TODAY, special_tokens={})


@pytest.mark.parametrize("source", ["{{ 1 / 0 }}", "{{ messages[0].content.nothing.more }}", "{{ none + 1 }}", "{{ messages[9].content }}"])
def test_failures_while_rendering_are_user_errors(source: str) -> None:
    with pytest.raises(UserError, match="must render these messages"):
        ours(source, TALKS[0])


def test_a_long_conversation_is_no_bomb() -> None:
    talk = [{"role": ("user", "assistant")[i % 2], "content": "word " * 4000} for i in range(300)]
    assert len(ours(STYLES["chatml"].template, talk)) > 6_000_000
