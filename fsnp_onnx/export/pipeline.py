"""Checkpoint in, proven ONNX files out: the steps in order, and nothing written until all are done."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from fsnp_onnx.errors import CheckpointError, ConfigError, OutputError
from fsnp_onnx.export.assemble import assemble
from fsnp_onnx.export.attention import MULCA_FORMS, MulcaForm
from fsnp_onnx.export.checkpoint import Checkpoint, read_checkpoint
from fsnp_onnx.export.compact import compact
from fsnp_onnx.export.config import Inferred, infer, read_toml
from fsnp_onnx.export.network import FullSubNetPlus, NetworkConfig, with_mulca
from fsnp_onnx.export.parity import certify, noisy_speech, probe_sizes, snr_db
from fsnp_onnx.export.simplify import simplify
from fsnp_onnx.export.trace import trace_full_band, trace_sub_band
from fsnp_onnx.runtime.enhancer import Enhancer
from fsnp_onnx.runtime.files import replacing
from fsnp_onnx.runtime.session import MaskModel
from fsnp_onnx.runtime.stft import stft
from fsnp_onnx.spec import METADATA_KEY, ModelSpec

OPSETS = range(18, 22)
BLOCK_FRAMES = range(1, 1025)
PathLike = str | os.PathLike[str]


@dataclass(frozen=True)
class Options:
    """How graphs are built.

    Attributes:
        block_frames: Frames per iteration of the sub-band Loop; bounds memory, changes no number.
        opset: ONNX operator set.
        simplify: Run onnxsim.
    """

    block_frames: int = 64
    opset: int = 18
    simplify: bool = True

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name, allowed in (("block_frames", BLOCK_FRAMES), ("opset", OPSETS)):
            value = getattr(self, name)
            if value not in allowed:
                raise ConfigError(
                    f"{name} is {value}; expected {allowed.start} to {allowed.stop - 1}"
                )


@dataclass(frozen=True)
class Exported:
    """One written file.

    Attributes:
        path: Where it is.
        spec: Its metadata, certificate included.
        n_bytes: Its size.
        n_nodes: Nodes of its graph, those inside the Loop included.
    """

    path: Path
    spec: ModelSpec
    n_bytes: int
    n_nodes: int


@dataclass(frozen=True)
class Difference:
    """How far the simplified MulCA is from the original one on real speech.

    Attributes:
        max_mask_error: max |mask - mask| over the compressed masks, which span +-10.
        snr_db: Energy of the enhanced waveform over that of the difference, in dB.
    """

    max_mask_error: float
    snr_db: float


@dataclass(frozen=True)
class Report:
    """What an export found and wrote.

    Attributes:
        checkpoint: Path of the checkpoint.
        inferred: The configuration and the source of every option.
        exported: The files.
        difference: Simplified against original, None unless both were written.
    """

    checkpoint: Path
    inferred: Inferred
    exported: tuple[Exported, ...]
    difference: Difference | None


def export_checkpoint(  # noqa: PLR0913 - one keyword per option of the command
    checkpoint: PathLike,
    output: PathLike | None = None,
    *,
    config: PathLike | None = None,
    mulca: Sequence[MulcaForm] | None = None,
    options: Options | None = None,
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
        force: Overwrite existing files.
        on_step: Called with a line of text as each step begins.

    Returns:
        What was found and written.

    Raises:
        MissingFileError: The checkpoint or config cannot be read.
        CheckpointError: It is no FullSubNet+ checkpoint, or its weights are bad.
        ConfigError: The configuration or an option is invalid or contradicts the tensors.
        OutputError: An output exists or cannot be written.
        ParityError: A graph differs from its network; nothing was written.
    """
    options = options or Options()
    checkpoint = Path(checkpoint)
    if checkpoint.name in {"", ".."}:
        checkpoint = checkpoint.resolve()  # outputs are named after it
    on_step(f"reading {checkpoint.name}")
    loaded = read_checkpoint(checkpoint)
    document = read_toml(Path(config)) if config else loaded.config
    try:
        inferred = infer(loaded.tensors, document)
    except (CheckpointError, ConfigError) as error:
        raise type(error)(f"{checkpoint}: {error}") from error
    forms = choose_forms(inferred.network, mulca)
    paths = output_paths(checkpoint, loaded.name, Path(output) if output else None, forms)
    sources = [checkpoint, Path(config)] if config else [checkpoint]
    for path in paths:
        check_output(path, sources, force=force)
    network = FullSubNetPlus(inferred.network).eval()
    network.load_state_dict(loaded.tensors)
    on_step("tracing the sub-band stage")
    sub_band = _tidied(trace_sub_band(network, options.block_frames, options.opset), options)
    models: dict[Path, bytes] = {}
    exported = []
    for form, path in zip(forms, paths, strict=True):
        name = f" ({form})" if form else ""
        on_step(f"tracing the full-band stage{name}")
        variant = with_mulca(network, form)
        graph = _build(variant, sub_band, options)
        on_step(f"proving parity{name}")
        models[path], spec = _prove(graph, variant, loaded, inferred, options)
        exported.append(Exported(path, spec, len(models[path]), _count_nodes(graph.graph)))
    difference = None
    if {"original", "simplified"} <= set(forms):
        on_step("comparing simplified with original on speech")
        by_form = dict(zip(forms, models.values(), strict=True))
        difference = _compare(by_form["original"], by_form["simplified"])
    with ExitStack() as all_or_none:
        for path, model in models.items():
            on_step(f"writing {path}")
            all_or_none.enter_context(replacing(path)).write_bytes(model)
    return Report(checkpoint, inferred, tuple(exported), difference)


