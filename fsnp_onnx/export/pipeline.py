"""Checkpoint in, proven ONNX files out: the steps in order, and nothing written until all are done."""

from __future__ import annotations

import copy
import json
import math
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, get_args

import onnx

from fsnp_onnx.errors import CheckpointError, ConfigError
from fsnp_onnx.export.checkpoint import Checkpoint, read_checkpoint
from fsnp_onnx.export.fidelity import Difference, certify_quantization, compare_forms
from fsnp_onnx.export.graph.compact import compact
from fsnp_onnx.export.graph.mask import assemble
from fsnp_onnx.export.graph.quantize import quantize, require_quantisable
from fsnp_onnx.export.graph.simplify import simplify
from fsnp_onnx.export.graph.torch_export import trace_full_band, trace_sub_band
from fsnp_onnx.export.identify import Inferred, infer, read_toml
from fsnp_onnx.export.outputs import check_outputs, choose_forms, output_paths
from fsnp_onnx.export.verify import certify, probe_sizes
from fsnp_onnx.network.config import MulcaForm, NetworkConfig
from fsnp_onnx.network.fullsubnet_plus import FullSubNetPlus, with_mulca
from fsnp_onnx.runtime.files import replacing
from fsnp_onnx.spec import METADATA_KEY, ModelSpec

OPSETS = range(18, 22)
BLOCK_FRAMES = range(1, 1025)
PathLike = str | os.PathLike[str]
Precision = Literal["float32", "int8"]


@dataclass(frozen=True)
class Options:
    """How graphs are built.

    Attributes:
        block_frames: Frames per iteration of the sub-band Scan; bounds memory. Changes no number of
            a float32 file; an int8 file rounds a block's activations on one scale.
        opset: ONNX operator set.
        simplify: Run onnxsim.
        precision: "int8" quantises the sub-band LSTM, for CPUs.
        min_snr_db: How close an int8 file must come to float32 on speech, in dB SNR.
    """

    block_frames: int = 8
    opset: int = 18
    simplify: bool = True
    precision: Precision = "float32"
    min_snr_db: float = 30.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name, allowed in (("block_frames", BLOCK_FRAMES), ("opset", OPSETS)):
            value = getattr(self, name)
            if value not in allowed:
                raise ConfigError(
                    f"{name} is {value}; expected {allowed.start} to {allowed.stop - 1}"
                )
        if self.precision not in get_args(Precision):
            raise ConfigError(f"precision is {self.precision!r}; expected float32 or int8")
        if self.precision == "int8" and not self.simplify:
            raise ConfigError(
                "precision int8 needs the weights that onnxsim folds; leave --no-simplify out"
            )
        if not 0 <= self.min_snr_db < math.inf:
            raise ConfigError(f"min_snr_db is {self.min_snr_db}; expected 0 dB or more")


@dataclass(frozen=True)
class Exported:
    """One written file.

    Attributes:
        path: Where it is.
        spec: Its metadata, certificate included.
        n_bytes: Its size.
        n_nodes: Nodes of its graph, those inside Scans and Loops included.
    """

    path: Path
    spec: ModelSpec
    n_bytes: int
    n_nodes: int


@dataclass(frozen=True)
class Report:
    """What an export found and wrote.

    Attributes:
        checkpoint: Path of the checkpoint.
        inferred: The configuration and the source of every option.
        exported: The files.
        difference: Simplified against original, None unless both were written in float32.
    """

    checkpoint: Path
    inferred: Inferred
    exported: tuple[Exported, ...]
    difference: Difference | None

    def to_json(self) -> str:
        """Return all of it, certificates included, as JSON text."""
        document = {
            "checkpoint": str(self.checkpoint),
            "stft": asdict(self.inferred.stft),
            "network": self.inferred.network.as_dict(),
            "sources": self.inferred.sources,
            "files": [
                {
                    "path": str(file.path),
                    "bytes": file.n_bytes,
                    "nodes": file.n_nodes,
                    "spec": json.loads(file.spec.to_metadata()),
                }
                for file in self.exported
            ],
            "simplified_against_original": asdict(self.difference) if self.difference else None,
        }
        return json.dumps(document, indent=2) + "\n"


