"""How many CPUs this process may really use.

Containers limit a process by a quota of CPU time that neither `os.cpu_count` nor the affinity
mask shows; more threads than the quota allows only get throttled together.
"""

from __future__ import annotations

import os
from pathlib import Path


def available_cpus() -> tuple[int, str]:
    """Return how many CPUs this process may use (at least 1), and what limits them."""
    if hasattr(os, "sched_getaffinity"):
        cpus, reason = len(os.sched_getaffinity(0)), "CPU affinity of the process"
    else:
        cpus, reason = os.cpu_count() or 1, "CPUs of the machine"
    quota = cgroup_quota()
    if quota is not None and quota < cpus:
        return max(1, int(quota)), f"cgroup quota of {quota:g} CPUs"
    return cpus, reason


def cgroup_quota(
    mount: Path = Path("/sys/fs/cgroup"), own_cgroups: Path = Path("/proc/self/cgroup")
) -> float | None:
    """Return the smallest quota, in CPUs, on the way from this process's cgroup up to the root.

    The process's cgroups are listed in a file, one ``id:controllers:path`` a line.
    """
    try:
        lines = own_cgroups.read_text().splitlines()
    except OSError:
        return None
    quotas = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        roots = [mount / controllers, mount / "cpu"] if controllers else [mount, mount / "unified"]
        folder = Path(path.lstrip("/"))
        # inside a container the listed path may belong to the host: then only the root answers
        quotas += [_quota(root / part) for root in roots for part in (folder, *folder.parents)]
    return min((quota for quota in quotas if quota is not None), default=None)


def _quota(folder: Path) -> float | None:
    """Return the quota of one cgroup in CPUs, from the file of version 2 or the two of version 1."""
    try:
        if (folder / "cpu.max").exists():
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota, period = ((folder / f"cpu.cfs_{n}_us").read_text() for n in ("quota", "period"))
        return None if quota == "max" or int(quota) <= 0 else int(quota) / int(period)
    except (OSError, ValueError):
        return None
