"""The check on CUDA, run on the CPU: what it packs, what it finds, and the page that it fills."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.cuda import check
from benchmarks.cuda.pack import bundled, cases, cut, golden, write
from benchmarks.cuda.page import BEGIN, END, NOT_RUN, PAGE, render, write_page
from fsnp_onnx.probes import Probe
from fsnp_onnx.runtime.session import Session
from tests.runtime.models import DELAY

pytestmark = pytest.mark.slow

RESULTS = PAGE.parents[1] / "benchmarks" / "results" / "cuda.json"
QUICK = ["--provider", "cpu", "--batches", "1", "2", "--seconds", "0.1", "0.2"]
GRU = "se_gru_cumlaplace"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A golden network with both interfaces, and a stream that halves what it gets."""
    exported, out = tmp_path_factory.mktemp("exported"), tmp_path_factory.mktemp("pack") / "check"
    write(out, golden([GRU], exported))
    shutil.copy(DELAY, out / "files")
    noisy = np.random.default_rng(0).standard_normal((2, 3000), np.float32)
    np.savez(out / "cases" / "delay.npz", noisy=noisy, exact=noisy / 2)
    case = {"name": "delay", "arrays": "cases/delay.npz", "tolerance": 1e-9, "hops": [3, 1]}
    entry = {"name": "delay", "file": f"files/{DELAY.name}", "measured": True, "cases": [case]}
    index = json.loads((out / "index.json").read_text("utf-8"))
    index["files"].append(entry)
    (out / "index.json").write_text(json.dumps(index), encoding="utf-8")
    return out


