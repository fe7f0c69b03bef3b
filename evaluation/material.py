"""Speech and noise for evaluation only: fetched by Debian package name, decoded to 16 kHz mono.

Training hears nothing of it except the voice of festvox-ru, whose last 60 sentences it leaves
out. Some packages have copyleft licences: they may be used to measure, not to train weights.
"""

import io
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.signal import butter, sosfiltfilt

from training.fetch import fetch_debian
from training.recording import SAMPLE_RATE, Wave, read

VOICE_S = 100  # speech loaded per voice: mixtures and babble need that much
PHRASE_S = 0.9  # shorter clips are single words
RUMBLE_HZ = 70  # below it some recordings hold more hum and offset than speech


@dataclass(frozen=True, slots=True)
class Voice:
    """One speaker in one language.

    Attributes:
        name: Short name, unique.
        language: ISO 639-1 code.
        package: Debian package that holds the recordings.
        pattern: Glob of the recordings inside the unpacked package.
        last: Take only this many files, the last ones by name; 0 takes all.
        note: Shown beside the scores.
    """

    name: str
    language: str
    package: str
    pattern: str
    last: int = 0
    note: str = ""


# 11 is a prime number: voices in turn meet every noise and SNR evenly.
VOICES = (
    Voice("festvox", "ru", "festvox-ru", "**/*.wav", 60, "the voice is heard in training"),
    Voice("librivox", "en", "pocketsphinx-testdata", "**/librivox/*.wav", 0, "from MP3"),
    Voice("cards", "en", "pocketsphinx-testdata", "**/cards/*.wav", 0, "10 s in all"),
    Voice("allison", "en", "asterisk-core-sounds-en-g722", "**/*.g722"),
    Voice("allison-es", "es", "asterisk-core-sounds-es-g722", "**/*.g722", 0, "as allison"),
    Voice("june", "fr", "asterisk-core-sounds-fr-g722", "**/*.g722"),
    Voice("stamps-be", "be", "tuxpaint-stamps-default", "**/*_desc_be.ogg"),
    Voice("stamps-ca", "ca", "tuxpaint-stamps-default", "**/*_desc_ca.ogg", 0, "band-limited"),
    Voice("stamps-da", "da", "tuxpaint-stamps-default", "**/*_desc_da.ogg"),
    Voice("stamps-el", "el", "tuxpaint-stamps-default", "**/*_desc_el.ogg"),
    Voice("stamps-fr", "fr", "tuxpaint-stamps-default", "**/*_desc_fr.ogg"),
)
NOT_SPEECH = ("silence/", "beep", "tone", "letters/", "digits/", "phonetic/")

# Noise kinds: recordings by name, numbers in the sound set of openttd-opensfx.
OPENSFX = {
    "traffic": (8, 9, 24, 25, 27, 28, 59, 61, 65, 69, 71),  # buses, trains, aircraft
    "machines": (11, 13, 33, 40, 56),  # mine, steam, jackhammer, circular saw, chain saw
    "wind": (52,),
    "applause": (29,),
    "alarms": (3, 4, 6, 7, 14, 35),  # whistles, ship and car horns, level crossing
}
STAMPS = {
    "alarms": ("vehicles/emergency/firetruck",),
    "music": (
        "hobbies/music/wind/bassoon",
        "hobbies/music/string/cello",
        "hobbies/music/string/violin",
        "hobbies/music/percussion/drumkit",
        "military/final-roll-call",
    ),
}
PACKAGES = tuple(
    sorted(
        {voice.package for voice in VOICES}
        | {"bucklespring-data", "gnome-shell-pomodoro-data", "openttd-opensfx"}
    )
)


@dataclass(frozen=True, slots=True)
class Material:
    """What the mixtures are made of: 16 kHz mono clips, float32 in [-1, 1].

    Attributes:
        voices: Clips [samples] by the name of the voice.
        noises: Clips [samples] by the kind of noise; "keyboard" holds single strokes.
    """

    voices: dict[str, list[Wave]]
    noises: dict[str, list[Wave]]


def fetch(data: Path) -> None:
    """Download and unpack missing PACKAGES into `data`, without root.

    Args:
        data: Folder for `downloads/` (archives) and `raw/PACKAGE/` (unpacked).

    Raises:
        RuntimeError: apt-get or dpkg is missing or failed.
    """
    downloads, raw = data / "downloads", data / "raw"
    for folder in (downloads, raw):
        folder.mkdir(parents=True, exist_ok=True)
    for package in PACKAGES:
        try:
            fetch_debian(package, downloads, raw)
        except (OSError, subprocess.CalledProcessError) as error:
            raise RuntimeError(
                f"cannot fetch the Debian package {package} ({error}); "
                "apt-get and dpkg are needed, and `apt-get update` once before"
            ) from error


def load_material(data: Path) -> Material:
    """Decode the fetched packages.

    Args:
        data: The folder given to `fetch`.

    Returns:
        All voices of VOICES, and the noise kinds.
    """
    raw = data / "raw"
    noises = _opensfx(next((raw / "openttd-opensfx").rglob("opensfx.cat")))
    for kind, names in STAMPS.items():
        stamps = raw / "tuxpaint-stamps-default/usr/share/tuxpaint/stamps"
        noises.setdefault(kind, []).extend(read(stamps / f"{name}.ogg") for name in names)
    strokes = sorted((raw / "bucklespring-data").rglob("*.wav"))
    noises["keyboard"] = [read(path) for path in strokes]
    noises["birds"] = [read(next((raw / "gnome-shell-pomodoro-data").rglob("birds.ogg")))]
    return Material({voice.name: _speech(raw, voice) for voice in VOICES}, noises)


def _speech(raw: Path, voice: Voice) -> list[Wave]:
    """Up to VOICE_S seconds of phrases of one voice, in a seeded order."""
    high_pass = butter(4, RUMBLE_HZ, "highpass", fs=SAMPLE_RATE, output="sos")
    paths = sorted((raw / voice.package).glob(voice.pattern))[-voice.last :]
    paths = [path for path in paths if not any(word in str(path) for word in NOT_SPEECH)]
    clips: list[Wave] = []
    for index in np.random.default_rng(0).permutation(len(paths)):
        clip = read(paths[index])
        if clip.size > PHRASE_S * SAMPLE_RATE:
            clips.append(sosfiltfilt(high_pass, clip).astype(np.float32))
        if sum(clip.size for clip in clips) > VOICE_S * SAMPLE_RATE:
            break
    return clips


def _opensfx(path: Path) -> dict[str, list[Wave]]:
    """Sounds of OPENSFX out of the game's archive.

    The archive starts with one (offset, size) pair of little-endian uint32 per sound. The top bit
    of the offset is a flag. Each offset leads to a name with its length and a WAV file.
    """
    archive = path.read_bytes()

    def sound(number: int) -> Wave:
        offset, size = struct.unpack_from("<II", archive, 8 * number)
        start = archive.index(b"RIFF", offset & 0x7FFF_FFFF)
        wav = io.BytesIO(archive[start : start + size])
        return read(wav)

    return {kind: [sound(number) for number in numbers] for kind, numbers in OPENSFX.items()}
