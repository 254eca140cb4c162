"""Instructions to the model hidden in data: "ignore previous instructions" and its relatives, in any disguise of case and spacing.

One decision: these are phrases, not proof: a security text quotes them, and a paraphrase escapes them; so the check names what
it saw, and the statistical scan for planted triggers (`poisoning`) stands beside it.
Source: OWASP Top 10 for LLM applications 2025, LLM01; the phrase families of published jailbreak collections.
"""

from __future__ import annotations

import re
from typing import ClassVar

from luthier.parts.checks.contract import MAX_SPANS, PASS, TextCheck, Verdict
from luthier.parts.privacy.fold import fold

_GAP = r"[\s\W_]{1,4}"
_OLD = (
    rf"(?:(?:all|any|the|your|my|every|of){_GAP}){{0,4}}(?:previous|prior|earlier|above|preceding|former|initial|original|system|existing)"
)
_ORDERS = r"(?:instructions?|prompts?|rules?|guidelines?|directions?|commands?|context|messages?|programming|constraints?)"
_FAMILIES: tuple[tuple[str, tuple[str, ...], str], ...] = (
    (
        "override",
        ("ignor", "disregard", "forget", "overrid", "bypass", "neglect", "skip", "drop"),
        rf"\b(?:ignor(?:e|ing)|disregard(?:ing)?|forget(?:ting)?|overrid(?:e|ing)|bypass(?:ing)?|neglect|skip|drop){_GAP}"
        rf"(?:{_OLD}{_GAP}(?:\w{{1,20}}{_GAP}){{0,2}}{_ORDERS}|(?:all|any|everything|anything){_GAP}(?:of{_GAP})?(?:that{_GAP})?"
        rf"(?:you{_GAP}(?:were|have{_GAP}been){_GAP}told|{_ORDERS}{_GAP}(?:above|before|you)|(?:above|before){_GAP}this))\b",
    ),
    (
        "prompt leak",
        ("prompt", "instruction"),
        rf"\b(?:reveal|show|print|repeat|output|leak|tell{_GAP}me|what{_GAP}(?:is|are|was|were)|display|dump){_GAP}(?:me{_GAP})?(?:your|the)"
        rf"{_GAP}(?:\w{{1,20}}{_GAP}){{0,2}}(?:system|initial|hidden|original|secret){_GAP}(?:prompt|instructions?|message)\b",
    ),
    (
        "new role",
        (
            "you are now",
            "act as",
            "pretend",
            "from now on",
            "jailbr",
            "dan mode",
            "developer mode",
            "do anything now",
            "unrestricted",
            "no restrictions",
        ),
        rf"\b(?:you{_GAP}are{_GAP}now{_GAP}(?:in{_GAP})?(?:a{_GAP}|an{_GAP}|the{_GAP})?(?:DAN|unrestricted|unfiltered|uncensored|jailbroken|developer{_GAP}mode|evil)"
        rf"|do{_GAP}anything{_GAP}now|developer{_GAP}mode{_GAP}(?:enabled|on|activated)|DAN{_GAP}mode|jailbreak{_GAP}(?:mode|prompt)"
        rf"|(?:pretend|act){_GAP}(?:as{_GAP}if{_GAP}|that{_GAP}|like{_GAP}|as{_GAP})?you{_GAP}have{_GAP}no{_GAP}(?:restrictions|rules|filters?|limits|guidelines)"
        rf"|from{_GAP}now{_GAP}on{_GAP}you{_GAP}(?:will|must|are){_GAP}(?:\w{{1,20}}{_GAP}){{0,6}}(?:no{_GAP}restrictions|unfiltered|without{_GAP}(?:any{_GAP})?(?:rules|filters)))\b",
    ),
    (
        "forged turn",
        ("system", "assistant", "instruction"),
        r"(?:^|\n)[ \t#*>\[<-]{0,6}(?:system|assistant|developer)(?:[ _](?:prompt|message|override|note|instruction))?[\]>*]{0,3}"
        r":[ \t]*(?:you\b|ignore|override|new\b|from now)"
        r"|\bnew (?:system )?(?:instructions?|prompt)\s{0,3}:|</?(?:system|instructions?)>\s{0,4}(?:you\b|ignore)",
    ),
    (
        "exfiltration",
        ("![", "send", "post", "upload", "forward"),
        r"!\[[^\]\n]{0,80}\]\(https?://[^)\s]{1,300}[?&][\w-]{1,30}=(?:\{|%7B|\[)[^)\s]{0,120}\)"
        rf"|\b(?:send|post|upload|forward){_GAP}(?:\w{{1,20}}{_GAP}){{0,4}}(?:conversation|chat{_GAP}history|system{_GAP}prompt|credentials|api{_GAP}keys?)"
        rf"{_GAP}(?:\w{{1,20}}{_GAP}){{0,3}}to\b",
    ),
    (
        "safety off",
        ("safety", "ethic", "filter", "moral", "policy", "policies", "restriction"),
        rf"\b(?:disable|turn{_GAP}off|switch{_GAP}off|remove|without|ignore|bypass){_GAP}(?:all{_GAP}|any{_GAP}|your{_GAP}|the{_GAP}){{0,2}}"
        rf"(?:safety|ethical|moral|content){_GAP}(?:\w{{1,20}}{_GAP})?(?:filters?|guidelines?|restrictions?|polic(?:y|ies)|constraints?|checks?|protocols?)\b",
    ),
)
_RULES = tuple((name, marks, re.compile(pattern, re.IGNORECASE)) for name, marks, pattern in _FAMILIES)


class PromptInjection(TextCheck):
    """Fails on phrases that address the model rather than the reader. Only where it is named: a text about security quotes them."""

    standing: ClassVar[bool] = False

    def __call__(self, text: str) -> Verdict:
        """The reason names the families; the spans are in the text as it stands, also where invisible characters split a word."""
        folded = fold(text)
        lower = folded.text.lower()
        found: list[tuple[str, tuple[int, int]]] = []
        for name, marks, pattern in _RULES:
            if any(mark in lower for mark in marks):
                found += [(name, folded.span(*m.span())) for m in pattern.finditer(folded.text)]
        if not found:
            return PASS
        names = list(dict.fromkeys(name for name, _ in found))
        return Verdict(False, f"instructions to the model: {', '.join(names)}", tuple(sorted(span for _, span in found)[:MAX_SPANS]))
