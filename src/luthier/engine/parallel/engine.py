"""The engine of a run in several processes: each optimiser step's sequences are shared out, gradients are summed.

One decision: every process holds the same trainable weights and optimiser state and takes the same step, so what is saved
is the state of one process and a run may go on with any number. No state is given out unless all hold the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from luthier.core.errors import EngineRefused, MachineError
from luthier.engine.contract import (
    NO_NOISE,
    Batch,
    Completion,
    Keeping,
    Loss,
    NoiseRates,
    NonFiniteLoss,
    NonFiniteOutput,
    Progress,
    Sampling,
    StepOutput,
    TargetScores,
    TokenSequence,
)
from luthier.engine.memory.forecast import Forecast
from luthier.engine.objective import differentiate
from luthier.engine.optim.config import OptimizerConfig
from luthier.engine.parallel.balance import Cost, divide
from luthier.engine.parallel.member import Answer, Member, carry_out
from luthier.engine.parallel.workers import Workers
from luthier.engine.text.tokenizer import TextTokenizer


class DataParallel:
    """See `engine.contract.Engine`. Built by `engine.parallel.start.open_engine`; lives in the first process."""

    def __init__(self, member: Member, workers: Workers, cost: Cost, all_threads: int, divided: bool) -> None:
        """divided: no process has all weights, so a verb that is not shared out is carried out by all of them."""
        engine = member.engine
        self._member, self._workers, self._cost, self._all_threads, self._divided = member, workers, cost, all_threads, divided
        self.name, self.num_trainable, self.refusal, self.longest = engine.name, engine.num_trainable, engine.refusal, engine.longest
        self.micro_batch_tokens, self.recomputed_layers = engine.micro_batch_tokens, engine.recomputed_layers
        self._agree("loading")

    # training -----------------------------------------------------------------------------------------------

    def use_optimiser(self, config: OptimizerConfig, ema: float | None = None) -> None:
        self._everywhere("use_optimiser", config, ema)

    def swap_average(self) -> None:
        self._everywhere("swap_average")

    def forward_backward(self, batch: Batch, loss: Loss) -> StepOutput:
        if not loss.linear:
            return self._in_two_passes(batch, loss)
        shares = divide(batch.sequences, self._workers.size, self._cost)
        answers = self._ask("forward_backward", [(batch.part(share), loss) for share in shares])
        self._drop_if_not_finite(shares, answers)
        outputs, again = zip(*_values(answers), strict=True)
        self.recomputed_layers = max(self.recomputed_layers, *again)
        return StepOutput(
            sum(o.loss for o in outputs),
            sum(o.num_targets for o in outputs),
            sum(o.unique_tokens for o in outputs),
            sum(o.as_if_separate_tokens for o in outputs),
        )

    def _drop_if_not_finite(self, shares: list[list[int]], answers: list[Answer]) -> None:
        found = [(share, a.error) for share, a in zip(shares, answers, strict=True) if isinstance(a.error, NonFiniteLoss)]
        if found:
            self._everywhere("replace_gradients", None)
            bad = sorted(share[i] for share, err in found for i in err.sequences)
            raise NonFiniteLoss(found[0][1].what, tuple(bad))

    def _in_two_passes(self, batch: Batch, loss: Loss) -> StepOutput:
        """A loss over all sequences together: its value from everybody's log-probabilities, then a step that is linear."""
        if loss.needs != frozenset({"logprobs"}):
            raise EngineRefused("a loss that is not linear may need logprobs alone in several processes", ", ".join(sorted(loss.needs)))
        if batch.noise is not None:
            raise EngineRefused(
                "a loss that is not linear takes no noise in several processes", type(loss).__name__, "train.regularisation"
            )
        where = [np.flatnonzero(s.weights) for s in batch.sequences]
        number = np.repeat(np.arange(len(where)), [len(w) for w in where])
        weight = np.concatenate([s.weights[w].astype(np.float64) for s, w in zip(batch.sequences, where, strict=True)])
        try:
            logprobs = torch.from_numpy(np.concatenate(self.logprobs(list(batch.sequences))))
            value, coefficient = differentiate(loss, logprobs, weight, number, batch.normaliser)
        except NonFiniteOutput as err:
            self._everywhere("replace_gradients", None)
            raise NonFiniteLoss("the loss", err.sequences) from err
        except NonFiniteLoss:
            self._everywhere("replace_gradients", None)
            raise
        pieces = coefficient.split([len(w) for w in where])
        given = tuple(_weighted(s, w, c.numpy()) for s, w, c in zip(batch.sequences, where, pieces, strict=True))
        out = self.forward_backward(Batch(given, 1.0), _Given())
        return replace(out, loss=value, num_targets=len(number))

    def optim_step(self, learning_rate: float) -> float:
        norms = self._everywhere("optim_step", learning_rate)
        if len(set(norms)) > 1:
            raise _differ("an optimiser step", [str(n) for n in norms])
        return norms[0]

    def gradients(self) -> dict[str, Any]:
        return self._everywhere("gradients")[0]

    def replace_gradients(self, gradients: dict[str, Any] | None) -> None:
        """They are the sum of all processes: this one holds it, the others nothing."""
        self._everywhere("replace_gradients", None)
        self._member.engine.replace_gradients(gradients)

    def forecast(self, sequences: Sequence[TokenSequence], steps: Sequence[np.ndarray], noise: NoiseRates = NO_NOISE) -> Forecast | None:
        """The peak is of one process, and no more than if it had the whole step."""
        return self._member.engine.forecast(sequences, steps, noise)

    def keep_activations(self, keeping: Keeping, sequences: Sequence[TokenSequence], steps: Sequence[np.ndarray]) -> str:
        """Each step shares its rows out anew, so every process would keep most of them."""
        return ""

    # reading ------------------------------------------------------------------------------------------------

    def logprobs(self, sequences: list[TokenSequence], progress: Progress | None = None) -> list[np.ndarray]:
        return self._spread("logprobs", sequences, progress)

    def score(self, sequences: list[TokenSequence], progress: Progress | None = None) -> list[TargetScores]:
        return self._spread("score", sequences, progress)

    def _spread(self, verb: str, sequences: list[TokenSequence], progress: Progress | None) -> list[Any]:
        """A reading verb over shares; progress is that of the first share, as a part of the whole."""
        if self._divided:
            return self._by_all(verb, (sequences, progress), (sequences,))
        shares = divide(sequences, self._workers.size, self._cost)
        parts = [[sequences[i] for i in share] for share in shares]
        told = None if progress is None else _scaled(progress, len(sequences))
        answers = self._ask(verb, [(parts[0], told), *((part,) for part in parts[1:])])
        found = [(share, a.error) for share, a in zip(shares, answers, strict=True) if isinstance(a.error, NonFiniteOutput)]
        if found:
            raise NonFiniteOutput(found[0][1].what, tuple(sorted(share[i] for share, err in found for i in err.sequences)))
        out: list[Any] = [None] * len(sequences)
        for share, values in zip(shares, _values(answers), strict=True):
            for i, value in zip(share, values, strict=True):
                out[i] = value
        return out

    def embed(self, sequences: list[TokenSequence]) -> np.ndarray:
        if self._divided:
            return self._by_all("embed", (sequences,), (sequences,))
        with self._alone():
            return self._member.embed(sequences)

    def sample(
        self, prompts: list[np.ndarray], sampling: Sampling, progress: Progress | None = None, tokenizer: TextTokenizer | None = None
    ) -> list[Completion]:
        if self._divided:
            return self._by_all("sample", (prompts, sampling, progress, tokenizer), (prompts, sampling, None, tokenizer))
        with self._alone():
            return self._member.sample(prompts, sampling, progress, tokenizer)

    def _by_all(self, verb: str, own: tuple[Any, ...], others: tuple[Any, ...]) -> Any:
        return _values(self._ask(verb, [own, *[others] * (self._workers.size - 1)]))[0]

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """The other processes wait, so this one takes all threads."""
        threads = torch.get_num_threads()
        torch.set_num_threads(self._all_threads)
        try:
            yield
        finally:
            torch.set_num_threads(threads)

    # state --------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        self._agree("training")
        return self._member.engine.state()

    def load_state(self, state: dict[str, Any]) -> None:
        tensors = {k: v for k, v in state.items() if isinstance(v, torch.Tensor)}
        values = {k: v for k, v in state.items() if k not in tensors}
        outline = {k: (v.dtype, tuple(v.shape)) for k, v in tensors.items()}
        others = [(outline, values, None)] * (self._workers.size - 1)
        _values(self._ask("load_state", [(outline, values, tensors), *others]))

    def save_adapter(self, folder: Path, base: str | None = None) -> None:
        self._member.engine.save_adapter(folder, base)

    # all processes ------------------------------------------------------------------------------------------

    def _ask(self, verb: str, args: list[tuple[Any, ...]]) -> list[Answer]:
        """Ask a verb of every process, this one with `args[0]`; all answers, by rank."""
        self._workers.tell(verb, args[1:])
        with self._workers.watched():
            own = carry_out(self._member, verb, args[0])
        if self._divided and own.error is not None and not isinstance(own.error, NonFiniteLoss | NonFiniteOutput):
            raise own.error  # the others wait inside the verb for this process and have no answer
        return [own, *self._workers.answers()]

    def _everywhere(self, verb: str, *args: Any) -> list[Any]:
        """Ask the same of all; what it gave, by rank. Raises the first error among the answers."""
        return _values(self._ask(verb, [args] * self._workers.size))

    def _agree(self, after: str) -> None:
        """Raise MachineError unless all processes hold the same trainable weights and optimiser state, bit for bit."""
        prints = self._everywhere("fingerprint")
        if len(set(prints)) > 1:
            raise _differ(after, prints)


