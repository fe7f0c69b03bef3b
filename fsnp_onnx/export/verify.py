"""Verify that an exported file computes its network: on its own graph, in the runtime that users run.

The reference is the torch network in float64. Both sides get the same float32 spectrum of noisy speech.
The tolerance is derived: the division by the nearly vanishing mean of a real or imaginary part magnifies
rounding, so two correct float32 computations differ by as much as torch's own float32 differs from
float64. A file may be eight times as far from float64 as torch's float32 is, and never has to be closer
than 2e-5.

A file of the interface "waveform" is verified twice: its mask graph as above, then the bytes of the whole
file, samples to samples. The rule is the same, with the pipeline of reference.py around both networks and
at least 1e-5 of full scale. A mask that is 2e-5 off changes a gain by 4e-5, or more where the compression
is steep, and speech with peaks near full scale has a level near a tenth of it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fsnp_onnx.errors import VerificationError
from fsnp_onnx.export.graph.torch_export import EXAMPLE_FRAMES
from fsnp_onnx.export.reference import enhance_exactly, enhance_rounded
from fsnp_onnx.export.speech import noisy_speech, snr_db
from fsnp_onnx.network.fullsubnet_plus import FullSubNetPlus
from fsnp_onnx.probes import Probe
from fsnp_onnx.runtime.mask_model import MaskModel
from fsnp_onnx.runtime.session import Session
from fsnp_onnx.runtime.stft import stft
from fsnp_onnx.runtime.waveform_model import WaveformModel
from fsnp_onnx.spec import StftSpec

ABSOLUTE_TOLERANCE: Final = 2e-5  # of the compressed mask
WAVEFORM_TOLERANCE: Final = 1e-5  # of full scale, a third of a step of 16 bits
RELATIVE_TOLERANCE: Final = 8.0
LONG_FRAMES: Final = 2000
LONG_WAVEFORM_FRAMES: Final = 300  # more than a block of any stage; all bins count
_LEVELS_DB: Final = (0.0, -20.0)  # rows of a batch must share no statistics, no state


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


def waveform_sizes(spec: StftSpec, min_frames: int) -> tuple[tuple[int, int], ...]:
    """Return (n_samples, batch) of every probe of a waveform file.

    One sample, not quite a hop, an odd number with three rows, and a long one whose last hop is not
    quite full, which is where the tail matters most.
    """
    hop = spec.hop_length
    odd = (min_frames + 3) * hop + hop // 2 | 1
    return (1, 1), (max(1, hop - 1), 1), (odd, 3), ((LONG_WAVEFORM_FRAMES + 1) * hop - 1, 1)


def probe_samples(
    spec: StftSpec, n_samples: int, batch: int, *, muted: bool = False
) -> NDArray[np.float32]:
    """Return noisy speech, float32 [batch, n_samples].

    Rows start at different places of the recording and have different levels. An eighth of each may be
    muted at the start, and another one in the middle, both later in later rows: the means of causal
    networks leave it out.
    """
    speech = noisy_speech(spec.sample_rate_hz)
    speech = np.resize(speech, max(speech.size, n_samples + batch * spec.n_fft))
    rows = []
    for row in range(batch):
        start = (speech.size // 3 + row * spec.n_fft) % (speech.size - n_samples)
        level = np.float32(10 ** (_LEVELS_DB[row % len(_LEVELS_DB)] / 20))
        rows.append(level * speech[start : start + n_samples])
    if muted:
        _mute(rows)
    return np.stack(rows)


def _mute(rows: Sequence[NDArray[np.float32]]) -> None:
    for number, row in enumerate(rows):
        length = row.size // 8
        for start in (0, row.size // 2):
            row[start + number * length :][:length] = 0


def probe_spectrum(
    spec: StftSpec, n_frames: int, batch: int, *, muted: bool = False
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return real and imaginary part of noisy speech, each float32 [batch, F, n_frames]."""
    samples = probe_samples(spec, n_frames * spec.hop_length, batch, muted=muted)
    spectrum = np.stack([stft(row, spec, n_frames) for row in samples])
    return np.ascontiguousarray(spectrum.real), np.ascontiguousarray(spectrum.imag)


