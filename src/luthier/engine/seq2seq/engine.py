"""The encoder-decoder engine: transformers' own T5- and BART-type models, trained on the answer, asked greedily or by draws.

One decision: a row is its source's tokens with the answer's behind them, the first weight marking where the answer begins;
so prepared files, losses and the predictor are those of decoders. Answers of several prompts are generated one by one, the
source read once and the decoder's keys and values kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from luthier.core.errors import UserError
from luthier.engine.adapter import AdapterSet
from luthier.engine.contract import Completion, Progress, Sampling, TokenSequence
from luthier.engine.logprobs import log_probabilities
from luthier.engine.padded import PaddedEngine, Targets, check_ids, mean_rows, padded
from luthier.engine.sampler.job import Job, Window, checked, make_jobs, mask_logits, note_logprobs
from luthier.engine.sampler.plain import choose_plain, penalised
from luthier.engine.sampler.stops import WholeStops
from luthier.engine.text.tokenizer import TextTokenizer

TOO_LONG = "shorten it, or let the project cut long texts: `prepare: {too_long: cut_end}`"
_UNBOUNDED = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Shape:
    """longest: positions of each side, None without a limit; start: the decoder's first input; forced: the first answer token."""

    vocabulary: int
    longest: int | None
    pad: int
    start: int
    forced: int | None


@dataclass(slots=True)
class _Reading:
    """A source that was read: the encoder's output, and the decoder's cache of one answer."""

    source: np.ndarray
    encoded: Any
    cache: Any = None


class Seq2SeqEngine(PaddedEngine):
    """See `engine.contract.Engine`."""

    def __init__(self, model: Any, adapters: AdapterSet, group_tokens: int, shape: Shape) -> None:
        super().__init__(model, adapters, group_tokens)
        self._shape = shape
        self.name = "encoder-decoder" if group_tokens else "encoder-decoder, one row at a time"

    # reading ------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def embed(self, sequences: list[TokenSequence]) -> np.ndarray:
        """Mean of the encoder's last rows over each text's tokens, float32 [n, hidden]."""
        rows = [s.tokens for s in sequences]
        self._check_sides(rows)
        out = []
        for row in rows:
            ids, mask = padded([row], self._shape.pad)
            out.append(mean_rows(self._model.get_encoder()(input_ids=ids, attention_mask=mask).last_hidden_state, mask)[0])
        return np.stack(out)

    @torch.no_grad()
    def sample(
        self, prompts: list[np.ndarray], sampling: Sampling, progress: Progress | None = None, tokenizer: TextTokenizer | None = None
    ) -> list[Completion]:
        self._check_sides(prompts)
        longest = self._shape.longest or _UNBOUNDED
        limited = replace(sampling, max_new_tokens=min(sampling.max_new_tokens, longest - 1))
        out: list[Completion] = []
        encoded: Any = None
        for number, job in enumerate(make_jobs(prompts, limited, Window(self._shape.vocabulary, _UNBOUNDED), tokenizer, WholeStops)):
            if number % sampling.num_samples == 0:
                ids, mask = padded([job.prompt], self._shape.pad)
                encoded = self._model.get_encoder()(input_ids=ids, attention_mask=mask)
            reading = _Reading(job.prompt, encoded)
            while job.take(self._next_token(job, reading, sampling)):
                pass
            out.append(job.completion())
            if progress and len(out) % sampling.num_samples == 0:
                progress(len(out) // sampling.num_samples, len(prompts))
        return out

    def _next_token(self, job: Job, reading: _Reading, sampling: Sampling) -> int:
        written = [self._shape.start, *job.tokens]
        raw = self._step(written[-1], reading)
        if self._shape.forced is not None and not job.tokens:
            raw = torch.full_like(raw, -torch.inf).index_fill(1, torch.tensor([self._shape.forced]), 0.0)
        logits = penalised(raw, [np.unique(np.array(written, np.int64))], sampling.repetition_penalty)
        chosen = checked(logits, choose_plain(mask_logits(logits, [job]), sampling, [job.uniform()]))
        if sampling.logprobs is not None:
            note_logprobs(raw, chosen, [job], sampling.logprobs)
        return int(chosen[0])

    def _step(self, token: int, reading: _Reading) -> torch.Tensor:
        """Logits [1, vocabulary] after one more token of the answer."""
        out = self._model(
            encoder_outputs=reading.encoded,
            attention_mask=torch.ones(1, len(reading.source), dtype=torch.int64),
            decoder_input_ids=torch.tensor([[token]]),
            past_key_values=reading.cache,
            use_cache=True,
        )
        reading.cache = out.past_key_values
        return out.logits[:, -1]

    # the model ----------------------------------------------------------------------------------------------

    def _targets(self, rows: list[TokenSequence]) -> list[Targets]:
        sides = [_sides(s) for s in rows]
        ids, mask = padded([source for source, _ in sides], self._shape.pad)
        start = np.array([self._shape.start], np.int32)
        written, _ = padded([np.concatenate([start, answer[:-1]]) for _, answer in sides], self._shape.pad)
        logits = self._model(input_ids=ids, attention_mask=mask, decoder_input_ids=written, use_cache=False).logits
        out = []
        for row, s, (source, answer) in zip(logits, rows, sides, strict=True):
            at = torch.from_numpy(np.flatnonzero(s.weights[len(source) :]))
            every, wanted = log_probabilities(row[at]), torch.from_numpy(answer.astype(np.int64))[at]
            out.append(Targets(every.gather(1, wanted[:, None])[:, 0], every.argmax(-1) == wanted, every.mean(-1)))
        return out

    def _check(self, rows: Sequence[TokenSequence]) -> None:
        for i, s in enumerate(rows):
            if not s.weights.any() or s.weights[0] != 0:
                raise UserError("a row must have a source and an answer", f"{int(np.count_nonzero(s.weights))} answer tokens", f"row {i}")
        sides = [_sides(s) for s in rows]
        self._check_sides([source for source, _ in sides])
        self._check_sides([answer for _, answer in sides])

    def _check_sides(self, rows: Sequence[np.ndarray]) -> None:
        check_ids(rows, self._shape.vocabulary, self._shape.longest, TOO_LONG)


def _sides(s: TokenSequence) -> tuple[np.ndarray, np.ndarray]:
    """Source and answer of a row."""
    first = int(np.flatnonzero(s.weights)[0])
    return s.tokens[:first], s.tokens[first:]
