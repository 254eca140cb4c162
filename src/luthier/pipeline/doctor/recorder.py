"""What stands where an engine stands, to see which tokens evaluation and chat would have computed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from luthier.engine.contract import Completion, TokenSequence


class Recorder:
    """Keeps the prompts and sequences it is handed and answers with nothing. num_values: of an encoder's head."""

    longest = None

    def __init__(self, num_values: int = 1) -> None:
        self.num_values = num_values
        self.prompts: list[np.ndarray] = []
        self.sequences: list[TokenSequence] = []

    def sample(self, prompts: list[np.ndarray], *_: Any) -> list[Completion]:
        """Empty answers."""
        from luthier.engine.contract import Completion

        self.prompts += prompts
        return [Completion((), "stop") for _ in prompts]

    def logprobs(self, sequences: list[TokenSequence], *_: Any) -> list[np.ndarray]:
        """Zeros."""
        import numpy as np

        self.sequences += sequences
        return [np.zeros(int((s.weights != 0).sum())) for s in sequences]

    def values(self, prompts: list[np.ndarray], *_: Any) -> np.ndarray:
        """Zeros."""
        import numpy as np

        self.prompts += prompts
        return np.zeros((len(prompts), self.num_values))
