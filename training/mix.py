"""Noisy mixtures and their targets, made on the fly on the device.

    clips -> speech -> room -> + noise at some SNR -> microphone -> level

The target is the speech with the early reflections (the first 50 ms of the room), the same
equaliser and the same level, without noise and late reverberation.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from training import noise as noises
from training.bank import Bank, Clips, resample
from training.draw import Draw
from training.filters import (
    EARLY_SAMPLES,
    ROOM_SAMPLES,
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

# Shares of the voices: many readers first, then the few with hours each. What a bank lacks is left out.
VOICES = {
    "readers": 0.72,
    "festvox_ru": 0.08,
    "asterisk_it": 0.05,
    "asterisk_ru": 0.05,
    "gcin": 0.02,
    "kokoro": 0.07,
    "flite": 0.01,
}
CROWD = ("readers", "crowd")  # who talks in babble
NOISE_SHARES = {
    "recorded": 0.30,
    "coloured": 0.13,
    "wind": 0.03,
    "hum": 0.05,
    "machine": 0.05,
    "impulses": 0.06,
    "bursts": 0.06,
    "alarm": 0.04,
    "babble": 0.12,
    "loops": 0.06,
    "speech_texture": 0.03,
    "loop_texture": 0.02,
    "speech_grains": 0.03,
    "loop_grains": 0.02,
}
SLOWEST, FASTEST = 0.85, 1.3
SLOTS = 16  # clips joined to one row of speech
CLEAN_SHARE = 0.06
RECORDED_ROOMS = 0.5  # share of the rooms, where the bank has impulse responses
LONG_PAUSES_SHARE = 0.15  # rows in which noise is heard alone for up to 5 s
MAX_CREST = 12.0  # of noise at its nominal SNR


class Mixer:
    """Batches of mixtures; seed and step determine a batch on one device."""

    def __init__(self, bank: Bank, seed: int, n_samples: int, suffix: str = "") -> None:
        """Set up a mixer; `suffix` selects groups of voices, "_held_out" for validation."""
        self._bank = bank
        self._seed = seed
        self._n_samples = n_samples
        voices = {kind: bank.named(kind + suffix) for kind in VOICES}
        self._voices = {kind: groups for kind, groups in voices.items() if groups}
        self._crowd = [name for kind in CROWD for name in bank.named(kind + suffix)]
        self._recorded = bank.named("recorded" + suffix) or bank.named("recorded")

    def batch(self, step: int, rows: int) -> tuple[Tensor, Tensor]:
        """Return noisy mixtures and their targets, both [rows, n_samples] in [-1, 1]."""
        draw = Draw(self._seed * 1_000_003 + step, self._bank.samples.device)
        speech = self._speech(draw, rows, varied=True)
        noise = self._noise(draw, rows)
        reverberant, target, noise = self._in_rooms(draw, speech, noise)
        noise = _levelled(noise) * _speech_level(reverberant) * from_db(-_snr_db(draw, rows))
        hiss = draw.normal(*noise.shape) * _speech_level(reverberant)
        hiss = hiss * from_db(draw.uniform(rows, 1, low=-70, high=-40))
        noise = noise + hiss * draw.chance(0.3, rows, 1)
        return _through_microphone(draw, reverberant + noise, target)

    def _readers(self, draw: Draw, rows: int) -> list[str]:
        """Draw a group for each row: a kind of voice first, then one of its readers."""
        kinds = list(self._voices)
        picked = draw.host_choices([VOICES[kind] for kind in kinds], rows)
        return [_one_of(draw, self._voices[kinds[index]]) for index in picked]

    def _speech(self, draw: Draw, rows: int, *, varied: bool, crowd: bool = False) -> Tensor:
        """Speech [rows, N] with pauses.

        `varied` moves formants apart from pitch as well; a `crowd` takes voices that are too noisy
        to be targets.
        """
        length = int(self._n_samples * FASTEST) + 1
        if crowd and self._crowd:
            picked = [_one_of(draw, self._crowd) for _ in range(rows)]
        else:
            picked = self._readers(draw, rows)
        clips = self._bank.choose(draw, picked, SLOTS)
        gaps = draw.log_uniform(rows, SLOTS, low=500, high=16_000)
        gaps = gaps * (1 + 4 * draw.chance(LONG_PAUSES_SHARE, rows, 1))
        speech = self._bank.timeline(clips, gaps.long(), draw.uniform(rows), length)
        speed = draw.log_uniform(rows, low=SLOWEST, high=FASTEST)
        speed = torch.where(draw.chance(0.35, rows), torch.ones_like(speed), speed)
        speech = resample(speech, speed, self._n_samples)
        if varied:
            factor = draw.log_uniform(rows, low=0.88, high=1.14)
            plain = torch.ones_like(factor)
            speech = shift_formants(speech, torch.where(draw.chance(0.5, rows), plain, factor))
        return speech

    def _in_rooms(self, draw: Draw, speech: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Reverberate some rows: speech [B, N] -> (reverberant, target), and noise of its own."""
        rows = len(speech)
        room = self._rooms(draw, rows)
        dry = torch.zeros_like(room)
        dry[:, 0] = 1.0
        room = torch.where(draw.chance(0.45, rows, 1), room, dry)
        early = room.clone()
        early[:, EARLY_SAMPLES:] = 0
        noise_room = torch.where(draw.chance(0.35, rows, 1), self._rooms(draw, rows), dry)
        return convolve(speech, room), convolve(speech, early), convolve(noise, noise_room)

    def _rooms(self, draw: Draw, rows: int) -> Tensor:
        """Impulse responses [rows, ROOM_SAMPLES], some of them recorded where the bank has them."""
        made = rooms(draw, rows)
        if "rirs" not in self._bank.groups:
            return made
        clips = self._bank.choose(draw, ["rirs"] * rows, 1)
        recorded = self._bank.heads(Clips(*(table[:, 0] for table in clips)), ROOM_SAMPLES)
        recorded = recorded / recorded.abs().amax(1, keepdim=True)
        return torch.where(draw.chance(RECORDED_ROOMS, rows, 1), recorded, made)

    def _noise(self, draw: Draw, rows: int) -> Tensor:
        """Noise [rows, N] of unit level: one kind a row, sometimes with a second one below."""
        kinds = self._kinds(draw)
        shares = {kind: share for kind, share in NOISE_SHARES.items() if self._can_make(kind)}
        picked = draw.host_choices(list(shares.values()), rows)
        parts = []
        for index, kind in enumerate(shares):
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

    def _can_make(self, kind: str) -> bool:
        """Whether the bank has what a kind of noise is made from."""
        if kind == "recorded":
            return bool(self._recorded)
        return "loop" not in kind or "sonic" in self._bank.groups

    def _kinds(self, draw: Draw) -> dict[str, Callable[[int], Tensor]]:
        """The kinds of noise, each a function of the number of rows."""
        n_samples, bank = self._n_samples, self._bank

        def speech(rows: int) -> Tensor:
            return self._speech(draw, rows, varied=False, crowd=True)

        def recorded(rows: int) -> Tensor:
            groups = [_one_of(draw, self._recorded) for _ in range(rows)]
            return noises.recorded(draw, bank, groups, n_samples)

        return {
            "recorded": recorded,
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
            "speech_grains": lambda rows: noises.grains(
                draw, bank, self._readers(draw, rows), n_samples
            ),
            "loop_grains": lambda rows: noises.grains(draw, bank, ["sonic"] * rows, n_samples),
        }


def _one_of(draw: Draw, groups: list[str]) -> str:
    return groups[draw.host_choices([1.0] * len(groups), 1)[0]]


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
