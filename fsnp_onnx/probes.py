"""The lines of a file's two reports: how close it is to its network, and an int8 file to float32."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Probe:
    """One line of the verification report.

    Attributes:
        n_frames: Length of the probe in frames of the spectrum.
        batch: Number of utterances run at once.
        max_abs_error: max |file - float64 network|, over the compressed mask, or over the enhanced
            samples where `n_samples` is given.
        tolerance: Largest ``max_abs_error`` that passes.
        snr_db: Energy of the reference over the energy of the difference, in dB.
        n_samples: Length of the probe in samples, for samples in and samples out; None where the
            mask was compared.
    """

    n_frames: int
    batch: int
    max_abs_error: float
    tolerance: float
    snr_db: float
    n_samples: int | None = None


@dataclass(frozen=True, slots=True)
class SpeechProbe:
    """What quantisation did to one recording of speech.

    Attributes:
        recording: What was enhanced.
        snr_db: Energy of the float32 file's output over the energy of the difference, in dB.
        min_snr_db: Smallest ``snr_db`` that passes.
    """

    recording: str
    snr_db: float
    min_snr_db: float
