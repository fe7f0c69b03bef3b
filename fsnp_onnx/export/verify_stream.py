"""Verify that a file of the interface "stream" computes its network, however its input is split.

The reference is the whole pipeline in float64 (reference.py), on the recording followed by silence. The file
gets the recording, parts of it muted, hop by hop, in one call, and in random pieces. There is no second
term in the tolerance: norms by the running magnitude magnify no rounding.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from itertools import cycle
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fsnp_onnx.export.reference import enhance_exactly
from fsnp_onnx.export.verify import WAVEFORM_TOLERANCE, compare, one_torch_thread, probe_samples
from fsnp_onnx.network.fullsubnet_plus import FullSubNetPlus
from fsnp_onnx.probes import Probe
from fsnp_onnx.runtime.session import Session
from fsnp_onnx.runtime.stream_model import StreamModel

_LONG_S, _SHORT_S = 60, 2
_RANDOM: Final = np.random.default_rng(0).integers(1, 100, 1000).tolist()
_PIECES: Final = {"hop by hop": [1], "in one call": [10**6], "in random pieces": _RANDOM}  # hops


def verify_stream(model: bytes, network: FullSubNetPlus) -> tuple[Probe, ...]:
    """Compare the bytes of a stream file with the float64 network over a minute of noisy speech.

    Return the verification report. A probe outside the tolerance raises a VerificationError, which says
    which one, and by how much.
    """
    opened = StreamModel(Session(model, "cpu", threads=1))
    reference = copy.deepcopy(network).double()
    stft = opened.spec.stft
    probes = []
    for seconds, batch, pieces in (
        (_LONG_S, 1, _PIECES),
        (_SHORT_S, 2, {"with two rows": _RANDOM}),
    ):
        n_samples = seconds * stft.sample_rate_hz + stft.hop_length // 3  # not whole hops
        noisy = probe_samples(stft, n_samples, batch, muted=True)
        with one_torch_thread():
            exact = enhance_exactly(reference, noisy, opened.spec)
        for name, n_hops in pieces.items():
            enhanced = stream(opened, noisy, cycle(n_hops))
            title = f"{seconds} s of speech {name}"
            numbers = compare(title, enhanced, exact, WAVEFORM_TOLERANCE)
            probes.append(Probe(stft.n_frames(n_samples), batch, *numbers, n_samples=n_samples))
    return tuple(probes)


def stream(
    opened: StreamModel, noisy: NDArray[np.float32], hops_per_call: Iterator[int]
) -> NDArray[np.float32]:
    """Enhance recordings [B, N] as any client does (docs/format.md); return float32 [B, N]."""
    hop, n_late = opened.spec.stft.hop_length, opened.spec.latency_samples or 0
    batch, n_samples = noisy.shape
    fed = np.pad(noisy, ((0, 0), (0, n_late + -n_samples % hop)))
    n_state = opened.spec.state.size if opened.spec.state else 0
    state, enhanced, start = np.zeros((batch, n_state), np.float32), [], 0
    while start < fed.shape[1]:
        stop = start + next(hops_per_call) * hop
        piece, state = opened.run(fed[:, start:stop], state)
        enhanced.append(piece)
        start = stop
    return np.concatenate(enhanced, axis=1)[:, n_late : n_late + n_samples]
