"""Luthier as a model of lm-evaluation-harness: its requests answered by an engine, its tokenisation kept to the token.

One decision: text becomes tokens by the harness's own rules and the model folder's own tokenizer (control tokens written
in a text count as such, as in the harness's HF backend), and whole lists go to the engine, which shares what they share.
Importing this module needs the `harness` extra and registers the model under the name `luthier`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from lm_eval.api.model import TemplateLM
from lm_eval.api.registry import register_model
from lm_eval.models.utils import handle_stop_sequences, has_bos_prefix, normalize_gen_kwargs, postprocess_generated_text
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from luthier.core.errors import UserError
from luthier.core.execution import Execution
from luthier.engine.contract import Engine, Sampling, TokenSequence
from luthier.engine.text.tokenizer import TextTokenizer

_MAX_NEW_TOKENS = 256
"""Of a request that names no limit, as in the HF backend."""
_KNOWN_SETTINGS = frozenset({"until", "max_gen_toks", "do_sample", "temperature", "top_k", "top_p", "min_p", "repetition_penalty"})


class LuthierLM(TemplateLM):
    """A model for `lm_eval.simple_evaluate(model=...)`, and for `--model luthier` of its command line.

    pretrained: a base model's name (see `luthier models list`), or a folder. adapter: a PEFT folder. engine: auto, fast or
    reference. dtype: float32 or float64. max_length: tokens of context, the model's own by default. seed: of sampled text.
    batch_size, max_batch_size and device are the harness's own settings and are accepted as it sends them: batches follow
    from the engine's budget, and the device is the engine's choice.
    Raises UserError, EngineRefused or CorruptArtifact.
    """

    def __init__(
        self,
        pretrained: str,
        adapter: str | None = None,
        engine: str = "auto",
        dtype: str = "float32",
        max_length: int | None = None,
        seed: int = 0,
        threads: int | None = None,
        batch_size: int | str | None = None,
        max_batch_size: int | None = None,
        device: str | None = None,
    ) -> None:
        super().__init__()
        from transformers import AutoTokenizer

        from luthier.engine.models.resolve import resolve
        from luthier.engine.select import load_engine

        folder = Path(resolve(pretrained).folder)
        execution = Execution.model_validate({"engine": engine, "threads": threads})
        if dtype not in ("float32", "float64"):
            raise UserError("dtype must be float32 or float64", repr(dtype), "--dtype")
        self.engine: Engine = load_engine(folder, None, execution, 0, Path(adapter) if adapter else None, dtype)
        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        self._text = TextTokenizer.load(folder)
        self._folder, self._seed = folder, seed
        self.max_length = _longest(folder, max_length)
        self._encode: Callable[[str, bool | None], tuple[int, ...]] = lru_cache(maxsize=4096)(self._encode_once)

    # text ---------------------------------------------------------------------------------------------------

    @property
    def eot_token_id(self) -> int:
        return self.tokenizer.eos_token_id

    @property
    def prefix_token_id(self) -> int:
        """What an empty context is replaced by."""
        begin = self.tokenizer.bos_token_id
        return self.tokenizer.eos_token_id if begin is None else begin

    @property
    def tokenizer_name(self) -> str:
        return str(self._folder).replace("/", "__")

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """The model's own template, as text."""
        return self.tokenizer.apply_chat_template(
            chat_history, tokenize=False, add_generation_prompt=add_generation_prompt, continue_final_message=not add_generation_prompt
        )

    def tok_encode(self, string: str, add_special_tokens: bool | None = None) -> list[int]:
        """Token ids; special tokens are added as the tokenizer does, unless the text begins with one or the caller says."""
        return list(self._encode(string, add_special_tokens))

    def _encode_once(self, string: str, add_special_tokens: bool | None) -> tuple[int, ...]:
        if add_special_tokens is None and has_bos_prefix(string, self.tokenizer.decode(self.prefix_token_id)):
            add_special_tokens = False
        given = {} if add_special_tokens is None else {"add_special_tokens": add_special_tokens}
        return tuple(self.tokenizer.encode(string, **given))

    # scoring ------------------------------------------------------------------------------------------------

    def _loglikelihood_tokens(self, requests: list[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """(sum of log-probabilities, greedy decoding gives it) per (texts, context, continuation)."""
        sequences = [self._sequence(context, continuation) for _, context, continuation in requests]
        with _Bar(len(sequences), "Scoring", disable_tqdm) as bar:
            scores = self.engine.score(sequences, bar.to)
        out = [(float(s.logprobs.sum()), bool(s.greedy.all())) for s in scores]
        for (texts, _, _), answer in zip(requests, out, strict=True):
            if texts is not None:
                self.cache_hook.add_partial("loglikelihood", texts, answer)
        return out

    def _sequence(self, context: list[int], continuation: list[int]) -> TokenSequence:
        """Cut from the left so that all but the last token fit the context, as the HF backend does."""
        if not continuation or len(continuation) > self.max_length:
            raise UserError(f"a continuation must have 1 to {self.max_length} tokens", len(continuation), "loglikelihood request")
        tokens = np.array([*context, *continuation][-(self.max_length + 1) :], dtype=np.int32)
        weights = np.zeros(len(tokens), dtype=np.float32)
        weights[len(tokens) - len(continuation) :] = 1.0
        return TokenSequence(tokens, weights)

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = False) -> list[float]:
        """Log-likelihood of each whole text, in windows of the model's context; every token is predicted once."""
        windows: list[tuple[None, list[int], list[int]]] = []
        counts = []
        for (string,) in (r.args for r in requests):
            found = get_rolling_token_windows(
                token_list=self.tok_encode(string), prefix_token=self.prefix_token_id, max_seq_len=self.max_length, context_len=1
            )
            mine = [(None, *make_disjoint_window(w)) for w in found]
            windows += mine
            counts.append(len(mine))
        scores = iter(self._loglikelihood_tokens(windows, disable_tqdm))
        out = [sum(next(scores)[0] for _ in range(n)) for n in counts]
        for request, total in zip(requests, out, strict=True):
            self.cache_hook.add_partial("loglikelihood_rolling", request.args, total)
        return out

    # generation ---------------------------------------------------------------------------------------------

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        """The continuation of each context, cut before the first stop string. Requests with equal settings run together."""
        groups: dict[str, list[int]] = {}
        for i, request in enumerate(requests):
            groups.setdefault(repr(sorted(request.args[1].items())), []).append(i)
        out = [""] * len(requests)
        with _Bar(len(requests), "Generating", disable_tqdm) as bar:
            for members in groups.values():
                texts = self._generate([requests[i].args[0] for i in members], requests[members[0]].args[1], bar)
                for i, text in zip(members, texts, strict=True):
                    out[i] = text
                    self.cache_hook.add_partial("generate_until", requests[i].args, text)
        return out

    def _generate(self, contexts: list[str], given: dict[str, Any], bar: _Bar) -> list[str]:
        settings: dict[str, Any] = dict(normalize_gen_kwargs(copy.deepcopy(given), _MAX_NEW_TOKENS))
        unknown = sorted(set(settings) - _KNOWN_SETTINGS)
        if unknown:
            raise UserError("generation settings must be among " + ", ".join(sorted(_KNOWN_SETTINGS)), ", ".join(unknown), "gen_kwargs")
        room = self.max_length - settings["max_gen_toks"]
        if room < 1:
            raise UserError(f"max_gen_toks must be below the context of {self.max_length} tokens", settings["max_gen_toks"], "gen_kwargs")
        end = self.tokenizer.decode([self.eot_token_id], skip_special_tokens=False)
        until = handle_stop_sequences(settings["until"], eos=end)
        prompts = [np.array(self.tok_encode(text)[-room:], dtype=np.int32) for text in contexts]
        completions = self.engine.sample(prompts, self._sampling(settings, until), bar.within(len(prompts)), self._text)
        texts = [self.tokenizer.decode(c.tokens, skip_special_tokens=True) for c in completions]
        return [postprocess_generated_text(generation=t, stop=until, think_end_token=None) for t in texts]

    def _sampling(self, settings: dict[str, Any], until: list[str]) -> Sampling:
        sampled = bool(settings.get("do_sample"))
        return Sampling(
            max_new_tokens=settings["max_gen_toks"],
            temperature=float(settings.get("temperature", 1.0)) if sampled else 0.0,
            top_k=int(settings.get("top_k") or 0) if sampled else 0,
            top_p=float(settings.get("top_p") or 1.0) if sampled else 1.0,
            min_p=float(settings.get("min_p") or 0.0) if sampled else 0.0,
            repetition_penalty=float(settings.get("repetition_penalty") or 1.0),
            seed=self._seed,
            stop_ids=_stop_ids(self._folder, self.eot_token_id),
            stop=tuple(s for s in until if s and s not in self.tokenizer.all_special_tokens),
        )


class _Bar:
    """The harness's progress bar, moved by the engine's (done, total)."""

    def __init__(self, total: int, what: str, hidden: bool) -> None:
        from tqdm import tqdm

        self._bar, self._start = tqdm(total=total, desc=what, disable=hidden), 0

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def to(self, done: int, total: int) -> None:
        self._bar.update(self._start + done - self._bar.n)

    def within(self, num: int) -> Callable[[int, int], None]:
        """A progress for the next `num` of the bar."""
        start = self._start
        self._start += num

        def to(done: int, total: int) -> None:
            self._bar.update(start + done - self._bar.n)

        return to


def _longest(folder: Path, wanted: int | None) -> int:
    from transformers import AutoConfig

    from luthier.engine.memory.dimensions import FAMILIES, read_dimensions, read_family
    from luthier.engine.reference.engine import longest_of

    if read_family(folder) in FAMILIES:
        longest = read_dimensions(folder).longest
    else:
        longest = longest_of(AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False))
    if wanted is None:
        return longest
    if not 1 < wanted <= longest:
        raise UserError(f"max_length must be 2 to {longest}, the model's context", wanted, "--max-length")
    return wanted


def _stop_ids(folder: Path, end: int) -> tuple[int, ...]:
    """The end tokens of the model's generation_config.json, and the tokenizer's."""
    from transformers import GenerationConfig

    named = GenerationConfig.from_pretrained(folder).eos_token_id if (folder / "generation_config.json").is_file() else None
    listed = named if isinstance(named, list) else [] if named is None else [named]
    return tuple(dict.fromkeys([end, *listed]))


register_model("luthier")(LuthierLM)  # not as a decorator: its type would hide the arguments
