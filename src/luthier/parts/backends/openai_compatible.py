"""Any OpenAI-compatible endpoint as a backend: `POST {url}/chat/completions`.

One decision: there is one budget of second attempts for all rows together, and a server that fails several rows in a row is taken to be
down and left alone, so a thousand rows of a dead judge cost a minute and not a day. A row without an answer keeps the reason.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from luthier.core.endpoint import check_url, read_key
from luthier.core.errors import UserError
from luthier.parts.backends.backend import Backend, Prompt, Read, Reply

MAX_ANSWER = 1 << 20
LONGEST_WAIT_S = 20.0
_AGAIN = (408, 409, 425, 429, 500, 502, 503, 504)
_WRONG = {401: "the server must accept the key", 403: "the server must accept the key", 404: "the address and the model must exist"}
_CONTROL = re.compile(r"[^\x20-\x7e\xa0-\U0010ffff]+")


class OpenAICompatible(Backend):
    """Answers in words. An answer that the caller cannot read is asked for again, within `tries` and `retries`."""

    kind: Literal["openai_compatible"] = "openai_compatible"
    url: str = Field(description="the base address, such as https://api.example.com/v1; plain http for this machine only")
    model: str = Field(min_length=1, description="the model's name on that server")
    key_env: str = Field(default="OPENAI_API_KEY", description="the environment variable that holds the key")
    timeout_s: float = Field(default=60.0, gt=0, le=3600, description="the longest that one attempt may take")
    tries: int = Field(default=3, ge=1, le=20, description="attempts for one row")
    retries: int = Field(default=100, ge=0, description="second and later attempts for all rows together")
    down_after: int = Field(default=5, ge=1, description="rows in a row without an answer after which the server is left alone")
    at_once: int = Field(default=4, ge=1, le=64, description="requests under way at a time")
    max_tokens: int = Field(default=512, ge=1, description="the longest answer")

    @field_validator("url")
    @classmethod
    def _is_safe(cls, value: str) -> str:
        return check_url(value, "backend.url", "backend.key_env")

    def check(self) -> None:
        read_key(self.key_env, self.url, "backend.key_env")

    def ask(self, prompts: Sequence[Prompt], choices: tuple[str, ...], read: Read) -> list[Reply]:
        import httpx2

        key = read_key(self.key_env, self.url, "backend.key_env")
        secure = self.url.startswith("https:")  # proxies of the environment only with TLS
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        with httpx2.Client(headers=headers, timeout=self.timeout_s, follow_redirects=False, trust_env=secure) as http:
            call = _Call(self, http, key, read)
            with ThreadPoolExecutor(self.at_once) as pool:
                return list(pool.map(call.row, prompts))


class _Failed(Exception):
    """An attempt without a usable answer; `again`: whether another one may help; `wait_s`: how long the server asks for."""

    def __init__(self, reason: str, again: bool, wait_s: float = 0.0) -> None:
        super().__init__(reason)
        self.reason, self.again, self.wait_s = reason, again, wait_s


class _Call:
    """One `ask`: the budget and the count of failures that its threads share."""

    def __init__(self, settings: OpenAICompatible, http: Any, key: str, read: Read) -> None:
        self._settings, self._http, self._key, self._read = settings, http, key, read
        self._lock = threading.Lock()
        self._left, self._failed_rows, self._last = settings.retries, 0, ""

    def row(self, prompt: Prompt) -> Reply:
        """The reply of one row. Raises UserError when the server says that no row can be answered."""
        reason = ""
        for attempt in range(self._settings.tries):
            if self._failed_rows >= self._settings.down_after:
                return Reply(None, f"not asked: the server failed {self._failed_rows} rows in a row ({self._last})")
            if attempt and not self._may_retry():
                reason += "; no second attempts are left"
                break
            try:
                text = self._once(prompt)
            except _Failed as err:
                reason = err.reason
                if not err.again:
                    break
                if attempt + 1 < self._settings.tries:
                    time.sleep(min(LONGEST_WAIT_S, max(err.wait_s, 0.1 * 2**attempt)))
            else:
                self._failed_rows = 0
                return Reply(text)
        with self._lock:
            self._failed_rows, self._last = self._failed_rows + 1, reason
        return Reply(None, reason)

    def _may_retry(self) -> bool:
        with self._lock:
            self._left -= 1
            return self._left >= 0

    def _once(self, prompt: Prompt) -> str:
        s = self._settings
        messages = [{"role": m.role, "content": m.content} for m in prompt]
        body = {"model": s.model, "messages": messages, "temperature": 0, "max_tokens": s.max_tokens}
        answer = self._post(body)
        try:
            text = answer["choices"][0]["message"]["content"]
        except (KeyError, IndexError, TypeError):
            raise _Failed("the answer has no choices[0].message.content", again=True) from None
        if not isinstance(text, str) or self._read(text) is None:
            raise _Failed(f"an answer that cannot be read: {self._clean(str(text))[:120]!r}", again=True)
        return text

    def _post(self, body: dict[str, Any]) -> Any:
        """The JSON of an answer with status 200, within the time limit however slowly it drips."""
        import httpx2

        until, raw = time.monotonic() + self._settings.timeout_s, bytearray()
        try:
            with self._http.stream("POST", f"{self._settings.url}/chat/completions", json=body) as answer:
                for piece in answer.iter_bytes():
                    raw += piece
                    if len(raw) > MAX_ANSWER:
                        raise _Failed(f"an answer of more than {MAX_ANSWER:,} bytes", again=False)
                    if time.monotonic() > until:
                        raise _Failed(f"no whole answer within {self._settings.timeout_s:g} s", again=True)
        except httpx2.TimeoutException:
            raise _Failed(f"no answer within {self._settings.timeout_s:g} s", again=True) from None
        except httpx2.HTTPError as err:
            raise _Failed(f"the server cannot be reached: {self._clean(str(err) or type(err).__name__)}", again=True) from None
        if answer.status_code != 200:
            self._refuse(answer, bytes(raw))
        try:
            return json.loads(raw)
        except ValueError:
            raise _Failed("an answer that is not JSON", again=True) from None

    def _refuse(self, answer: Any, raw: bytes) -> None:
        host, words = urlsplit(self._settings.url).netloc, self._clean(raw.decode("utf-8", "replace"))[:200]
        if answer.status_code in _WRONG:
            raise UserError(_WRONG[answer.status_code], f"{answer.status_code}: {words}", host)
        wait = answer.headers.get("retry-after", "")
        seconds = float(wait) if wait.isdigit() else 0.0
        raise _Failed(f"{answer.status_code}: {words}", again=answer.status_code in _AGAIN, wait_s=seconds)

    def _clean(self, text: str) -> str:
        """Words of a server for a table: one line, no control characters, not the key."""
        text = text.replace(self._key, "(hidden)") if self._key else text
        return " ".join(_CONTROL.sub(" ", text).split())[:300]
