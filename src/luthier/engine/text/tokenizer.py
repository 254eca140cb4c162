"""A model's tokenizer.json behind three questions: which tokens are control tokens, text to ids, ids to text.

One decision: control tokens (`special` in tokenizer.json) are cut out by hand and everything between them is encoded
as ordinary text, so a control token that a user typed never becomes one. At loading the cutting is compared with
the library's own parsing for every control token; a tokenizer where they differ is refused.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from luthier.core.errors import UserError, from_os_error

_PROBES = ("Hello", " Hello", "\nHello you", "x")
_ANCHOR = "\n"
_CACHED_TEXTS = 16_384
# what Rust calls white space, which is what the strip flags of a control token mean
_WHITE = "\t\n\x0b\x0c\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"


class TextTokenizer:
    """Encodes ordinary text and knows the control tokens. `data` are the bytes of tokenizer.json."""

    def __init__(self, data: bytes, where: str = "tokenizer.json") -> None:
        from tokenizers import Tokenizer

        self.data = data
        self.sha256 = hashlib.sha256(data).hexdigest()
        self._where = where
        try:
            self._tokenizer = Tokenizer.from_str(data.decode("utf-8"))
        except Exception as err:  # noqa: BLE001 - the library raises bare Exception; re-raised as the user's error
            raise UserError("tokenizer.json must be readable by the tokenizers library", str(err)[:160], where) from None
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        added = self._tokenizer.get_added_tokens_decoder()
        self._added = {str(t.content): (int(i), t) for i, t in added.items() if t.special}
        self.control: dict[str, int] = {text: i for text, (i, _) in self._added.items()}
        self._strips = any(t.lstrip or t.rstrip for _, t in self._added.values())
        by_length = sorted(self.control, key=lambda t: (-len(t), t))
        self._cut = re.compile("|".join(map(re.escape, by_length))) if by_length else None
        self._ids = functools.lru_cache(maxsize=_CACHED_TEXTS)(self._encode)
        self._prefixes = False
        self._prefixes_after_control = False
        self._probe()

    @classmethod
    def load(cls, folder: Path) -> TextTokenizer:
        """The tokenizer of a model folder. Raises UserError when it has no tokenizer.json."""
        path = folder / "tokenizer.json"
        try:
            return cls(path.read_bytes(), str(path))
        except FileNotFoundError:
            fix = "save it with a fast tokenizer: AutoTokenizer.from_pretrained(...).save_pretrained(...)"
            raise UserError("a model folder must hold tokenizer.json", "none", str(folder), fix) from None
        except OSError as err:
            raise from_os_error(err, "reading") from None

    def _encode(self, text: str) -> tuple[int, ...]:
        try:
            return tuple(self._tokenizer.encode(text, add_special_tokens=False).ids)
        except (UnicodeEncodeError, TypeError):
            raise UserError("text must be valid Unicode (no lone surrogates)", ascii(text[:60])) from None

    def _probe(self) -> None:
        """Find how a text is encoded after a control token, and prove it for each of them."""
        self._tokenizer.encode_special_tokens = True
        self._prefixes = self._ids("Hello") != self._anchored("Hello")
        for candidate in (False, True):
            self._prefixes_after_control = candidate
            wrong = self._first_difference()
            if wrong is None:
                return
            if not self._prefixes:
                break
        raise UserError(
            "a text must be cut exactly at every control token",
            repr(wrong),
            self._where,
            "use another model: its tokenizer is not supported",
        )

    def _first_difference(self) -> str | None:
        """A probe text that the library parses otherwise, or None."""
        for control in self.control:
            for probe in _PROBES:
                text = f"{probe}{control}{probe}"
                self._tokenizer.encode_special_tokens = False
                wanted = self._tokenizer.encode(text, add_special_tokens=False).ids
                self._tokenizer.encode_special_tokens = True
                if wanted != self.encode(self.pieces(text)):
                    return text
        return None

    def _anchored(self, text: str) -> tuple[int, ...]:
        """`text` as it is encoded in the middle of a text (no space put before it)."""
        head, whole = self._ids(_ANCHOR), self._ids(_ANCHOR + text)
        return whole[len(head) :] if whole[: len(head)] == head else self._ids(text)

    def pieces(self, text: str, before: str | None = None) -> list[tuple[str, int | None]]:
        """Cut `text` at control tokens: (text, None) for ordinary text and (text, id) for a control token.

        `before` is the control token that stands before `text`; `""` for other text, None for nothing.
        """
        out: list[tuple[str, int | None]] = []
        here = 0
        for match in self._cut.finditer(text) if self._cut else ():
            if match.start() > here:
                out.append((text[here : match.start()], None))
            out.append((match.group(), self.control[match.group()]))
            here = match.end()
        if here < len(text):
            out.append((text[here:], None))
        return self._stripped(out, before) if self._strips else out

    def _stripped(self, pieces: list[tuple[str, int | None]], first: str | None) -> list[tuple[str, int | None]]:
        """Drop the white space that a control token's strip flags swallow."""
        out = []
        for i, (text, token) in enumerate(pieces):
            if token is None:
                before = self._added.get(pieces[i - 1][0] if i else first or "")
                after = self._added.get(pieces[i + 1][0]) if i + 1 < len(pieces) else None
                text = text.lstrip(_WHITE) if before and before[1].rstrip else text
                text = text.rstrip(_WHITE) if after and after[1].lstrip else text
            if text:
                out.append((text, token))
        return out

    def encode(self, pieces: Iterable[tuple[str, int | None]], before: str | None = None) -> list[int]:
        """Ids of cut text; `before` as in `pieces`."""
        ids: list[int] = []
        for text, token in pieces:
            if token is not None:
                ids.append(token)
                before = text
                continue
            middle = self._prefixes and (before == "" or (before is not None and not self._prefixes_after_control))
            ids.extend(self._anchored(text) if middle else self._ids(text))
            before = ""
        return ids

    def whole(self, text: str, pair: str | None = None, cut: tuple[int, str] | None = None) -> list[int]:
        """Ids of a text (or a pair) with the special tokens that the tokenizer itself puts around it; typed ones stay text.

        cut: (most ids, `start` or `end`): where the text is shortened, the longer one of a pair first.
        """
        if cut is not None:
            self._tokenizer.enable_truncation(cut[0], direction="left" if cut[1] == "start" else "right")
        try:
            return list(self._tokenizer.encode(text, pair).ids)
        except (UnicodeEncodeError, TypeError):
            raise UserError("text must be valid Unicode (no lone surrogates)", ascii(text[:60])) from None
        finally:
            self._tokenizer.no_truncation()

    def pair_types(self) -> bool:
        """Whether the tokenizer tells the two texts of a pair apart by type ids."""
        return any(self._tokenizer.encode("a", "b").type_ids)

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids, control tokens left out."""
        return str(self._tokenizer.decode([int(i) for i in ids], skip_special_tokens=True))

    def spell(self, ids: Iterable[int]) -> str:
        """The text of ids, control tokens included as the vocabulary writes them."""
        return str(self._tokenizer.decode([int(i) for i in ids], skip_special_tokens=False))

    def text_of(self, token: int) -> str | None:
        """The text of one id as the vocabulary spells it, or None for an unknown id."""
        found: Any = self._tokenizer.id_to_token(token)
        return None if found is None else str(found)

    @property
    def vocabulary(self) -> int:
        """Number of ids, control tokens included."""
        return int(self._tokenizer.get_vocab_size())
