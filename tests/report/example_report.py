"""A realistic run report for the tests: 12 banking intents, 240 sealed rows, two simulated models.

One decision: rows are simulated with a fixed seed and every figure of the report is computed from them, so
the figures agree with each other; `minimal_report` has nothing but what the contract requires.
"""

from __future__ import annotations

import math
import random

from scipy.stats import binomtest, norm

from luthier.report.diagnose import diagnose
from luthier.report.model import Answer, ClassRow, Evaluation, MetricRow, ModelInfo, Objective, Pairs, Run, RunReport, Verdict
from luthier.report.sections import (
    BarRow,
    Bin,
    Candidate,
    Confusion,
    Cost,
    CurvePoint,
    Data,
    Diagnosis,
    Estimate,
    Finding,
    LedgerStep,
    Lengths,
    LineageStep,
    Look,
    Machine,
    Reason,
    ReliabilityPoint,
    Remedy,
    Sample,
    SampleAnswer,
    ShiftRow,
    SourceFile,
    Split,
    SplitCount,
    StageCost,
    Training,
)
from luthier.report.side_effect_words import forgetting, memorisation
from luthier.report.side_effects import CanaryExposure, Membership, ProbeRow, SideEffects

PHRASES = {
    "activate_my_card": "How do I activate the card that came this morning?",
    "age_limit": "Can my daughter have an account when she is fifteen?",
    "atm_support": "Which cash machines accept this card?",
    "card_arrival": "My new card still has not come, when will it arrive?",
    "card_not_working": "My card is declined everywhere since Tuesday.",
    "cash_withdrawal_charge": "Why was I charged for taking out money abroad?",
    "change_pin": "Is there a way to change my PIN at any cash machine?",
    "exchange_rate": "What rate do you use when I pay in dollars?",
    "lost_or_stolen_card": "Somebody took my purse and the card was in it, what now?",
    "pending_transfer": "The transfer to my landlord has been pending for two days.",
    "top_up_failed": "My top-up was refused although there is money in the account.",
    "verify_my_identity": "What papers do you need to check who I am?",
}
LABELS = tuple(PHRASES)
TAILS = ("Please help.", "It is rather urgent.", "I have asked twice already.", "Thanks in advance!", "The app does not say.")
LONG = " I have read the pages on your site and the letter that came with it, and neither says what to do next." * 6
HOSTILE = '<script>alert("row 17")</script><img src=x onerror=alert(1)> {{ 7*7 }} "quoted" & \'single\' 日本語 🏦'


