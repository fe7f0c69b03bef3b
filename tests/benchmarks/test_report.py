"""The page says what the raw numbers say, and nothing else."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from benchmarks.__main__ import RESULTS, app, steps
from benchmarks.goals import goals
from benchmarks.networks import Network
from benchmarks.report import SECTIONS, write_report
from benchmarks.sections import spread

ENVIRONMENT = {
    "date": "2026-01-02T03:04:05+00:00",
    "commit": "abc1234",
    "cpu": "Abacus 9",
    "flags": ["beads"],
    "cpus": 2,
    "cpus_limited_by": "CPU affinity of the process",
    "memory_gb": 8.0,
    "system": "Linux wood",
    "versions": {"python": "3.11.1"},
    "busy": 0.03,
    "load": [0.25, 0, 0],
    "load_after": [1.75, 0, 0],
}
SPEED_POINT: dict[str, Any] = {
    "audio_s": 10.0,
    "seconds": {"torch": [5.0, 10.0, 5.0], "float32": [4.0, 5.0, 3.0], "int8": [1.0, 2.0, 1.0]},
    "differences": [
        {"of": "float32", "from": "torch", "max_abs": 2e-6, "peak": 0.5, "snr_db": 101.0},
        {"of": "int8", "from": "float32", "max_abs": 3e-3, "peak": 0.5, "snr_db": 29.0},
    ],
}
SPEED = {"points": [SPEED_POINT], "missing": {}}
MEMORY = {
    "points": {
        "float32": [
            {"audio_s": s, "peak_mb": [100 + 0.25 * s], "seconds": [0.2 * s]}
            for s in (10, 60, 600, 3600)
        ],
        "torch": [
            {"audio_s": 10, "peak_mb": [900.0], "seconds": [5.0]},
            {"audio_s": 60, "failed": "torch on 60 s ended with -9: no message"},
        ],
    },
    "missing": {"int8": "no kernel"},
}
START = {
    "runs": {
        "float32": [{"import_s": 0.1, "load_s": 0.2, "enhance_s": 0.1, "process_s": 0.5}] * 2,
        "torch": [{"import_s": 1.0, "load_s": 0.5, "enhance_s": 0.5, "process_s": 2.0}] * 2,
        "fsnp-enhance": [{"process_s": 1.0}] * 2,
    }
}
OPERATORS = [
    {"stage": "sub band", "operator": "LSTM", "seconds": 0.8},
    {"stage": "full band", "operator": "Conv", "seconds": 0.195},
    {"stage": "full band", "operator": "Relu", "seconds": 0.005},
]
PROFILE = {
    "audio_s": 10.0,
    "precisions": {
        "float32": {"seconds": {"network": [1.0], "enhance": [1.25]}, "operators": OPERATORS}
    },
    "missing": {},
}
GEMM = {
    "precisions": {
        "float32": {
            "macs": 4_000_000_000,
            "layers_s": [0.05],
            "sub_band_s": [0.08],
            "matmuls": [{"shape": [1000, 1000, 1000], "count": 4}],
            "matmul_s": {"onnxruntime": [[0.01]], "numpy": [[0.005]]},
        }
    },
    "missing": {},
}
SCALING = {
    "precisions": {
        "float32": {
            "threads": {
                "audio_s": 10.0,
                "seconds": {"1": [4.0], "2": [2.5]},
                "max_abs": {"1": 0.0, "2": 1e-7},
            },
            "jobs": {
                "audio_s": 3600.0,
                "files": 4,
                "seconds": {"1": [360.0], "2": [200.0]},
                "identical": {"1": True, "2": False},
            },
        }
    },
    "missing": {},
}
SCORES = {"pesq": 2.0, "stoi": 0.9, "si_sdr_db": 12.0, "ovrl": 3.0}
PEERS = {
    "audio_s": 10.0,
    "own": ["default"],
    "seconds": {"slow": [2.0], "default": [0.5]},
    "packages": {"slow": "slow-1.0"},
    "missing": ["gone (gone-wheel): no library"],
    "quality": dict.fromkeys(("default", "slow", "gone", "noisy", "older"), SCORES),
}
MEASURED: dict[str, Any] = {
    "speed": {"published": SPEED},
    "memory": {"published": MEMORY},
    "cold-start": {"published": START},
    "profile": {"published": PROFILE},
    "gemm": {"published": GEMM},
    "scaling": {"published": SCALING},
    "peers": PEERS,
}


def documents(**changed: Any) -> dict[str, Any]:
    results = copy.deepcopy(MEASURED | changed)
    return {
        name: {"environment": ENVIRONMENT, "settings": {"threads": 2}, "results": result}
        for name, result in results.items()
    }


def page_of(found: dict[str, Any], folder: Path) -> str:
    results = folder / "results"
    results.mkdir()
    for name, document in found.items():
        (results / f"{name}.json").write_text(json.dumps(document))
    return write_report(results).read_text()


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    return page_of(documents(), tmp_path_factory.mktemp("page"))


def test_what_was_not_measured_says_so(tmp_path: Path) -> None:
    page = page_of({}, tmp_path)
    for name in SECTIONS:
        assert f"`python -m benchmarks {name}`: not measured." in page
    assert all(row[2:] == ["not measured", ""] for row in goals({}))


def test_every_benchmark_has_a_command() -> None:
    commands = {
        command.name or str(command.callback.__name__)
        for command in app.registered_commands
        if command.callback
    }
    assert {name.replace("_", "-") for name in commands} == {
        *SECTIONS,
        "report",
        "serve",
        "cuda-pack",
        "cuda-page",
    }


def test_the_machine_the_load_and_the_date_are_on_the_page(page: str) -> None:
    assert "Abacus 9, 2 usable (CPU affinity of the process), beads; 8 GB" in page
    assert "| speed | 2026-01-02T03:04:05+00:00 | abc1234 | A | 3% | 0.25 | 1.75 |" in page
    assert "**B**" not in page


def test_numbers_are_medians_with_quartiles() -> None:
    assert spread([3.0, 1.0, 2.0, 5.0, 4.0], 1) == "3.0 [2.0, 4.0]"
    assert spread([3.0], 1) == "3.0"


def test_ratios_are_taken_round_by_round(page: str) -> None:
    # 4/5, 5/10, 3/5: their median is not the ratio of the medians, 4/5
    assert (
        "| published | 10 s | float32 | 0.400 [0.350, 0.450] | 0.600 [0.550, 0.700] | 3 |" in page
    )
    assert "| published | 10 s | int8 vs float32 | 0.003 | 29.0 |" in page


def test_memory_states_its_slope_and_what_failed(page: str) -> None:
    assert "float32: 100 MB + 0.250 MB per second of audio (line fitted to 4 durations" in page
    assert "| 60 s | 115 (0.200) | failed: torch on 60 s ended with -9: no message |" in page
    assert "| 600 s | 250 (0.200) | not measured |" in page
    assert "published, int8: not measured (no kernel)" in page


def test_the_parts_of_a_cold_start_stand_beside_the_whole(page: str) -> None:
    assert (
        "| published | float32 | 0.50 [0.50, 0.50] | 0.25 [0.25, 0.25] | 0.10 [0.10, 0.10]" in page
    )
    assert "| published | fsnp-enhance | 1.00 [1.00, 1.00] | 0.50 [0.50, 0.50] |  |  |  |" in page


def test_the_profile_says_where_the_time_goes(page: str) -> None:
    assert (
        "the LSTM of the sub band takes 80.0% of the network's time, everything else in the sub band "
        "0.0%, the full band 20.0%. Outside the network: 0.250 s of 1.250 s."
    ) in page
    assert "| full band | others | 0.5% |" in page


def test_the_share_is_the_time_of_the_multiplications_over_that_of_the_layers(page: str) -> None:
    assert "| published, float32 | 80 | 0.80 | 0.40 | 0.50 |" in page
    assert "| published, float32 | [1000, 1000] x [1000, 1000] | 100% | 100 | 200 |" in page


def test_scaling_is_over_one_thread_and_one_job(page: str) -> None:
    assert "| published, float32 | 2 | 0.250 | 1.60 | 1e-07 |" in page
    assert "| published, float32 | 2 | 18.0 | 1.80 | **no** |" in page


def test_peers_are_listed_by_speed_and_the_absent_named(page: str) -> None:
    table = page.partition("## Other enhancers")[2]
    assert table.index("| **default** | 0.0500 | 2.00") < table.index("| slow | 0.2000 | 2.00")
    assert "| gone | not measured | 2.00 |" in table
    assert "| noisy | - | 2.00 |" in table
    assert "not measured: gone (gone-wheel): no library" in table
    assert "older" not in table


def test_goals_are_met_at_their_limit_and_missed_beyond_it() -> None:
    met = {what: row for what, *row in goals(documents())}
    assert met["published, float32: time relative to torch, 10 s"][1:] == ["0.60", "met"]
    assert met["published, float32: time relative to torch, 60 s"][1:] == ["not measured", ""]
    assert met["published: int8 against float32, SNR"][1:] == ["29.0 dB", "**missed**"]
    assert met["published, float32: peak memory, 10 minutes"][1:] == ["250 MB", "met"]
    assert met["published, float32: sub band, share of matrix multiplications"][1:] == [
        "0.500",
        "**missed**",
    ]
    assert met["published, float32: speedup by two jobs of one thread"][1:] == ["1.80 x", "met"]
    assert met["default: int8 against float32, SNR"][1:] == ["not measured", ""]
    seconds = {"torch": [1.0], "float32": [0.8], "int8": [0.301]}
    points = [SPEED_POINT | {"audio_s": s, "seconds": seconds} for s in (9.984, 60.0)]
    at_limit = documents(speed={"published": {"points": points, "missing": {}}})
    met = {what: row for what, *row in goals(at_limit)}
    for audio in ("10 s", "60 s"):
        assert met[f"published, float32: time relative to torch, {audio}"][2] == "met"
        assert met[f"published, int8: time relative to torch, {audio}"][2] == "**missed**"


def test_a_network_without_int8_leaves_its_goal_unmeasured() -> None:
    point = SPEED_POINT | {"differences": SPEED_POINT["differences"][:1]}
    speed = {"published": {"points": [point], "missing": {"int8": "no kernel"}}}
    met = {what: row for what, *row in goals(documents(speed=speed))}
    assert met["published: int8 against float32, SNR"][1:] == ["not measured", ""]


def test_pictures_are_drawn_of_what_was_measured(tmp_path: Path) -> None:
    page = page_of(documents(), tmp_path)
    for name in ("memory", "peers"):
        assert f"](results/{name}.png)" in page
        assert (tmp_path / "results" / f"{name}.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_a_command_stores_its_numbers_and_renders_the_page(
    tiny: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.networks.prepare", lambda _: [tiny])
    options = ["--threads", "1", "--duration", "1", "--repeats", "1"]
    result = run("--results", str(tmp_path / "results"), "speed", *options)
    assert result.exit_code == 0, result.output
    document = json.loads((tmp_path / "results" / "speed.json").read_text())
    (point,) = document["results"]["tiny"]["points"]
    assert point["seconds"].keys() == {"torch", "float32", "int8"}
    assert document["settings"] == {"threads": 1, "durations_s": [1.0], "repeats": 1}
    assert "| tiny | 1 s | torch |" in (tmp_path / "RESULTS.md").read_text()


def test_a_failure_is_one_line_and_stores_nothing(tmp_path: Path) -> None:
    options = ["speed", "--network", str(tmp_path / "none.tar")]
    result = run("--results", str(tmp_path / "results"), *options)
    assert result.exit_code == 1
    assert "error: speed was not measured" in result.output
    assert not list((tmp_path / "results").iterdir())


def test_threads_and_jobs_double_up_to_what_there_is() -> None:
    assert [steps(n) for n in (1, 2, 3, 8)] == [[1], [1, 2], [1, 2, 3], [1, 2, 4, 8]]


@pytest.mark.parametrize("folder", sorted(RESULTS.parent.glob("results*/")), ids=lambda f: f.name)
def test_the_committed_pages_are_what_the_committed_numbers_say(
    folder: Path, tmp_path: Path
) -> None:
    for page in RESULTS.parent.glob("RESULTS*.md"):
        shutil.copy(page, tmp_path)
    shutil.copytree(folder, tmp_path / folder.name)
    page = write_report(tmp_path / folder.name)
    assert page.read_text() == (RESULTS.parent / page.name).read_text()


def test_a_page_names_the_pages_of_other_machines_and_its_commands_in_full(tmp_path: Path) -> None:
    found = documents()
    found["speed"]["command"] = "python -m benchmarks speed --network published"
    (tmp_path / "RESULTS-OLD.md").touch()
    page = page_of(found, tmp_path)
    assert "Measured on other machines: [RESULTS-OLD.md](RESULTS-OLD.md)." in page
    assert "`python -m benchmarks speed --network published`, threads 2." in page
