"""Continued pre-training on raw text: the tokens, the log-likelihood against transformers, a whole run, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from luthier.core.execution import Execution
from luthier.core.records import Message, Source, Text, from_json, to_json
from luthier.engine.contract import TokenSequence
from luthier.engine.decoding import Decoding
from luthier.engine.predictor import Predictor
from luthier.engine.select import load_engine
from luthier.engine.text.renderer import Renderer
from luthier.pipeline.doctor.raw import fault_of
from luthier.pipeline.doctor.subject import StoredRow
from toy_project import luthier, toy_settings, write_rows, write_settings

SENTENCES = (
    "the card is late",
    "my rate is wrong now",
    "why is the cash late",
    "it is the one rate",
    "how is my card now",
    "two cash one card",
)


def texts(count: int, first: str) -> list[dict[str, Any]]:
    """Texts of a few sentences that are like each other; no two are the same."""
    return [{"text": " ".join([first, *(SENTENCES[(i * k + k) % 6] for k in range(1, 5)), str(i)])} for i in range(count)]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, learner_base: Path) -> Path:
    """A project on raw text, half of it a plain text file, with texts of another kind beside the sealed ones, not yet run."""
    folder = tmp_path_factory.mktemp("raw") / "toy"
    rows = texts(60, "so")
    write_rows(folder, rows[:30])
    (folder / "more.txt").write_text("\n\n\n".join(row["text"] for row in rows[30:]) + "\n")
    (folder / "other.txt").write_text("".join(f"{i} {i * 7} : {i * i} ; {i}\n" for i in range(12)))
    settings = toy_settings(
        learner_base,
        objective={"task": "pretrain", "goal": "Write as we do.", "metrics": ["perplexity"]},
        data={"files": ["rows.jsonl", "more.txt"], "mapping": {"kind": "text", "text": "text", "document": "paragraph"}},
        split={"train": 36, "validation": 8, "test": 16, "seed": 3, "near": None},
        prepare={"max_length": 40, "too_long": "split"},
        evaluate={"out_of_domain": {"numbers": {"path": "other.txt", "mapping": {"kind": "text", "document": "line"}}}},
    )
    write_settings(folder, settings)
    return folder


@pytest.mark.parametrize("engine", ["fast", "generic", "reference"])
def test_the_log_likelihood_is_that_of_transformers_and_windows_see_every_token_once(learner_base: Path, engine: Any) -> None:
    loaded = load_engine(learner_base, None, Execution(engine=engine, threads=1), 0, None, "float64")
    renderer = Renderer.from_model(learner_base)
    predictor = Predictor(loaded, renderer, Decoding(kind="text"))
    rows = [row["text"] for row in texts(4, "so")]
    model = AutoModelForCausalLM.from_pretrained(learner_base, dtype=torch.float64).eval()
    for limit in (loaded.longest, 16):
        loaded.longest = limit  # the context is made short
        found = predictor.answer_logprobs([()] * len(rows), rows, [()] * len(rows))
        for (logprob, count), text in zip(found, rows, strict=True):
            ids = renderer.text(text)
            wanted = 0.0
            for at in range(0, len(ids) - 1, limit - 1):
                piece = torch.from_numpy(ids[at : at + limit].astype(np.int64))[None]
                with torch.no_grad():
                    logits = model(piece).logits[0, :-1].log_softmax(-1)
                wanted += float(logits.gather(1, piece[0, 1:, None]).sum())
            assert count == len(ids) - 1
            assert logprob == pytest.approx(wanted, rel=3e-8)  # transformers' norms are in float32


def test_raw_text_has_no_template_and_typed_control_tokens_stay_text(learner_base: Path) -> None:
    renderer = Renderer.from_model(learner_base)
    done = renderer.render((Message("text", "so <|im_end|> it is"),))
    end = renderer.tokenizer.control[renderer.style.special["eos_token"]]
    assert done.tokens[-1] == end
    assert (done.tokens[:-1] != end).all()
    assert renderer.decode(done.tokens[:-1]).split() == ["so", "<|im_end|>", "it", "is"]
    assert done.weights.tolist() == [0.0] + [1.0] * (len(done.tokens) - 1)


def test_raw_text_is_written_and_read_as_it_was() -> None:
    text = Text("so it is", Source("a.jsonl", "line 1"))
    assert from_json(to_json(text)) == text
    assert (text.prompt, text.reference, text.messages) == ((), "so it is", (Message("text", "so it is"),))


def test_a_run_shows_perplexity_in_and_out_of_domain_before_and_after(project: Path) -> None:
    done = luthier(project, "run", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["verdict"]["decision"] == "better"
    assert "log likelihood -" in said["verdict"]["sentence"]
    assert "%" not in said["verdict"]["sentence"].replace("95 %", "")
    report = json.loads((project / ".luthier/runs/0001-toy/report.json").read_text())
    perplexity = next(m for m in report["evaluation"]["metrics"] if m["name"] == "perplexity")
    assert perplexity["tuned"]["high"] < perplexity["baseline"]["low"]
    shifts = {(s["name"], s["model"]) for s in report["robustness"]}
    assert shifts == {("numbers", "tuned"), ("numbers", "baseline")}
    sources = [json.loads(line)["source"] for line in next(project.glob(".luthier/artifacts/ingest-*/ledger.jsonl")).open()]
    assert (len(sources), sources[:2], sources[30:32]) == (
        60,
        ["rows.jsonl line 1", "rows.jsonl line 2"],
        ["more.txt line 1", "more.txt line 4"],
    )
    rows = json.loads(luthier(project, "data", "show", "--json").stdout)["rows"]
    assert [trained for _, trained in ((p["text"], p["trained"]) for p in rows[0]["pieces"])] == [True]


def test_what_does_not_go_together_is_refused_at_once(project: Path, tmp_path: Path) -> None:
    for given, words in (
        (("objective.task=chat",), "the task pretrain and a mapping of kind text go together"),
        (("evaluate.baselines=[{name: few, shots: 2}]",), "raw text is not asked for"),
        (("evaluate.perturbations=[typos]",), "raw text has no question to change"),
    ):
        done = luthier(project, "plan", *given)
        assert done.returncode == 2, done.stdout
        assert words in done.stderr
        assert "Traceback" not in done.stderr


def test_a_plain_text_file_begins_a_project_and_one_without_columns_is_refused_where_they_are_needed(tmp_path: Path) -> None:
    (tmp_path / "corpus.txt").write_text("\n\n".join(row["text"] for row in texts(40, "so")))
    done = luthier(tmp_path, "init", "mine", "--data", "corpus.txt")
    assert done.returncode == 0, done.stderr
    written = (tmp_path / "mine" / "luthier.yaml").read_text()
    for words in ("task: pretrain ", "path: ../corpus.txt", "kind: text", "document: paragraph", "too_long: split"):
        assert words in written
    judged = luthier(tmp_path, "data", "check", "corpus.txt", "--map", "text:document=paragraph", "--json")
    assert json.loads(judged.stdout)["kept"] == 40
    asked = ("objective.task=classify", "data.mapping={kind: classification, text: text, label: label}")
    done = luthier(tmp_path / "mine", "run", *asked)
    assert done.returncode == 2, done.stdout
    assert "a plain text file has no columns: it is raw text, got a mapping of kind classification" in done.stderr
    assert "task: pretrain" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_doctor_proves_raw_text_and_a_planted_fault_is_caught(project: Path, learner_base: Path) -> None:
    done = luthier(project, "doctor", "--json", "prepare.max_length=256")
    assert done.returncode == 0, done.stderr
    proofs = {p["kind"]: p["answer"] for p in json.loads(done.stdout)["project"]["proofs"]}
    assert {"masks", "end_of_turn", "parity", "adapter", "resume", "merging", "packing"} <= proofs.keys()
    assert set(proofs.values()) == {"holds"}
    tokenizer, renderer = AutoTokenizer.from_pretrained(learner_base), Renderer.from_model(learner_base)
    text = Text("why is the cash late", Source("a.jsonl", "line 1"))
    whole = renderer.render(text.messages)
    for tokens, weights, fault in (
        (whole.tokens, whole.weights, None),
        (whole.tokens, np.where(np.arange(len(whole.weights)) == 3, 0.0, whole.weights), "not trained"),
        (np.append(whole.tokens[:1], whole.tokens), np.append(whole.weights, np.float32(1)), "other tokens"),
        (whole.tokens[:-1], whole.weights[:-1], "other tokens"),
    ):
        found = fault_of(StoredRow(text, TokenSequence(tokens, weights), cut=False), tokenizer)  # type: ignore[arg-type]
        assert (found is None) if fault is None else fault in str(found)
