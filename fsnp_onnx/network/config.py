"""Sizes and options of one FullSubNet+, without torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, get_args

SubBandModel = Literal["LSTM", "GRU", "TCN"]
Attention = Literal["TSSE", "SE", "CBAM", "ECA"]
ComplexNorm = Literal["own", "magnitude"]
Activation = Literal["ReLU", "Tanh", "ReLU6"]
MulcaVariant = Literal["original", "equivalent", "simplified"]
MULCA_VARIANTS: Final[tuple[MulcaVariant, ...]] = get_args(MulcaVariant)
Norm = Literal[
    "offline_laplace_norm",
    "cumulative_laplace_norm",
    "offline_gaussian_norm",
    "cumulative_layer_norm",
]


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """Sizes and options of one FullSubNet+; the defaults are the published network.

    Attributes:
        n_freqs: Frequency bins F.
        look_ahead: Future frames the sub-band model sees.
        attention: Channel attention; "TSSE" is MulCA, None leaves it out.
        mulca: Variant of MulCA (only read for "TSSE").
        attention_hidden_size: Bottleneck of the attention, None for half the bins.
        kernel_sizes: The three kernel sizes of MulCA, or the one of ECA.
        norm: Normalisation of every input.
        complex_norm: "own" divides the real and imaginary branch by their own (signed) mean as
            published; "magnitude" by the mean magnitude, which is well conditioned.
        tcn_hidden_size: Channels inside the full-band TCN blocks.
        tcn_blocks: Number of full-band TCN blocks.
        tcn_kernel_size: Kernel size of every depthwise TCN convolution.
        fb_num_neighbors: Neighbours of each full-band output given to the sub-band model, per side.
        sb_num_neighbors: Neighbours of each magnitude bin given to the sub-band model, per side.
        fb_activation: Activation of the full-band outputs.
        sb_activation: Activation of the mask.
        sub_band_model: Sequence model shared by all bins.
        sub_band_hidden_size: Its hidden size.
        sub_band_layers: Its layers (recurrent) or blocks (TCN).

    Example:
        >>> config = NetworkConfig(sub_band_model="GRU", sb_num_neighbors=7)
        >>> config.sub_band_features, config.min_frames
        (18, 8)
    """

    n_freqs: int = 257
    look_ahead: int = 2
    attention: Attention | None = "TSSE"
    mulca: MulcaVariant = "original"
    attention_hidden_size: int | None = None
    kernel_sizes: tuple[int, ...] = (3, 5, 10)
    norm: Norm = "offline_laplace_norm"
    complex_norm: ComplexNorm = "own"
    tcn_hidden_size: int = 512
    tcn_blocks: int = 8
    tcn_kernel_size: int = 3
    fb_num_neighbors: int = 0
    sb_num_neighbors: int = 15
    fb_activation: Activation | None = "ReLU"
    sb_activation: Activation | None = None
    sub_band_model: SubBandModel = "LSTM"
    sub_band_hidden_size: int = 384
    sub_band_layers: int = 2

    @property
    def sub_band_features(self) -> int:
        """Features per bin and frame: a magnitude neighbourhood and three full-band ones."""
        return 2 * self.sb_num_neighbors + 1 + 3 * (2 * self.fb_num_neighbors + 1)

    @property
    def min_frames(self) -> int:
        """Fewest frames that MulCA's longest kernel (and a mean) can work on."""
        longest = 1
        if self.attention == "TSSE" and self.mulca != "simplified":
            longest = max(self.kernel_sizes)
        return max(1, longest - self.look_ahead)

    def as_dict(self) -> dict[str, Any]:
        """Return the options as plain values for the metadata."""
        return asdict(self) | {"kernel_sizes": list(self.kernel_sizes)}
