"""ONNX Runtime's profile of one run: which node of which stage took how long."""

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from fsnp_onnx.runtime.ort import session_options
from fsnp_onnx.runtime.stft import stft
from fsnp_onnx.spec import INPUT_NAMES, METADATA_KEY, OUTPUT_NAME, ModelSpec

_SUB_BAND = "sub_band_"  # the exporter's prefix of nodes inside the sub-band stage


@dataclass(frozen=True, slots=True)
class Node:
    """One execution of one node.

    Attributes:
        stage: "full band" or "sub band".
        operator: Its ONNX operator.
        seconds: Its time; a Loop or Scan includes the nodes inside it.
        own_s: Its time without the nodes inside it.
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
    """One run of a model: all its nodes, and the time of the whole run."""

    nodes: list[Node]
    seconds: float

    @property
    def sub_band_s(self) -> float:
        """Time of the sub-band stage as a whole."""
        return sum(node.own_s for node in self.nodes if node.stage == "sub band")


def profile(model: Path, noisy: NDArray[np.float32], threads: int) -> Profile:
    """Run a model once under ONNX Runtime's profiler, after one run to warm up.

    Args:
        model: An exported file.
        noisy: Samples at the model's rate, float32 [N].
        threads: CPU threads.
    """
    with tempfile.TemporaryDirectory() as folder:
        options = session_options(onnxruntime, threads, precision="int8")  # float32 ignores it
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
    executed.sort(key=lambda e: (e["ts"], -e["dur"]))  # outer ones first
    parents = _parents(executed)
    own = [event["dur"] for event in executed]
    for event, parent in zip(executed, parents, strict=True):
        if parent is not None:
            own[parent] -= event["dur"]
    named = [event["name"].startswith(_SUB_BAND) for event in executed]
    hosts = {parent for parent, is_named in zip(parents, named, strict=True) if is_named}
    inside: list[bool] = []  # of the sub-band stage, its Scan included
    for index, parent in enumerate(parents):
        below = parent is not None and inside[parent]
        inside.append(below or named[index] or index in hosts)
    return Profile(
        [
            _node(event, own_us, "sub band" if there else "full band")
            for event, own_us, there in zip(executed, own, inside, strict=True)
        ],
        run["dur"] / 1e6,
    )


def _parents(executed: list[dict[str, Any]]) -> list[int | None]:
    """Return the index of the Loop or Scan around each of these events, outer ones first."""
    parents: list[int | None] = []
    around: list[int] = []
    for index, event in enumerate(executed):
        while around and not _holds(executed[around[-1]], event):
            around.pop()
        parents.append(around[-1] if around else None)
        around.append(index)
    return parents


def _holds(outer: dict[str, Any], inner: dict[str, Any]) -> bool:
    end = inner["ts"] + inner["dur"]
    return bool(outer["ts"] <= inner["ts"] and end <= outer["ts"] + outer["dur"])


def _node(event: dict[str, Any], own_us: int, stage: str) -> Node:
    arguments = event["args"]
    shapes = [
        [next(iter(tensor.values())) for tensor in arguments[key]]
        for key in ("input_type_shape", "output_type_shape")
    ]
    return Node(stage, arguments["op_name"], event["dur"] / 1e6, own_us / 1e6, *shapes)
