"""Sound files that are damaged or truncated, read in a process of its own: python -m tests.runtime.fuzzing."""

from __future__ import annotations

import io
import sys
import time

import numpy as np
import soundfile as sf

from fsnp_onnx.errors import FsnpError
from fsnp_onnx.runtime import decode
from tests.runtime.signals import noise

N_SAMPLES = 4000
LONGEST_S = 10
SILENT = {"PAF", "PVF", "IRCAM", "XI"}  # tell nothing of their length


def formats() -> list[tuple[str, str]]:
    """Return every container and subtype that libsndfile writes and this package reads."""
    names = [name for name in sf.available_formats() if name not in ("RAW", "SD2")]
    pairs = [(name, subtype) for name in names for subtype in sf.available_subtypes(name)]
    return [pair for pair in pairs if whole(*pair)]


def whole(container: str, subtype: str) -> bytes:
    file = io.BytesIO()
    try:
        with sf.SoundFile(file, "w", 16000, 1, subtype, None, container) as sound:
            sound.write(noise(N_SAMPLES, 1))
    except (sf.LibsndfileError, ValueError):
        return b""
    return file.getvalue()


def check(content: bytes, share: float = 0.0) -> str | None:
    """Return what is wrong with how a file is read, None if nothing is."""
    started = time.perf_counter()
    problem = None
    try:
        recording = decode.read(io.BytesIO(content))
        n_samples = len(recording.samples)
        # a header is not sound, and the codecs have blocks
        if recording.warning is None and n_samples < share * N_SAMPLES - 100:
            problem = f"silent loss: {n_samples} of {share * N_SAMPLES:.0f} samples"
        if n_samples > 100 * N_SAMPLES:
            problem = f"{n_samples} samples from nothing"
    except FsnpError as error:
        if "\n" in str(error):
            problem = f"more than a line: {error}"
    except BaseException as error:  # noqa: BLE001 - what a fuzz test looks for
        problem = f"{type(error).__name__}: {error}"
    seconds = time.perf_counter() - started
    return f"took {seconds:.1f} s" if seconds > LONGEST_S else problem


def damaged(content: bytes, rng: np.random.Generator, limit: int | None = None) -> bytes:
    """Return a file with one to five other bytes, of which some are in the header."""
    changed = bytearray(content)
    for _ in range(rng.integers(1, 6)):
        end = min(len(content), limit or len(content))
        changed[rng.integers(end)] = rng.integers(256)
    return bytes(changed)


def main(container: str, subtype: str, seed: int, n_files: int) -> None:
    rng = np.random.default_rng(seed)
    content = whole(container, subtype)
    for number in range(n_files):
        cut = int(rng.integers(len(content)))
        share = 0.0 if container in SILENT else cut / len(content)
        header = 200 if number % 2 else None
        for what, file, at_least in (
            ("truncated", content[:cut], share),
            ("damaged", damaged(content, rng, header), 0.0),
        ):
            sys.stderr.write(f"{container} {subtype} {what} {number}\n")
            if problem := check(file, at_least):
                sys.stdout.write(f"{container} {subtype} {what} {number}: {problem}\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
