"""Time of a hop of a live stream on one thread, against the hop itself; memory over an hour."""

import resource
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from benchmarks.networks import WORK
from benchmarks.rounds import timed
from benchmarks.speech import noisy_speech
from evaluation.peers import find_peers
from fsnp_onnx import (
    Enhancer,
    ExportOptions,
    ModelSpec,
    NetworkConfig,
    StftSpec,
)
from fsnp_onnx.export.build import stamp
from fsnp_onnx.export.graph.quantize import quantize
from fsnp_onnx.export.graph.stream import as_stream, stream_block, stream_model
from fsnp_onnx.network.fullsubnet_plus import FullSubNetPlus
from fsnp_onnx.runtime.ort import Provider
from fsnp_onnx.runtime.session import Session
from fsnp_onnx.runtime.stream_model import StreamModel

CPU: Provider = "cpu"
CAUSAL = NetworkConfig(causal=True, mulca="simplified", complex_norm="magnitude")
SIZES = {"published": (512, 384), "bundled": (256, 128)}  # TCN and LSTM
PEERS = {"GTCRN": 0.016, "DeepFilterNet3": 0.010}  # and their hops in seconds
CHUNK_S = 0.1  # of the hour


def measure(minutes: float, hours: float) -> dict[str, Any]:
    """Time every hop of the streams, one after the other.

    Args:
        minutes: Audio that each stream gets.
        hours: Audio of the run that shows memory.

    Returns:
        Per network and precision the milliseconds of a hop; per peer their mean; the megabytes of the
        process after a minute and at the end.
    """
    files = {size: dict(_exported(size)) for size in SIZES}
    hops = {
        size: {precision: _hops_ms(path, minutes) for precision, path in there.items()}
        for size, there in files.items()
    }
    return {
        "hop_ms": 16.0,
        "hops": hops,
        "peers": dict(_peers_ms()),
        "memory": _memory_mb(files["bundled"]["float32"], hours),
    }


def _exported(size: str) -> Iterator[tuple[str, Path]]:
    """Build streams with seeded random weights, which speed does not depend on."""
    WORK.mkdir(parents=True, exist_ok=True)
    tcn, lstm = SIZES[size]
    config = replace(CAUSAL, tcn_hidden_size=tcn, sub_band_hidden_size=lstm)
    torch.manual_seed(0)
    masks = ModelSpec(StftSpec(), causal=True, horizon_frames=config.horizon_frames)
    spec = as_stream(masks, config)
    block = stream_block(FullSubNetPlus(config), spec.stft, spec.mask, ExportOptions.opset)
    for precision, hops in (("float32", block), ("int8", quantize(block))):
        path = WORK / f"causal-{size}.{precision}.onnx"
        content = stamp(stream_model(hops, config, spec.stft), replace(spec, precision=precision))
        path.write_bytes(content)
        yield precision, path


def _hops_ms(path: Path, minutes: float) -> dict[str, float]:
    model = StreamModel(Session(path, CPU, threads=1, device_id=0))
    noisy, rate = noisy_speech(60)
    milliseconds = 1000 * model.time_hops(np.resize(noisy, round(minutes * 60 * rate)))
    median, late = np.percentile(milliseconds, [50, 99])
    return {"median": float(median), "p99": float(late), "largest": float(milliseconds.max())}


def _peers_ms() -> Iterator[tuple[str, dict[str, float]]]:
    """Yield the mean time of a hop of the peers that start here."""
    systems, _ = find_peers()
    noisy, rate = noisy_speech(30)
    with threadpool_limits(1):
        for system in systems:
            if hop_s := PEERS.get(system.title):
                enhance: Callable[..., Any] = system.open()
                enhance(noisy[:rate])
                seconds = timed(partial(enhance, noisy))
                yield system.title, {"hop_ms": 1000 * hop_s, "mean": 1000 * seconds / 30 * hop_s}


def _memory_mb(path: Path, hours: float) -> dict[str, float]:
    stream = Enhancer(path, CPU, threads=1).stream(16000)
    noisy, rate = noisy_speech(60)
    chunk = round(CHUNK_S * rate)
    after_a_minute = 0.0
    n_chunks = round(hours * 3600 / CHUNK_S)
    for index in range(n_chunks):
        start = index * chunk % (noisy.size - chunk)
        stream.process(noisy[start : start + chunk])
        if index == round(60 / CHUNK_S):
            after_a_minute = _resident_mb()
    return {"hours": hours, "after_a_minute": after_a_minute, "at_the_end": _resident_mb()}


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6
