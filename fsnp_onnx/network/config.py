"""Sizes and options of one FullSubNet+, without torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, get_args

from fsnp_onnx.errors import ConfigError

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
        causal: Every mean over time is a running mean, and every convolution looks back, so that frame
            t depends on frames up to t + look_ahead alone (docs/live.md).
        horizon_frames: Of a causal network: the running mean is the mean of all frames so far up to
            this many frames, then an exponential one. 1 or more.

    Raises:
        ConfigError: The network is to be causal, but another option rules that out.

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
    causal: bool = False
    horizon_frames: int = 125

    def __post_init__(self) -> None:
        """Check that a causal network has no part without a causal form."""
        if not self.causal:
            return
        wanted: dict[str, tuple[object, ...]] = {
            "attention": ("TSSE", None),
            "mulca": ("simplified",) if self.attention else (self.mulca,),
            "norm": ("offline_laplace_norm",),
            "complex_norm": ("magnitude",),
            "fb_activation": ("ReLU", "ReLU6"),
            "sub_band_model": ("LSTM", "GRU"),
        }
        for name, values in wanted.items():
            if getattr(self, name) not in values:
                expected = " or ".join(map(repr, values))
                found = getattr(self, name)
                raise ConfigError(f"a causal network needs {name} = {expected}, not {found!r}")
        if self.horizon_frames < 1:
            raise ConfigError(f"horizon_frames is {self.horizon_frames}; expected 1 or more")

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
