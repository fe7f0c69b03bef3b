"""Kinds of noise with structure in time, synthesised in batches on the device.

Every function returns [rows, N] of any level; `mix.py` sets the level.
"""

import torch
from torch import Tensor
from torch.nn import functional

from training.bank import SAMPLE_RATE, Bank, Clips, resample
from training.draw import Draw
from training.filters import (
    band,
    convolve,
    equaliser,
    filtered,
    frequencies,
    from_db,
    level_curve,
    rms,
)

MAX_SPEED = 1.8
TALKERS = 6
LAYERS = 3
GRAINS = 96


def coloured(draw: Draw, rows: int, n_samples: int) -> Tensor:
    """Noise with a random slope, equaliser, often a band, and often a wandering level."""
    n_bins = n_samples // 2 + 1
    f = frequencies(n_bins, draw.device)
    slope = draw.uniform(rows, 1, low=-0.2, high=1.3)
    gains = (f / 1000).pow(-slope) * equaliser(draw, rows, n_bins, 6.0)
    edges = draw.log_uniform(rows, 2, low=50, high=8000).sort(1).values
    narrow = band(edges[:, 0], edges[:, 1] * 1.3, n_bins) + 0.02
    gains = torch.where(draw.chance(0.35, rows, 1), gains * narrow, gains)
    noise = filtered(draw.normal(rows, n_samples), gains)
    slow = level_curve(draw, (rows, n_samples), draw.host_choices([1.0] * 12, 1)[0] + 3, 5.0)
    return torch.where(draw.chance(0.6, rows, 1), noise * slow, noise)


def wind(draw: Draw, rows: int, n_samples: int) -> Tensor:
    """Low rumble in gusts, sometimes strong enough to saturate the microphone."""
    n_bins = n_samples // 2 + 1
    f = frequencies(n_bins, draw.device)
    gains = (1 + (f / draw.log_uniform(rows, 1, low=40, high=400)).square()).pow(-0.65)
    noise = filtered(draw.normal(rows, n_samples), gains)
    noise *= level_curve(draw, (rows, n_samples), 8, 8.0)
    noise *= level_curve(draw, (rows, n_samples), 60, 3.0)
    drive = draw.log_uniform(rows, 1, low=0.05, high=4.0)
    return torch.tanh(noise / rms(noise) * drive)


def hum(draw: Draw, rows: int, n_samples: int) -> Tensor:
    """Mains, motors and engines: drifting harmonics, slowly beating, over some hiss."""
    time = torch.arange(n_samples, device=draw.device) / SAMPLE_RATE
    pitch = draw.log_uniform(rows, 1, low=25, high=600)
    drift = draw.normal(rows, 1, 6) * draw.log_uniform(rows, 1, 1, low=0.001, high=0.12)
    wander = functional.interpolate(drift, n_samples, mode="linear", align_corners=True)[:, 0]
    phase = 2 * torch.pi * torch.cumsum(pitch * (1 + wander) / SAMPLE_RATE, 1)
    decay = draw.uniform(rows, 1, low=0.1, high=1.6)
    sound = torch.zeros(rows, n_samples, device=draw.device)
    for harmonic in range(1, 25):
        size = draw.uniform(rows, 1).square() * harmonic**-decay
        size *= pitch * harmonic < 7500
        sound += size * torch.sin(harmonic * phase + draw.uniform(rows, 1, high=6.3))
    rate = draw.log_uniform(rows, 1, low=0.2, high=30)
    depth = draw.uniform(rows, 1) * draw.chance(0.5, rows, 1)
    sound *= 1 + depth * torch.sin(2 * torch.pi * rate * time)
    hiss = coloured(draw, rows, n_samples)
    return sound / rms(sound) + hiss / rms(hiss) * from_db(draw.uniform(rows, 1, low=-35, high=0))


