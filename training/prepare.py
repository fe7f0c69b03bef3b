"""Turn packages, packs and folders of recordings into the bank: FLAC files and an index of clips."""

import json
import math
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Annotated

import numpy as np
import soundfile
import typer
from rich.progress import track
from scipy.signal import fftconvolve

from training.folders import Groups, read_noise, read_rooms, read_speech
from training.mix import VOICES
from training.pack import read_pack
from training.recording import SAMPLE_RATE, Wave, levelled, read
from training.voices import VALIDATION_VOICES

N_FFT, HOP = 512, 128
MAX_MINUTES = {"festvox_ru": 45.0}  # more of the same voice teaches little
HELD_OUT = 25  # every 25th recorded clip is for validation
EVALUATION_CLIPS = 60  # festvox-ru: the last ones are for evaluation only
SMOOTHING = 640  # samples: the level that decides what is a pause is a mean over 40 ms
SKIPPED = ("silence/", "beep", "tone")
# Pattern under the folder of fetched packages, and the shortest clip in seconds.
SOURCES = {
    "festvox_ru": ("festvox-ru/**/*.wav", 0.5),
    "asterisk_it": ("asterisk-core-sounds-it-g722/**/*.g722", 0.4),
    "asterisk_ru": ("asterisk-core-sounds-ru-g722/**/*.g722", 0.4),
    "gcin": ("gcin-voice/**/5.ogg", 0.15),
    "flite": ("voices/flite-*.wav", 0.5),
    "kokoro": ("voices/??_*.flac", 0.5),
    "sonic": ("sonic-pi-samples/**/*.flac", 0.1),
}


def without_hiss(speech: Wave) -> Wave:
    """Reduce the steady background of a recording by up to 20 dB.

    A target with hiss in its pauses would teach the network to leave hiss. The floor of each bin
    is its 5th percentile over time. Bins near their floor are attenuated.
    """
    window = np.hanning(N_FFT + 1)[:-1] ** 0.5
    padded = np.pad(speech, (N_FFT, N_FFT + HOP - len(speech) % HOP))
    frames = np.lib.stride_tricks.sliding_window_view(padded, N_FFT)[::HOP]
    spectrum = np.fft.rfft(frames * window)
    power = np.abs(spectrum) ** 2
    wide = np.apply_along_axis(np.convolve, 0, power, np.ones(5) / 5, "same")
    floor = np.percentile(wide, 5, axis=0)
    excess = wide / (4 * floor + 1e-12)
    gain = np.clip(excess**1.5, 0.1, 1.0)
    cleaned = np.fft.irfft(spectrum * gain) * window
    result = np.zeros(len(padded))
    for number, frame in enumerate(cleaned):
        result[number * HOP : number * HOP + N_FFT] += frame
    overlap = N_FFT / HOP / 2
    return (result[N_FFT : N_FFT + len(speech)] / overlap).astype(np.float32)


def with_quiet_pauses(speech: Wave) -> Wave:
    """Lower what is 30 dB or more below the speech, decibel for decibel, by up to 30 dB.

    The background of a target is heard in its pauses. What is louder stays as it is.
    """
    window = np.hanning(SMOOTHING + 2)[1:-1]
    power = fftconvolve(speech**2, window / window.sum(), "same")
    threshold = 1e-3 * np.percentile(power, 90) + 1e-12
    quieter: Wave = speech * np.sqrt(np.clip(power / threshold, 1e-3, 1.0)).astype(np.float32)
    return quieter


def clips(name: str, files: Iterable[Path], shortest_s: float) -> Iterator[Wave]:
    """Yield the usable clips of one source, cleaned and levelled, up to MAX_MINUTES."""
    left = MAX_MINUTES.get(name, math.inf) * 60 * SAMPLE_RATE
    for file in files:
        samples = read(file)
        if len(samples) < shortest_s * SAMPLE_RATE or np.abs(samples).max() < 1e-3:
            continue
        if name.startswith(("asterisk", "gcin")):
            samples = without_hiss(samples)
        left -= len(samples)
        if left < 0:
            return
        yield levelled(samples)


def write_group(out: Path, name: str, waves: Iterable[Wave]) -> list[int]:
    """Write one FLAC file of 16 bit with all clips end to end; return their lengths."""
    lengths = []
    (out / name).parent.mkdir(parents=True, exist_ok=True)
    with soundfile.SoundFile(out / f"{name}.flac", "w", SAMPLE_RATE, 1, "PCM_16") as file:
        for wave in waves:
            file.write(wave)
            lengths.append(len(wave))
    return lengths


