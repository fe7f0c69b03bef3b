"""PESQ's disturbance as a loss: wide-band PESQ (ITU-T P.862 and P.862.2), differentiable.

Bands, threshold, loudness and weights are those of the standard, some rounded or interpolated. Its
alignment in time and its input filter are left out. It works on spectra, and on the bins that band
dropping keeps (`loss.keep_bins`): a band then has the power of its bins at hand, scaled up.
"""

from functools import lru_cache
from itertools import accumulate

import numpy as np
import torch
from torch import Tensor

from training.bank import SAMPLE_RATE
from training.loss import N_FFT

BIN_HZ = SAMPLE_RATE / N_FFT
# Bins of each band, from bin 1 up.
BAND_BINS = [1, 1, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3]
BAND_BINS += [4, 3, 4, 5, 4, 5, 6, 6, 7, 8, 9, 9, 12, 12, 15, 16, 18, 21, 25, 20]
# Threshold of hearing: power of a band, to interpolate on logarithmic axes.
THRESHOLD_HZ = [31, 64, 96, 129, 162, 196, 230, 265, 300, 336, 446, 570, 728, 1000, 2300, 8000]
THRESHOLD = [2.5e6, 7.1e4, 4900, 1170, 389, 105, 45.7, 17.8, 9.8, 4.9, 1.26, 0.56, 0.33, 0.25]
THRESHOLD += [0.49, 0.45]
LEVEL_HZ = (325, 3250)  # the level of these is set to LEVEL
LEVEL = 1e7 * 192 * N_FFT / 2  # a mean square of 1e7, in a Hann window (its energy is 192)
BAND_GAIN = 5.5e-4  # power of a band, per power of its bins
LOUDNESS, EXPONENT = 0.1866, 0.23
LARGEST = 45.0  # disturbance of a frame
SILENCE = 1e-3  # power of a target, per square of the noisy input's mean magnitude
SYMMETRIC, ASYMMETRIC = 0.1, 0.0309  # what a unit takes from the score


def disturbance(enhanced: Tensor, target: Tensor, scale: Tensor, groups: int) -> Tensor:
    """What the disturbance takes from PESQ's score, before the score is mapped; levels are ignored.

    Args:
        enhanced: Complex [B, F // groups, T], rows in the order of `loss.keep_bins`, T >= 20.
        target: Complex [B, F // groups, T].
        scale: Mean magnitude of the noisy input, [B, 1, 1]: tells which targets are silent.
        groups: Of band dropping; 1 where all bins are kept.

    Returns:
        [B], 0 where enhanced and target are equal or the target is silent, mostly 1 to 2 for
        enhanced speech.
    """
    pairs = zip(enhanced.chunk(groups), target.chunk(groups), strict=True)
    rows = torch.cat(
        [_ear(group, groups, target.device).compare(*pair) for group, pair in enumerate(pairs)]
    )
    heard = (target / scale).abs().square().mean((1, 2)) > SILENCE
    return torch.where(heard, rows, 0.0)


@lru_cache
def _ear(group: int, groups: int, device: torch.device) -> "_Ear":
    with device:
        return _Ear(group, groups)


class _Ear:
    """The bands that the bins group, group + groups, ... of a spectrum make up."""

    def __init__(self, group: int, groups: int) -> None:
        bins = torch.arange(group, (N_FFT // 2 + 1) // groups * groups, groups)
        edges = torch.tensor(list(accumulate(BAND_BINS, initial=1)))
        inside = (bins >= edges[:-1, None]) & (bins < edges[1:, None])
        low, high, inside = (part[inside.any(1)] for part in (edges[:-1], edges[1:], inside))
        scale = BAND_GAIN * (high - low) / inside.sum(1)
        self._gains = inside * scale[:, None]
        middle = BIN_HZ * (low + high - 1)[:, None] / 2
        self._threshold = _threshold(middle)
        self._exponent = EXPONENT * (6 / (_bark(middle) + 2)).clamp(1, 2).pow(0.15)
        edge = BIN_HZ * (torch.stack([low, high])[..., None] - 0.5)
        self._width = _bark(edge[1]) - _bark(edge[0])
        hz = BIN_HZ * bins
        self._levelled = groups * ((hz >= LEVEL_HZ[0]) & (hz <= LEVEL_HZ[1])).float()

    def compare(self, enhanced: Tensor, target: Tensor) -> Tensor:
        """Disturbance [B] of spectra [B, bins, T]."""
        power, true = self._equalised(self._power(enhanced), self._power(target))
        loud, true_loud = self._loudness(power), self._loudness(true)
        masked = 0.25 * torch.minimum(loud, true_loud)
        heard = ((loud - true_loud).abs() - masked).clamp(min=0) * self._width
        added = ((power + 50) / (true + 50)).pow(1.2)
        added = torch.where(added < 3, 0.0, added.clamp(max=12))
        weight = ((self._audible(true) + 1e5) / 1e7).pow(-0.04)
        symmetric = (heard.square().sum(1) * self._width.sum() + 1e-12).sqrt()
        asymmetric = (heard * added).sum(1)
        return SYMMETRIC * _over_time(symmetric * weight) + ASYMMETRIC * _over_time(
            asymmetric * weight
        )

    def _power(self, spectrum: Tensor) -> Tensor:
        """Power [B, bands, T] at the standard's level."""
        power = spectrum.real.square() + spectrum.imag.square()
        level = (power * self._levelled[:, None]).sum(1).mean(1)
        return self._gains @ (power * (LEVEL / (level + 1e-12))[:, None, None])

    def _equalised(self, power: Tensor, true: Tensor) -> tuple[Tensor, Tensor]:
        """Forgive a steady colour (the target takes it on) and slow changes of the gain."""
        loud_frames = self._audible(true, 100)[:, None] >= 1e7
        means = [
            torch.where((part > 100 * self._threshold) & loud_frames, part, 0.0).mean(
                -1, keepdim=True
            )
            for part in (power, true)
        ]
        true = true * ((means[0] + 1000) / (means[1] + 1000)).clamp(0.01, 100)
        gain = (self._audible(true) + 5e3) / (self._audible(power) + 5e3)
        gain = torch.cat([gain[:, :1], 0.8 * gain[:, 1:] + 0.2 * gain[:, :-1]], 1)
        return power * gain.clamp(3e-4, 5)[:, None], true

    def _audible(self, power: Tensor, thresholds: float = 1.0) -> Tensor:
        """Power of the bands above so many thresholds, [B, T]."""
        return torch.where(power > thresholds * self._threshold, power, 0.0).sum(1)

    def _loudness(self, power: Tensor) -> Tensor:
        """Zwicker's law; what is below the threshold is not heard."""
        relative = (power / self._threshold).clamp(min=1)
        size = (0.5 + 0.5 * relative).pow(self._exponent) - 1
        return LOUDNESS * (2 * self._threshold).pow(self._exponent) * size


def _over_time(frames: Tensor) -> Tensor:
    """Mean of sixth order over pieces of 20 frames, then of second order over the pieces."""
    pieces = frames.clamp(1e-4, LARGEST).unfold(-1, 20, 10)
    return pieces.pow(6).mean(-1).pow(1 / 6).square().mean(-1).sqrt()


def _bark(hz: Tensor) -> Tensor:
    return 7 * torch.asinh(hz / 650)


def _threshold(hz: Tensor) -> Tensor:
    power = np.exp(np.interp(np.log(hz.cpu().numpy()), np.log(THRESHOLD_HZ), np.log(THRESHOLD)))
    return torch.tensor(power, dtype=torch.float32)
