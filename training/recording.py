"""Recordings of any rate and format as 16 kHz mono, for training and evaluation alike."""

from io import BytesIO
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import soundfile
import soxr

Wave = npt.NDArray[np.float32]
SAMPLE_RATE = 16_000


def read(file: Path | BytesIO) -> Wave:
    """Read a sound file: G.722 by its suffix, all other formats with soundfile.

    Returns:
        Samples in [-1, 1], float32 [N], 16 kHz, the mean over the channels. Some packages contain
        an empty G.722 file: N = 0.
    """
    if isinstance(file, Path) and file.suffix == ".g722":
        with av.open(str(file), format="g722") as container:
            frames = [frame.to_ndarray().reshape(-1) for frame in container.decode(audio=0)]
        samples = np.concatenate([np.zeros(0, np.int16), *frames])
        return samples.astype(np.float32) / np.float32(32768)
    channels, sample_rate = soundfile.read(file, dtype="float32", always_2d=True)
    mono: Wave = soxr.resample(channels.mean(axis=1), sample_rate, SAMPLE_RATE)
    return mono


def levelled(samples: Wave) -> Wave:
    """Bring a clip to -24 dBFS over its louder half, without clipping."""
    loud = np.sort(samples**2)[len(samples) // 2 :]
    gain = 10 ** (-24 / 20) / np.sqrt(loud.mean() + 1e-12)
    safe: Wave = samples * min(gain, 0.98 / (np.abs(samples).max() + 1e-9))
    return safe
