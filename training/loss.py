"""The loss: a power-compressed spectral distance and a distortion ratio."""

import torch
from torch import Tensor
from torch.nn import functional

from fsnp_onnx.network.fullsubnet_plus import FullSubNetPlus, neighbourhoods, row_shares

N_FFT, HOP = 512, 256
COMPRESSION = 0.3
MASK_LIMIT, MASK_SCALE = 9.9, 10.0
MAGNITUDE_SHARE = 0.7
DISTORTION_WEIGHT = 0.01  # per 10 log10: as strong as the spectral distance late in training
BEST_SDR_DB = 35.0  # no further gain above


def stft(samples: Tensor) -> Tensor:
    """Spectrum [B, F, T] of samples [B, N], as the network's users compute it."""
    window = torch.signal.windows.hann(N_FFT, sym=False, device=samples.device)
    return torch.stft(samples, N_FFT, HOP, window=window, return_complex=True)


def istft(spectrum: Tensor, n_samples: int) -> Tensor:
    """Samples [B, N] of a spectrum [B, F, T]."""
    window = torch.signal.windows.hann(N_FFT, sym=False, device=spectrum.device)
    return torch.istft(spectrum, N_FFT, HOP, window=window, length=n_samples)


def decompress(mask: Tensor) -> Tensor:
    """Compressed mask [..., 2, T] -> complex ratio mask [..., T]."""
    mask = mask.float().clamp(-MASK_LIMIT, MASK_LIMIT)
    crm = 2 * MASK_SCALE * torch.atanh(mask / MASK_SCALE)
    return torch.complex(crm[..., 0, :], crm[..., 1, :])


def keep_bins(spectrum: Tensor, groups: int) -> Tensor:
    """Band dropping: row b of [B, F, T] keeps the bins b % groups, + groups, ...; rows regrouped.

    Returns:
        [B, F // groups, T], the rows of the first group first.
    """
    n_kept = spectrum.shape[1] // groups * groups
    return torch.cat([spectrum[g::groups, g:n_kept:groups] for g in range(groups)])


def kept_mask(network: FullSubNetPlus, noisy: Tensor, groups: int) -> Tensor:
    """Complex ratio mask of the kept bins, [B, F // groups, T] complex64.

    The result equals that of dropping bins from `sub_band_input`, without its tensor of all
    neighbourhoods: the mean of that tensor is a mean over bins, weighted by how often each bin is
    a neighbour.
    """
    config = network.config
    sources = _sub_band_sources(network, noisy.real.contiguous(), noisy.imag.contiguous())
    index = neighbourhoods(config).to(noisy.device)
    n_kept = config.n_freqs // groups
    parts = [
        sources[g::groups].index_select(1, index[g : n_kept * groups : groups].flatten())
        for g in range(groups)
    ]
    n_frames = sources.shape[-1]
    features = torch.cat(parts).reshape(-1, config.sub_band_features, n_frames)
    mask = network.sub_band_mask(features).float()
    return decompress(mask.reshape(-1, n_kept, 2, n_frames)[..., config.look_ahead :])


def _sub_band_sources(network: FullSubNetPlus, real: Tensor, imag: Tensor) -> Tensor:
    """The rows that the neighbourhoods are made of, normalised, [B, 4 F, T + look_ahead]."""
    config = network.config
    if config.causal:
        padding = (0, config.look_ahead)
        real, imag = (functional.pad(part, padding) for part in (real, imag))
        return network.causal_sources(real, imag, network.start())
    if config.norm != "offline_laplace_norm":
        raise ValueError(f"expected norm offline_laplace_norm, got {config.norm}")
    sources = torch.cat(network.full_band(real, imag), 1)
    mean = (sources.mean(-1) * row_shares(config).to(sources)).sum(1)
    return sources / (mean[:, None, None] + 1e-5)


def spectral_loss(enhanced: Tensor, target: Tensor, scale: Tensor) -> Tensor:
    """Loss of enhanced against target spectra.

    Args:
        enhanced: Complex [B, F, T].
        target: Complex [B, F, T].
        scale: Mean magnitude of the noisy input, [B, 1, 1]: makes the loss independent of level.

    Returns:
        Scalar: squared distance of magnitudes and of complex values, both compressed by a power
        of 0.3, plus the (scale-dependent) distortion in decibels, which keeps clean speech clean.
    """
    enhanced, target = enhanced / scale, target / scale
    size = (enhanced.real.square() + enhanced.imag.square() + 1e-8).sqrt()
    true_size = (target.real.square() + target.imag.square() + 1e-8).sqrt()
    small, true_small = size.pow(COMPRESSION), true_size.pow(COMPRESSION)
    magnitude = functional.mse_loss(small, true_small)
    ratio, true_ratio = small / size, true_small / true_size
    real = enhanced.real * ratio - target.real * true_ratio
    imag = enhanced.imag * ratio - target.imag * true_ratio
    complex_part = (real.square() + imag.square()).mean()
    difference = torch.view_as_real(enhanced - target).square().mean((1, 2, 3))
    energy = torch.view_as_real(target).square().mean((1, 2, 3)) + 1e-4
    floor = 10 ** (-BEST_SDR_DB / 10)
    distortion = 10 * torch.log10(difference / energy + floor).mean()
    compressed = MAGNITUDE_SHARE * magnitude + (1 - MAGNITUDE_SHARE) * complex_part
    return compressed + DISTORTION_WEIGHT * distortion


def si_sdr_db(estimate: Tensor, target: Tensor) -> Tensor:
    """Scale-invariant signal-to-distortion ratio of each row of [B, N], at most 40 dB; [B]."""
    scale = (estimate * target).sum(-1, keepdim=True) / target.square().sum(-1, keepdim=True)
    wanted = scale * target
    ratio = wanted.square().sum(-1) / (estimate - wanted).square().sum(-1).add(1e-12)
    return 10 * torch.log10(ratio.clamp(1e-9, 1e4))
