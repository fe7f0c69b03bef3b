"""What an exported file says to a stranger: the contract between exporter and runtime.

The ONNX file carries one metadata entry, key ``fsnp_onnx``, whose value is the JSON text of a
`ModelSpec`. With it and docs/format.md anybody can run the file in any language.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fsnp_onnx.errors import ModelFileError

METADATA_KEY = "fsnp_onnx"
FORMAT = 1
INPUT_NAMES = ("noisy_real", "noisy_imag")
OUTPUT_NAME = "mask"


@dataclass(frozen=True, slots=True)
class StftSpec:
    """Short-time Fourier transform of the network, `torch.stft` with its defaults (centred).

    Attributes:
        sample_rate_hz: Sample rate the network was trained at.
        n_fft: Transform length in samples.
        win_length: Length of the periodic Hann window in samples, at most ``n_fft``.
        hop_length: Step between frames in samples.
    """

    sample_rate_hz: int = 16000
    n_fft: int = 512
    win_length: int = 512
    hop_length: int = 256

    def __post_init__(self) -> None:
        """Check that the lengths are whole numbers that fit together."""
        lengths: tuple[object, ...] = (
            self.hop_length,
            self.win_length,
            self.n_fft,
            self.sample_rate_hz,
        )
        if not all(isinstance(length, int) and length > 0 for length in lengths):
            raise ValueError(f"{self}: expected whole numbers above 0")
        if not self.hop_length <= self.win_length <= self.n_fft:
            raise ValueError(f"{self}: expected hop_length <= win_length <= n_fft")

    @property
    def n_freqs(self) -> int:
        """Number of frequency bins, ``n_fft // 2 + 1``."""
        return self.n_fft // 2 + 1

    def n_frames(self, n_samples: int) -> int:
        """Number of frames of a signal of ``n_samples``, ``1 + n_samples // hop_length``."""
        return 1 + n_samples // self.hop_length

    def window(self) -> NDArray[np.float64]:
        """Periodic Hann window of ``win_length``, centred in ``n_fft`` samples of float64."""
        phase = 2 * np.pi * np.arange(self.win_length) / self.win_length
        left = (self.n_fft - self.win_length) // 2
        right = self.n_fft - self.win_length - left
        return np.pad(0.5 - 0.5 * np.cos(phase), (left, right))


@dataclass(frozen=True, slots=True)
class MaskSpec:
    """Compression of the complex ideal ratio mask: ``mask = K (1 - e^{-c m}) / (1 + e^{-c m})``.

    Attributes:
        k: Bound K of the compressed mask.
        c: Steepness; the inverse is ``m = -1/c log((K - mask) / (K + mask))``.
        limit: The compressed mask is clamped to ``[-limit, limit]`` before it is expanded.
    """

    k: float = 10.0
    c: float = 0.1
    limit: float = 9.9


@dataclass(frozen=True, slots=True)
class Probe:
    """One line of the parity certificate.

    Attributes:
        n_frames: Length of the probe in frames.
        batch: Number of utterances run at once.
        max_abs_error: max |graph - float64 network| over the compressed mask.
        allowed: Bound that ``max_abs_error`` had to keep.
        snr_db: Energy of the reference mask over the energy of the difference, in dB.
    """

    n_frames: int
    batch: int
    max_abs_error: float
    allowed: float
    snr_db: float


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """Everything a stranger needs to run an exported file, and where the file comes from.

    Attributes:
        stft: Transform that the inputs must come from.
        mask: Compression of the output.
        min_frames: Shortest input in frames.
        look_ahead: Future frames that the sub-band model sees.
        mulca: Form of the MulCA channel attention, None for networks without MulCA.
        precision: Arithmetic of the graph.
        network: Sizes and options of the network, for people.
        provenance: Exporter, versions, opset, checkpoint sha256 and epoch.
        parity: The certificate, one entry per probe.
    """

    stft: StftSpec
    mask: MaskSpec = field(default_factory=MaskSpec)
    min_frames: int = 1
    look_ahead: int = 2
    mulca: str | None = None
    precision: str = "float32"
    network: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    parity: tuple[Probe, ...] = ()

    def to_metadata(self) -> str:
        """Return the JSON text that goes into the file, keys sorted."""
        document = {
            "format": FORMAT,
            "inputs": list(INPUT_NAMES),
            "output": OUTPUT_NAME,
            **asdict(self),
        }
        return json.dumps(document, sort_keys=True, allow_nan=False)

    @classmethod
    def from_metadata(cls, text: str) -> ModelSpec:
        """Read the JSON text of a file.

        Raises:
            ModelFileError: The text is damaged or of a format this version does not know.
        """
        try:
            document = json.loads(text)
            version = document["format"]
        except (ValueError, KeyError, TypeError) as error:
            raise ModelFileError(
                f"metadata {METADATA_KEY!r} is damaged ({error}); export the checkpoint again"
            ) from error
        if version != FORMAT:
            raise ModelFileError(
                f"model file has format {version!r}, this version reads format {FORMAT}; "
                "upgrade fsnp-onnx or export the checkpoint again"
            )
        try:
            known = {f.name for f in fields(cls)}
            values = {key: value for key, value in document.items() if key in known}
            values["stft"] = StftSpec(**values["stft"])
            values["mask"] = MaskSpec(**values["mask"])
            values["parity"] = tuple(Probe(**probe) for probe in values["parity"])
            return cls(**values)
        except (KeyError, TypeError, ValueError) as error:
            raise ModelFileError(
                f"metadata {METADATA_KEY!r} is incomplete or damaged ({error}); export the checkpoint again"
            ) from error