def verify(
    model: bytes, network: FullSubNetPlus, sizes: Sequence[tuple[int, int]]
) -> tuple[Probe, ...]:
    """Compare the bytes of a mask file with the float32 network on probes of (n_frames, batch).

    Return the verification report. A probe outside its tolerance raises a VerificationError, which says
    which one, and by how much.
    """
    opened = MaskModel(Session(model, "cpu"))
    reference = copy.deepcopy(network).double()
    with one_torch_thread():
        return tuple(_probe(opened, network, reference, size) for size in sizes)


def verify_waveform(
    model: bytes, network: FullSubNetPlus, sizes: Sequence[tuple[int, int]]
) -> tuple[Probe, ...]:
    """Compare the bytes of a waveform file with the network on probes of (n_samples, batch).

    Return and raise as `verify` does.
    """
    opened = WaveformModel(Session(model, "cpu"))
    reference = copy.deepcopy(network).double()
    with one_torch_thread():
        return tuple(_waveform_probe(opened, network, reference, size) for size in sizes)


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """More threads would wait by spinning, which is slow on a busy machine."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(n_threads)


def _probe(
    opened: MaskModel, network: FullSubNetPlus, reference: FullSubNetPlus, size: tuple[int, int]
) -> Probe:
    n_frames, batch = size
    n_freqs = opened.spec.stft.n_freqs
    # Every bin of the reference's sub-band model takes the same time. Errors that grow with length come
    # from the full-band stage, which all bins share, so nine spread bins do for the long probe.
    step = 1 if n_frames < LONG_FRAMES else max(1, n_freqs // 8)
    bins = list(range(0, n_freqs, step))
    parts = probe_spectrum(opened.spec.stft, n_frames, batch, muted=opened.spec.causal)
    tensors = [torch.from_numpy(part) for part in parts]
    with torch.no_grad():
        exact: Tensor = reference(*(tensor.double() for tensor in tensors), bins)
        rounded: Tensor = network(*tensors, bins)
    mask = opened.run(*parts)
    name = f"probe of {n_frames} frames, batch {batch}"
    _check_shape(name, mask, (batch, 2, n_freqs, n_frames))
    tolerance = _tolerance(ABSOLUTE_TOLERANCE, rounded.numpy(), exact.numpy())
    numbers = compare(name, mask[:, :, bins], exact.numpy(), tolerance)
    return Probe(n_frames, batch, *numbers)


def _waveform_probe(
    opened: WaveformModel, network: FullSubNetPlus, reference: FullSubNetPlus, size: tuple[int, int]
) -> Probe:
    n_samples, batch = size
    spec = opened.spec
    noisy = probe_samples(spec.stft, n_samples, batch, muted=spec.causal)
    exact = enhance_exactly(reference, noisy, spec)
    rounded = enhance_rounded(network, noisy, spec)
    enhanced = opened.run(noisy)
    name = f"probe of {n_samples} samples, batch {batch}"
    _check_shape(name, enhanced, (batch, n_samples))
    numbers = compare(name, enhanced, exact, _tolerance(WAVEFORM_TOLERANCE, rounded, exact))
    n_frames = max(spec.min_frames, spec.stft.n_frames(n_samples))
    return Probe(n_frames, batch, *numbers, n_samples=n_samples)


def _check_shape(name: str, found: NDArray[np.float32], expected: tuple[int, ...]) -> None:
    if found.shape != expected:
        raise VerificationError(
            f"{name}: the graph returned {list(found.shape)}, expected {list(expected)}; "
            "no file was written"
        )


def _tolerance(floor: float, rounded: NDArray[np.floating], exact: NDArray[np.floating]) -> float:
    return max(floor, RELATIVE_TOLERANCE * float(np.abs(rounded - exact).max()))


def compare(
    name: str, found: NDArray[np.float32], exact: NDArray[np.float64], tolerance: float
) -> tuple[float, float, float]:
    """Return max_abs_error, tolerance and snr_db, or raise where the error exceeds the tolerance."""
    error = found - exact
    max_abs_error = float(np.abs(error).max())
    if not max_abs_error <= tolerance:  # also catches NaN
        raise VerificationError(
            f"{name}: |file - float64 network| is {max_abs_error:.3g}, "
            f"tolerance {tolerance:.3g}; no file was written"
        )
    return max_abs_error, tolerance, snr_db(exact, error)
