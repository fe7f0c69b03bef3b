"""Samples to samples as verification expects them: the torch network between numpy's transforms.

`enhance_exactly` takes everything in float64 and shares no code with the runtime. `enhance_rounded` is the
runtime's own pipeline with the torch network in float32: what rounding costs a correct program.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fsnp_onnx.network.fullsubnet_plus import FullSubNetPlus
from fsnp_onnx.runtime.mask import decompress
from fsnp_onnx.runtime.stft import istft, stft
from fsnp_onnx.spec import ModelSpec

_FRAMES_PER_STEP: Final = 64  # of a causal network: what its sub-band model holds at once


def enhance_exactly(
    network: FullSubNetPlus, noisy: NDArray[np.float32], spec: ModelSpec
) -> NDArray[np.float64]:
    """Enhance rows [B, N] with a float64 network, as docs/format.md describes it step by step."""
    n_fft, hop = spec.stft.n_fft, spec.stft.hop_length
    half, window = n_fft // 2, spec.stft.window()
    signal = _filled(noisy, spec).astype(np.float64)
    n_frames = spec.stft.n_frames(signal.shape[1])
    reflected = np.pad(signal, ((0, 0), (half, n_fft - half + hop)), mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(reflected, n_fft, axis=1)[:, ::hop]
    spectrum = np.fft.rfft(frames[:, : n_frames + 1] * window).transpose(0, 2, 1)  # [B, F, T + 1]
    mask = _mask(network, spectrum[..., :n_frames], spec)
    mask = np.clip(mask, -spec.mask.limit, spec.mask.limit)
    gain = np.log((spec.mask.k + mask) / (spec.mask.k - mask)) / spec.mask.c
    gain = np.concatenate([gain, gain[..., -1:]], axis=-1)  # the tail is under the last frame's
    enhanced = np.fft.irfft(((gain[:, 0] + 1j * gain[:, 1]) * spectrum).transpose(0, 2, 1), n_fft)
    total, weight = np.zeros((2, len(noisy), n_frames * hop + n_fft))
    for index in range(n_frames + 1):
        first = max(0, half - hop) if index == n_frames else 0
        reached = slice(index * hop + first, index * hop + n_fft)
        total[:, reached] += enhanced[:, index, first:] * window[first:]
        weight[:, reached] += np.square(window[first:])
    kept = np.s_[:, half : half + noisy.shape[1]]
    exact: NDArray[np.float64] = total[kept] / weight[kept]
    return exact


def enhance_rounded(
    network: FullSubNetPlus, noisy: NDArray[np.float32], spec: ModelSpec
) -> NDArray[np.float32]:
    """Enhance rows [B, N] with a float32 network, transformed as the runtime does it."""
    signal = _filled(noisy, spec)
    n_frames = spec.stft.n_frames(signal.shape[1])
    spectrum = np.stack([stft(row, spec.stft, n_frames + 1) for row in signal])
    mask = _mask(network, spectrum[..., :n_frames], spec)
    under = np.minimum(np.arange(n_frames + 1), n_frames - 1)
    enhanced = [
        istft([row * decompress(row_mask[..., under], spec.mask)], spec.stft, signal.shape[1])
        for row, row_mask in zip(spectrum, mask, strict=True)
    ]
    return np.stack(enhanced)[:, : noisy.shape[1]]


def _filled(noisy: NDArray[np.float32], spec: ModelSpec) -> NDArray[np.float32]:
    """Append the silence that follows a recording."""
    n_samples = noisy.shape[1]
    return np.pad(noisy, ((0, 0), (0, spec.filled(n_samples) - n_samples)))


@torch.no_grad()
def _mask(
    network: FullSubNetPlus, spectrum: NDArray[np.complexfloating], spec: ModelSpec
) -> NDArray[np.floating]:
    parts = [
        torch.from_numpy(np.ascontiguousarray(part)) for part in (spectrum.real, spectrum.imag)
    ]
    whole: Tensor = _in_steps(network, parts) if spec.causal else network(*parts)
    mask: NDArray[np.floating] = whole.numpy()
    return mask


def _in_steps(network: FullSubNetPlus, parts: Sequence[Tensor]) -> Tensor:
    """Return the masks [B, 2, F, T] of a causal network in memory that does not grow with T."""
    look_ahead, past = network.config.look_ahead, network.start()
    blocks = [
        torch.split(nn.functional.pad(x, (0, look_ahead)), _FRAMES_PER_STEP, -1) for x in parts
    ]
    masks = [network.step(real, imag, past) for real, imag in zip(*blocks, strict=True)]
    return torch.cat(masks, -1)[..., look_ahead:]
