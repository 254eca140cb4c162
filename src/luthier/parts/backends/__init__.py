"""Backends: where a question is answered. The local engine, or any OpenAI-compatible endpoint.

One decision: a backend gives a usable answer or says why there is none; it never makes one up, and never raises for one row.
"""

from __future__ import annotations

from luthier.parts.backends.backend import Backend, BackendConfig, Reply, load

__all__ = ["Backend", "BackendConfig", "Reply", "load"]
