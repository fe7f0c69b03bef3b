"""Verify that an exported file computes its network: on its own graph, in the runtime that users run.

The reference is the torch network in float64. Both sides get the same float32 spectrum of noisy speech.
The tolerance is derived: the division by the nearly vanishing mean of a real or imaginary part magnifies
rounding, so two correct float32 computations differ by as much as torch's own float32 differs from
float64. A file may be eight times as far from float64 as torch's float32 is, and never has to be closer
than 2e-5.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fsnp_onnx.errors import VerificationError
from fsnp_onnx.export.graph.torch_export import EXAMPLE_FRAMES
from fsnp_onnx.export.speech import noisy_speech, snr_db
from fsnp_onnx.network.fullsubnet_plus import FullSubNetPlus
from fsnp_onnx.runtime.mask_model import MaskModel
from fsnp_onnx.runtime.stft import stft
from fsnp_onnx.spec import Probe, StftSpec

ABSOLUTE_TOLERANCE: Final = 2e-5
RELATIVE_TOLERANCE: Final = 8.0
LONG_FRAMES: Final = 2000
_LEVELS_DB: Final = (0.0, -20.0)  # rows of a batch must not share statistics


def probe_sizes(min_frames: int, look_ahead: int, block_frames: int) -> tuple[tuple[int, int], ...]:
    """Return (n_frames, batch) of every probe.

    The shortest length, one that fills the blocks of frames exactly, one that does not, with two rows,
    and a long one, where errors of sums over time show; none is the length of the export's example.
    """
    n_blocks = -(-(min_frames + look_ahead) // block_frames) + 1
    filling = n_blocks * block_frames - look_ahead
    filling += block_frames * (filling == EXAMPLE_FRAMES)
    other = min_frames + block_frames + block_frames // 8 + 1
    while other in (filling, EXAMPLE_FRAMES):
        other += 1
    return (min_frames, 1), (filling, 1), (other, 2), (max(LONG_FRAMES, 2 * filling), 1)


def probe_spectrum(
    spec: StftSpec, n_frames: int, batch: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return real and imaginary part of noisy speech, each float32 [batch, F, n_frames].

    Rows start at different places of the recording and have different levels.
    """
    speech = noisy_speech(spec.sample_rate_hz)
    n_samples = n_frames * spec.hop_length
    speech = np.resize(speech, max(speech.size, n_samples + batch * spec.n_fft))
    rows = []
    for row in range(batch):
        start = (speech.size // 3 + row * spec.n_fft) % (speech.size - n_samples)
        level = np.float32(10 ** (_LEVELS_DB[row % len(_LEVELS_DB)] / 20))
        rows.append(stft(level * speech[start : start + n_samples], spec, n_frames))
    spectrum = np.stack(rows)
    return np.ascontiguousarray(spectrum.real), np.ascontiguousarray(spectrum.imag)


def verify(
    model: bytes, network: FullSubNetPlus, sizes: Sequence[tuple[int, int]]
) -> tuple[Probe, ...]:
    """Compare the bytes of a file with the float32 network on probes of (n_frames, batch).

    Return the verification report. A probe outside its tolerance raises a VerificationError, which says
    which one, and by how much.
    """
    session = MaskModel(model, provider="cpu")
    reference = copy.deepcopy(network).double()
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)  # they would wait by spinning, which is slow on a busy machine
    try:
        return tuple(_probe(session, network, reference, size) for size in sizes)
    finally:
        torch.set_num_threads(n_threads)


def _probe(
    session: MaskModel, network: FullSubNetPlus, reference: FullSubNetPlus, size: tuple[int, int]
) -> Probe:
    n_frames, batch = size
    n_freqs = session.spec.stft.n_freqs
    # Every bin of the reference's sub-band model takes the same time. Errors that grow with length come
    # from the full-band stage, which all bins share, so nine spread bins do for the long probe.
    step = 1 if n_frames < LONG_FRAMES else max(1, n_freqs // 8)
    bins = list(range(0, n_freqs, step))
    parts = probe_spectrum(session.spec.stft, n_frames, batch)
    tensors = [torch.from_numpy(part) for part in parts]
    with torch.no_grad():
        exact: Tensor = reference(*(tensor.double() for tensor in tensors), bins)
        rounded: Tensor = network(*tensors, bins)
    mask = torch.from_numpy(session.run(*parts))
    probe = f"probe of {n_frames} frames, batch {batch}"
    if mask.shape != (batch, 2, n_freqs, n_frames):
        raise VerificationError(
            f"{probe}: the graph returned {list(mask.shape)}, "
            f"expected {[batch, 2, n_freqs, n_frames]}; no file was written"
        )
    error = mask[:, :, bins].double() - exact
    max_abs_error = error.abs().max().item()
    torch_error = (rounded.double() - exact).abs().max().item()
    tolerance = max(ABSOLUTE_TOLERANCE, RELATIVE_TOLERANCE * torch_error)
    if not max_abs_error <= tolerance:  # also catches NaN
        raise VerificationError(
            f"{probe}: |graph - float64 network| is {max_abs_error:.3g}, "
            f"tolerance {tolerance:.3g}; no file was written"
        )
    return Probe(n_frames, batch, max_abs_error, tolerance, snr_db(exact.numpy(), error.numpy()))
