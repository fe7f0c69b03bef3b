"""One variant's file: its graph built, verified on the final bytes, and quantised if asked."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import onnx

from fsnp_onnx.export.fidelity import verify_quantization
from fsnp_onnx.export.graph import causal_block
from fsnp_onnx.export.graph.causal_mask import causal_mask_block, causal_mask_model
from fsnp_onnx.export.graph.full_band import full_band_stage
from fsnp_onnx.export.graph.mask import mask_model
from fsnp_onnx.export.graph.passes import simplify
from fsnp_onnx.export.graph.quantize import quantize
from fsnp_onnx.export.graph.statistics import export_statistics
from fsnp_onnx.export.graph.stream import stream_block, stream_model
from fsnp_onnx.export.graph.sub_band import BLOCK_FRAMES, sub_band_block
from fsnp_onnx.export.graph.sub_band_scan import sub_band_stage
from fsnp_onnx.export.graph.waveform import waveform_model
from fsnp_onnx.export.options import ExportOptions
from fsnp_onnx.export.verify import probe_sizes, verify, verify_waveform, waveform_sizes
from fsnp_onnx.export.verify_stream import verify_stream
from fsnp_onnx.network.config import NetworkConfig
from fsnp_onnx.network.fullsubnet_plus import FullSubNetPlus, with_mulca
from fsnp_onnx.probes import Probe
from fsnp_onnx.spec import METADATA_KEY, ModelSpec

Change = Callable[[onnx.ModelProto], onnx.ModelProto]


class Shared(NamedTuple):
    """What the files of all variants have in common: MulCA is in the branches of stage one alone.

    Attributes:
        sub_band: A block of stage two.
        statistics: Those of cumulative norms.
    """

    sub_band: onnx.ModelProto
    statistics: onnx.ModelProto


def shared_pieces(
    network: FullSubNetPlus, opset: int, on_step: Callable[[str], None]
) -> Shared | None:
    """Build what all variants share; None for a causal network, which has one variant."""
    if network.config.causal:
        return None
    on_step("exporting what all variants share")
    return Shared(simplify(sub_band_block(network, opset)), export_statistics(network, opset))


def block_frames(config: NetworkConfig) -> int:
    """Return how many frames the sub-band model takes at once."""
    return causal_block.BLOCK_FRAMES if config.causal else BLOCK_FRAMES


def build_file(
    network: FullSubNetPlus,
    shared: Shared | None,
    spec: ModelSpec,
    options: ExportOptions,
    on_step: Callable[[str], None],
) -> tuple[bytes, ModelSpec]:
    """Return the bytes of a verified file and its metadata.

    The equivalent variant is verified against the original one: it claims to be the same number.
    """
    name = f" ({spec.mulca})" if spec.mulca else ""
    on_step(f"building the graph{name}")
    build = _builder(network, shared, spec, options.opset)
    reference = with_mulca(network, "original") if spec.mulca == "equivalent" else network
    core = build(lambda block: block)
    on_step(f"verifying against the network in float64{name}")
    spec = replace(spec, verification=_verified(core, reference, spec))
    model = _behind_its_interface(core, spec)
    if spec.interface == "waveform":
        on_step(f"verifying the samples{name}")
        sizes = waveform_sizes(spec.stft, spec.min_frames)
        probes = verify_waveform(stamp(model, spec), reference, sizes)
        spec = replace(spec, verification=spec.verification + probes)
    if options.precision == "int8":
        on_step(f"quantising, and comparing with float32 on speech{name}")
        float32 = stamp(model, spec)
        model = _behind_its_interface(build(quantize), spec)
        spec = replace(spec, precision="int8")
        recordings = verify_quantization(float32, stamp(model, spec), options.min_snr_db)
        spec = replace(spec, quantization=recordings)
    return stamp(model, spec), spec


def stamp(model: onnx.ModelProto, spec: ModelSpec) -> bytes:
    """Check a model and return its bytes, with the spec as its only metadata."""
    stamped = copy.copy(model)
    onnx.helper.set_model_props(stamped, {METADATA_KEY: spec.to_metadata()})
    onnx.checker.check_model(stamped, full_check=True)
    data: bytes = stamped.SerializeToString(deterministic=True)
    return data


def _builder(
    network: FullSubNetPlus, shared: Shared | None, spec: ModelSpec, opset: int
) -> Callable[[Change], onnx.ModelProto]:
    """Return what builds the graph of a stream, or of masks, with its repeated block changed."""
    config = network.config
    if spec.interface == "stream":
        hops = stream_block(network, spec.stft, spec.mask, opset)
        return lambda change: stream_model(change(hops), config, spec.stft)
    if shared is None:
        frames = causal_mask_block(network, opset)
        return lambda change: causal_mask_model(change(frames), config)
    full_band = simplify(full_band_stage(network, shared.statistics, opset))
    sub_band = shared.sub_band
    return lambda change: mask_model(full_band, sub_band_stage(change(sub_band), config), config)


def _verified(
    core: onnx.ModelProto, reference: FullSubNetPlus, spec: ModelSpec
) -> tuple[Probe, ...]:
    """Return the verification report of a stream, or of masks."""
    if spec.interface == "stream":
        return verify_stream(stamp(core, spec), reference)
    sizes = probe_sizes(spec.min_frames, spec.look_ahead, block_frames(reference.config))
    return verify(stamp(core, replace(spec, interface="mask")), reference, sizes)


def _behind_its_interface(core: onnx.ModelProto, spec: ModelSpec) -> onnx.ModelProto:
    """Return the graph of the file."""
    return waveform_model(core, spec) if spec.interface == "waveform" else core