class _Given:
    """The linear loss whose coefficients are the weights."""

    needs = frozenset({"logprobs"})
    linear = True

    def coefficients(self, weights_N: Any) -> Any:
        return weights_N

    def __call__(self, logprobs_N: Any, weights_N: Any, sequence_N: Any) -> Any:
        return -(logprobs_N * weights_N).sum()


def _values(answers: list[Answer]) -> list[Any]:
    """What the verb gave in each process. Raises the first error."""
    for answer in answers:
        if answer.error is not None:
            raise answer.error
    return [answer.value for answer in answers]


def _weighted(s: TokenSequence, where: np.ndarray, weights: np.ndarray) -> TokenSequence:
    """`s` with float64 weights at `where`: coefficients must not be rounded."""
    full = np.zeros(len(s.tokens))
    full[where] = weights
    return TokenSequence(s.tokens, full)


def _scaled(progress: Progress, total: int) -> Callable[[int, int], None]:
    return lambda done, of: progress(total * done // of, total)


def _differ(after: str, found: list[str]) -> MachineError:
    different = ", ".join(str(rank + 1) for rank, value in enumerate(found) if value != found[0])
    return MachineError(
        f"all processes must hold the same weights, bit for bit; after {after} those of process {different} are not those of process 1; "
        "nothing was saved since: run the same command again to go on from the last saved point, and with --nproc 1 if it comes back"
    )