def choose_forms(
    network: NetworkConfig, asked: Sequence[MulcaForm] | None
) -> tuple[MulcaForm | None, ...]:
    """Return the forms of MulCA to write, (None,) for a network without MulCA.

    Raises:
        ConfigError: A form was asked for that this network does not have.
    """
    forms = tuple(dict.fromkeys(asked or ()))
    unknown = [form for form in forms if form not in MULCA_FORMS]
    if unknown:
        raise ConfigError(f"mulca is {unknown[0]!r}; expected one of {', '.join(MULCA_FORMS)}")
    if network.attention != "TSSE":
        if forms:
            raise ConfigError(
                f"mulca {forms[0]!r} was asked for, but the network's channel attention is "
                f"{network.attention or 'none'}; leave --mulca out"
            )
        return (None,)
    if network.mulca == "simplified":
        if set(forms) - {"simplified"}:
            raise ConfigError(
                f"mulca {forms[0]!r} was asked for, but the network was trained in the simplified "
                "form and has no convolutions; leave --mulca out"
            )
        return ("simplified",)
    return forms or ("original", "simplified")


def output_paths(
    checkpoint: Path, name: str, output: Path | None, forms: Sequence[MulcaForm | None]
) -> list[Path]:
    """Return one path per form: NAME.FORM.onnx, or exactly ``output`` if there is one form."""
    if output is not None and (len(forms) == 1 or output.is_dir()):
        return [output]  # a folder is refused later
    stem = checkpoint.with_name(name) if output is None else output
    name = stem.name.removesuffix(".onnx")
    return [stem.with_name(".".join(filter(None, (name, form, "onnx")))) for form in forms]


def check_output(path: Path, sources: Sequence[Path], *, force: bool) -> None:
    """Refuse an output before the work rather than after it.

    Raises:
        OutputError: It exists (without ``force``), is an input, or its folder does not exist.
    """
    if path.exists() and any(source.exists() and path.samefile(source) for source in sources):
        raise OutputError(f"output {path} is an input; give another output")
    if path.exists() and not force:
        raise OutputError(f"output {path} exists already; give another one or --force")
    if path.is_dir():
        raise OutputError(f"output {path} is a folder; give the path of a file")
    if not path.parent.is_dir():
        raise OutputError(f"folder {path.parent} does not exist; create it first")


def _tidied(stage: onnx.ModelProto, options: Options) -> onnx.ModelProto:
    return simplify(stage) if options.simplify else stage


def _build(network: FullSubNetPlus, sub_band: onnx.ModelProto, options: Options) -> onnx.ModelProto:
    full_band = _tidied(trace_full_band(network, options.opset), options)
    model = assemble(full_band, sub_band, network.config, options.block_frames)
    compact(model.graph)
    return model


def _prove(
    graph: onnx.ModelProto,
    network: FullSubNetPlus,
    checkpoint: Checkpoint,
    inferred: Inferred,
    options: Options,
) -> tuple[bytes, ModelSpec]:
    """Stamp the metadata, check parity on the bytes, and stamp the certificate.

    The equivalent form is held against the convolutions: it claims to be the same number.
    """
    spec = ModelSpec(
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
    reference = with_mulca(network, "original") if spec.mulca == "equivalent" else network
    sizes = probe_sizes(spec.min_frames, spec.look_ahead, options.block_frames)
    spec = replace(spec, parity=certify(_stamp(graph, spec), reference, sizes))
    return _stamp(graph, spec), spec


def _stamp(graph: onnx.ModelProto, spec: ModelSpec) -> bytes:
    """Return the bytes of a checked model whose only metadata is the spec."""
    model = copy.copy(graph)
    onnx.helper.set_model_props(model, {METADATA_KEY: spec.to_metadata()})
    onnx.checker.check_model(model, full_check=True)
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def _compare(original: bytes, simplified: bytes) -> Difference:
    models = [MaskModel(model, provider="cpu") for model in (original, simplified)]
    spec = models[0].spec.stft
    speech = noisy_speech(spec.sample_rate_hz)
    spectrum = stft(speech, spec, spec.n_frames(speech.size))[None]
    masks = [model.run(spectrum.real, spectrum.imag) for model in models]
    waves = [
        Enhancer(model, provider="cpu").enhance(speech, spec.sample_rate_hz)
        for model in (original, simplified)
    ]
    max_mask_error = float(np.abs(masks[1] - masks[0]).max())
    return Difference(max_mask_error, snr_db(waves[0], waves[1] - waves[0]))


def _count_parameters(network: FullSubNetPlus) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def _count_nodes(graph: Any) -> int:
    bodies = [a.g for node in graph.node for a in node.attribute if a.HasField("g")]
    return len(graph.node) + sum(map(_count_nodes, bodies))
