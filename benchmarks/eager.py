"""The torch network as published: transform, network, mask and inverse on the whole utterance."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from fsnp_onnx.export.identify import infer
from fsnp_onnx.network.fullsubnet_plus import FullSubNetPlus
from fsnp_onnx.spec import MaskSpec


class Eager:
    """A checkpoint that torch runs eagerly in float32.

    Attributes:
        sample_rate_hz: Sample rate of input and output.
        hop_length: Hop of the transform, in samples.
    """

    def __init__(self, checkpoint: Path, threads: int) -> None:
        """Load a checkpoint and set the number of threads of the whole process."""
        torch.set_num_threads(threads)
        # not the exporter's reader: its checks would count as torch's time
        content = torch.load(checkpoint, map_location="cpu", weights_only=True)
        tensors = content.get("model", content)
        inferred = infer(tensors, content.get("config"))
        self._network = FullSubNetPlus(inferred.network).eval()
        self._network.load_state_dict(tensors)
        self._stft = inferred.stft
        self._window = torch.from_numpy(inferred.stft.window().astype(np.float32))
        self.sample_rate_hz = inferred.stft.sample_rate_hz
        self.hop_length = inferred.stft.hop_length

    @torch.no_grad()
    def enhance(self, noisy: NDArray[np.float32]) -> NDArray[np.float32]:
        """Enhance one recording, float32 [N] -> [N]."""
        sizes = (self._stft.n_fft, self._stft.hop_length, self._stft.win_length)
        spectrum = torch.stft(
            torch.from_numpy(noisy)[None],
            *sizes,
            window=self._window_of_win_length(),
            return_complex=True,
        )
        mask = self._network(spectrum.real.contiguous(), spectrum.imag.contiguous())
        real, imag = _decompress(mask).unbind(1)
        enhanced = torch.istft(
            spectrum * torch.complex(real, imag),
            *sizes,
            window=self._window_of_win_length(),
            length=noisy.size,
        )
        samples: NDArray[np.float32] = enhanced[0].numpy()
        return samples

    def _window_of_win_length(self) -> torch.Tensor:
        """The window without the zeros around it; torch adds them."""
        left = (self._stft.n_fft - self._stft.win_length) // 2
        return self._window[left : left + self._stft.win_length]


def _decompress(mask: torch.Tensor) -> torch.Tensor:
    """Expand a compressed mask as the published code does, operation by operation."""
    spec = MaskSpec()
    k, limit = spec.k, spec.limit
    clamped = limit * (mask >= limit) - limit * (mask <= -limit) + mask * (mask.abs() < limit)
    return -1 / spec.c * torch.log((k - clamped) / (k + clamped))
