"""What this machine has: resident and peak bytes of this process, and memory that may be used.

One decision: the limit of a control group counts like physical memory, and what other processes hold is not ours.
"""

from __future__ import annotations

import os
from pathlib import Path

SHARE = 0.85
"""Share of the available memory that a run may fill unless `execution.memory_gb` says how much; the rest is for neighbours."""
_CGROUP = Path("/sys/fs/cgroup")


def resident_bytes() -> int:
    """Resident bytes of this process now (VmRSS)."""
    return _status("VmRSS")


def peak_bytes() -> int:
    """Most resident bytes of this process so far (VmHWM)."""
    return _status("VmHWM")


def _status(field: str) -> int:
    path = Path("/proc/self/status")
    if not path.exists():  # not Linux: the largest so far is all that the standard library knows
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    line = next(line for line in path.read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


def available_bytes() -> int:
    """Memory that this process may still take: what the kernel calls available, or what its control group leaves, if that is less."""
    found = [_physical()]
    for limit, used in (("memory.max", "memory.current"), ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes")):
        found += _left(_CGROUP / limit, _CGROUP / used)
    return min(found)


def _physical() -> int:
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _left(limit: Path, used: Path) -> list[int]:
    try:
        words = limit.read_text().strip(), used.read_text().strip()
    except OSError:
        return []
    return [max(0, int(words[0]) - int(words[1]))] if words[0].isdigit() and words[1].isdigit() else []
