"""The fixed evaluation set: seeds and file names alone give the same samples on every run."""

import hashlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyroomacoustics

from evaluation.material import Material
from training.recording import SAMPLE_RATE, Wave

SEED = 20_220_522
N_SAMPLES = 10 * SAMPLE_RATE
SNRS_DB = (-5, 0, 5, 10, 15, 20)
BABBLE_VOICES = 4
ROOM_EVERY = 3  # every third mixture is in a room, evenly over noise kinds and SNRs
EARLY = SAMPLE_RATE // 20  # 50 ms: reflections that belong to the target
LEVELS_DBFS = (-32, -16)  # common in recordings; PEAKS_DBFS are the extremes
PEAKS_DBFS = (-45, -24, -3)
LEVEL_SNR_DB = 5  # the mixtures that are repeated at those levels
LEVEL_KINDS = 6

Reel = Iterator[Wave]


@dataclass(frozen=True, slots=True)
class Item:
    """What one mixture consists of.

    Attributes:
        name: Unique, readable.
        part: "noisy" (the scores), "clean" (nothing to remove) or "level" (the same noisy
            speech at another level).
        voice: Name of the voice.
        noise: Kind of noise, "none" in the clean part.
        snr_db: Signal-to-noise ratio over the whole clip in dB; infinite in the clean part.
        reverberant: Whether the speech was in a simulated room.
    """

    name: str
    part: str
    voice: str
    noise: str
    snr_db: float
    reverberant: bool


@dataclass(frozen=True, slots=True)
class Mixture:
    """The signals of one item.

    Attributes:
        item: What they consist of.
        noisy: What a system is given, float32 [samples] in [-1, 1], 16 kHz.
        target: What it should return, float32 [samples]: the speech with the first 50 ms of
            the room's response.
    """

    item: Item
    noisy: Wave
    target: Wave

    @property
    def digest(self) -> str:
        """SHA-256 of both signals, the key of every cached score."""
        return hashlib.sha256(self.noisy.tobytes() + self.target.tobytes()).hexdigest()


def build_mixtures(
    material: Material, snrs_db: tuple[int, ...] = SNRS_DB, n_samples: int = N_SAMPLES
) -> list[Mixture]:
    """Build the whole set.

    Args:
        material: Voices and noises.
        snrs_db: Signal-to-noise ratios; the mixtures at 5 dB are repeated at other levels.
        n_samples: Length of every mixture.

    Returns:
        Every noise kind at every SNR, voices in turn; then each voice clean; then the first
        kinds at 5 dB again, at peaks of PEAKS_DBFS.
    """
    rng = np.random.default_rng(SEED)
    reels: dict[str, Reel] = {
        name: itertools.cycle(clips) for name, clips in material.voices.items()
    }
    kinds = ("babble", *sorted(material.noises))
    voices = itertools.cycle(reels)
    noisy = []
    for index, (kind, snr_db) in enumerate(itertools.product(kinds, snrs_db)):
        voice = next(voices)
        reverberant = sum(divmod(index, len(snrs_db))) % ROOM_EVERY == 0
        others = [reel for name, reel in reels.items() if name != voice]
        noise = make_noise(kind, material, others, n_samples, rng)
        dry = _speech(reels[voice], n_samples, rng)
        speech, target = _room(dry, rng) if reverberant else (dry, dry)
        noise *= rms(speech) / rms(noise) * 10 ** (-snr_db / 20)
        gain = _gain(speech + noise, rng)
        signals = (float32(gain * (speech + noise)), float32(gain * target))
        name = f"{kind}_{snr_db}db_{voice}"
        noisy.append(Mixture(Item(name, "noisy", voice, kind, snr_db, reverberant), *signals))
    clean = [_clean(name, _speech(reel, n_samples, rng), rng) for name, reel in reels.items()]
    at_5_db = [mixture for mixture in noisy if mixture.item.snr_db == LEVEL_SNR_DB]
    levels = itertools.product(at_5_db[:LEVEL_KINDS], PEAKS_DBFS)
    return [*noisy, *clean, *(_at_peak(mixture, peak) for mixture, peak in levels)]


def digest_of(mixtures: list[Mixture]) -> str:
    """Twelve hexadecimal digits that name this set in a report."""
    return hashlib.sha256("".join(m.digest for m in mixtures).encode()).hexdigest()[:12]


