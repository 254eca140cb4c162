"""A sample of `reliability/run.py mutated-inputs`: each spoilt file is judged in one document, and a run reads the same rows."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "reliability"))
from mutated import judged, mutated_inputs, read_by_a_run
from mutations import good_files


def test_spoilt_files_never_end_in_a_traceback_and_lose_no_row() -> None:
    got = mutated_inputs(96, seed=7)
    assert [f for f in got["failures"] if "trial" in f] == []
    assert len(got["verdicts"]) >= 4, "too tame: nearly every file had one verdict"
    assert got["read_by_a_run"] == 12


@pytest.mark.parametrize("seed", list(good_files()), ids=lambda s: s[0])
def test_the_files_to_begin_from_are_good(tmp_path: Path, seed: tuple[str, bytes]) -> None:
    path = tmp_path / seed[0]
    path.write_bytes(seed[1])
    verdict, faults = judged(path)
    assert (verdict in ("accept", "repair", "warn", "quarantine" if seed[0] == "rows.zip" else "accept"), faults) == (True, [])
    assert read_by_a_run(path, tmp_path / "run") == []
