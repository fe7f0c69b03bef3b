"""Compare two files on noisy speech: simplified with original MulCA, int8 with float32."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fsnp_onnx.errors import VerificationError
from fsnp_onnx.export.speech import noisy_speech, recordings, snr_db
from fsnp_onnx.probes import SpeechProbe
from fsnp_onnx.runtime.mask_model import MaskModel
from fsnp_onnx.runtime.open_model import open_model
from fsnp_onnx.runtime.speech_model import SpeechModel
from fsnp_onnx.runtime.stft import stft


@dataclass(frozen=True)
class VariantDifference:
    """How far the simplified MulCA is from the original one on real speech.

    Attributes:
        max_mask_error: Largest difference of the compressed masks, which span +-10; None for files
            that return no mask.
        snr_db: Energy of the enhanced waveform over that of the difference, in dB.
    """

    max_mask_error: float | None
    snr_db: float


def compare_variants(original: bytes, simplified: bytes) -> VariantDifference:
    """Compare two files of one network on seven seconds of noisy speech."""
    models = [open_model(model, "cpu") for model in (original, simplified)]
    speech = noisy_speech(models[0].spec.stft.sample_rate_hz)
    masks = [_mask(model, speech) for model in models if isinstance(model, MaskModel)]
    max_mask_error = float(np.abs(masks[1] - masks[0]).max()) if masks else None
    return VariantDifference(max_mask_error, _waveform_snr_db(models, speech))


def verify_quantization(float32: bytes, int8: bytes, min_snr_db: float) -> tuple[SpeechProbe, ...]:
    """Compare the enhanced waveforms of a quantised file and the float32 file it comes from.

    Every recording must reach ``min_snr_db``; the error names the worst one.
    """
    models = [open_model(model, "cpu") for model in (float32, int8)]
    probes = tuple(
        SpeechProbe(recording, _waveform_snr_db(models, noisy), min_snr_db)
        for recording, noisy in recordings(models[0].spec.stft.sample_rate_hz)
    )
    worst = min(probes, key=lambda probe: np.nan_to_num(probe.snr_db, nan=-np.inf))
    if not worst.snr_db >= min_snr_db:  # also catches NaN
        raise VerificationError(
            f"int8 is {worst.snr_db:.1f} dB SNR from float32 on {worst.recording}, expected "
            f"{min_snr_db:g} dB or more; no file was written. Give precision float32, "
            "or a lower min_snr_db if that is close enough"
        )
    return probes


def _mask(model: MaskModel, noisy: NDArray[np.float32]) -> NDArray[np.float32]:
    spec = model.spec.stft
    spectrum = stft(noisy, spec, spec.n_frames(noisy.size))[None]
    return model.run(spectrum.real, spectrum.imag)


def _waveform_snr_db(models: list[SpeechModel], noisy: NDArray[np.float32]) -> float:
    first, second = (model.enhance(noisy) for model in models)
    return snr_db(first, second - first)
