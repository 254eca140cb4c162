"""One completion under way: what it has, what may come next, and when it ends.

One decision: everything that a step needs to know of one sequence is here and not in the batch, so sequences
can leave a batch, wait, and come back in another one without a change in what they say.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from luthier.core.errors import UserError
from luthier.engine.contract import Completion, NonFiniteOutput, Sampling
from luthier.engine.sampler.constrain import JsonGrammar, TokenConstraint
from luthier.engine.sampler.stops import Stopped, StopWatch
from luthier.engine.text.tokenizer import TextTokenizer

MakeStops = Callable[[TextTokenizer, tuple[str, ...]], StopWatch]


@dataclass(frozen=True, slots=True)
class Window:
    """What a model can take: token ids below `vocabulary`, sequences of at most `longest` tokens."""

    vocabulary: int
    longest: int


def make_jobs(
    prompts: Sequence[np.ndarray], sampling: Sampling, window: Window, tokenizer: TextTokenizer | None, make_stops: MakeStops
) -> list[Job]:
    """`num_samples` jobs for each prompt, in order. Raises UserError for a prompt or a setting that cannot be met."""
    check_sampling(sampling)
    if sampling.needs_text and tokenizer is None:
        raise UserError("stop strings and a JSON schema need the tokenizer", "none", "sample(tokenizer=...)")
    for i, prompt in enumerate(prompts):
        if not 0 < len(prompt) < window.longest:
            raise UserError(f"a prompt must have 1 to {window.longest - 1} tokens", len(prompt), f"prompt {i}")
    grammar = None
    if sampling.json_schema is not None and tokenizer is not None:
        grammar = JsonGrammar(sampling.json_schema, tokenizer, window.vocabulary, sampling.stop_ids)
    jobs = []
    for i, prompt in enumerate(prompts):
        for sample in range(sampling.num_samples):
            stops = make_stops(tokenizer, sampling.stop) if sampling.stop and tokenizer is not None else None
            limit = min(sampling.max_new_tokens, window.longest - len(prompt))
            key = (sampling.seed, i, sample)
            jobs.append(Job(prompt, sampling, limit, key, _Guides(tokenizer, stops, grammar.start() if grammar else None)))
    return jobs


def check_sampling(s: Sampling) -> None:
    """Raises UserError for a setting that no engine can follow."""
    rules = (
        (s.max_new_tokens >= 1, "max_new_tokens >= 1", s.max_new_tokens),
        (0.0 <= s.temperature < float("inf"), "temperature >= 0", s.temperature),
        (s.top_k >= 0, "top_k >= 0", s.top_k),
        (0.0 < s.top_p <= 1.0, "0 < top_p <= 1", s.top_p),
        (0.0 <= s.min_p <= 1.0, "0 <= min_p <= 1", s.min_p),
        (0.0 < s.repetition_penalty < float("inf"), "repetition_penalty > 0", s.repetition_penalty),
        (s.seed >= 0, "seed >= 0", s.seed),
        (s.num_samples >= 1, "num_samples >= 1", s.num_samples),
        (s.logprobs is None or s.logprobs >= 0, "logprobs >= 0", s.logprobs),
        (all(s.stop), "no stop string may be empty", "''"),
        (not any("\ufffd" in text for text in s.stop), "a stop string must be of whole characters", "U+FFFD"),
    )
    for holds, must, got in rules:
        if not holds:
            raise UserError(must, got, "sampling")


@dataclass(frozen=True, slots=True)
class _Guides:
    tokenizer: TextTokenizer | None
    stops: StopWatch | None
    constraint: TokenConstraint | None


class Job:
    """See the module. `sequence` is the prompt with what was generated; `key` (seed, prompt, sample) fixes its draws."""

    def __init__(self, prompt: np.ndarray, sampling: Sampling, limit: int, key: tuple[int, int, int], guides: _Guides) -> None:
        self.prompt, self.limit = prompt, limit
        self.tokens: list[int] = []
        self._sampling, self._guides = sampling, guides
        self._generator = np.random.Generator(np.random.PCG64(list(key)))
        self._seen = set(prompt.tolist()) if sampling.repetition_penalty != 1.0 else None
        self._logprobs: list[float] = []
        self._top: list[tuple[tuple[int, float], ...]] = []
        self._stopped: Stopped | None = None
        self._finish = "length"
        self._stopped_by: str | int | None = None

    @property
    def sequence(self) -> np.ndarray:
        """int32 [N]."""
        return np.concatenate([self.prompt, np.array(self.tokens, dtype=np.int32)])

    @property
    def seen(self) -> np.ndarray:
        """Distinct tokens of `sequence`, int64 (empty without a repetition penalty)."""
        return np.fromiter(self._seen or (), dtype=np.int64)

    def uniform(self) -> float:
        """The next draw in [0, 1)."""
        return self._generator.random()

    def allowed(self) -> np.ndarray | None:
        """bool [vocabulary] of the tokens that may come next; None for all."""
        return self._guides.constraint.mask() if self._guides.constraint else None

    def note(self, logprob: float, top: tuple[tuple[int, float], ...]) -> None:
        """The log-probability of the token that `take` gets next, and the most likely ones."""
        self._logprobs.append(logprob)
        self._top.append(top)

    def take(self, token: int) -> bool:
        """Add the chosen token; whether the completion goes on."""
        if token in self._sampling.stop_ids:
            self._finish, self._stopped_by = "stop", token
            return False
        self.tokens.append(token)
        if self._seen is not None:
            self._seen.add(token)
        if self._guides.stops and (stopped := self._guides.stops.push(token)):
            self._finish, self._stopped_by, self._stopped = "stop", stopped.by, stopped
            return False
        if self._guides.constraint:
            self._guides.constraint.advance(token)
            if self._guides.constraint.complete:
                self._finish = "stop"
                return False
        return len(self.tokens) < self.limit

    def completion(self) -> Completion:
        """What has been generated, cut before the stop string."""
        num = len(self.tokens) if self._stopped is None else self._stopped.num_tokens
        text = None
        if self._sampling.needs_text and self._guides.tokenizer is not None:
            text = self._stopped.text if self._stopped else self._guides.tokenizer.decode(self.tokens)
        at_stop = self._logprobs[-1] if len(self._logprobs) > len(self.tokens) else None
        return Completion(
            tuple(self.tokens[:num]),
            self._finish,
            self._stopped_by,
            text,
            tuple(self._logprobs[:num]),
            at_stop,
            tuple(self._top[:num]) if self._sampling.logprobs else (),
        )


def mask_logits(logits: torch.Tensor, jobs: Sequence[Job]) -> torch.Tensor:
    """Logits [n, vocabulary] with -inf where a job's constraint allows nothing; the same tensor without constraints."""
    masks = [job.allowed() for job in jobs]
    if all(m is None for m in masks):
        return logits
    if not all(m is None or m.any() for m in masks):
        raise UserError("the JSON schema must be one that an answer can meet", "an answer that nothing can follow", "json_schema")
    blocked = np.stack([np.zeros(logits.shape[1], bool) if m is None else ~m for m in masks])
    return logits.masked_fill(torch.from_numpy(blocked), float("-inf"))


def checked(logits: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """The chosen tokens, int64 [n]. Raises NonFiniteOutput where the logits [n, vocabulary] of one are NaN or infinite."""
    if not bool(torch.isfinite(logits.gather(1, chosen[:, None])).all()):
        raise NonFiniteOutput("logits")
    return chosen


def note_logprobs(logits: torch.Tensor, chosen: torch.Tensor, jobs: Sequence[Job], num: int) -> None:
    """Tell each job the log-probability of its chosen token under the raw logits [n, vocabulary], and the `num` largest."""
    total = logits.logsumexp(-1, keepdim=True)
    mine = (logits.gather(1, chosen[:, None]) - total)[:, 0].tolist()
    values, ids = logits.topk(min(num, logits.shape[1]), dim=-1)
    best = (values - total).tolist()
    for job, logprob, row, row_ids in zip(jobs, mine, best, ids.tolist(), strict=True):
        job.note(logprob, tuple(zip(row_ids, row, strict=True)))
