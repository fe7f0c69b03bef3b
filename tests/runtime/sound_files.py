"""Sound files for tests."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
import soundfile as sf
from numpy.typing import NDArray

from fsnp_onnx.errors import AudioError
from fsnp_onnx.runtime import decode
from fsnp_onnx.runtime.audio import AudioFormat

EXACT = [
    ("WAV", "PCM_U8"),
    ("WAV", "PCM_16"),
    ("WAV", "PCM_24"),
    ("WAV", "PCM_32"),
    ("WAV", "FLOAT"),
    ("WAVEX", "PCM_16"),
    ("FLAC", "PCM_S8"),
    ("FLAC", "PCM_16"),
    ("FLAC", "PCM_24"),
    ("AIFF", "PCM_16"),
    ("AIFF", "PCM_24"),
    ("AU", "PCM_16"),
    ("W64", "PCM_16"),
    ("RF64", "PCM_24"),
    ("WAV", "ULAW"),
    ("WAV", "ALAW"),
]


LOSSY = [("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III")]


PADDED = [("WAV", "IMA_ADPCM"), ("WAV", "MS_ADPCM"), ("WAV", "GSM610")]


def make_file(
    path: Path, container: str, subtype: str, samples: NDArray[np.float32], rate: int = 48000
) -> Path:
    with sf.SoundFile(path, "w", rate, samples.shape[1], subtype, None, container) as file:
        file.write(samples)
    return path


def read(source: Path | BinaryIO) -> tuple[NDArray[np.float32], AudioFormat]:
    recording = decode.read(source)
    return recording.samples, recording.format


def odd(monkeypatch: pytest.MonkeyPatch, warning: str) -> None:
    """Let every file be truncated, as far as its reader tells."""
    read = decode.read

    def truncated(*source: Any, strict: bool) -> decode.Recording:
        if strict:
            raise AudioError(warning)
        return replace(read(*source), truncated=True, warning=warning)

    monkeypatch.setattr(decode, "read", truncated)


def plain(container: str = "WAV", subtype: str = "PCM_16", channels: int = 1) -> AudioFormat:
    return AudioFormat(container, subtype, "FILE", 16000, channels)
