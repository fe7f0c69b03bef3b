"""Checkpoint in, verified ONNX files out: the steps in order, and nothing written until all are done."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from pathlib import Path

import onnx

from fsnp_onnx.errors import CheckpointError, ConfigError
from fsnp_onnx.export.checkpoint import Checkpoint, FoundWeights, read_checkpoint
from fsnp_onnx.export.fidelity import VariantDifference, compare_variants, verify_quantization
from fsnp_onnx.export.graph.full_band import full_band_stage
from fsnp_onnx.export.graph.mask import mask_model
from fsnp_onnx.export.graph.passes import simplify
from fsnp_onnx.export.graph.quantize import quantize, require_quantisable
from fsnp_onnx.export.graph.statistics import export_statistics
from fsnp_onnx.export.graph.sub_band import BLOCK_FRAMES, sub_band_block
from fsnp_onnx.export.graph.sub_band_scan import sub_band_stage
from fsnp_onnx.export.graph.waveform import waveform_model
from fsnp_onnx.export.identify import Inferred, differences, infer, read_toml
from fsnp_onnx.export.options import (
    ExportOptions,
    check_interface,
    check_outputs,
    choose_variants,
    output_folder,
    output_paths,
)
from fsnp_onnx.export.verify import probe_sizes, verify, verify_waveform, waveform_sizes
from fsnp_onnx.network.config import MulcaVariant
from fsnp_onnx.network.fullsubnet_plus import FullSubNetPlus, with_mulca
from fsnp_onnx.runtime.outputs import replacing
from fsnp_onnx.spec import METADATA_KEY, ModelSpec

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
    check_interface(options.interface, causal=bool(inferred.network.as_dict().get("causal")))
    variants = choose_variants(inferred.network, mulca)
    folder = output_folder(output)
    stem = (folder or checkpoint.parent) / loaded.name
    target = Path(output) if output and not folder else None
    paths = output_paths(stem, target, variants, options)
    sources = [Path(source) for source in (checkpoint, config) if source]
    check_outputs(paths, Path(report) if report else None, sources, force=force, folder=folder)
    network = FullSubNetPlus(inferred.network).eval()
    network.load_state_dict(loaded.tensors)
    on_step("exporting the sub-band stage")  # once: MulCA is in the branches of stage one alone
    block = simplify(sub_band_block(network, options.opset))
    pieces = block, export_statistics(network, options.opset)
    files: dict[Path, bytes] = {}
    exported = []
    for variant, path in zip(variants, paths, strict=True):
        converted = with_mulca(network, variant)
        spec = _describe(converted, loaded, inferred, options)
        files[path], spec = _export_variant(converted, pieces, spec, options, on_step)
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


def _export_variant(
    network: FullSubNetPlus,
    pieces: tuple[onnx.ModelProto, onnx.ModelProto],
    spec: ModelSpec,
    options: ExportOptions,
    on_step: OnStep,
) -> tuple[bytes, ModelSpec]:
    """Build one variant's file, verify it and quantise it if asked.

    The pieces are the same for every variant: the block of stage two, and the statistics. The equivalent
    variant is verified against the original one: it claims to be the same number.
    """
    name = f" ({spec.mulca})" if spec.mulca else ""
    block, statistics = pieces
    on_step(f"exporting the full-band stage{name}")
    full_band = simplify(full_band_stage(network, statistics, options.opset))
    masks = mask_model(full_band, sub_band_stage(block, network.config), network.config)
    on_step(f"verifying against the network in float64{name}")
    reference = with_mulca(network, "original") if spec.mulca == "equivalent" else network
    sizes = probe_sizes(spec.min_frames, spec.look_ahead, BLOCK_FRAMES)
    probes = verify(_stamp(masks, replace(spec, interface="mask")), reference, sizes)
    spec = replace(spec, verification=probes)
    model = _behind_its_interface(masks, spec)
    if spec.interface == "waveform":
        on_step(f"verifying the samples{name}")
        sizes = waveform_sizes(spec.stft, spec.min_frames)
        probes += verify_waveform(_stamp(model, spec), reference, sizes)
        spec = replace(spec, verification=probes)
    if options.precision == "int8":
        on_step(f"quantising, and comparing with float32 on speech{name}")
        float32 = _stamp(model, spec)
        sub_band = sub_band_stage(quantize(block), network.config)
        masks = mask_model(full_band, sub_band, network.config)
        model = _behind_its_interface(masks, spec)
        spec = replace(spec, precision="int8")
        recordings = verify_quantization(float32, _stamp(model, spec), options.min_snr_db)
        spec = replace(spec, quantization=recordings)
    return _stamp(model, spec), spec


def _behind_its_interface(masks: onnx.ModelProto, spec: ModelSpec) -> onnx.ModelProto:
    """Return the graph of the file from the graph of the interface "mask"."""
    return waveform_model(masks, spec) if spec.interface == "waveform" else masks


def _describe(
    network: FullSubNetPlus, checkpoint: Checkpoint, inferred: Inferred, options: ExportOptions
) -> ModelSpec:
    """Return the metadata of a file that is not verified yet."""
    n_parameters = sum(parameter.numel() for parameter in network.parameters())
    network_options = network.config.as_dict()
    causal = bool(network_options.get("causal"))
    return ModelSpec(
        stft=inferred.stft,
        interface=options.interface,
        causal=causal,
        horizon_frames=network_options["horizon_frames"] if causal else None,
        min_frames=network.config.min_frames,
        look_ahead=network.config.look_ahead,
        mulca=network.config.mulca if network.config.attention == "TSSE" else None,
        network=network_options | {"parameters": n_parameters},
        provenance={
            "exporter": f"fsnp-onnx {metadata.version('fsnp-onnx')}",
            "torch": metadata.version("torch"),
            "opset": options.opset,
            "block_frames": BLOCK_FRAMES,
            "onnxsim": metadata.version("onnxsim"),
            "checkpoint": checkpoint.name,
            "checkpoint_sha256": checkpoint.sha256,
            "epoch": checkpoint.epoch,
        },
    )


def _stamp(model: onnx.ModelProto, spec: ModelSpec) -> bytes:
    """Check a model and return its bytes, with the spec as its only metadata."""
    stamped = copy.copy(model)
    onnx.helper.set_model_props(stamped, {METADATA_KEY: spec.to_metadata()})
    onnx.checker.check_model(stamped, full_check=True)
    data: bytes = stamped.SerializeToString(deterministic=True)
    return data
