"""Untrusted Python code, run apart: no network, no file but its own folder, no other process, bounded memory and time.

One decision: a machine that cannot give every one of these refuses to run the code at all, with the step that failed.
"""

from __future__ import annotations

from luthier.sandbox.run import Limits, Run, run_python

__all__ = ["Limits", "Run", "run_python"]
