"""Chat-template and end-of-text tokens typed into a text.

One decision: they are reported and left as text (the renderer never encodes text as control tokens); a model
that learns to type them ends its answers twice.
"""

from __future__ import annotations

import re

from luthier.parts.checks.contract import MAX_SPANS, PASS, TextCheck, Verdict

_TOKEN = re.compile(
    r"<\|[A-Za-z][A-Za-z0-9_]{1,40}\|>|</?s>|\[/?INST\]|<</?SYS>>|<(?:start|end)_of_turn>|<(?:bos|eos|pad|unk)>|<｜[^｜<>]{1,40}｜>|\[(?:CLS|SEP|MASK|PAD)\]"
)


class ControlTokens(TextCheck):
    """Fails on template tokens such as `<|im_end|>`, `</s>` or `[/INST]` in the text."""

    def __call__(self, text: str) -> Verdict:
        """The reason names each token once."""
        spans = [m.span() for m in _TOKEN.finditer(text)]
        if not spans:
            return PASS
        tokens = list(dict.fromkeys(text[a:b] for a, b in spans))
        return Verdict(False, f"control tokens in text: {' '.join(tokens[:8])}", tuple(spans[:MAX_SPANS]))
