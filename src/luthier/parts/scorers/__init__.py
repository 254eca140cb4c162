"""Scorers: (example, output) -> Score. One judgement for metrics, verdicts, rewards and monitoring.

One decision: a project file names a scorer by its kind (`accuracy`), by a mapping with options, or by a Python
file of its own (`my_metric.py:MyMetric`), whose bytes are then part of every key.
"""

from __future__ import annotations

from luthier.parts.scorers.loading import ScorerConfig, known_scorers, load
from luthier.parts.scorers.scorer import Answer, Score, Scorer

__all__ = ["Answer", "Score", "Scorer", "ScorerConfig", "known_scorers", "load"]