def machine(draw: Draw, rows: int, n_samples: int) -> Tensor:
    """Noise pulsing at a steady rate: fans, pumps, printers, rotors."""
    time = torch.arange(n_samples, device=draw.device) / SAMPLE_RATE
    rate = draw.log_uniform(rows, 1, low=0.7, high=60)
    swing = 0.5 + 0.5 * torch.sin(2 * torch.pi * rate * time + draw.uniform(rows, 1, high=6.3))
    pulse = swing.pow(draw.log_uniform(rows, 1, low=0.3, high=12))
    floor = draw.uniform(rows, 1, high=0.6)
    tone = hum(draw, rows, n_samples)
    share = draw.uniform(rows, 1) * draw.chance(0.5, rows, 1)
    return coloured(draw, rows, n_samples) * (floor + pulse) + share * tone / rms(tone)


def impulses(draw: Draw, rows: int, n_samples: int) -> Tensor:
    """Clicks, rain, crackle, typing: many or few, in clusters, each with a ringing decay."""
    rate_hz = draw.log_uniform(rows, 1, low=1.0, high=4000.0)
    cluster = (level_curve(draw, (rows, n_samples), 16, 1.0) > 1).float()
    clustered = draw.chance(0.4, rows, 1)
    density = torch.where(clustered, 2 * cluster, torch.ones_like(cluster)) * rate_hz / SAMPLE_RATE
    strength = draw.normal(rows, n_samples) * torch.exp(0.7 * draw.normal(rows, n_samples))
    hits = strength * (draw.uniform(rows, n_samples) < density)
    time = torch.arange(2048, device=draw.device) / SAMPLE_RATE
    decay_s = draw.log_uniform(rows, 1, low=0.0003, high=0.03)
    ring_hz = draw.log_uniform(rows, 1, low=150, high=6000)
    ring = torch.sin(2 * torch.pi * ring_hz * time) * draw.uniform(rows, 1, high=2)
    kernel = (draw.normal(rows, 2048) + ring) * torch.exp(-time / decay_s)
    sound = convolve(hits, kernel)
    return sound + rms(sound) * 0.02 * draw.normal(rows, n_samples)


def bursts(draw: Draw, rows: int, n_samples: int) -> Tensor:
    """Separate blows of noise: doors, dishes, steps, rustling."""
    hits = draw.uniform(rows, n_samples) < draw.log_uniform(rows, 1, low=0.7, high=8) / SAMPLE_RATE
    time = torch.arange(12_288, device=draw.device) / SAMPLE_RATE
    decay = torch.exp(-time / draw.log_uniform(rows, 1, low=0.015, high=0.4))
    rise = 1 - torch.exp(-time / draw.log_uniform(rows, 1, low=0.0005, high=0.05))
    strength = hits * torch.exp(0.6 * draw.normal(rows, n_samples))
    envelope = convolve(strength, decay * rise).clamp(min=0)
    quiet = from_db(draw.uniform(rows, 1, low=-45, high=-15)) * envelope.amax(1, keepdim=True)
    return coloured(draw, rows, n_samples) * (envelope + quiet + 1e-4)


def alarm(draw: Draw, rows: int, n_samples: int) -> Tensor:
    """Beeps, sirens and rings: a gated, alternating or sweeping tone with overtones."""
    time = torch.arange(n_samples, device=draw.device) / SAMPLE_RATE
    rate = draw.log_uniform(rows, 1, low=0.4, high=20)
    cycle = (rate * time + draw.uniform(rows, 1)) % 1
    sweep = (2 * cycle - 1).abs() * draw.uniform(rows, 1) * draw.chance(0.4, rows, 1)
    jump = (cycle < 0.5) * draw.uniform(rows, 1, high=0.4) * draw.chance(0.4, rows, 1)
    frequency = draw.log_uniform(rows, 1, low=250, high=4000) * (1 + sweep + jump)
    phase = 2 * torch.pi * torch.cumsum(frequency / SAMPLE_RATE, 1)
    sound = torch.tanh(torch.sin(phase) * draw.log_uniform(rows, 1, low=0.3, high=6))
    gate = (0.5 * rate * time % 1 < draw.uniform(rows, 1, low=0.2, high=0.9)).float()
    smooth = functional.avg_pool1d(gate[:, None], 65, 1, 32)[:, 0]
    sound = torch.where(draw.chance(0.7, rows, 1), sound * smooth, sound)
    hiss = coloured(draw, rows, n_samples)
    return sound + hiss / rms(hiss) * from_db(draw.uniform(rows, 1, low=-40, high=-5))


