"""Stop strings: where the text of a completion ends, found while its tokens arrive.

One decision: a stop string is looked for in the decoded text of the completion (never in single tokens, never in
the prompt), a character whose bytes are not all there yet is no text, and the slow twin decodes everything anew at each token.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from dataclasses import dataclass
from typing import Protocol

from luthier.engine.text.tokenizer import TextTokenizer

_UNFINISHED = "\ufffd"
"""What decoders show for bytes that are not a whole character (yet)."""
_BYTE = re.compile("<0x[0-9A-F]{2}>")
"""A token that is one byte (SentencePiece). A run of them is decoded as one: a bad byte spoils the characters before it."""


@dataclass(frozen=True, slots=True)
class Stopped:
    """by: the stop string; text: what stands before it; num_tokens: the fewest tokens whose text covers `text`."""

    by: str
    text: str
    num_tokens: int


class StopWatch(Protocol):
    """Follows one completion."""

    def push(self, token: int) -> Stopped | None:
        """Add a token; says where the completion ends when a stop string is complete."""
        ...


class IncrementalStops:
    """Decodes a few last tokens at each step: those since the last step but one that ended with a settled character."""

    def __init__(self, tokenizer: TextTokenizer, stops: tuple[str, ...]) -> None:
        self._tokenizer, self._stops = tokenizer, stops
        self._overlap = max(map(len, stops)) - 1
        self._tokens: list[int] = []
        self._lengths: list[int] = []
        self._text = ""
        self._from = self._read = 0

    def push(self, token: int) -> Stopped | None:
        self._tokens.append(token)
        known = self._tokenizer.decode(self._tokens[self._from : self._read])
        fresh = self._tokenizer.decode(self._tokens[self._from :])[len(known) :]
        whole = fresh.rstrip(_UNFINISHED)
        searched = self._text + whole
        if fresh == whole and fresh and not _BYTE.fullmatch(self._tokenizer.text_of(token) or ""):
            self._text, self._from, self._read = searched, self._read, len(self._tokens)
        self._lengths.append(len(searched))
        before = self._lengths[-2] if len(self._lengths) > 1 else 0
        return first_stop(searched, self._stops, self._lengths, max(before - self._overlap, 0))


class WholeStops:
    """The slow twin: decodes the whole completion at each step and searches all of it."""

    def __init__(self, tokenizer: TextTokenizer, stops: tuple[str, ...]) -> None:
        self._tokenizer, self._stops = tokenizer, stops
        self._tokens: list[int] = []
        self._lengths: list[int] = []

    def push(self, token: int) -> Stopped | None:
        self._tokens.append(token)
        text = self._tokenizer.decode(self._tokens).rstrip(_UNFINISHED)
        self._lengths.append(len(text))
        return first_stop(text, self._stops, self._lengths, 0)


def first_stop(text: str, stops: tuple[str, ...], lengths: list[int], start: int) -> Stopped | None:
    """The stop string that begins first at or after `start` (the first given of those that begin together), or None.

    lengths: characters of whole text after each token, ascending.
    """
    found = [(at, i) for i, stop in enumerate(stops) if (at := text.find(stop, start)) >= 0]
    if not found:
        return None
    at, which = min(found)
    return Stopped(stops[which], text[:at], bisect_left(lengths, at) + 1 if at else 0)
