"""`python -m evaluation.samples`: enhance every samples/NAME_noisy.flac with both bundled models.

`--pack DIR` mixes the noisy recordings of RECORDINGS first. The pack is the folder that
`training.fetch` takes; samples/README.md names the sources. Speech and noise are among what training leaves
out, except the music.
"""

import itertools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import soundfile
import typer

from evaluation.material import Material
from evaluation.mixtures import Reel, float32, make_noise, rms
from fsnp_onnx import Enhancer
from fsnp_onnx.runtime.bundled import NAMES
from training.fetch import fetch_debian
from training.recording import SAMPLE_RATE, Wave, read

SAMPLES = Path("samples")
SEED = 12
SECONDS = 6.5
LEVEL_DBFS = -28
BOOK, MUSIC = "pocketsphinx-testdata", "sonic-pi-samples"
TALKERS = ("ls1116", "ls1926", "ls2384", "ls298")  # of LibriSpeech


@dataclass(frozen=True, slots=True)
class Recording:
    """Speech in noise: kind of noise, SNR in dB, and the sentence of the book, by its number."""

    noise: str
    snr_db: int
    sentence: str


RECORDINGS = (
    Recording("babble", 5, "0870"),
    Recording("keyboard", 0, "0890"),
    Recording("music", 0, "0920"),
    Recording("traffic", 0, "0870"),
)


def mix_recordings(pack: Path, data: Path, samples: Path) -> None:
    """Write NOISE_SNRdb_noisy.flac for each of RECORDINGS.

    Args:
        pack: Folder with `speech/SOURCE/*.ogg` and `noise/SOURCE/*.ogg`.
        data: Folder for Debian packages.
        samples: Folder to write to.
    """
    for folder in (data / "downloads", data / "raw"):
        folder.mkdir(parents=True, exist_ok=True)
    for package in (BOOK, MUSIC):
        fetch_debian(package, data / "downloads", data / "raw")
    (book,) = (data / "raw" / BOOK).rglob("librivox")
    (loop,) = (data / "raw" / MUSIC).rglob("loop_tabla.flac")
    noise = pack / "noise"
    talkers = [itertools.cycle([read(pack / f"speech/librispeech/{t}.ogg")]) for t in TALKERS]
    material = Material(
        voices={},
        noises={
            "keyboard": _clips(noise / "kbsim", "cream.ogg"),
            "music": [read(loop)],
            "traffic": [read(noise / "blanket/city.ogg")],
        },
    )
    rng = np.random.default_rng(SEED)
    for recording in RECORDINGS:
        (path,) = book.glob(f"*-{recording.sentence}.wav")
        noisy = _mix(read(path), recording, material, list(talkers), rng)
        file = samples / f"{recording.noise}_{recording.snr_db}db_noisy.flac"
        soundfile.write(file, noisy, SAMPLE_RATE, subtype="PCM_16")


def _mix(
    speech: Wave,
    recording: Recording,
    material: Material,
    talkers: list[Reel],
    rng: np.random.Generator,
) -> Wave:
    speech = speech[: int(SECONDS * SAMPLE_RATE)]
    noise = make_noise(recording.noise, material, talkers, speech.size, rng)
    noisy = speech + noise * rms(speech) / rms(noise) * 10 ** (-recording.snr_db / 20)
    gain = min(10 ** (LEVEL_DBFS / 20) / rms(noisy), 0.99 / np.abs(noisy).max())
    return float32(gain * noisy)


def _clips(folder: Path, name: str) -> list[Wave]:
    """The clips of one file of the pack, which lie end to end."""
    files = json.loads((folder / "index.json").read_text(encoding="utf-8"))["files"]
    (lengths,) = (file["clips"] for file in files if file["file"] == name)
    return np.split(read(folder / name), np.cumsum(lengths)[:-1])


def enhance_samples(samples: Path) -> list[Path]:
    """Write NAME_MODEL.flac beside each NAME_noisy.flac, for every bundled model.

    Args:
        samples: Folder of the noisy recordings.

    Returns:
        The files written.
    """
    written = []
    for model in NAMES:
        enhancer = Enhancer(model, provider="cpu")
        for path in sorted(samples.glob("*_noisy.flac")):
            noisy, sample_rate = soundfile.read(path, dtype="float32")
            enhanced = enhancer.enhance(noisy, sample_rate)
            written.append(path.with_name(path.name.replace("_noisy.", f"_{model}.")))
            soundfile.write(written[-1], enhanced.clip(-1, 1), sample_rate, subtype="PCM_16")
    return written


def main(
    pack: Annotated[Path | None, typer.Option(help="Mix the noisy ones anew from here.")] = None,
    data: Annotated[Path, typer.Option(help="Folder for packages.")] = Path("evaluation/data"),
    samples: Annotated[Path, typer.Option(help="Folder of the recordings.")] = SAMPLES,
) -> None:
    """Make the recordings of samples/."""
    if pack is not None:
        mix_recordings(pack, data, samples)
    for path in enhance_samples(samples):
        print(path)


if __name__ == "__main__":
    typer.run(main)
