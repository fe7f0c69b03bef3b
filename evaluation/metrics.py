"""The scores of one enhanced signal, and the interval of their mean.

PESQ-WB: ITU-T P.862.2. STOI: Taal et al. 2011. SI-SDR: Le Roux et al. 2019. DNSMOS: Reddy et al.,
P.808 (2021) and P.835 (2022), networks that estimate the opinion of listeners without a reference.
"""

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
from fast_bss_eval.numpy import si_sdr
from pesq import pesq
from pystoi import stoi
from speechmos import dnsmos

from training.recording import SAMPLE_RATE, Wave

PACKAGES = ("pesq", "pystoi", "fast-bss-eval", "speechmos", "librosa", "onnxruntime")
SI_SDR_LIMIT_DB = 100.0  # of a signal with itself it is infinite
BOOTSTRAP_SEED = 1
BOOTSTRAP_ROUNDS = 10_000


@dataclass(frozen=True, slots=True)
class Metric:
    """Name and decimal places of a score in tables; higher is better for all scores."""

    title: str
    digits: int


METRICS = {
    "pesq": Metric("PESQ-WB", 2),
    "stoi": Metric("STOI", 3),
    "si_sdr_db": Metric("SI-SDR dB", 1),
    "sig": Metric("DNSMOS sig", 2),
    "bak": Metric("DNSMOS bak", 2),
    "ovrl": Metric("DNSMOS ovrl", 2),
    "p808": Metric("DNSMOS P.808", 2),
}


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean over files with its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float


def score(target: Wave, enhanced: Wave) -> dict[str, float]:
    """Score one enhanced signal.

    Args:
        target: Clean speech, float32 [samples], 16 kHz.
        enhanced: Output of a system, the same length.

    Returns:
        One number for each key of METRICS: PESQ-WB 1.04 to 4.64, STOI 0 to 1, SI-SDR in dB
        (at most 100), DNSMOS 1 to 5.

    Raises:
        ValueError: The lengths differ, or a sample is not finite.
    """
    if enhanced.shape != target.shape or not np.isfinite(enhanced).all():
        n_bad = np.count_nonzero(~np.isfinite(enhanced))
        raise ValueError(
            f"expected finite samples of shape {target.shape}, "
            f"got shape {enhanced.shape} with {n_bad} NaN or infinite samples"
        )
    wide = target.astype(np.float64)[None], enhanced.astype(np.float64)[None]
    opinion = _dnsmos()(np.clip(enhanced, -1, 1), SAMPLE_RATE, is_personalized_MOS=False)
    return {
        "pesq": float(pesq(SAMPLE_RATE, target, enhanced, "wb")),
        "stoi": float(stoi(target, enhanced, SAMPLE_RATE)),
        "si_sdr_db": float(si_sdr(*wide, clamp_db=SI_SDR_LIMIT_DB)[0]),
        "sig": float(opinion["sig_mos"]),
        "bak": float(opinion["bak_mos"]),
        "ovrl": float(opinion["ovrl_mos"]),
        "p808": float(opinion["p808_mos"]),
    }


def bootstrap(values: npt.ArrayLike) -> Interval:
    """Compute the mean over files and the middle 95 % of the means of resampled files.

    Args:
        values: One number per file.

    Returns:
        The interval; the same on every call (seeded).
    """
    sample = np.asarray(values, dtype=np.float64)
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    means = sample[rng.integers(sample.size, size=(BOOTSTRAP_ROUNDS, sample.size))].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(float(sample.mean()), float(low), float(high))


@functools.cache
def _dnsmos() -> dnsmos.DNSMOS:
    """Load both networks of DNSMOS with one thread each: processes share the work."""
    folder = Path(dnsmos.__file__).parent / "dnsmos_models"
    paths = [folder / "sig_bak_ovr.onnx", folder / "model_v8.onnx"]
    predictor = dnsmos.DNSMOS(*map(str, paths))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    predictor.onnx_sess, predictor.p808_onnx_sess = (
        onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        for path in paths
    )
    return predictor