def wilson(k: int, n: int, level: float = 0.95) -> Estimate:
    """Wilson score interval of k of n."""
    z, p = float(norm.ppf(0.5 + level / 2)), k / n
    mid, half = (p + z * z / (2 * n)) / (1 + z * z / n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return Estimate(value=p, low=max(0.0, mid - half), high=min(1.0, mid + half), n=n, level=level, method="Wilson")


def paired(gained: int, lost: int, n: int) -> Estimate:
    """Wald interval of a paired difference of shares (good enough for a picture)."""
    d = (gained - lost) / n
    half = 1.96 * math.sqrt((gained + lost) / n - d * d) / math.sqrt(n)
    return Estimate(value=d, low=d - half, high=d + half, n=n, method="Wald, paired")


def simulated_rows() -> list[Answer]:
    """240 sealed rows, 20 a class, with both models' answers."""
    rng = random.Random(7)
    rows = []
    for i in range(240):
        want = LABELS[i % 12]
        prompt = f"{PHRASES[want]} {TAILS[i % 5]}"
        prompt = HOSTILE if i == 17 else prompt + LONG if i % 29 == 0 else prompt
        near = LABELS[(i + (1 if rng.random() < 0.7 else 5)) % 12]
        tuned = want if rng.random() < 0.9 and i != 17 else near
        baseline = want if rng.random() < (0.62 if tuned == want else 0.3) else LABELS[rng.randrange(12)]
        sure = round(rng.uniform(0.4, 0.99), 3)
        rows.append(
            Answer(
                key=f"{rng.getrandbits(64):016x}",
                source=f"banking.csv row {i + 2}",
                prompt=prompt,
                reference=want,
                baseline=baseline,
                tuned=tuned,
                probability=sure,
                margin=round(2 * sure - 1, 3),
            )
        )
    return rows


def curves() -> tuple[CurvePoint, ...]:
    """A healthy run: noisy training loss each step, both splits measured every ten steps."""
    rng, points = random.Random(3), []
    for step in range(1, 121):
        points.append(CurvePoint(step=step, split="train", name="loss", value=0.25 + 2.1 * math.exp(-step / 22) + rng.gauss(0, 0.06)))
        if step % 10 == 0:
            points.append(
                CurvePoint(step=step, split="validation", name="loss", value=0.42 + 2.0 * math.exp(-step / 20) + rng.gauss(0, 0.01))
            )
            for split, top in (("train", 0.97), ("validation", 0.91)):
                value = top - 0.8 * math.exp(-step / 18) + rng.gauss(0, 0.006)
                points.append(CurvePoint(step=step, split=split, name="accuracy", value=value))
    return tuple(points)


def class_rows(rows: list[Answer], counts: tuple[tuple[int, ...], ...]) -> tuple[ClassRow, ...]:
    """Recall of both models and precision of the tuned one, class by class."""
    found = []
    for j, label in enumerate(LABELS):
        mine = [r for r in rows if r.reference == label]
        found.append(
            ClassRow(
                label=label,
                num_rows=len(mine),
                baseline_recall=wilson(sum(r.baseline == label for r in mine), len(mine)),
                tuned_recall=wilson(sum(r.tuned == label for r in mine), len(mine)),
                tuned_precision=wilson(counts[j][j], sum(row[j] for row in counts)),
            )
        )
    return tuple(found)


def evaluation(rows: list[Answer]) -> Evaluation:
    """Every table of the evaluation, from the rows."""
    right_b, right_t = [r.baseline == r.reference for r in rows], [r.tuned == r.reference for r in rows]
    n, gained = len(rows), [r for r, b, t in zip(rows, right_b, right_t, strict=True) if t and not b]
    lost = [r for r, b, t in zip(rows, right_b, right_t, strict=True) if b and not t]
    both = [r for r, b, t in zip(rows, right_b, right_t, strict=True) if b and t]
    counts = tuple(tuple(sum(r.reference == a and r.tuned == b for r in rows) for b in LABELS) for a in LABELS)
    accuracy = MetricRow(
        name="accuracy", baseline=wilson(sum(right_b), n), tuned=wilson(sum(right_t), n), difference=paired(len(gained), len(lost), n)
    )
    f1 = MetricRow(
        name="macro_f1",
        baseline=Estimate(value=0.581, low=0.520, high=0.640, n=n),
        tuned=Estimate(value=0.889, low=0.845, high=0.926, n=n),
        difference=Estimate(value=0.308, low=0.235, high=0.381, n=n),
        p=0.0004,
        test="permutation",
    )
    loss = MetricRow(name="log_loss", unit="number", higher_is_better=False, tuned=Estimate(value=0.41, low=0.33, high=0.5, n=n))
    wrong = sorted((r for r in rows if r.tuned != r.reference), key=lambda r: -(r.probability or 0))
    return Evaluation(
        metrics=(accuracy, f1, loss),
        classes=class_rows(rows, counts),
        confusion=Confusion(labels=LABELS, counts=counts),
        reliability=tuple(
            ReliabilityPoint(model=m, low=0.1 * k, high=0.1 * (k + 1), num_rows=40, confidence=0.1 * k + 0.05, right=share)
            for m, off in (("baseline", 0.2), ("tuned", 0.05))
            for k in (5, 7, 9)
            for share in (Estimate(value=0.1 * k - off, low=0.1 * k - off - 0.1, high=0.1 * k - off + 0.09, n=40),)
        ),
        pairs=Pairs(both_right=len(both), gained=len(gained), lost=len(lost), both_wrong=n - len(both) - len(gained) - len(lost)),
        errors=tuple(wrong[:20]),
        gained=tuple(gained[:5]),
        lost=tuple(lost[:5]),
        both_right=tuple(both[:3]),
    )


def verdict_of(e: Evaluation) -> Verdict:
    """The verdict that the rows give (exact McNemar through the binomial test)."""
    pairs, difference = e.pairs, e.metrics[0].difference
    assert pairs is not None
    assert difference is not None
    assert e.metrics[0].baseline is not None
    assert e.metrics[0].tuned is not None
    p = float(binomtest(pairs.gained, pairs.gained + pairs.lost).pvalue)
    return Verdict(
        decision="better",
        metric="accuracy",
        baseline=e.metrics[0].baseline.value,
        tuned=e.metrics[0].tuned.value,
        effect=difference.value,
        interval=(difference.low, difference.high),
        p=p,
        test="exact McNemar, two-sided",
        num_rows=240,
        minimum_detectable_effect=0.083,
        looks=1,
    )


def data() -> Data:
    """Sources, ledger, splits and findings of the run."""
    per: dict[Split, int] = {"train": 50, "validation": 5, "test": 20}
    ledger = (
        LedgerStep(step="read", kept=912),
        LedgerStep(step="map", kept=910, set_aside=2, reasons=(Reason(fate="set aside", reason="label is empty", num_rows=2),)),
        LedgerStep(
            step="clean",
            kept=896,
            changed=11,
            dropped=3,
            reasons=(
                Reason(fate="changed", reason="broken encoding repaired", num_rows=11),
                Reason(fate="dropped", reason="text is empty", num_rows=3),
            ),
        ),
        LedgerStep(step="leakage", kept=900, dropped=7, reasons=(Reason(fate="dropped", reason="also in the test split", num_rows=7),)),
        LedgerStep(
            step="lengths",
            kept=898,
            changed=2,
            reasons=(Reason(fate="changed", reason="prompt cut at its start to 128 tokens", num_rows=2),),
        ),
    )
    findings = (
        Finding(level="warning", text="11 rows held text that was decoded twice; it was repaired", num_rows=11, where="banking.csv"),
        Finding(level="info", text="classes are balanced", where="train"),
        Finding(level="error", text=f"a row looks like markup: {HOSTILE}", num_rows=1, where="banking.csv row 19"),
    )
    return Data(
        sources=(SourceFile(file="data/banking.csv", num_rows=912, licence="CC BY 4.0", sha256="3f2a" * 16),),
        ledger=ledger,
        splits=tuple(SplitCount(split=s, num_rows=12 * n, classes=dict.fromkeys(LABELS, n)) for s, n in per.items()),
        findings=findings,
    )


def candidates(e: Evaluation) -> tuple[Candidate, ...]:
    """Three baselines measured on validation rows; the chosen one and the tuned model on test rows."""
    names = (("zero-shot", 25), ("few-shot (4 examples)", 31), ("few-shot (12 examples, one a class)", 36))
    found = [Candidate(name=n, role="baseline", split="validation", metrics={"accuracy": wilson(k, 60)}, chosen=k == 36) for n, k in names]
    found.append(Candidate(name="tuned (LoRA rank 16)", role="tuned", split="validation", metrics={"accuracy": wilson(54, 60)}))
    accuracy = e.metrics[0]
    for name, role, est in (
        ("few-shot (12 examples, one a class)", "baseline", accuracy.baseline),
        ("tuned (LoRA rank 16)", "tuned", accuracy.tuned),
    ):
        assert est is not None
        found.append(Candidate(name=name, role=role, split="test", metrics={"accuracy": est}, chosen=role == "baseline"))  # pyright: ignore
    return tuple(found)


def bars(e: Evaluation) -> tuple[BarRow, ...]:
    """One bar of each outcome."""
    accuracy, f1 = e.metrics[:2]
    assert accuracy.tuned is not None
    assert accuracy.difference is not None
    assert f1.tuned is not None
    return (
        BarRow(metric="accuracy", kind="at_least", bar=0.8, value=accuracy.tuned, outcome="met"),
        BarRow(metric="macro_f1", kind="at_least", bar=0.9, value=f1.tuned, outcome="not proven"),
        BarRow(metric="accuracy", kind="no_worse_than", bar=0.02, against="opponent", value=accuracy.difference, outcome="met"),
    )


def robustness(e: Evaluation) -> tuple[ShiftRow, ...]:
    """One set of other rows, a perturbation that keeps the answer, and one that may change it."""
    tuned = e.metrics[0].tuned
    assert tuned is not None
    lost = Estimate(value=-0.08, low=-0.14, high=-0.02, n=240)
    moved = Estimate(value=0.12, low=0.08, high=0.17, n=231)
    return (
        ShiftRow(name="forum", kind="out of domain", model="tuned", before=tuned.value, after=wilson(162, 200), change=lost),
        ShiftRow(
            name="typos", kind="perturbation", model="tuned", before=tuned.value, after=wilson(190, 231), change=lost,
            answers_changed=moved, num_left_out=9,
        ),
        ShiftRow(name="negation", kind="perturbation", model="tuned", before=tuned.value, after=wilson(180, 231), answers_changed=moved),
    )  # fmt: skip


def lineage() -> tuple[LineageStep, ...]:
    """The artifacts of the run, inputs first."""
    rows, split, prepared, chosen, trained = "a91c5e0b77d2", "0d4e8f10c3aa", "5b7712ef9c04", "77aa01c9d5e3", "e60f2a3391bd"
    return (
        LineageStep(stage="ingest", key12=rows, seconds=0.6),
        LineageStep(stage="split", key12=split, inputs=(rows,), seconds=0.2),
        LineageStep(stage="prepare", key12=prepared, inputs=(split,), seconds=1.4),
        LineageStep(stage="choose", key12=chosen, inputs=(split,), seconds=48.0, cached=True),
        LineageStep(stage="train", key12=trained, inputs=(prepared,), seconds=192.5),
        LineageStep(stage="evaluate", key12="19cd0f7a6b82", inputs=(trained, chosen, split), seconds=31.0),
    )


def training() -> Training:
    """Curves, their diagnosis, settings and speed."""
    config: dict[str, str | int | float | bool | None] = {
        "epochs": 2,
        "learning_rate": 0.0004,
        "batch_size": 10,
        "schedule": "cosine",
        "warmup": 0.05,
        "weight_decay": 0.0,
        "method.rank": 16,
    }
    return Training(
        curves=curves(),
        num_steps=120,
        best_step=110,
        stopped="all 2 epochs done",
        diagnosis=diagnose(curves(), config),
        further=(
            Diagnosis(
                finding="data exhausted",
                text="The rows have taught what they can: the last 1.1 epochs brought no further gain on validation rows.",
                evidence=("validation loss was 0.402 at step 60 (epoch 0.9) and is 0.401 at step 120",),
                remedies=(
                    Remedy(setting="epochs", advice="train about 0.9 epochs (it was 2)", line="train.epochs: 0.9"),
                    Remedy(setting="data", advice="add rows"),
                ),
            ),
        ),
        samples=(
            Sample(
                key="9f3a",
                prompt="Where is my card? <b>It</b> never came.",
                reference="card_arrival",
                answers=tuple(SampleAnswer(step=n, text=t) for n, t in ((0, "I do not know"), (60, "card_linking"), (120, "card_arrival"))),
            ),
        ),
        config=config,
        engine="fast",
        tokens_per_second=1840.0,
        seconds=192.5,
        peak_memory_mb=1893.0,
        energy_wh=1.6,
    )


def side_effects() -> SideEffects:
    """A little forgotten, and canaries of which the repeated ones were learned."""
    settings = {"epochs": 2, "learning_rate": 0.0004, "method.rank": 16}
    probe = (
        Estimate(value=11.2, low=9.8, high=12.9, n=86),
        Estimate(value=13.1, low=11.4, high=15.2, n=86),
        Estimate(value=0.157, low=0.102, high=0.214, n=86),
    )
    worst = (ProbeRow(prompt="What do bees <i>make</i>?", answer="Bees make honey.", before=1.21, after=2.4),)
    rows = Membership(num_train=200, num_unseen=60, calibrated=True, auc=Estimate(value=0.54, low=0.46, high=0.62, n=260))
    learned = Estimate(value=7.2, low=6.5, high=7.8, n=20)
    canaries = CanaryExposure(repeats=5, num_canaries=20, exposure=learned, chance=1.43, most=8.0, p=1e-9)
    forgot = forgetting(probe, 0.05, worst, settings)
    return SideEffects(forgetting=forgot, memorisation=memorisation(rows, (canaries,), settings), planted_rows=100)


def lengths() -> Lengths:
    """Row lengths in bins of 8 tokens."""
    heights = (4, 31, 120, 231, 204, 142, 83, 41, 19, 12, 6, 5, 2)
    return Lengths(
        histogram=tuple(Bin(low=low, high=low + 8, num_rows=n) for low, n in zip(range(32, 136, 8), heights, strict=True)),
        percentiles={"50": 61, "90": 84, "99": 118, "100": 133},
        max_length=128,
        policy="cut the prompt's start",
        trained_share=0.083,
        num_cut=2,
    )


def objective() -> Objective:
    """What was wanted."""
    return Objective(
        name="banking-intents",
        task="classification",
        goal="Route a customer's message to the right team at first reading.",
        metric="accuracy",
        constraints=("answers within 200 ms on two cores", "no message leaves the building"),
        affected=("customers who write to support", "support staff"),
    )


def model_info() -> ModelInfo:
    """The base and the adapter."""
    return ModelInfo(
        base="smollm2-135m-instruct",
        source="HuggingFaceTB/SmolLM2-135M-Instruct",
        licence="Apache-2.0",
        architecture="llama",
        num_parameters=134_515_008,
        context_length=8192,
        method="lora",
        settings={"rank": 16, "alpha": 32, "target": "all linear"},
        num_trainable=4_884_480,
        adapter=".luthier/artifacts/train-e60f2a3391bd/adapter",
        adapter_sha256="9b1d" * 16,
    )


def machine() -> Machine:
    """A small cloud machine."""
    return Machine(
        cpu="AMD EPYC 7B13",
        cores=2,
        memory_gb=7.8,
        system="Linux 6.1 x86_64",
        git_revision="4be1f0c",
        versions={"luthier": "0.1.0", "python": "3.11.7", "torch": "2.13.0", "transformers": "5.0.0", "peft": "0.19.0"},
    )


def example_report() -> RunReport:
    """The rich fixture: every field is filled in."""
    e, steps = evaluation(simulated_rows()), lineage()
    commands = ("luthier run luthier.yaml", "luthier show 7")
    return RunReport(
        verdict=verdict_of(e),
        run=Run(number=7, name="banking-intents", project="banking-intents", finished="2026-03-02T14:07:31Z", seed=0, commands=commands),
        objective=objective(),
        model=model_info(),
        data=data(),
        lengths=lengths(),
        training=training(),
        side_effects=side_effects(),
        candidates=candidates(e),
        evaluation=e,
        looks=(Look(when="2026-03-02T14:07:31Z", run=7),),
        bars=bars(e),
        robustness=robustness(e),
        cost=Cost(
            stages=tuple(StageCost(stage=s.stage, seconds=s.seconds or 0.0, cached=s.cached) for s in steps),
            total_seconds=274.0,
            peak_memory_mb=1893.0,
            tokens={"trained": 12_040, "computed": 61_233, "as if separate": 148_902},
            energy_wh=2.1,
        ),
        lineage=steps,
        machine=machine(),
        limits=("English messages only.", "Twelve of the bank's 77 intents."),
    )


def minimal_report() -> RunReport:
    """Nothing but what the contract requires."""
    return RunReport(
        verdict=Verdict(
            decision="not proven",
            metric="rouge_l",
            baseline=0.31,
            tuned=0.33,
            effect=0.02,
            interval=(-0.03, 0.07),
            p=0.46,
            test="paired permutation",
            num_rows=50,
            minimum_detectable_effect=0.09,
            looks=2,
        ),
        run=Run(name="first-try"),
        objective=Objective(name="summaries", task="generation", metric="rouge_l", unit="number"),
        model=ModelInfo(base="some-model"),
    )
