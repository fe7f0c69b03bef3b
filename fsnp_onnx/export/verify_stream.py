"""Verify that a file of the interface "stream" computes its network, however its input is split.

The reference is the whole pipeline in float64: `torch.stft`, the network, the mask, `torch.istft`, on the
recording followed by silence. The file gets the recording hop by hop, in one call, and in random pieces.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from itertools import cycle
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from fsnp_onnx.errors import VerificationError
from fsnp_onnx.export.speech import snr_db
from fsnp_onnx.export.verify import probe_samples
from fsnp_onnx.network.fullsubnet_plus import FullSubNetPlus
from fsnp_onnx.probes import Probe
from fsnp_onnx.runtime import ort
from fsnp_onnx.spec import MaskSpec, StftSpec

TOLERANCE: Final = 1e-5  # of full scale
_LONG_S, _SHORT_S = 60, 2
_FRAMES_PER_STEP: Final = 64  # of the reference: what its sub-band model holds at once


def verify_stream(
    model: bytes, network: FullSubNetPlus, stft: StftSpec, mask: MaskSpec
) -> tuple[Probe, ...]:
    """Compare the bytes of a file with the float64 pipeline over a minute of noisy speech.

    Return the verification report, in which errors are those of samples. A probe outside the tolerance
    raises a VerificationError, which says which one, and by how much.
    """
    session, run_options = ort.open_session(
        model, "cpu", threads=1, device_id=0, precision="float32"
    )
    reference = copy.deepcopy(network).double()
    sizes = np.random.default_rng(0).integers(1, 100, 1000).tolist()
    probes = []
    for seconds, batch, splits in (
        (_LONG_S, 1, {"hop by hop": [1], "in one call": [10**6], "in random pieces": sizes}),
        (_SHORT_S, 2, {"two rows in random pieces": sizes}),
    ):
        n_samples = seconds * stft.sample_rate_hz + stft.hop_length // 3  # not whole hops
        noisy = probe_samples(stft, n_samples, batch)
        exact = pipeline(reference, noisy, stft, mask)
        for name, lengths in splits.items():
            enhanced = stream(
                session, noisy, stft, network.config.look_ahead, cycle(lengths), run_options
            )
            probes.append(_compared(f"{seconds} s of speech {name}", enhanced, exact, stft))
    return tuple(probes)


def stream(
    session: Any,
    noisy: NDArray[np.float32],
    stft: StftSpec,
    look_ahead: int,
    hops_per_call: Iterator[int],
    run_options: Any = None,
) -> NDArray[np.float32]:
    """Enhance recordings [B, N] as any client does (docs/live.md); return float32 [B, N]."""
    hop, (batch, n_samples) = stft.hop_length, noisy.shape
    n_late = (look_ahead + 1) * hop
    n_fed = -(-n_samples // hop) * hop + n_late
    fed = np.pad(noisy, ((0, 0), (0, n_fed - n_samples)))
    state = np.zeros((batch, session.get_inputs()[1].shape[1]), np.float32)
    enhanced, start = [], 0
    while start < n_fed:
        stop = start + next(hops_per_call) * hop
        feeds = {"noisy": fed[:, start:stop], "state": state}
        piece, state = session.run(None, feeds, run_options)
        enhanced.append(piece)
        start = stop
    return np.concatenate(enhanced, axis=1)[:, n_late : n_late + n_samples]


@torch.no_grad()
def pipeline(
    network: FullSubNetPlus, noisy: NDArray[np.float32], stft: StftSpec, mask: MaskSpec
) -> NDArray[np.float64]:
    """Enhance recordings [B, N] with a causal network in float64; return float64 [B, N].

    After its end a recording is followed by silence, so the network's look-ahead finds what a stream finds.
    """
    look_ahead, n_samples = network.config.look_ahead, noisy.shape[1]
    n_silent = (look_ahead + 2) * stft.hop_length
    padded = torch.from_numpy(np.pad(noisy, ((0, 0), (0, n_silent)))).double()
    transform: dict[str, Any] = {
        "n_fft": stft.n_fft, "hop_length": stft.hop_length, "window": torch.from_numpy(stft.window())
    }  # fmt: skip
    spectrum = torch.stft(padded, **transform, return_complex=True)
    past = network.start()
    blocks = [
        network.step(block.real, block.imag, past)
        for block in torch.split(spectrum, _FRAMES_PER_STEP, -1)
    ]
    late = torch.cat(blocks, -1)[..., look_ahead:].clamp(-mask.limit, mask.limit)
    crm = 2 / mask.c * torch.atanh(late / mask.k)
    masked = spectrum[..., : crm.shape[-1]] * torch.complex(crm[:, 0], crm[:, 1])
    enhanced: NDArray[np.float64] = torch.istft(masked, **transform).numpy()
    return enhanced[:, :n_samples]


def _compared(
    name: str, enhanced: NDArray[np.float32], exact: NDArray[np.float64], stft: StftSpec
) -> Probe:
    error = enhanced - exact
    max_abs_error = float(np.abs(error).max())
    if not max_abs_error <= TOLERANCE:  # also catches NaN
        raise VerificationError(
            f"{name}: |file - float64 pipeline| is {max_abs_error:.3g} of full scale, "
            f"tolerance {TOLERANCE:.3g}; no file was written"
        )
    batch, n_samples = exact.shape
    n_frames = stft.n_frames(n_samples)
    return Probe(n_frames, batch, max_abs_error, TOLERANCE, snr_db(exact, error))
