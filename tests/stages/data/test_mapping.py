"""Mappings: what each kind makes of a row, every reason a row is set aside, and when a mapping is proposed."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from luthier.core.errors import UserError
from luthier.core.records import Example, Message, Preference, Rating, Record, Text, from_json, to_json
from luthier.parts.sources import propose
from luthier.parts.sources.mapping import CLASSES, Mapping, convert, mapping_from, mapping_from_text, mapping_yaml, shown_mapping
from luthier.parts.sources.mapping_base import PLAIN, Asking, Converted
from luthier.parts.sources.prompt import PromptTemplate
from luthier.parts.sources.rows import BadRow, RawRow
from luthier.parts.sources.source import open_rows

U, A = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}
HU, GA = {"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}
CALL = {
    "role": "assistant",
    "content": None,
    "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}],
}


def result(kind: str | dict[str, Any], fields: dict[str, Any], asking: Asking = PLAIN) -> Converted | BadRow:
    mapping = mapping_from({"kind": kind} if isinstance(kind, str) else kind)
    return convert(RawRow("line 1", fields), mapping, "f.jsonl", asking)


def record(kind: str | dict[str, Any], fields: dict[str, Any], asking: Asking = PLAIN) -> Record:
    got = result(kind, fields, asking)
    assert isinstance(got, Converted), got
    assert len(got.records) == 1
    return got.records[0]


def reason(kind: str | dict[str, Any], fields: dict[str, Any], asking: Asking = PLAIN) -> str:
    got = result(kind, fields, asking)
    assert isinstance(got, BadRow), got
    return got.reason


def turns(*pairs: tuple[str, str]) -> tuple[Message, ...]:
    return tuple(Message(role, content) for role, content in pairs)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "fields", "messages"),
    [
        ("messages", {"messages": [U, A]}, [("user", "Hi"), ("assistant", "Hello")]),
        ("sharegpt", {"conversations": [HU, GA], "system": "S"}, [("system", "S"), ("user", "Hi"), ("assistant", "Hello")]),
        ("prompt_completion", {"prompt": "2+2=", "completion": "4"}, [("user", "2+2="), ("assistant", "4")]),
        ("alpaca", {"instruction": "Sum", "input": "1 2", "output": "3"}, [("user", "Sum\n\n1 2"), ("assistant", "3")]),
        (
            "alpaca",
            {"instruction": "B", "input": "", "output": "b", "system": "S", "history": [["A", "a"]]},
            [("system", "S"), ("user", "A"), ("assistant", "a"), ("user", "B"), ("assistant", "b")],
        ),
        (
            "dolly",
            {"instruction": "When?", "context": "In 1066.", "response": "1066"},
            [("user", "In 1066.\n\nWhen?"), ("assistant", "1066")],
        ),
        ("classification", {"text": "Good", "label": "pos"}, [("user", "Good"), ("assistant", "pos")]),
        (
            {"kind": "classification", "text": ["t", "d"], "label": "y"},
            {"t": "T", "d": "D", "y": 3},
            [("user", "T\nD"), ("assistant", "3")],
        ),
        (
            "entities",
            {"tokens": ["In", "New", "York", "BBC"], "ner_tags": ["O", "B-loc", "I-loc", "B-org"]},
            [("user", "In New York BBC"), ("assistant", '[{"text": "New York", "type": "loc"}, {"text": "BBC", "type": "org"}]')],
        ),
    ],
)
def test_examples(kind: str | dict[str, Any], fields: dict[str, Any], messages: list[tuple[str, str]]) -> None:
    got = record(kind, fields)
    assert isinstance(got, Example)
    assert got.messages == turns(*messages)
    assert str(got.source) == "f.jsonl line 1"


def test_text_preference_and_rating() -> None:
    got = record("text", {"text": "  as it is\n"})
    assert isinstance(got, Text)
    assert got.text == "  as it is\n"
    pref = record("preference", {"prompt": "P", "chosen": "good", "rejected": "bad"})
    assert isinstance(pref, Preference)
    assert (pref.prompt, pref.chosen, pref.rejected) == (turns(("user", "P")), turns(("assistant", "good")), turns(("assistant", "bad")))
    rating = record("kto", {"prompt": "P", "completion": "C", "label": False})
    assert isinstance(rating, Rating)
    assert rating.good is False
    assert record({"kind": "kto", "messages": "messages"}, {"messages": [U, A], "label": True}).good is True  # type: ignore[union-attr]


def test_a_prompt_inside_chosen_and_rejected_is_their_common_beginning() -> None:
    other = {"role": "assistant", "content": "Go away"}
    wanted = (turns(("user", "Hi")), turns(("assistant", "Hello")), turns(("assistant", "Go away")))
    hh = {"chosen": "\n\nHuman: Hi\n\nAssistant: Hello", "rejected": "\n\nHuman: Hi\n\nAssistant: Go away"}
    openai = {"input": {"messages": [U]}, "preferred_output": [A], "non_preferred_output": [other]}
    sharegpt = {"prompt": [HU], "chosen": GA, "rejected": {"from": "gpt", "value": "Go away"}}
    for kind, fields in (
        ("preference", {"chosen": [U, A], "rejected": [U, other]}),
        ("preference", hh),
        ("preference", sharegpt),
        ("openai_preference", openai),
    ):
        got = record(kind, fields)
        assert isinstance(got, Preference)
        assert (got.prompt, got.chosen, got.rejected) == wanted


def test_tool_calls_have_one_form_whatever_the_format() -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": {"x": 1}}}
    got = record("messages", {"messages": [U, CALL, {"role": "tool", "content": "2", "tool_call_id": "c1"}, A], "tools": [tool]})
    assert isinstance(got, Example)
    assert got.messages[1].tool_calls == (call,)
    assert got.tools == (tool,)
    steps = [HU, {"from": "function_call", "value": '{"name": "f", "arguments": {"x": 1}}'}, {"from": "observation", "value": "2"}, GA]
    same = record("sharegpt", {"conversations": steps, "tools": '[{"name": "f", "parameters": {}}]'})
    assert isinstance(same, Example)
    assert same.messages[1].tool_calls == ({**call, "id": "call_1"},)
    assert same.messages[2].tool_call_id == "call_1"
    assert same.tools == got.tools


def test_weights_of_turns_and_content_parts() -> None:
    parts = {"role": "user", "content": [{"type": "text", "text": "Hello "}, {"type": "text", "value": "there"}]}
    got = record("messages", {"messages": [parts, {**A, "weight": 0}, U, {**A, "loss_weight": 1.0}]})
    assert isinstance(got, Example)
    assert got.messages[0].content == "Hello there"
    assert [m.weight for m in got.messages] == [None, 0.0, None, 1.0]


TREE = {
    "message_tree_id": "t1",
    "prompt": {
        "role": "prompter",
        "text": "Q",
        "replies": [
            {"role": "assistant", "text": "second", "rank": 1, "replies": []},
            {"role": "assistant", "text": "first", "rank": 0, "replies": [{"role": "prompter", "text": "more?", "replies": []}]},
        ],
    },
}


def test_trees_give_the_best_path_or_every_path_in_one_group() -> None:
    best = record("oasst", TREE)
    assert isinstance(best, Example)
    assert best.messages == turns(("user", "Q"), ("assistant", "first"))
    got = result({"kind": "oasst", "best_only": False}, TREE)
    assert isinstance(got, Converted)
    assert [r.messages[-1].content for r in got.records] == ["second", "first"]  # type: ignore[union-attr]
    assert {r.group for r in got.records} == {"t1"}
    assert [r.source.at for r in got.records] == ["line 1 path 1", "line 1 path 2"]


def test_optional_columns() -> None:
    got = record(
        {"kind": "text", "id": "id", "group": "user", "weight": "w", "meta": ["m"]}, {"text": "T", "id": 7, "user": 9, "w": "0.5", "m": [1]}
    )
    assert (got.meta, got.group, got.weight) == ({"id": 7, "m": [1]}, "9", 0.5)


@pytest.mark.parametrize(
    ("kind", "fields", "said"),
    [
        ("messages", {}, "messages missing"),
        ("messages", {"messages": None}, "messages null"),
        ("messages", {"messages": "hi"}, "messages is text, not a list of objects"),
        ("messages", {"messages": []}, "no messages"),
        ("messages", {"messages": ["hi"]}, "turn 1 is text"),
        ("messages", {"messages": [{"content": "x"}]}, "role missing in turn 1"),
        (
            "messages",
            {"messages": [U, {"role": "bot", "content": "x"}]},
            "unknown role 'bot' in turn 2; allowed: system, user, assistant, tool",
        ),
        ("messages", {"messages": [U, {"role": "assistant"}]}, "content missing in turn 2"),
        ("messages", {"messages": [U, {"role": "assistant", "content": 7}]}, "content is not text in turn 2: it is a number"),
        ("messages", {"messages": [U, {"role": "assistant", "content": [{"type": "image_url"}]}]}, "only text parts"),
        ("messages", {"messages": [U, {"role": "assistant", "content": " \n"}]}, "empty assistant turn"),
        ("messages", {"messages": [U, A, U]}, "ends with user"),
        ("messages", {"messages": [{"role": "system", "content": "S"}]}, "nothing to learn from"),
        ("messages", {"messages": [U, {**A, "weight": 0}]}, "weight 0: nothing to learn from"),
        ("messages", {"messages": [U, {**A, "weight": "1"}]}, "weight in turn 2"),
        ("messages", {"messages": [U, {"role": "tool", "content": "2", "tool_call_id": "c9"}, A]}, "tool result without call"),
        ("messages", {"messages": [U, CALL, {"role": "tool", "content": "2", "tool_call_id": "c9"}, A]}, "answers call `c9`"),
        (
            "messages",
            {"messages": [U, {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{x"}}]}]},
            "arguments are not JSON",
        ),
        ("messages", {"messages": [U, {"role": "assistant", "tool_calls": [{"function": {}}]}]}, "function with a name"),
        ("messages", {"messages": [U, A], "tools": "{"}, "tools are not JSON"),
        ("sharegpt", {"conversations": [GA]}, "no user (human) turn"),
        ("sharegpt", {"conversations": [HU, {"from": "gpt"}]}, "value missing in turn 2"),
        ("sharegpt", {"conversations": [HU, {"from": "narrator", "value": "x"}]}, "unknown speaker 'narrator'"),
        ("alpaca", {"instruction": "I", "output": ""}, "empty output"),
        ("alpaca", {"instruction": " ", "output": "O"}, "empty instruction"),
        ("alpaca", {"instruction": "I", "output": "O", "history": [["q"]]}, "history entry 1"),
        ("prompt_completion", {"prompt": "P"}, "completion missing"),
        ("classification", {"text": "T"}, "label missing"),
        ("classification", {"text": "T", "label": None}, "label null"),
        ("classification", {"text": "T", "label": " "}, "label empty"),
        ("classification", {"text": "T", "label": float("nan")}, "label is NaN"),
        ("classification", {"text": "T", "label": 0.5}, "label is 0.5"),
        ("classification", {"text": "T", "label": ["a"]}, "label is a list"),
        ("preference", {"prompt": "P", "chosen": "x"}, "rejected missing"),
        ("preference", {"prompt": "P", "chosen": "x", "rejected": " "}, "empty rejected"),
        ("preference", {"prompt": "P", "chosen": "x", "rejected": "x"}, "chosen equals rejected"),
        ("preference", {"prompt": "P", "chosen": [A], "rejected": "x"}, "types differ: chosen is a list of turns, rejected is text"),
        ("preference", {"chosen": "x", "rejected": "y"}, "no prompt"),
        ("kto", {"prompt": "P", "completion": "C", "label": "false"}, "label is a string ('false')"),
        ("kto", {"prompt": "P", "completion": "C", "label": 1}, "label is a number"),
        ("kto", {"prompt": "P", "completion": "C", "label": None}, "label null"),
        ("entities", {"tokens": ["a"], "ner_tags": ["O", "O"]}, "1 tokens and 2 tags"),
        ("entities", {"tokens": ["a"], "ner_tags": ["X"]}, "not O, B-type or I-type"),
        ("entities", {"tokens": ["a"], "ner_tags": [1]}, "tag_names"),
        ({"kind": "text", "weight": "w"}, {"text": "T", "w": float("inf")}, "finite"),
        ({"kind": "text", "weight": "w"}, {"text": "T", "w": "x"}, "not a number"),
        ("oasst", {"message_tree_id": "t", "prompt": {"role": "prompter", "text": "Q"}}, "no answer"),
    ],
)
def test_every_reason_that_sets_a_row_aside(kind: str | dict[str, Any], fields: dict[str, Any], said: str) -> None:
    assert said in reason(kind, fields)


def test_safe_changes_are_announced() -> None:
    got = result("messages", {"messages": [{"role": "User ", "content": "Hi"}, {"role": "ASSISTANT", "content": "Hello"}]})
    assert isinstance(got, Converted)
    assert got.changes == ("role 'User ' in turn 1 read as 'user'", "role 'ASSISTANT' in turn 2 read as 'assistant'")
    got = result("entities", {"tokens": ["a", "b"], "ner_tags": ["O", "I-x"]})
    assert isinstance(got, Converted)
    assert got.changes == ("tag I-x of token 2 continues nothing: read as B-x",)


TEMPLATE = PromptTemplate(system="One of: {labels}.", user="Message: {text} {{ok}}", label_text={"p": "positive", "n": "negative"})


def test_a_template_asks_and_label_text_is_the_answer() -> None:
    got = record("classification", {"text": "a {b}", "label": "p"}, Asking(TEMPLATE, ("p", "n")))
    assert isinstance(got, Example)
    assert got.messages == turns(("system", "One of: positive, negative."), ("user", "Message: a {b} {ok}"), ("assistant", "positive"))
    assert (got.label, got.meta) == ("positive", {"label": "p"})


def test_a_label_that_is_not_listed_names_the_nearest() -> None:
    assert "did you mean 'positive'?" in reason("classification", {"text": "T", "label": "positve"}, Asking(None, ("negative", "positive")))


def test_a_row_without_a_column_of_the_template_is_set_aside() -> None:
    asking = Asking(PromptTemplate(user="{title} {text}"), ())
    assert "title missing: the prompt template" in reason("classification", {"text": "T", "label": "a"}, asking)
    assert "title null" in reason("classification", {"text": "T", "label": "a", "title": None}, asking)


@pytest.mark.parametrize("text", ["{", "}", "{}", "{a", "{{a}", "{a}}"])
def test_single_braces_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="literal brace"):
        PromptTemplate(user=text)


@pytest.mark.parametrize("name", ["text.__class__", "0", "text!r", "text:>5"])
def test_a_placeholder_is_only_ever_a_column_name(name: str) -> None:
    template = PromptTemplate(user="{" + name + "}")
    with pytest.raises(UserError):
        template.check_columns(["text", "label"])


def test_an_unknown_placeholder_names_the_nearest_column() -> None:
    with pytest.raises(UserError, match="did you mean `text`"):
        PromptTemplate(user="{txt}").check_columns(["text", "label"])


def test_an_unknown_kind_or_column_option_is_a_user_error() -> None:
    with pytest.raises(UserError, match="did you mean `alpaca`"):
        mapping_from({"kind": "alpacca"})
    with pytest.raises(UserError, match="did you mean `text`"):
        mapping_from({"kind": "classification", "txt": "a"})
    with pytest.raises(UserError, match="known `kind`"):
        mapping_from("classification")


def test_a_kind_given_as_a_column_is_told_how_it_is_written() -> None:
    with pytest.raises(UserError) as caught:
        mapping_from_text("kind=alpaca,prompt=question,completion=answer")
    assert "write --map alpaca:prompt=question,completion=answer" in str(caught.value)


def test_a_mapping_from_the_command_line() -> None:
    assert mapping_from_text("classification:text=title+body,label=topic") == mapping_from(
        {"kind": "classification", "text": ["title", "body"], "label": "topic"}
    )
    assert mapping_from_text("{kind: alpaca, output: answer}") == mapping_from({"kind": "alpaca", "output": "answer"})
    with pytest.raises(UserError, match="name=column"):
        mapping_from_text("alpaca:output")


@pytest.mark.parametrize("kind", sorted(CLASSES))
def test_what_is_printed_to_paste_is_the_mapping(kind: str) -> None:
    import yaml

    mapping = mapping_from({"kind": kind, "id": "yes", "meta": ["a b", "7"]})
    assert mapping_from(yaml.safe_load(mapping_yaml(mapping))["mapping"]) == mapping
    assert mapping_from(json.loads(json.dumps(shown_mapping(mapping)))) == mapping


def proposal(*rows: dict[str, Any]) -> propose.Proposal:
    raw = [RawRow(f"line {i}", row) for i, row in enumerate(rows, 1)]
    return propose.propose(*propose.sample_of(raw))


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        ({"messages": [U, A]}, "messages"),
        ({"conversations": [HU, GA], "tools": "[]"}, "sharegpt"),
        ({"Instruction": "I", "Output": "O", "input": ""}, "alpaca"),
        ({"instruction": "I", "response": "R", "context": "", "category": "c"}, "dolly"),
        ({"prompt": "P", "completion": "C"}, "prompt_completion"),
        ({"prompt": "P", "completion": "C", "label": True}, "kto"),
        ({"messages": [U, A], "label": True}, "kto"),
        ({"chosen": "x", "rejected": "y"}, "preference"),
        ({"prompt": "P", "chosen": "x", "rejected": "y"}, "preference"),
        ({"conversations": [HU], "chosen": GA, "rejected": GA}, "preference"),
        ({"input": {}, "preferred_output": [], "non_preferred_output": []}, "openai_preference"),
        ({"text": "T"}, "text"),
        ({"text": "T", "label": "a"}, "classification"),
        ({"Text": "T", "Category": "a", "id": 1}, "classification"),
        ({"tokens": [], "ner_tags": []}, "entities"),
        (TREE, "oasst"),
    ],
)
def test_clear_columns_are_proposed(row: dict[str, Any], kind: str) -> None:
    got = proposal(row, row)
    assert got.mapping is not None, got.reason
    assert got.mapping.kind == kind
    assert set(got.mapping.required()) <= set(row)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"question": "Q", "answer": "A"}], "columns found: 'question', 'answer'"),
        ([{"text": "T", "label": "a", "category": "b"}], "different kinds|no known"),
        ([{"text": "T", "headline": "H"}], "no known"),
        ([{"text": "T", "Text": "U"}], "differ in case only"),
        ([{"instruction": "I", "output": "O"}, {"prompt": "P", "completion": "C"}], "alpaca on line 1; prompt_completion on line 2"),
        ([{"messages": [U, A], "label": "spam"}], "true or false"),
    ],
)
def test_doubt_proposes_nothing_and_says_what_to_paste(rows: list[dict[str, Any]], said: str) -> None:
    import re

    got = proposal(*rows)
    assert got.mapping is None
    assert re.search(said, got.reason)
    with pytest.raises(UserError, match="mapping must be given"):
        propose.require(got, "f.jsonl")


def test_rows_that_lack_a_column_do_not_change_the_proposal() -> None:
    got = proposal({"text": "T", "label": "a"}, {"text": "T"}, {"label": "b"})
    assert got.mapping is not None
    assert got.mapping.kind == "classification"


REAL = [
    ("classification/banking77_test.csv", "classification", 3080, 0),
    ("instruction/alpaca_en_demo.jsonl", "alpaca", 999, 0),
    ("instruction/glaive_toolcall_en_demo.jsonl", "sharegpt", 300, 0),
    ("instruction/v1_sft_demo_sample.jsonl", "messages", 200, 0),
    ("instruction/dolly_12.jsonl", "dolly", 12, 0),
    ("instruction/openai_toy_chat_fine_tuning.jsonl", "messages", 4, 1),
    ("preference/dpo_en_demo.jsonl.gz", "preference", 300, 0),
    ("preference/hh_rlhf_harmless_1200.jsonl.gz", "preference", 1199, 1),
    ("preference/kto_en_demo.jsonl", "kto", 300, 0),
    ("preference/v1_dpo_demo_10.jsonl", "preference", 10, 0),
    ("tasks/wnut17_dev.jsonl", "entities", 1009, 0),
]


@pytest.mark.parametrize(("name", "kind", "good", "bad"), REAL, ids=[n for n, *_ in REAL])
def test_real_files_under_their_proposed_mapping(shared_data: Path, name: str, kind: str, good: int, bad: int) -> None:
    columns, rows = propose.sample_of(open_rows(shared_data / name).items)
    mapping: Mapping = propose.require(propose.propose(columns, rows), name)
    assert mapping.kind == kind
    got = [convert(item, mapping, name) for item in open_rows(shared_data / name).items if isinstance(item, RawRow)]
    assert sum(isinstance(g, Converted) for g in got) == good
    assert sum(isinstance(g, BadRow) for g in got) == bad


def test_every_entity_of_a_real_row_stands_in_its_text(shared_data: Path) -> None:
    mapping, seen = mapping_from({"kind": "entities"}), 0
    for item in open_rows(shared_data / "tasks/wnut17_train.jsonl").items:
        assert isinstance(item, RawRow)
        got = convert(item, mapping, "f")
        assert isinstance(got, Converted)
        example = got.records[0]
        assert isinstance(example, Example)
        answer = json.loads(example.reference)
        assert len(answer) == sum(tag.startswith("B-") for tag in item.fields["ner_tags"])
        seen += len(answer)
        at = 0
        for entity in answer:
            at = example.prompt[-1].content.index(entity["text"], at) + 1
    assert seen > 1000


VALID: dict[str, list[dict[str, Any]]] = {
    "messages": [
        {"messages": [U, CALL, {"role": "tool", "content": "2", "tool_call_id": "c1"}, {**A, "weight": 1}], "tools": [{"name": "f"}]}
    ],
    "sharegpt": [
        {
            "conversations": [HU, {"from": "function_call", "value": '{"name": "f", "arguments": {}}'}, {"from": "tool", "value": "x"}, GA],
            "system": "S",
        }
    ],
    "alpaca": [{"instruction": "I", "input": "i", "output": "O", "history": [["a", "b"]], "system": "S"}],
    "dolly": [{"instruction": "I", "context": "C", "response": "R"}],
    "prompt_completion": [{"prompt": "P", "completion": "C"}],
    "text": [{"text": "T"}],
    "classification": [{"text": "T", "label": "a"}],
    "multi_label": [{"text": "T", "labels": ["a", "b"]}, {"text": "T", "labels": []}],
    "regression": [{"text": "T", "score": 1.5}, {"text": "T", "score": "2"}],
    "entities": [{"tokens": ["a", "b"], "ner_tags": ["B-x", "I-x"]}],
    "preference": [
        {"prompt": "P", "chosen": "x", "rejected": "y"},
        {"prompt": [HU], "chosen": [GA], "rejected": [{"from": "gpt", "value": "no"}]},
    ],
    "openai_preference": [{"input": {"messages": [U]}, "preferred_output": [A], "non_preferred_output": [{**A, "content": "no"}]}],
    "kto": [{"prompt": [U], "completion": "C", "label": True}],
    "oasst": [TREE],
}
JUNK: list[Any] = [
    None,
    True,
    0,
    -1.5,
    float("nan"),
    float("inf"),
    "",
    " ",
    "x",
    "user",
    [],
    {},
    [[]],
    [None],
    [7],
    {"role": 1},
    {"a": {}},
    b"bytes",
    10**400,
    [{"role": "user"}],
]


def broken(value: Any, rng: random.Random) -> Any:
    """A copy in which one node, anywhere, was replaced by junk or removed."""
    if not isinstance(value, (dict, list)) or not value or rng.random() < 0.15:
        return rng.choice(JUNK)
    copy = value.copy()
    at = rng.choice(list(copy)) if isinstance(copy, dict) else rng.randrange(len(copy))
    if rng.random() < 0.1:
        del copy[at]
    else:
        copy[at] = broken(copy[at], rng)
    return copy


def test_the_fuzz_below_begins_from_valid_rows() -> None:
    assert set(VALID) == set(CLASSES)
    for kind, rows in VALID.items():
        assert all(isinstance(result(kind, row), Converted) for row in rows)


@pytest.mark.parametrize("kind", sorted(VALID))
def test_a_broken_row_is_converted_or_set_aside_with_a_reason(kind: str) -> None:
    rng = random.Random(13)
    mapping = mapping_from({"kind": kind, "id": "id", "group": "group"})
    aside = 0
    for _ in range(1500):
        row = broken({**rng.choice(VALID[kind]), "id": 1, "group": "g"}, rng)
        got = convert(RawRow("line 1", row if isinstance(row, dict) else {}), mapping, "f")
        if isinstance(got, BadRow):
            aside += 1
            assert got.reason
        else:
            for made in got.records:
                assert from_json(json.loads(json.dumps(to_json(made)))) == made
    assert aside > 300
