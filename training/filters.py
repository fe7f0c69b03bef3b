"""Batched filters: equalisers, level curves, rooms and formant shifts, on the device."""

import torch
from torch import Tensor
from torch.nn import functional

from training.bank import SAMPLE_RATE
from training.draw import Draw

ROOM_SAMPLES = 12_800  # 0.8 s of impulse response
EARLY_SAMPLES = 800  # 50 ms: what the network is to keep of a room
LIFTER = 28  # cepstral coefficients that make the spectral envelope


def rms(samples: Tensor) -> Tensor:
    """Root mean square over the last axis, kept as [..., 1], never zero."""
    return samples.square().mean(-1, keepdim=True).add(1e-12).sqrt()


def from_db(level_db: Tensor) -> Tensor:
    """Decibels to an amplitude factor."""
    return torch.pow(10.0, level_db / 20)


def level_curve(draw: Draw, shape: tuple[int, int], knots: int, spread_db: float) -> Tensor:
    """A factor [B, N] that wanders between `knots` random levels with `spread_db` of spread."""
    rows, n_samples = shape
    points = draw.normal(rows, 1, knots) * spread_db
    return from_db(functional.interpolate(points, n_samples, mode="linear")[:, 0])


def frequencies(n_bins: int, device: torch.device) -> Tensor:
    """Centre frequencies of a one-sided spectrum in Hz, [n_bins]; DC counts as 10 Hz."""
    return torch.linspace(0, SAMPLE_RATE / 2, n_bins, device=device).clamp(min=10.0)


def equaliser(draw: Draw, rows: int, n_bins: int, spread_db: float) -> Tensor:
    """Random smooth gains [rows, n_bins], knots evenly spaced on the Bark scale."""
    knots = draw.normal(rows, 12) * spread_db
    bark = 6 * torch.asinh(frequencies(n_bins, draw.device) / 600)
    position = bark / bark[-1] * (knots.shape[1] - 1)
    low = position.floor().long().clamp(max=knots.shape[1] - 2)
    share = position - low
    return from_db(knots[:, low] * (1 - share) + knots[:, low + 1] * share)


def band(low_hz: Tensor, high_hz: Tensor, n_bins: int, order: float = 4.0) -> Tensor:
    """Gains [B, n_bins] of a band between two edges [B], like Butterworth's magnitude."""
    f = frequencies(n_bins, low_hz.device)
    below = (low_hz[:, None] / f).pow(2 * order)
    above = (f / high_hz[:, None]).pow(2 * order)
    return ((1 + below) * (1 + above)).rsqrt()


def filtered(samples: Tensor, gains: Tensor) -> Tensor:
    """Zero-phase filter (circular) of [B, N] with gains [B, N // 2 + 1]."""
    result: Tensor = torch.fft.irfft(torch.fft.rfft(samples) * gains, samples.shape[-1])
    return result


def convolve(samples: Tensor, kernel: Tensor) -> Tensor:
    """Causal convolution of [B, N] with [B, L], first N samples."""
    n_samples = samples.shape[-1]
    size = (n_samples + kernel.shape[-1] + 1023) // 1024 * 1024
    spectrum = torch.fft.rfft(samples, size) * torch.fft.rfft(kernel, size)
    result: Tensor = torch.fft.irfft(spectrum, size)[..., :n_samples]
    return result


def rooms(draw: Draw, rows: int) -> Tensor:
    """Impulse responses [rows, ROOM_SAMPLES]: direct sound, sparse reflections, decaying tail.

    Reverberation time 0.1 to 1 s, shorter at high frequencies; the tail is 18 dB below to 6 dB
    above the direct sound, whose sample is the first and has the value 1.
    """
    time = torch.arange(ROOM_SAMPLES, device=draw.device) / SAMPLE_RATE
    rt60 = draw.log_uniform(rows, 1, low=0.1, high=1.0)
    n_bins = ROOM_SAMPLES // 2 + 1
    high = draw.log_uniform(rows, low=1000.0, high=4000.0)
    low_pass = band(torch.full_like(high, 60.0), high, n_bins, order=1.0)
    dull = filtered(draw.normal(rows, ROOM_SAMPLES), low_pass)
    bright = filtered(draw.normal(rows, ROOM_SAMPLES), 1 - low_pass)
    tail = dull * torch.pow(10.0, -3 * time / rt60)
    tail += bright * torch.pow(10.0, -3 * time / (rt60 * draw.uniform(rows, 1, low=0.4, high=0.9)))
    # Reflections come one by one first and grow dense within some 50 ms.
    density = (time / draw.uniform(rows, 1, low=0.02, high=0.08)).clamp(0.01, 1).square()
    arrived = draw.uniform(rows, ROOM_SAMPLES) < density
    after_gap = time >= draw.uniform(rows, 1, low=0.001, high=0.012)
    tail = tail * arrived * after_gap * density.clamp(min=0.02).rsqrt()
    energy = tail.square().sum(-1, keepdim=True).add(1e-9).sqrt()
    response = tail / energy * from_db(draw.uniform(rows, 1, low=-18, high=6))
    response[:, 0] = 1.0
    return response


def shift_formants(speech: Tensor, factor: Tensor) -> Tensor:
    """Move the spectral envelope of [B, N] by `factor` [B] and leave the pitch where it is."""
    window = torch.signal.windows.hann(512, sym=False, device=speech.device)
    spectrum = torch.stft(speech, 512, 128, window=window, return_complex=True)
    log_magnitude = spectrum.abs().add(1e-5).log().transpose(1, 2)
    cepstrum = torch.fft.irfft(log_magnitude, 512)
    lifter = torch.zeros(512, device=speech.device)
    taper = torch.cos(torch.linspace(0, torch.pi / 2, LIFTER, device=speech.device))
    lifter[:LIFTER] = taper
    lifter[-LIFTER + 1 :] = taper[1:].flip(0)
    envelope = torch.fft.rfft(cepstrum * lifter).real
    source = (torch.arange(257, device=speech.device) / factor[:, None]).clamp(max=256)
    low = source.floor().long().clamp(max=255)
    share = (source - low)[:, None]
    index = low[:, None].expand_as(envelope)
    moved = envelope.gather(2, index) * (1 - share) + envelope.gather(2, index + 1) * share
    gain = (moved - envelope).clamp(-3, 3).exp().transpose(1, 2)
    return torch.istft(spectrum * gain, 512, 128, window=window, length=speech.shape[-1])
