"""The gate over a hundred optimiser steps: Luthier and TRL in float32 on the same batches. Usage: gate.py --steps 100

One decision: nothing is timed here, so it may run beside other work. Every step's loss must agree within 1e-4 and the
first gradients within 1e-5 (relative); the exit code is 1 if not. The JSON keeps both loss curves.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import sys
import tempfile
from pathlib import Path

from peers import FLOAT32
from training import HERE, Bench, difference
from workloads import WORKLOADS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--memory", type=float, default=20.0, help="GiB that an arm may take")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--data", type=Path, default=HERE.parents[1] / "shared" / "data")
    options = parser.parse_args()
    size = WORKLOADS["gate"].rows_per_step
    options.workload, options.peer, options.rows = "gate", "trl", options.steps * size
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(options, Path(name))
        ours, theirs = bench.luthier(bench.job["rows"], size), bench.theirs(bench.peer, bench.peer.exact, bench.job["rows"], size)
        found = difference(theirs, ours)
    today = datetime.date.today().isoformat()
    made = {"date": today, "steps": options.steps, "rows_per_step": size, "peer": "trl", "setting": bench.peer.exact, **found}
    made["limits"] = {"first_gradients": FLOAT32[0], "largest_loss_difference": FLOAT32[1]}
    made["losses"] = {"luthier": ours["losses"], "trl": theirs["losses"]}
    (HERE / "results" / f"{today}-gate-trl.json").write_text(json.dumps(made, indent=1) + "\n")
    equal = found["first_gradients"] <= FLOAT32[0] and found["largest_loss_difference"] <= FLOAT32[1]
    print(json.dumps({k: v for k, v in made.items() if k != "losses"}, indent=1))
    sys.exit(0 if equal else 1)


if __name__ == "__main__":
    main()
