"""Threads follow what the process may use, not what the machine has."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fsnp_onnx.runtime import cpus
from fsnp_onnx.runtime.cpus import available_cpus, cgroup_quota


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.mark.parametrize("folder", ["", "unified"])
def test_quota_of_cgroup_v2_is_the_smallest_on_the_way_up(tmp_path: Path, folder: str) -> None:
    own = write(tmp_path / "own", "0::/pod/app\n")
    mount = tmp_path / "mount"
    write(mount / folder / "pod" / "app" / "cpu.max", "max 100000\n")
    assert cgroup_quota(mount, own) is None
    write(mount / folder / "pod" / "cpu.max", "250000 100000\n")
    write(mount / folder / "cpu.max", "800000 100000\n")
    assert cgroup_quota(mount, own) == 2.5


@pytest.mark.parametrize("folder", ["cpu", "cpu,cpuacct"])
def test_quota_of_cgroup_v1_is_read(tmp_path: Path, folder: str) -> None:
    own = write(tmp_path / "own", "5:memory:/x\n4:cpu,cpuacct:/docker/abc\n")
    write(tmp_path / folder / "cpu.cfs_period_us", "100000\n")
    write(tmp_path / folder / "cpu.cfs_quota_us", "-1\n")
    assert cgroup_quota(tmp_path, own) is None
    write(tmp_path / folder / "cpu.cfs_quota_us", "150000\n")
    assert cgroup_quota(tmp_path, own) == 1.5


def test_no_cgroups_are_no_limit(tmp_path: Path) -> None:
    assert cgroup_quota(tmp_path, tmp_path / "none") is None
    assert cgroup_quota(tmp_path, write(tmp_path / "own", "0::/\n")) is None


@pytest.mark.parametrize(
    ("quota", "affinity", "expected"),
    [(None, 8, 8), (2.5, 8, 2), (0.5, 8, 1), (16.0, 4, 4)],
)
def test_the_smaller_of_affinity_and_quota_counts(
    monkeypatch: pytest.MonkeyPatch, quota: float | None, affinity: int, expected: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(affinity)), raising=False)
    monkeypatch.setattr(cpus, "cgroup_quota", lambda *_: quota)
    count, reason = available_cpus()
    assert count == expected
    assert ("quota" in reason) == (quota is not None and quota < affinity)


def test_machines_without_affinity_count_their_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(cpus, "cgroup_quota", lambda *_: None)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert available_cpus() == (6, "CPUs of the machine")