def export_checkpoint(  # noqa: PLR0913 - one keyword per option of the command
    checkpoint: PathLike,
    output: PathLike | None = None,
    *,
    config: PathLike | None = None,
    mulca: Sequence[MulcaForm] | None = None,
    options: Options | None = None,
    report: PathLike | None = None,
    force: bool = False,
    on_step: Callable[[str], None] = lambda _: None,
) -> Report:
    """Export a FullSubNet+ checkpoint to one ONNX file per form of MulCA, each proven equal to it.

    Args:
        checkpoint: File or unpacked folder.
        output: Output file, or stem of several; default beside the checkpoint.
        config: Training TOML; default the one inside the checkpoint, or published defaults.
        mulca: Forms to write; default original and simplified, or the form it was trained in.
        options: How graphs are built.
        report: File for what was found and written, as JSON.
        force: Overwrite existing files.
        on_step: Called with a line of text as each step begins.

    Returns:
        What was found and written.

    Raises:
        MissingFileError: The checkpoint or config cannot be read.
        CheckpointError: It is no FullSubNet+ checkpoint, or its weights are bad.
        ConfigError: The configuration or an option is invalid or contradicts the tensors.
        OutputError: An output exists or cannot be written.
        ParityError: A graph differs from its network, or int8 too far from float32; nothing was
            written.
    """
    options = options or Options()
    checkpoint = Path(checkpoint)
    if checkpoint.name in {"", ".."}:
        checkpoint = checkpoint.resolve()  # outputs are named after it
    on_step(f"reading {checkpoint.name}")
    loaded, inferred = _read(checkpoint, Path(config) if config else None)
    if options.precision == "int8":
        require_quantisable(inferred.network)
    forms = choose_forms(inferred.network, mulca)
    stem = checkpoint.with_name(loaded.name)
    paths = output_paths(stem, Path(output) if output else None, forms, options.precision)
    sources = [Path(source) for source in (checkpoint, config) if source]
    check_outputs(paths, Path(report) if report else None, sources, force=force)
    network = FullSubNetPlus(inferred.network).eval()
    network.load_state_dict(loaded.tensors)
    on_step("tracing the sub-band stage")
    sub_band = _tidied(trace_sub_band(network, options.block_frames, options.opset), options)
    files: dict[Path, bytes] = {}
    exported = []
    for form, path in zip(forms, paths, strict=True):
        variant = with_mulca(network, form)
        spec = _describe(variant, loaded, inferred, options)
        files[path], spec, n_nodes = _export_form(variant, sub_band, spec, options, on_step)
        exported.append(Exported(path, spec, len(files[path]), n_nodes))
    difference = None
    if {"original", "simplified"} <= set(forms) and options.precision == "float32":
        on_step("comparing simplified with original on speech")
        by_form = dict(zip(forms, files.values(), strict=True))
        difference = compare_forms(by_form["original"], by_form["simplified"])
    found = Report(checkpoint, inferred, tuple(exported), difference)
    if report:
        files[Path(report)] = found.to_json().encode()
    with ExitStack() as all_or_none:
        for path, content in files.items():
            on_step(f"writing {path}")
            all_or_none.enter_context(replacing(path)).write_bytes(content)
    return found


def _read(checkpoint: Path, config: Path | None) -> tuple[Checkpoint, Inferred]:
    loaded = read_checkpoint(checkpoint)
    try:
        return loaded, infer(loaded.tensors, read_toml(config) if config else loaded.config)
    except (CheckpointError, ConfigError) as error:
        raise type(error)(f"{checkpoint}: {error}") from error


def _export_form(
    network: FullSubNetPlus,
    sub_band: onnx.ModelProto,
    spec: ModelSpec,
    options: Options,
    on_step: Callable[[str], None],
) -> tuple[bytes, ModelSpec, int]:
    """Build one form's graph and prove it, then quantise it if asked: bytes, spec, nodes.

    The equivalent form is held against the convolutions: it claims to be the same number.
    """
    name = f" ({spec.mulca})" if spec.mulca else ""
    on_step(f"tracing the full-band stage{name}")
    full_band = _tidied(trace_full_band(network, options.opset), options)
    graph = _join(full_band, sub_band, network.config, options)
    on_step(f"proving parity{name}")
    reference = with_mulca(network, "original") if spec.mulca == "equivalent" else network
    sizes = probe_sizes(spec.min_frames, spec.look_ahead, options.block_frames)
    spec = replace(spec, verification=certify(_stamp(graph, spec), reference, sizes))
    if options.precision == "int8":
        on_step(f"quantising, and comparing with float32 on speech{name}")
        float32 = _stamp(graph, spec)
        graph = _join(full_band, quantize(sub_band), network.config, options)
        spec = replace(spec, precision="int8")
        rate_hz, min_snr_db = spec.stft.sample_rate_hz, options.min_snr_db
        probes = certify_quantization(float32, _stamp(graph, spec), rate_hz, min_snr_db)
        spec = replace(spec, quantization=probes)
    return _stamp(graph, spec), spec, _count_nodes(graph.graph)


def _tidied(stage: onnx.ModelProto, options: Options) -> onnx.ModelProto:
    return simplify(stage) if options.simplify else stage


def _join(
    full_band: onnx.ModelProto, sub_band: onnx.ModelProto, config: NetworkConfig, options: Options
) -> onnx.ModelProto:
    model = assemble(full_band, sub_band, config, options.block_frames)
    compact(model.graph)
    return model


def _describe(
    network: FullSubNetPlus, checkpoint: Checkpoint, inferred: Inferred, options: Options
) -> ModelSpec:
    """Return the metadata of a file without its certificate."""
    return ModelSpec(
        stft=inferred.stft,
        min_frames=network.config.min_frames,
        look_ahead=network.config.look_ahead,
        mulca=network.config.mulca if network.config.attention == "TSSE" else None,
        network=network.config.as_dict() | {"parameters": _count_parameters(network)},
        provenance={
            "exporter": f"fsnp-onnx {metadata.version('fsnp-onnx')}",
            "torch": metadata.version("torch"),
            "opset": options.opset,
            "block_frames": options.block_frames,
            "onnxsim": metadata.version("onnxsim") if options.simplify else None,
            "checkpoint": checkpoint.name,
            "checkpoint_sha256": checkpoint.sha256,
            "epoch": checkpoint.epoch,
        },
    )


def _stamp(graph: onnx.ModelProto, spec: ModelSpec) -> bytes:
    """Return the bytes of a checked model whose only metadata is the spec."""
    model = copy.copy(graph)
    onnx.helper.set_model_props(model, {METADATA_KEY: spec.to_metadata()})
    onnx.checker.check_model(model, full_check=True)
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def _count_parameters(network: FullSubNetPlus) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def _count_nodes(graph: Any) -> int:
    bodies = [a.g for node in graph.node for a in node.attribute if a.HasField("g")]
    return len(graph.node) + sum(map(_count_nodes, bodies))