def run(folder: Path, out: Path) -> subprocess.CompletedProcess[str]:
    """Run the packed code, and nothing of this repository."""
    return subprocess.run(
        ["bash", str(folder / "run.sh"), "--out", str(out), *QUICK],
        cwd=folder.parent,
        env=os.environ | {"PYTHON": sys.executable},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def results(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("results") / "cuda.json"
    done = run(folder, out)
    assert done.returncode == 0, done.stdout + done.stderr
    document: dict[str, Any] = json.loads(out.read_text("utf-8"))
    return document


def test_every_file_passes_each_probe_of_its_report_and_what_was_published(
    results: dict[str, Any],
) -> None:
    masks, waveform, stream = results["files"]
    assert [file["interface"] for file in results["files"]] == ["mask", "waveform", "stream"]
    names = [case["case"] for case in masks["cases"]]
    assert sum(name.startswith("published") for name in names) == 4
    assert len(names) == 8
    assert len(waveform["cases"]) == 4
    assert len(stream["cases"]) == 1
    for file in results["files"]:
        for case in file["cases"]:
            assert case["passed"]
            assert case["max_abs_error"] <= case["tolerance"]


def test_tolerances_are_those_that_the_files_store(folder: Path) -> None:
    index = json.loads((folder / "index.json").read_text("utf-8"))
    for entry in index["files"][:2]:
        stored = {
            probe.tolerance for probe in Session(folder / entry["file"], "cpu").spec.verification
        }
        own = [case for case in entry["cases"] if not case["name"].startswith("published")]
        assert {case["tolerance"] for case in own} <= stored


def test_nodes_are_counted_by_where_they_ran(results: dict[str, Any]) -> None:
    for file in results["files"]:
        assert set(file["placement"]) == {"CPU"}
    assert results["files"][0]["placement"]["CPU"]["GRU"] == 2


def test_speed_is_measured_for_each_batch_and_length_of_what_is_bundled(
    results: dict[str, Any],
) -> None:
    masks, _, stream = results["files"]
    assert masks["speed"] == []
    hops = [256 * count for count in check.HOPS]
    sizes = [(line["batch"], line["n_samples"]) for line in stream["speed"]]
    assert sizes == [(batch, n_samples) for batch in (1, 2) for n_samples in hops]
    assert all(line["seconds"] > 0 for line in stream["speed"])


def test_a_file_that_is_off_by_more_than_its_tolerance_fails(folder: Path, tmp_path: Path) -> None:
    other = shutil.copytree(folder, tmp_path / "check")
    (first, *_) = sorted((other / "cases").iterdir())
    with np.load(first) as arrays:
        np.savez(first, **{**arrays, "exact": arrays["exact"] + 3e-3})
    done = run(other, tmp_path / "cuda.json")
    assert done.returncode == 1
    assert "FAILED published, 8 frames" in done.stdout
    document = json.loads((tmp_path / "cuda.json").read_text("utf-8"))
    passed = [case["passed"] for file in document["files"] for case in file["cases"]]
    assert passed == [False] + [True] * (len(passed) - 1)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_outputs_that_are_not_numbers_fail(tmp_path: Path, wrong: float) -> None:
    noisy = np.zeros((1, 1024), np.float32)
    np.savez(tmp_path / "case.npz", noisy=noisy, exact=noisy + wrong)
    case = {"name": "silence", "arrays": "case.npz", "tolerance": 1.0, "hops": [1, 2]}
    found = check.check(tmp_path, Session(DELAY, "cpu"), case)
    assert found == {"case": "silence", "max_abs_error": None, "tolerance": 1.0, "passed": False}


def test_a_provider_that_does_not_start_is_one_line(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="error: CUDA device 0 does not start"):
        check.main([str(folder), "--out", str(tmp_path / "cuda.json")])


def test_parts_make_the_folder_again(folder: Path, tmp_path: Path) -> None:
    copied = shutil.copytree(folder, tmp_path / "check")
    parts = cut(copied, 0.5)
    assert len(parts) > 1
    assert max(part.stat().st_size for part in parts) <= 500_000
    there = tmp_path / "there"
    there.mkdir()
    (there / "all.tar").write_bytes(b"".join(part.read_bytes() for part in parts))
    shutil.unpack_archive(there / "all.tar", there, filter="data")
    for file in filter(Path.is_file, folder.rglob("*")):
        assert (there / "check" / file.relative_to(folder)).read_bytes() == file.read_bytes()


def test_bundled_files_are_packed_with_the_networks_that_they_were_exported_from() -> None:
    for subject in bundled():
        spec = Session(subject.file, "cpu").spec
        short = replace(spec, verification=(_short_probe(spec.interface),))
        (case,) = cases(short, subject.network)
        splits = case.splits or {"": []}
        for hops in splits.values():
            found = check.output_of(Session(subject.file, "cpu"), case.arrays, hops)
            assert np.abs(found - case.arrays["exact"]).max() <= case.tolerance


def _short_probe(interface: str) -> Probe:
    n_samples = 3000 if interface == "waveform" else None
    return Probe(12, 2, 0.0, 1e-5 if n_samples else 2e-5, 100.0, n_samples)


def test_the_page_has_a_line_for_each_file(results: dict[str, Any], tmp_path: Path) -> None:
    raw, page = tmp_path / "cuda.json", tmp_path / "cuda.md"
    page.write_text(f"above\n{BEGIN}\nstale\n{END}\nbelow\n", encoding="utf-8")
    raw.write_text(json.dumps(results), encoding="utf-8")
    write_page(raw, page)
    text = page.read_text("utf-8")
    assert text.startswith(f"above\n{BEGIN}\n")
    assert text.endswith(f"{END}\nbelow\n")
    assert "stale" not in text
    assert re.search(rf"\| golden/{GRU} \| mask \| 8 of 8 \| .* \| \S+e-\d+ \| \S+e-\d+ \|", text)
    assert "| batch | 0.016 s each | 0.128 s each | 1.024 s each |" in text
    assert re.search(r"\| 2 \| [\d.]+ ms \(\d+x\) ", text)


def test_the_page_says_what_failed(results: dict[str, Any]) -> None:
    broken: dict[str, Any] = json.loads(json.dumps(results))
    broken["files"][0]["cases"][2] |= {"max_abs_error": None, "passed": False}
    broken["files"][2]["speed"][5] = {
        "batch": 2, "n_samples": 16384, "audio_s": 2.048, "error": "out of memory"
    }  # fmt: skip
    text = render(broken)
    assert "| 7 of 8 | published, 63 frames | not a number |" in text
    assert "| failed |" in text


def test_the_page_shows_the_stored_results_or_that_there_are_none(tmp_path: Path) -> None:
    page = Path(shutil.copy(PAGE, tmp_path / "cuda.md"))
    write_page(RESULTS, page)
    assert page.read_text("utf-8") == PAGE.read_text("utf-8")
    write_page(tmp_path / "none.json", page)
    assert NOT_RUN in page.read_text("utf-8")
