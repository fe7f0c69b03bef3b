"""Every benchmark measures what it says, on a tiny network: seconds."""

from __future__ import annotations

import json
import os
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from benchmarks import gemm, machine, memory, peers, profile, scaling, speed, startup, worker
from benchmarks.eager import Eager
from benchmarks.networks import PRECISIONS, Network, prepare
from benchmarks.nodes import Node, read
from benchmarks.rounds import alternate
from benchmarks.speech import noisy_speech
from evaluation.mixtures import Item
from evaluation.result import Evaluation
from evaluation.scoring import Enhance, System
from fsnp_onnx import Enhancer
from fsnp_onnx.export.graph.sub_band import BLOCK_FRAMES

N_FREQS, N_HIDDEN, N_FEATURES, HOP = 33, 8, 10, 32


def event(name: str, operator: str, start: int, length: int) -> dict[str, object]:
    shapes = {"input_type_shape": [{"float": [1]}], "output_type_shape": [{"float": [1]}]}
    arguments = {"op_name": operator} | shapes
    return {"cat": "Node", "name": name, "ts": start, "dur": length, "args": arguments}


def run_event(start: int, length: int) -> dict[str, object]:
    return {"cat": "Session", "name": "model_run", "ts": start, "dur": length, "args": {}}


def half(noisy: np.ndarray) -> np.ndarray:
    return noisy / 2


def open_half() -> Enhance:
    return half


def test_systems_take_turns_and_each_round_begins_with_another() -> None:
    calls: list[str] = []

    def call(name: str) -> int:
        calls.append(name)
        return len(calls)

    results = alternate({name: partial(call, name) for name in "abc"}, 3)
    assert calls == list("abcbcacab")
    assert results == {"a": [1, 6, 8], "b": [2, 4, 9], "c": [3, 5, 7]}


def test_the_machine_is_described_in_plain_values() -> None:
    described = machine.describe()
    assert json.loads(json.dumps(described)) == described
    assert described["cpu"]
    assert described["cpus"] >= 1
    assert described["busy"] is None or 0 <= described["busy"] <= 1
    assert {"python", "numpy", "fsnp-onnx"} <= described["versions"].keys()


def test_the_recording_is_as_long_as_asked_and_goes_on_from_the_start() -> None:
    short, rate_hz = noisy_speech(2)
    long, _ = noisy_speech(40)
    assert (short.size, long.size) == (2 * rate_hz, 40 * rate_hz)
    np.testing.assert_array_equal(short, long[: short.size])