def is_target(group: str) -> bool:
    """Whether the clips of a group become targets; held-out speech stays as it was recorded."""
    return group.partition("/")[0] in VOICES


def split(name: str, files: list[Path]) -> dict[str, list[Path]]:
    """Split the files of one source into those for training and those for validation."""
    if name == "festvox_ru":
        files = files[:-EVALUATION_CLIPS]
    if name in ("sonic", "flite"):
        return {name: files}
    held_out = [
        file
        for number, file in enumerate(files)
        if (name == "kokoro" and file.stem[:-3] in VALIDATION_VOICES)
        or (name != "kokoro" and number % HELD_OUT == 0)
    ]
    kept = [file for file in files if file not in set(held_out)]
    return {name: kept, f"{name}_held_out": held_out}


def packages(raw: Path, *, required: bool) -> Groups:
    """Yield the groups of the unpacked packages; only where they are required may none be missing."""
    for source, (pattern, shortest_s) in SOURCES.items():
        files = [f for f in sorted(raw.glob(pattern)) if not any(s in str(f) for s in SKIPPED)]
        if not files and required:
            raise FileNotFoundError(
                f"found no {source} at {raw / pattern}; run python -m training.fetch first"
            )
        for name, part in split(source, files).items() if files else ():
            yield name, clips(name, track(part, description=name), shortest_s)


def write_bank(out: Path, groups: Groups) -> dict[str, list[int]]:
    """Write all groups, those of targets with quieter pauses, and the index; return the index.

    Raises:
        ValueError: A group has no clip, or there is no speech for training and for validation.
    """
    out.mkdir(parents=True, exist_ok=True)
    index = {}
    for name, waves in groups:
        quieter = map(with_quiet_pauses, waves)
        index[name] = write_group(out, name, quieter if is_target(name) else waves)
    kinds = {name.partition("/")[0] for name in index}
    if not (kinds & VOICES.keys() and kinds & {f"{voice}_held_out" for voice in VOICES}):
        raise ValueError("found no speech; give --speech, --pack or the packages of training.fetch")
    empty = [name for name, lengths in index.items() if not lengths]
    if empty:
        raise ValueError(
            f"no usable clip for {', '.join(empty)}; give longer and louder recordings, and "
            "training.voices more --minutes"
        )
    (out / "index.json").write_text(json.dumps(index), encoding="utf-8")
    return index


def summary(index: dict[str, list[int]]) -> Iterator[str]:
    """Yield a line for each kind of clips."""
    sums: dict[str, tuple[int, int]] = {}
    for name, lengths in index.items():
        kind = name.partition("/")[0]
        n_clips, n_samples = sums.get(kind, (0, 0))
        sums[kind] = n_clips + len(lengths), n_samples + sum(lengths)
    for kind, (n_clips, n_samples) in sums.items():
        yield f"{kind:24} {n_clips:5} clips {n_samples / SAMPLE_RATE / 60:6.1f} min"


def main(  # noqa: PLR0913, PLR0917 - these are the options of the command line
    raw: Annotated[Path, typer.Option(help="unpacked packages")] = Path("training/data/raw"),
    out: Annotated[Path, typer.Option(help="folder of the bank")] = Path("training/data/bank"),
    pack: Annotated[
        Path | None, typer.Option(help="folder of readers and noise, see training/pack.py")
    ] = None,
    speech: Annotated[
        list[Path] | None, typer.Option(help="folder of clean speech; repeatable")
    ] = None,
    noise: Annotated[list[Path] | None, typer.Option(help="folder of noise; repeatable")] = None,
    rir: Annotated[
        list[Path] | None, typer.Option(help="folder of rooms' impulse responses; repeatable")
    ] = None,
    hours: Annotated[
        float, typer.Option(min=0.001, help="most audio taken of speech, of noise, of responses")
    ] = 20.0,
) -> None:
    """Write the bank OUT/*.flac and OUT/index.json from packages in RAW, a pack, and folders."""
    groups: list[Groups] = [read_pack(pack)] if pack else []
    groups += [
        read_folders(folders, hours)
        for read_folders, folders in ((read_speech, speech), (read_noise, noise), (read_rooms, rir))
        if folders
    ]
    groups.append(packages(raw, required=not groups))
    try:
        index = write_bank(out, chain.from_iterable(groups))
    except (OSError, ValueError) as error:
        raise SystemExit(f"error: {error}") from error
    print(*summary(index), sep="\n")


if __name__ == "__main__":
    typer.run(main)