def _speech(reel: Reel, n_samples: int, rng: np.random.Generator) -> Wave:
    """The next phrases of a voice at one loudness, with pauses of 0.1 to 0.4 s."""
    pieces: list[Wave] = []
    while sum(piece.size for piece in pieces) < n_samples:
        clip = next(reel)
        pause = np.zeros(rng.integers(SAMPLE_RATE // 10, 2 * SAMPLE_RATE // 5), np.float32)
        pieces += [pause, clip / rms(clip)]
    return np.concatenate(pieces)[:n_samples]


def make_noise(
    kind: str, material: Material, voices: list[Reel], n_samples: int, rng: np.random.Generator
) -> Wave:
    """Make noise of a kind, float32 [n_samples] at any level; babble consists of `voices`."""
    if kind == "babble":
        talkers = rng.choice(len(voices), BABBLE_VOICES, replace=False)
        return float32(
            np.sum([_speech(voices[talker], n_samples, rng) for talker in talkers], axis=0)
        )
    lay = _typing if kind == "keyboard" else _bed
    return lay(material.noises[kind], n_samples, rng)


def _typing(strokes: list[Wave], n_samples: int, rng: np.random.Generator) -> Wave:
    """Key strokes 60 to 300 ms apart."""
    noise = np.zeros(n_samples, np.float32)
    start = 0
    while start < n_samples:
        stroke = strokes[rng.integers(len(strokes))][: n_samples - start]
        noise[start : start + stroke.size] += stroke
        start += int(rng.uniform(0.06, 0.3) * SAMPLE_RATE)
    return noise


def _bed(clips: list[Wave], n_samples: int, rng: np.random.Generator) -> Wave:
    """Clips in random order and at slightly varied speed, faded into each other over 0.25 s."""
    fade = SAMPLE_RATE // 4
    noise = np.zeros(n_samples + fade, np.float32)
    start = 0
    while start < n_samples:
        clip = _at_speed(clips[rng.integers(len(clips))], rng.uniform(0.85, 1.15))
        longest = noise.size - start
        first = rng.integers(max(1, clip.size - longest))
        clip = clip[first : first + longest] / rms(clip)
        edge = min(fade, clip.size // 2)
        ramp = np.sqrt(np.linspace(0, 1, edge, dtype=np.float32))
        clip[:edge] *= ramp
        clip[-edge:] *= ramp[::-1]
        noise[start : start + clip.size] += clip
        start += clip.size - edge
    return noise[:n_samples]


def _at_speed(clip: Wave, speed: float) -> Wave:
    """Faster or slower by linear interpolation, which also moves the pitch."""
    positions = np.arange(0, clip.size - 1, speed)
    return float32(np.interp(positions, np.arange(clip.size), clip))


def _room(dry: Wave, rng: np.random.Generator) -> tuple[Wave, Wave]:
    """The speech 0.3 to 1.2 m away in a random shoebox room of 0.2 to 0.5 s reverberation time.

    Returns:
        The speech with the whole response of the room, and with its early reflections only.
    """
    size = rng.uniform([4, 4, 2.5], [8, 6, 3.5])
    absorption, order = pyroomacoustics.inverse_sabine(rng.uniform(0.2, 0.5), size)
    room = pyroomacoustics.ShoeBox(
        size,
        fs=SAMPLE_RATE,
        materials=pyroomacoustics.Material(absorption),
        max_order=min(order, 25),
    )
    talker = rng.uniform([1.7, 1.7, 1.2], [size[0] - 1.7, size[1] - 1.7, 1.7])
    angle = rng.uniform(0, 2 * np.pi)
    toward = np.array([np.cos(angle), np.sin(angle), 0])
    room.add_source(talker)
    room.add_microphone(talker + rng.uniform(0.3, 1.2) * toward)
    room.compute_rir()
    response = room.rir[0][0]
    early = response[: np.argmax(np.abs(response)) + EARLY]
    return _convolve(dry, response), _convolve(dry, early)


def _convolve(samples: Wave, response: Wave) -> Wave:
    n_fft = samples.size + response.size
    spectrum = np.fft.rfft(samples, n_fft) * np.fft.rfft(response, n_fft)
    return float32(np.fft.irfft(spectrum, n_fft)[: samples.size])


def _gain(samples: Wave, rng: np.random.Generator) -> float:
    """To a random level of LEVELS_DBFS (RMS), or less where the peak would clip."""
    return float(
        min(10 ** (rng.uniform(*LEVELS_DBFS) / 20) / rms(samples), 0.99 / np.abs(samples).max())
    )


def _clean(voice: str, speech: Wave, rng: np.random.Generator) -> Mixture:
    speech = float32(_gain(speech, rng) * speech)
    item = Item(f"clean_{voice}", "clean", voice, "none", snr_db=np.inf, reverberant=False)
    return Mixture(item, speech, speech)


def _at_peak(mixture: Mixture, peak_dbfs: float) -> Mixture:
    gain = 10 ** (peak_dbfs / 20) / np.abs(mixture.noisy).max()
    name = f"{mixture.item.name}_peak{peak_dbfs}dbfs"
    return Mixture(
        replace(mixture.item, name=name, part="level"),
        noisy=float32(gain * mixture.noisy),
        target=float32(gain * mixture.target),
    )


def rms(samples: Wave) -> float:
    """Root mean square, never 0."""
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64)) + 1e-20))


def float32(samples: npt.NDArray[np.floating]) -> Wave:
    """The same samples, contiguous, as float32."""
    return np.ascontiguousarray(samples, dtype=np.float32)
