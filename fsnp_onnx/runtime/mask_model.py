"""Files of the interface "mask": noisy spectra in, compressed masks out."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from fsnp_onnx.runtime.arguments import SignalOptions
from fsnp_onnx.runtime.mask import FULL, Mix, decompress
from fsnp_onnx.runtime.speech_model import SpeechModel
from fsnp_onnx.runtime.stft import istft, stft_blocks
from fsnp_onnx.spec import INPUT_NAMES

Enhance = Callable[[NDArray[np.float32]], NDArray[np.float32]]

_CANCELLED = 1e-4  # of the loudest channel's power, -40 dB


class MaskModel(SpeechModel):
    """An exported file that maps noisy spectra to compressed masks."""

    def run(
        self, noisy_real: NDArray[np.float32], noisy_imag: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Compute compressed masks, float32 [B, 2, F, T] for real and imaginary part.

        The noisy spectra are float32 [B, F, T], with T of spec.min_frames or more.
        """
        parts = (noisy_real, noisy_imag)
        (mask,) = self._session.run(dict(zip(INPUT_NAMES, parts, strict=True)))
        return mask

    def check(self, signal: SignalOptions) -> None:
        """Accept all options: there is a mask."""

    def enhance(self, noisy: NDArray[np.float32], mix: Mix = FULL) -> NDArray[np.float32]:
        """Enhance one channel, as `SpeechModel` says: transform, mask, multiply, invert."""
        return self.linked(noisy, mix)(noisy)

    def linked(self, guide: NDArray[np.float32], mix: Mix = FULL) -> Enhance:
        """Return what does to any channel, float32 [N], what `enhance` does to the guide, [N] as well."""
        mask = self._mask(guide)
        return lambda noisy: istft(self._masked(noisy, mask, mix), self.spec.stft, noisy.size)

    def _mask(self, noisy: NDArray[np.float32]) -> NDArray[np.float32]:
        spec = self.spec.stft
        n_frames = spec.n_frames(noisy.size)
        real, imag = np.empty((2, 1, spec.n_freqs, n_frames), np.float32)
        for frames, block in stft_blocks(noisy, spec, n_frames):
            real[0, :, frames], imag[0, :, frames] = block.real, block.imag
        (mask,) = self.run(real, imag)  # [2, F, T]
        return np.asarray(mask)

    def _masked(
        self, noisy: NDArray[np.float32], mask: NDArray[np.float32], mix: Mix
    ) -> Iterator[NDArray[np.complex64]]:
        """Yield the enhanced spectrum in blocks, with one more frame for the tail: [F, n].

        The noisy spectrum is computed a second time, which is cheap and saves its memory.
        """
        n_frames = mask.shape[-1]
        for frames, block in stft_blocks(noisy, self.spec.stft, n_frames + 1):
            under = np.minimum(np.arange(frames.start, frames.stop), n_frames - 1)
            yield block * mix.of(decompress(mask[..., under], self.spec.mask))  # [F, n]


def guide_of(channels: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return what the mask of linked channels, [channels, N], is computed from: their mean.

    Where the channels cancel each other, as with a cable whose wires are swapped, the mean holds
    only noise, and the loudest channel takes its place.
    """
    mean: NDArray[np.float32] = channels.mean(axis=0, dtype=np.float32)
    power, *powers = (np.einsum("n,n", x, x, dtype=np.float64) for x in (mean, *channels))
    if power > _CANCELLED * max(powers):
        return mean
    return np.asarray(channels[int(np.argmax(powers))], np.float32)
