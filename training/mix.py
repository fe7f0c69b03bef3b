"""Noisy mixtures and their targets, made on the fly on the device.

    clips -> speech -> room -> + noise at some SNR -> microphone -> level

The target is the speech with the early reflections (the first 50 ms of the room), the same
equaliser and the same level, without noise and late reverberation.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from training import noise as noises
from training.bank import Bank, resample
from training.draw import Draw
from training.filters import (
    EARLY_SAMPLES,
    band,
    convolve,
    equaliser,
    filtered,
    from_db,
    level_curve,
    rms,
    rooms,
    shift_formants,
)

# Shares of the voices. The artificial ones (kokoro) have a large share for their variety.
VOICES = {
    "festvox_ru": 0.22,
    "asterisk_it": 0.16,
    "asterisk_ru": 0.16,
    "gcin": 0.03,
    "kokoro": 0.41,
    "flite": 0.02,
}
NOISE_SHARES = {
    "coloured": 0.19,
    "wind": 0.05,
    "hum": 0.07,
    "machine": 0.07,
    "impulses": 0.08,
    "bursts": 0.09,
    "alarm": 0.05,
    "babble": 0.14,
    "loops": 0.13,
    "speech_texture": 0.04,
    "loop_texture": 0.03,
    "speech_grains": 0.03,
    "loop_grains": 0.03,
}
SLOWEST, FASTEST = 0.85, 1.3
SLOTS = 16  # clips joined to one row of speech
CLEAN_SHARE = 0.06
MAX_CREST = 12.0  # of noise at its nominal SNR


class Mixer:
    """Batches of mixtures; seed and step determine a batch on one device."""

    def __init__(self, bank: Bank, seed: int, n_samples: int, suffix: str = "") -> None:
        """Set up a mixer; `suffix` selects groups of voices, "_held_out" for validation."""
        self._bank = bank
        self._seed = seed
        self._n_samples = n_samples
        self._voices = {
            name + suffix: share for name, share in VOICES.items() if name + suffix in bank.groups
        }

    def batch(self, step: int, rows: int) -> tuple[Tensor, Tensor]:
        """Return noisy mixtures and their targets, both [rows, n_samples] in [-1, 1]."""
        draw = Draw(self._seed * 1_000_003 + step, self._bank.samples.device)
        speech = self._speech(draw, rows, varied=True)
        noise = self._noise(draw, rows)
        reverberant, target, noise = _in_rooms(draw, speech, noise)
        noise = _levelled(noise) * _speech_level(reverberant) * from_db(-_snr_db(draw, rows))
        hiss = draw.normal(*noise.shape) * _speech_level(reverberant)
        hiss = hiss * from_db(draw.uniform(rows, 1, low=-70, high=-40))
        noise = noise + hiss * draw.chance(0.3, rows, 1)
        return _through_microphone(draw, reverberant + noise, target)

    def _speech(self, draw: Draw, rows: int, *, varied: bool) -> Tensor:
        """Speech [rows, N] with pauses; `varied` moves formants apart from pitch as well."""
        length = int(self._n_samples * FASTEST) + 1
        voices, shares = list(self._voices), list(self._voices.values())
        picked = [voices[index] for index in draw.host_choices(shares, rows)]
        clips = self._bank.choose(draw, picked, SLOTS)
        gaps = draw.log_uniform(rows, SLOTS, low=500, high=16_000).long()
        speech = self._bank.timeline(clips, gaps, draw.uniform(rows), length)
        speed = draw.log_uniform(rows, low=SLOWEST, high=FASTEST)
        speed = torch.where(draw.chance(0.35, rows), torch.ones_like(speed), speed)
        speech = resample(speech, speed, self._n_samples)
        if varied:
            factor = draw.log_uniform(rows, low=0.88, high=1.14)
            plain = torch.ones_like(factor)
            speech = shift_formants(speech, torch.where(draw.chance(0.5, rows), plain, factor))
        return speech

    def _noise(self, draw: Draw, rows: int) -> Tensor:
        """Noise [rows, N] of unit level: one kind a row, sometimes with a second one below."""
        kinds = self._kinds(draw)
        picked = draw.host_choices(list(NOISE_SHARES.values()), rows)
        parts = []
        for index, kind in enumerate(NOISE_SHARES):
            count = picked.count(index)
            if count:
                parts.append(kinds[kind](count))
        noise = _levelled(torch.cat(parts))
        n_bins = self._n_samples // 2 + 1
        noise = filtered(noise, equaliser(draw, rows, n_bins, 4.0))
        noise = _levelled(noise)
        second = noise[draw.uniform(rows).argsort()] * from_db(
            draw.uniform(rows, 1, low=-12, high=2)
        )
        noise = noise + second * draw.chance(0.35, rows, 1)
        order = draw.uniform(rows).argsort()
        return noise[order]

    def _kinds(self, draw: Draw) -> dict[str, Callable[[int], Tensor]]:
        """The kinds of noise, each a function of the number of rows."""
        n_samples, bank = self._n_samples, self._bank

        def speech(rows: int) -> Tensor:
            return self._speech(draw, rows, varied=False)

        def voice() -> str:
            return list(self._voices)[draw.host_choices([1.0] * len(self._voices), 1)[0]]

        return {
            "coloured": lambda rows: noises.coloured(draw, rows, n_samples),
            "wind": lambda rows: noises.wind(draw, rows, n_samples),
            "hum": lambda rows: noises.hum(draw, rows, n_samples),
            "machine": lambda rows: noises.machine(draw, rows, n_samples),
            "impulses": lambda rows: noises.impulses(draw, rows, n_samples),
            "bursts": lambda rows: noises.bursts(draw, rows, n_samples),
            "alarm": lambda rows: noises.alarm(draw, rows, n_samples),
            "babble": lambda rows: noises.babble(draw, speech(rows * noises.TALKERS)),
            "loops": lambda rows: noises.loops(draw, bank, rows, n_samples),
            "speech_texture": lambda rows: noises.texture(draw, speech(rows)),
            "loop_texture": lambda rows: noises.texture(
                draw, noises.loops(draw, bank, rows, n_samples)
            ),
            "speech_grains": lambda rows: noises.grains(draw, bank, voice(), rows, n_samples),
            "loop_grains": lambda rows: noises.grains(draw, bank, "sonic", rows, n_samples),
        }


def _in_rooms(draw: Draw, speech: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Reverberate some rows: speech [B, N] -> (reverberant, target), and noise of its own."""
    rows = len(speech)
    room = rooms(draw, rows)
    dry = torch.zeros_like(room)
    dry[:, 0] = 1.0
    room = torch.where(draw.chance(0.45, rows, 1), room, dry)
    early = room.clone()
    early[:, EARLY_SAMPLES:] = 0
    noise_room = torch.where(draw.chance(0.35, rows, 1), rooms(draw, rows), dry)
    return convolve(speech, room), convolve(speech, early), convolve(noise, noise_room)


