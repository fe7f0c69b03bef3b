"""A causal network as nodes that take any number of frames and a state to masks and the next state.

One hop takes a few hundred nodes of little work each, so nodes count: the three full-band branches run
side by side as one axis, and all running means share one matrix.

Tensors are [batch, branch, frames, bins or channels]. The nodes read ``spectrum`` [batch, 2, n, F] (real and
imaginary part) and the pieces of causal_state.py, and give ``mask`` [batch, 2, n, F], late by ``look_ahead``.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from torch import nn

from fsnp_onnx.export.graph.causal_tcn import (
    Weights,
    branch_tcns,
    running_mean,
    stacked,
    tcn_weights,
)
from fsnp_onnx.export.graph.tcn import array
from fsnp_onnx.export.graph.text import ACTIVATIONS, FLOAT
from fsnp_onnx.network.config import NetworkConfig
from fsnp_onnx.network.fullsubnet_plus import (
    ATTENTIONS,
    FullSubNetPlus,
    neighbourhoods,
    row_shares,
)
from fsnp_onnx.network.norms import OFFLINE_EPSILON
from fsnp_onnx.network.sequence import RecurrentModel

_GATES: Final = {"LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2)}  # ONNX's order of torch's gates


def network_nodes(config: NetworkConfig, weights: Weights) -> str:
    """Return the nodes; the weights are those of `network_weights`."""
    return f"""
      n_frames = Shape<start: int = 2, end: int = 3>(spectrum)
      magnitude = ReduceL2(spectrum, axis_1)
      mean_magnitude = ReduceMean(magnitude, axis_3)
      {_RUNNING_WEIGHTS}
      {running_mean("level", "mean_magnitude")}
      safe_level = Add(level, norm_epsilon)
      parts = Concat<axis: int = 1>(magnitude, spectrum)
      normed = Div(parts, safe_level)
      {_ATTENTION if config.attention else "attended = Identity(normed)"}
      {branch_tcns(config, weights)}
      full_band = {ACTIVATIONS[config.fb_activation].format("full_band_linear")}
      {_SUB_BAND_INPUT}
      {_recurrent_layers(config)}
      mask_linear = MatMul(y_{config.sub_band_layers}, mask_weight)
      mask_shifted = Add(mask_linear, mask_bias)
      mask_active = {ACTIVATIONS[config.sb_activation].format("mask_shifted")}
      mask_by_frame = Reshape(mask_active, mask_shape)
      mask = Transpose<perm: ints = [1, 3, 0, 2]>(mask_by_frame)"""


def network_constants(config: NetworkConfig) -> str:
    """Return the constants of the nodes."""
    n_freqs, features = config.n_freqs, config.sub_band_features
    n_hidden, horizon = config.sub_band_hidden_size, config.horizon_frames
    return f"""
     int64[1] axis_1 = {{1}}, int64[1] axis_2 = {{2}}, int64[1] axis_3 = {{3}},
     int64[1] first = {{0}}, int64[1] last = {{-1}}, int64[1] one = {{1}}, int64[1] beyond_all = {{{2**31 - 1}}},
     int64 scalar_two = {{2}}, float float_zero = {{0}}, float float_one = {{1}}, float six = {{6}},
     float horizon = {{{horizon}}}, float fading = {{{np.float32(1 - 1 / horizon):.9g}}},
     float norm_epsilon = {{{OFFLINE_EPSILON}}}, int64[2] bins_and_sources = {{1, 3}},
     int64[3] source_rows = {{0, 0, {4 * n_freqs}}}, int64[3] feature_rows = {{0, -1, {features}}},
     int64[3] hidden_rows = {{0, -1, {n_hidden}}}, int64[4] mask_shape = {{0, -1, {n_freqs}, 2}}"""


def network_weights(network: FullSubNetPlus) -> Weights:
    """Return every weight that the nodes read, by name."""
    config = network.config
    weights = {
        "shares": row_shares(config).numpy().reshape(4, 1, -1).astype(np.float32),
        "neighbours": neighbourhoods(config).flatten().numpy(),
        "mask_weight": array(network.sb_model.fc_output_layer.weight).T.copy(),
        "mask_bias": array(network.sb_model.fc_output_layer.bias),
    }
    if config.attention:
        weights |= _attention_weights([getattr(network, name) for name in ATTENTIONS])
    assert isinstance(network.sb_model, RecurrentModel)
    return weights | tcn_weights(network) | _recurrent_weights(network.sb_model.sequence_model)


# How much of frame s a running mean holds at frame t, ``weights`` [batch, 1, t, s], from the frames heard so far.
# See `fsnp_onnx.network.norms.running_weights`: q^(max(k_t, H) - max(k_s, H)) / min(k_t, H).
_RUNNING_WEIGHTS: Final = f"""
      is_heard = Greater(mean_magnitude, float_zero)
      heard = Cast<to: int = {FLOAT}>(is_heard)
      heard_here = CumSum(heard, scalar_two)
      n_heard = Add(was_heard, heard_here)
      last_heard = Gather<axis: int = 2>(n_heard, last)
      now_heard = Min(last_heard, horizon)
      beyond_t = Max(n_heard, horizon)
      beyond_s = Transpose<perm: ints = [0, 1, 3, 2]>(beyond_t)
      ages = Sub(beyond_t, beyond_s)
      faded = Pow(fading, ages)
      faded_past = Trilu<upper: int = 0>(faded)
      heard_s = Transpose<perm: ints = [0, 1, 3, 2]>(heard)
      heard_past = Mul(faded_past, heard_s)
      n_alike = Clip(n_heard, float_one, horizon)
      shares_of_past = Div(heard_past, n_alike)
      alone = Trilu<upper: int = 1>(faded_past)
      none_heard = Equal(n_heard, float_zero)
      weights = Where(none_heard, alone, shares_of_past)"""

_ATTENTION: Final = f"""
      {running_mean("attention", "normed")}
      per_scale = Unsqueeze(attention, axis_2)
      scaled = Mul(per_scale, scale_weight)
      shifted = Add(scaled, scale_bias)
      rectified = Relu(shifted)
      mixed_scales = Mul(rectified, mixing_weight)
      summed_scales = ReduceSum<keepdims: int = 0>(mixed_scales, axis_2)
      squeezed = Add(summed_scales, mixing_bias)
      narrow_linear = MatMul(squeezed, fc1_weight)
      narrow_shifted = Add(narrow_linear, fc1_bias)
      narrow = Relu(narrow_shifted)
      wide_linear = MatMul(narrow, fc2_weight)
      wide = Add(wide_linear, fc2_bias)
      gate = Sigmoid(wide)
      attended = Mul(normed, gate)"""

_SUB_BAND_INPUT: Final = f"""
      attended_magnitude = Gather<axis: int = 1>(attended, first)
      sources = Concat<axis: int = 1>(attended_magnitude, full_band)
      shared = Mul(sources, shares)
      mean_feature = ReduceSum(shared, bins_and_sources)
      {running_mean("sub_band_level", "mean_feature")}
      safe_sub_band_level = Add(sub_band_level, norm_epsilon)
      normed_sources = Div(sources, safe_sub_band_level)
      sources_by_frame = Transpose<perm: ints = [2, 0, 1, 3]>(normed_sources)
      rows_by_frame = Reshape(sources_by_frame, source_rows)
      features = Gather<axis: int = 2>(rows_by_frame, neighbours)
      y_0 = Reshape(features, feature_rows)"""


def _recurrent_layers(config: NetworkConfig) -> str:
    """The LSTM or GRU over all bins: y_0 [n, batch F, features] -> y_LAYERS [n, batch F, H]."""
    model, n_hidden = config.sub_band_model, config.sub_band_hidden_size
    layers = []
    for k in range(config.sub_band_layers):
        weights = f"y_{k}, input_weight_{k}, hidden_weight_{k}, gate_bias_{k}, "
        if model == "LSTM":
            call = f"""all_{k}, now_h_{k}, now_c_{k} = LSTM<hidden_size: int = {n_hidden}>
              ({weights}, was_h_{k}, was_c_{k})"""
        else:
            call = f"""all_{k}, now_h_{k} = GRU<hidden_size: int = {n_hidden}, linear_before_reset: int = 1>
              ({weights}, was_h_{k})"""
        layers.append(f"{call}\ny_{k + 1} = Reshape(all_{k}, hidden_rows)")
    return "\n".join(layers)


def _recurrent_weights(layers: nn.LSTM | nn.GRU) -> Weights:
    order = _GATES[type(layers).__name__]

    def reordered(name: str) -> NDArray[Any]:
        gates = np.split(array(getattr(layers, name)), len(order))
        return np.concatenate([gates[gate] for gate in order])

    weights = {}
    for k in range(layers.num_layers):
        biases = [reordered(f"bias_{kind}_l{k}") for kind in ("ih", "hh")]
        weights[f"input_weight_{k}"] = reordered(f"weight_ih_l{k}")[None]
        weights[f"hidden_weight_{k}"] = reordered(f"weight_hh_l{k}")[None]
        weights[f"gate_bias_{k}"] = np.concatenate(biases)[None]
    return weights


def _attention_weights(attentions: list[nn.Module]) -> Weights:
    """Weights of simplified MulCA of all branches, the scales in front of frames and bins."""
    return {
        "scale_weight": stacked(attentions, "weight_sum").transpose(0, 3, 1, 2).copy(),
        "scale_bias": stacked(attentions, "bias").transpose(0, 3, 1, 2).copy(),
        "mixing_weight": stacked(attentions, "feature_concate_fc.weight").reshape(3, 3, 1, 1),
        "mixing_bias": stacked(attentions, "feature_concate_fc.bias").reshape(3, 1, 1),
        "fc1_weight": stacked(attentions, "fc1.weight").transpose(0, 2, 1).copy(),
        "fc1_bias": stacked(attentions, "fc1.bias")[:, None],
        "fc2_weight": stacked(attentions, "fc2.weight").transpose(0, 2, 1).copy(),
        "fc2_bias": stacked(attentions, "fc2.bias")[:, None],
    }