def babble(draw: Draw, speech: Tensor) -> Tensor:
    """Three to six voices of different loudness from speech [rows * TALKERS, N]."""
    voices = speech.reshape(-1, TALKERS, speech.shape[-1])
    voices = voices / rms(voices)
    rows = voices.shape[0]
    wanted = (draw.uniform(rows, 1) * (TALKERS - 2)).ceil() + 2
    present = torch.arange(TALKERS, device=draw.device) < wanted
    loudness = from_db(3 * draw.normal(rows, TALKERS)) * present
    crowd: Tensor = (voices * loudness[..., None]).sum(1)
    return crowd


def loops(draw: Draw, bank: Bank, rows: int, n_samples: int) -> Tensor:
    """One to LAYERS recorded samples of the bank at once, repeated at other pitches."""
    count, slots = rows * LAYERS, 24
    clips = bank.choose(draw, ["sonic"] * count, slots)
    same = draw.chance(0.6, count, 1)
    clips = Clips(*(torch.where(same, table[:, :1], table) for table in clips))
    gaps = draw.uniform(count, slots) * draw.log_uniform(count, 1, low=200, high=16_000)
    gaps = (gaps * draw.chance(0.5, count, 1)).long()
    length = int(n_samples * MAX_SPEED)
    window = bank.timeline(clips, gaps, draw.uniform(count), length)
    speed = draw.log_uniform(count, low=0.55, high=MAX_SPEED)
    layers = resample(window, speed, n_samples).reshape(rows, LAYERS, n_samples)
    layers = layers / (rms(layers) + 1e-4)
    present = torch.arange(LAYERS, device=draw.device) < draw.uniform(rows, 1, high=LAYERS).ceil()
    mixed: Tensor = (layers * (present * from_db(4 * draw.normal(rows, LAYERS)))[..., None]).sum(1)
    return mixed


def texture(draw: Draw, source: Tensor) -> Tensor:
    """Steady noise with the spectrum of `source` [rows, N] and random phases."""
    rows, n_samples = source.shape
    magnitude = torch.fft.rfft(source).abs()[:, None]
    smooth = functional.avg_pool1d(magnitude, 65, 1, 32)[:, 0]
    noise = filtered(draw.normal(rows, n_samples), smooth)
    return noise * level_curve(draw, (rows, n_samples), 10, 3.0)


def recorded(draw: Draw, bank: Bank, groups: list[str], n_samples: int) -> Tensor:
    """Real noise, a recording a row, joined without pauses, at another speed."""
    rows, slots = len(groups), 12
    clips = bank.choose(draw, groups, slots)
    gaps = (draw.uniform(rows, slots) * draw.log_uniform(rows, 1, low=100, high=8000)).long()
    gaps *= draw.chance(0.3, rows, 1)
    window = bank.timeline(clips, gaps, draw.uniform(rows), int(n_samples * MAX_SPEED))
    speed = draw.log_uniform(rows, low=0.7, high=1.4)
    sound = resample(window, speed, n_samples)
    return sound + 1e-4 * draw.normal(rows, n_samples)


def grains(draw: Draw, bank: Bank, groups: list[str], n_samples: int) -> Tensor:
    """Short pieces of recordings in random order: clatter, crowds, crackling textures."""
    rows = len(groups)
    clips = bank.choose(draw, groups, GRAINS)
    lengths = (draw.uniform(rows, GRAINS) * draw.log_uniform(rows, 1, low=300, high=4000)).long()
    lengths = torch.minimum(lengths + 200, clips.lengths)
    inside = (draw.uniform(rows, GRAINS) * (clips.lengths - lengths)).long()
    gaps = draw.uniform(rows, GRAINS) * draw.log_uniform(rows, 1, low=100, high=4000)
    pieces = Clips(clips.offsets + inside, lengths)
    sound = bank.timeline(pieces, gaps.long(), draw.uniform(rows), n_samples)
    return sound + torch.roll(sound, n_samples // 3, 1) + 1e-4 * draw.normal(rows, n_samples)