def _levelled(noise: Tensor) -> Tensor:
    """Bring each row to a level of 1, or less where single clicks are much louder than the rest."""
    peak = noise.abs().amax(-1, keepdim=True)
    return noise / torch.maximum(rms(noise), peak / MAX_CREST)


def _speech_level(speech: Tensor) -> Tensor:
    """Level [B, 1] of the active part: 32 ms frames within 30 dB of the loudest."""
    energy = speech.unfold(-1, 512, 512).square().mean(-1)
    active = energy > 1e-3 * energy.amax(1, keepdim=True)
    mean = (energy * active).sum(1, keepdim=True) / active.sum(1, keepdim=True).clamp(min=1)
    return mean.add(1e-8).sqrt()


def _snr_db(draw: Draw, rows: int) -> Tensor:
    """Mostly -8 to 22 dB, some nearly clean, some clean; [rows, 1]."""
    kind = draw.uniform(rows, 1)
    snr = draw.uniform(rows, 1, low=-8, high=22)
    snr = torch.where(kind < 0.18, draw.uniform(rows, 1, low=18, high=40), snr)
    return torch.where(kind < CLEAN_SHARE, torch.full_like(snr, 70.0), snr)


def _through_microphone(draw: Draw, noisy: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Colour, limit the band, set the level, rarely clip: [B, N] each."""
    rows, n_samples = noisy.shape
    n_bins = n_samples // 2 + 1
    flat = torch.ones(rows, n_bins, device=noisy.device)
    gains = torch.where(draw.chance(0.5, rows, 1), equaliser(draw, rows, n_bins, 3.0), flat)
    low = draw.uniform(rows, low=60, high=320) * draw.chance(0.3, rows) + 15
    narrow = draw.uniform(rows, low=3300, high=7600)
    high = narrow + 20_000 * ~draw.chance(0.15, rows)
    gains = gains * band(low, high, n_bins)
    noisy, target = filtered(noisy, gains), filtered(target, gains)
    drift = level_curve(draw, (rows, n_samples), 3, 2.0)
    drift = torch.where(draw.chance(0.15, rows, 1), drift, torch.ones_like(drift))
    noisy, target = noisy * drift, target * drift
    peak = noisy.abs().amax(1, keepdim=True) + 1e-9
    over = from_db(draw.uniform(rows, 1, low=1, high=8))
    limit = torch.where(draw.chance(0.04, rows, 1), peak / over, peak)
    noisy = torch.clamp(noisy, -limit, limit)
    level = from_db(draw.uniform(rows, 1, low=-45, high=-3)) / rms(noisy)
    gain = torch.minimum(level, 0.99 / peak)
    return noisy * gain, target * gain
