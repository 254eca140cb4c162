"""The two reports that the tests draw: one with every field, one with only what the contract requires."""

from __future__ import annotations

import pytest
from example_report import example_report, minimal_report

from luthier.report.model import RunReport


@pytest.fixture(scope="session")
def rich() -> RunReport:
    """A run with every field filled in: 12 banking intents, 240 sealed rows."""
    return example_report()


@pytest.fixture(scope="session")
def minimal() -> RunReport:
    """A run that measured nothing beyond the verdict."""
    return minimal_report()