@pytest.mark.slow
def test_exports_are_kept_until_the_checkpoint_is_newer(
    tiny: Network, checkpoint: Path, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exported: list[Path] = []
    monkeypatch.setattr(
        "benchmarks.networks.export_checkpoint", lambda _, path, **__: exported.append(path)
    )
    made = checkpoint.stat().st_mtime
    try:
        prepare([str(checkpoint)], work)
        assert not exported
        os.utime(checkpoint, times=(made + 3600, made + 3600))
        prepare([str(checkpoint)], work)
        assert exported == list(tiny.models.values())
    finally:
        os.utime(checkpoint, times=(made, made))


@pytest.mark.slow
def test_eager_torch_is_what_the_export_computes(tiny: Network) -> None:
    eager = Eager(tiny.checkpoint, threads=1)
    enhancer = Enhancer(tiny.models["float32"], provider="cpu", threads=1)
    noisy = noisy_speech(2)[0][: 900 * HOP]
    expected = eager.enhance(noisy)
    assert np.abs(expected).max() > 0.01
    np.testing.assert_allclose(enhancer.enhance(noisy, 16000), expected, atol=1e-4)


@pytest.mark.slow
def test_speed_times_every_system_in_every_round_and_compares_their_outputs(tiny: Network) -> None:
    (found,) = speed.measure(tiny, threads=1, durations_s=[1], repeats=2)["points"]
    assert {name: len(rounds) for name, rounds in found["seconds"].items()} == {
        "torch": 2,
        "float32": 2,
        "int8": 2,
    }
    assert all(s > 0 for rounds in found["seconds"].values() for s in rounds)
    snrs_db = {(d["of"], d["from"]): d["snr_db"] for d in found["differences"]}
    assert snrs_db["float32", "torch"] > 80
    assert 20 < snrs_db["int8", "float32"] < 80


@pytest.mark.slow
def test_memory_is_that_of_the_fresh_process_and_grows_with_the_recording(tiny: Network) -> None:
    held = np.ones(100_000_000, np.uint8)  # 100 MB that a child must not be charged with
    found = memory.measure(tiny, 1, durations_s=[1, 60], torch_durations_s=[1], repeats=1)
    points = found["points"]
    short, long = (point["peak_mb"][0] for point in points["float32"])
    assert 20 < short < long < held.size / 1e6 + 300
    assert long - short > 60 * 16000 * 8 / 1e6  # the samples alone
    assert points["torch"][0]["peak_mb"][0] > short


def test_a_process_that_fails_is_reported_as_failed(tmp_path: Path) -> None:
    np.save(tmp_path / "speech.npy", noisy_speech(1)[0])
    with pytest.raises(RuntimeError, match=r"onnx on 1 s ended with 1: .*none\.onnx"):
        worker.run("onnx", tmp_path / "none.onnx", tmp_path / "speech.npy", 1, 1)
    gone = Network("gone", tmp_path / "none.tar", {"float32": tmp_path / "none.onnx"}, {})
    found = memory.measure(gone, 1, durations_s=[1], torch_durations_s=[], repeats=1)
    assert "none.onnx" in found["points"]["float32"][0]["failed"]


@pytest.mark.slow
def test_a_cold_start_is_the_whole_process_and_its_parts(tiny: Network) -> None:
    runs = startup.measure(tiny, threads=1, repeats=1)["runs"]
    assert runs.keys() == {*PRECISIONS, "torch", startup.COMMAND}
    for system in (*PRECISIONS, "torch"):
        (run,) = runs[system]
        assert 0 < run["import_s"] + run["load_s"] + run["enhance_s"] < run["process_s"]
    assert runs[startup.COMMAND][0]["process_s"] > 0


def test_a_profile_is_of_the_last_run_with_each_node_in_its_stage() -> None:
    events = [
        run_event(0, 100),
        event("sub_band_lstm", "LSTM", 10, 80),
        run_event(200, 100),
        event("conv", "Conv", 210, 20),
        event("tcn_loop", "Loop", 230, 10),
        event("tcn_conv", "Conv", 232, 5),
        event("loop", "Loop", 240, 50),
        event("slice", "Slice", 241, 4),
        event("sub_band_lstm", "LSTM", 250, 30),
    ]
    profiled = read(events)
    assert profiled.seconds == pytest.approx(100e-6)
    assert profiled.sub_band_s == pytest.approx(50e-6)
    totals: Counter[tuple[str, str]] = Counter()
    for node in profiled.nodes:
        totals[node.stage, node.operator] += round(node.own_s * 1e6)
    assert totals == {
        ("full band", "Conv"): 25,
        ("full band", "Loop"): 5,
        ("sub band", "LSTM"): 30,
        ("sub band", "Slice"): 4,
        ("sub band", "Loop"): 16,
    }


def test_the_multiplications_of_a_layer_are_those_of_its_equations() -> None:
    layer = Node("sub band", "LSTM", 1.0, 1.0, [[64, 257, 34]], [[64, 1, 257, 384]])
    gru = Node("sub band", "GRU", 1.0, 1.0, [[2, 5, 7]], [[2, 1, 5, 3]])
    assert gemm.count_matmuls([layer, layer]) == {
        (64 * 257, 34, 4 * 384): 2,
        (257, 384, 4 * 384): 2 * 64,
    }
    assert gemm.count_matmuls([gru]) == {(10, 7, 9): 1, (5, 3, 9): 2}


@pytest.mark.slow
def test_the_arithmetic_of_the_layers_is_counted_over_all_blocks(tiny: Network) -> None:
    found = gemm.measure(tiny, threads=1, seconds=1, repeats=1)["precisions"]["float32"]
    block = BLOCK_FRAMES
    frames = -(-(1 + 16000 // HOP + 2) // block) * block
    of_a_frame = N_FREQS * 4 * N_HIDDEN * (N_FEATURES + N_HIDDEN)
    assert found["macs"] == frames * of_a_frame
    assert 0 < found["layers_s"][0] < found["sub_band_s"][0]
    for library in ("onnxruntime", "numpy"):
        (times,) = found["matmul_s"][library]
        assert len(times) == len(found["matmuls"])
        assert all(time > 0 for time in times)


@pytest.mark.slow
def test_the_profile_accounts_for_the_run_of_the_network(tiny: Network) -> None:
    found = profile.measure(tiny, threads=1, seconds=2, repeats=1)["precisions"]
    recurrent = {"float32": "LSTM", "int8": "DynamicQuantizeLSTM"}
    for precision, operator in recurrent.items():
        stages = {(o["stage"], o["operator"]) for o in found[precision]["operators"]}
        assert ("sub band", operator) in stages
        assert ("full band", "Conv") in stages
        assert {len(rounds) for rounds in found[precision]["seconds"].values()} == {1}


@pytest.mark.slow
def test_threads_and_jobs_change_no_sample(tiny: Network) -> None:
    model = tiny.models["float32"]
    threads = scaling.over_threads(model, [1, 2], seconds=1, repeats=1)
    assert threads["seconds"].keys() == {"1", "2"}
    assert max(threads["max_abs"].values()) < 1e-5
    jobs = scaling.over_jobs(model, [1, 2], files=3, file_seconds=0.5, repeats=1)
    assert jobs["identical"] == {"1": True, "2": True}
    assert (jobs["files"], jobs["audio_s"]) == (3, 1.5)


def test_peers_are_timed_beside_ours_with_the_quality_measured_before(
    unity_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = [System("halving", "halving-1.0", open_half)]
    monkeypatch.setattr(peers, "find_peers", lambda: (there, ["gone (no-wheel): no library"]))
    found = peers.measure({"default": unity_path}, seconds=1, repeats=2)
    assert {name: len(rounds) for name, rounds in found["seconds"].items()} == {
        "default": 2,
        "halving": 2,
    }
    assert found["missing"] == ["gone (no-wheel): no library"]
    assert 1 < found["quality"]["default"]["pesq"] < 4.5


def test_quality_is_the_mean_over_the_noisy_mixtures(tmp_path: Path) -> None:
    row = dict.fromkeys(peers.METRICS, 1.0)
    scores = {"a": row, "b": dict.fromkeys(row, 3.0), "clean": dict.fromkeys(row, 9.0)}
    parts = {"a": "noisy", "b": "noisy", "clean": "clean"}
    items = [
        Item(name, part, "low", "hiss", 5.0, reverberant=False) for name, part in parts.items()
    ]
    file = tmp_path / "quality.json"
    Evaluation("", 10.0, ["ours"], [], {}, "", items, {"ours": scores}).write(file)
    assert peers.quality(file) == {"ours": dict.fromkeys(peers.METRICS, 2.0)}
