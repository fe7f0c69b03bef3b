"""Checkpoint in, verified ONNX files out: the steps in order, and nothing written until all are done."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

from fsnp_onnx.errors import CheckpointError, ConfigError
from fsnp_onnx.export.build import block_frames, build_file, shared_pieces
from fsnp_onnx.export.checkpoint import Checkpoint, FoundWeights, read_checkpoint
from fsnp_onnx.export.fidelity import VariantDifference, compare_variants
from fsnp_onnx.export.graph.quantize import require_quantisable
from fsnp_onnx.export.graph.stream import as_stream, require_streamable
from fsnp_onnx.export.identify import Inferred, differences, infer, read_toml
from fsnp_onnx.export.options import (
    ExportOptions,
    check_outputs,
    choose_variants,
    output_folder,
    output_paths,
)
from fsnp_onnx.network.config import MulcaVariant
from fsnp_onnx.network.fullsubnet_plus import FullSubNetPlus, with_mulca
from fsnp_onnx.runtime.outputs import replacing
from fsnp_onnx.spec import ModelSpec

PathLike = str | os.PathLike[str]
OnStep = Callable[[str], None]


@dataclass(frozen=True)
class ExportedFile:
    """One written file.

    Attributes:
        path: Where it is.
        spec: Its metadata, with the verification report.
        n_bytes: Its size.
    """

    path: Path
    spec: ModelSpec
    n_bytes: int


@dataclass(frozen=True)
class ExportReport:
    """What an export found and wrote.

    Attributes:
        checkpoint: Path of the checkpoint.
        weights: Where in it the weights were found, and what was left out.
        inferred: The configuration and the source of every option.
        exported: The files.
        difference: Simplified compared with original MulCA, if both were written in float32.
    """

    checkpoint: Path
    weights: FoundWeights
    inferred: Inferred
    exported: tuple[ExportedFile, ...]
    difference: VariantDifference | None

    def to_json(self) -> str:
        """Return all of it as JSON text."""
        document = {
            "checkpoint": str(self.checkpoint),
            "weights": asdict(self.weights),
            "stft": asdict(self.inferred.stft),
            "network": self.inferred.network.as_dict(),
            "sources": self.inferred.sources,
            "files": [
                {
                    "path": str(file.path),
                    "bytes": file.n_bytes,
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
    entry: str | None = None,
    mulca: Sequence[MulcaVariant] | None = None,
    options: ExportOptions | None = None,
    report: PathLike | None = None,
    force: bool = False,
    on_step: OnStep = lambda _: None,
) -> ExportReport:
    """Export a FullSubNet+ checkpoint to one verified ONNX file per variant of MulCA.

    Args:
        checkpoint: File of torch.save or safetensors, or unpacked folder.
        output: Output file, stem of several, or folder (one that exists, or a path that ends in a
            slash); default beside the checkpoint.
        config: Training TOML; default the one inside the checkpoint, or published defaults.
        entry: Which network, where the checkpoint has several, as ``model`` and ``ema``.
        mulca: Variants to write; default original and simplified, or the variant that the network
            was trained in.
        options: How the files are built.
        report: File for what was found and written, as JSON.
        force: Overwrite existing files.
        on_step: Called with a line of text as each step begins.

    Returns:
        What was found and written.

    Raises:
        MissingFileError: The checkpoint or config cannot be read.
        CheckpointError: It is not a FullSubNet+ checkpoint, or its weights are bad.
        ConfigError: The configuration is invalid or contradicts the tensors.
        ArgumentError: The network does not have the variant, precision or interface that was asked
            for.
        OutputError: An output exists or cannot be written.
        ExportError: The tool chain cannot turn the network into a graph.
        VerificationError: A file differs too much from its network, or int8 from float32; nothing
            was written.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> network = "tests/data/golden/se_gru_cumlaplace"
        >>> with TemporaryDirectory() as folder:
        ...     report = export_checkpoint(
        ...         f"{network}.tar", f"{folder}/se.onnx", config=f"{network}.toml"
        ...     )
        >>> report.inferred.network.sub_band_model
        'GRU'
        >>> all(p.max_abs_error <= p.tolerance for p in report.exported[0].spec.verification)
        True
    """
    options = options or ExportOptions()
    checkpoint = Path(checkpoint)
    if checkpoint.name in {"", ".."}:
        checkpoint = checkpoint.resolve()  # outputs are named after it
    on_step(f"reading {checkpoint.name}")
    loaded, inferred = _read(checkpoint, entry, Path(config) if config else None, on_step)
    if options.precision == "int8":
        require_quantisable(inferred.network)
    if options.interface == "stream":
        require_streamable(inferred.network, inferred.stft)
    variants = choose_variants(inferred.network, mulca)
    folder = output_folder(output)
    stem = (folder or checkpoint.parent) / loaded.name
    target = Path(output) if output and not folder else None
    paths = output_paths(stem, target, variants, options)
    sources = [Path(source) for source in (checkpoint, config) if source]
    check_outputs(paths, Path(report) if report else None, sources, force=force, folder=folder)
    network = FullSubNetPlus(inferred.network).eval()
    network.load_state_dict(loaded.tensors)
    shared = shared_pieces(network, options.opset, on_step)
    files: dict[Path, bytes] = {}
    exported = []
    for variant, path in zip(variants, paths, strict=True):
        converted = with_mulca(network, variant)
        spec = _describe(converted, loaded, inferred, options)
        files[path], spec = build_file(converted, shared, spec, options, on_step)
        exported.append(ExportedFile(path, spec, len(files[path])))
    difference = None
    if {"original", "simplified"} <= set(variants) and options.precision == "float32":
        on_step("comparing simplified with original MulCA on speech")
        contents = dict(zip(variants, files.values(), strict=True))
        difference = compare_variants(contents["original"], contents["simplified"])
    found = ExportReport(checkpoint, loaded.weights, inferred, tuple(exported), difference)
    if report:
        files[Path(report)] = found.to_json().encode()
    with ExitStack() as all_or_none:
        for path, content in files.items():
            on_step(f"writing {path}")
            all_or_none.enter_context(replacing(path)).write_bytes(content)
    return found


def _read(
    checkpoint: Path, entry: str | None, config: Path | None, on_step: OnStep
) -> tuple[Checkpoint, Inferred]:
    loaded = read_checkpoint(checkpoint, entry)
    try:
        document = read_toml(config) if config else loaded.config
        changed = differences(document or {}, loaded.config or {}) if loaded.config else []
        if changed:
            on_step(f"{config} replaces the checkpoint's own config: {', '.join(changed)}")
        return loaded, infer(loaded.tensors, document)
    except (CheckpointError, ConfigError) as error:
        raise type(error)(f"{checkpoint}: {error}") from error


def _describe(
    network: FullSubNetPlus, checkpoint: Checkpoint, inferred: Inferred, options: ExportOptions
) -> ModelSpec:
    """Return the metadata of a file that is not verified yet."""
    n_parameters = sum(parameter.numel() for parameter in network.parameters())
    config, streams = network.config, options.interface == "stream"
    spec = ModelSpec(
        stft=inferred.stft,
        interface="mask" if streams else options.interface,
        causal=config.causal,
        horizon_frames=config.horizon_frames if config.causal else None,
        min_frames=config.min_frames,
        look_ahead=config.look_ahead,
        mulca=config.mulca if config.attention == "TSSE" else None,
        network=config.as_dict() | {"parameters": n_parameters},
        provenance={
            "exporter": f"fsnp-onnx {metadata.version('fsnp-onnx')}",
            "torch": metadata.version("torch"),
            "opset": options.opset,
            "block_frames": block_frames(config),
            "onnxsim": metadata.version("onnxsim"),
            "checkpoint": checkpoint.name,
            "checkpoint_sha256": checkpoint.sha256,
            "epoch": checkpoint.epoch,
        },
    )
    return as_stream(spec, config) if streams else spec
