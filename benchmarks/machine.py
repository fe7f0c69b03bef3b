"""Description of the machine that a measurement ran on."""

import os
import platform
import subprocess
import time
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from fsnp_onnx.runtime.cpus import available_cpus

PACKAGES = ("fsnp-onnx", "onnxruntime", "onnxruntime-gpu", "numpy", "torch", "onnx")
BUSY_S = 1.0  # how long the load of other processes is watched
FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "asimddp", "i8mm")


def describe() -> dict[str, Any]:
    """Return machine, versions, load and date as plain values."""
    cpus, limit = available_cpus()
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "cpu": _cpu_info("model name") or platform.processor() or platform.machine(),
        "flags": [flag for flag in FLAGS if flag in _cpu_flags()],
        "cpus": cpus,
        "cpus_limited_by": limit,
        "memory_gb": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": {"python": platform.python_version()} | _versions(),
        "busy": busy(),
        "load": load(),
    }


def load() -> list[float]:
    """Return the load average over 1, 5 and 15 minutes."""
    return [round(value, 2) for value in os.getloadavg()]


def busy() -> float | None:
    """Return the share of all CPUs that other processes use, None where the system does not tell.

    The load average does not serve here: it contains the benchmark that ran before.
    """
    stat = Path("/proc/stat")
    if not stat.is_file():
        return None
    before = [int(text) for text in stat.read_text(encoding="utf-8").split()[1:9]]
    time.sleep(BUSY_S)
    after = [int(text) for text in stat.read_text(encoding="utf-8").split()[1:9]]
    spent = [b - a for a, b in zip(before, after, strict=True)]  # user nice system idle iowait ...
    return round(1 - (spent[3] + spent[4]) / max(sum(spent), 1), 2)


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _commit() -> str | None:
    """The commit of the checkout, with a + if code of the package or the benchmarks has changed."""
    root = Path(__file__).parents[1]

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(root), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = git(
            "status", "--porcelain", "--untracked-files=no", "fsnp_onnx", "benchmarks/*.py"
        )
        return git("rev-parse", "--short", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _cpu_info(key: str) -> str:
    file = Path("/proc/cpuinfo")
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    found = (line.partition(":")[2].strip() for line in lines if line.startswith(key))
    return next(found, "")


def _cpu_flags() -> set[str]:
    return set((_cpu_info("flags") or _cpu_info("Features")).split())
