"""ONNX Runtime's own profile of one run: which node of which stage took how long."""

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from fsnp_onnx.runtime.stft import stft
from fsnp_onnx.spec import INPUT_NAMES, METADATA_KEY, OUTPUT_NAME, ModelSpec

_SUB_BAND = "sub_band_"  # the exporter's prefix of nodes inside the sub-band stage


@dataclass(frozen=True, slots=True)
class Node:
    """One execution of one node.

    Attributes:
        stage: "full band" or "sub band".
        operator: Its ONNX operator.
        seconds: What it took, for control flow with all that is inside.
        own_s: The same without what is inside.
        inputs: Shapes of its inputs.
        outputs: Shapes of its outputs.
    """

    stage: str
    operator: str
    seconds: float
    own_s: float
    inputs: list[list[int]]
    outputs: list[list[int]]


@dataclass(frozen=True, slots=True)
class Profile:
    """One run of a model: all its nodes, and the time from outside."""

    nodes: list[Node]
    seconds: float

    @property
    def sub_band_s(self) -> float:
        """Time of the sub-band stage as a whole."""
        return sum(n.seconds for n in self.nodes if n.operator == "Loop" and n.stage == "sub band")


def profile(model: Path, noisy: NDArray[np.float32], threads: int) -> Profile:
    """Run a model once under ONNX Runtime's profiler, after one run to warm up.

    Args:
        model: An exported file.
        noisy: Samples at the model's rate, float32 [N].
        threads: CPU threads.
    """
    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        providers = ["CPUExecutionProvider"]
        session = onnxruntime.InferenceSession(model, options, providers=providers)
        spec = ModelSpec.from_metadata(session.get_modelmeta().custom_metadata_map[METADATA_KEY])
        spectrum = stft(noisy, spec.stft, spec.stft.n_frames(noisy.size))[None]
        parts = (np.ascontiguousarray(part) for part in (spectrum.real, spectrum.imag))
        feeds = dict(zip(INPUT_NAMES, parts, strict=True))
        for _ in range(2):
            session.run([OUTPUT_NAME], feeds)
        file = Path(session.end_profiling())
        return read(json.loads(file.read_text(encoding="utf-8")))


def read(events: list[dict[str, Any]]) -> Profile:
    """Read the last run of a profile in ONNX Runtime's format, times in microseconds."""
    run = max((e for e in events if e["name"] == "model_run"), key=lambda e: int(e["ts"]))
    executed = [e for e in events if e["cat"] == "Node" and _holds(run, e)]
    executed.sort(key=lambda e: (e["ts"], -e["dur"]))
    body = [e for e in executed if e["name"].startswith(_SUB_BAND)]
    loops = [e for e in executed if e["args"]["op_name"] == "Loop"]
    sub_band = [loop for loop in loops if any(_holds(loop, e) for e in body)]
    nodes = []
    for event, own in zip(executed, _own_times(executed), strict=True):
        inside = any(_holds(loop, event) for loop in sub_band)
        nodes.append(_node(event, own, "sub band" if inside else "full band"))
    return Profile(nodes, run["dur"] / 1e6)


def _own_times(executed: list[dict[str, Any]]) -> list[int]:
    """Return what each of these events, outer ones first, took without those inside it."""
    own = [event["dur"] for event in executed]
    around: list[int] = []
    for index, event in enumerate(executed):
        while around and not _holds(executed[around[-1]], event):
            around.pop()
        if around:
            own[around[-1]] -= event["dur"]
        around.append(index)
    return own


def _holds(outer: dict[str, Any], inner: dict[str, Any]) -> bool:
    end = inner["ts"] + inner["dur"]
    return bool(outer["ts"] <= inner["ts"] and end <= outer["ts"] + outer["dur"])


def _node(event: dict[str, Any], own: int, stage: str) -> Node:
    arguments = event["args"]
    shapes = [
        [next(iter(tensor.values())) for tensor in arguments[key]]
        for key in ("input_type_shape", "output_type_shape")
    ]
    return Node(stage, arguments["op_name"], event["dur"] / 1e6, own / 1e6, *shapes)
