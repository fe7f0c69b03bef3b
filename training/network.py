"""The network that is trained: sizes, initial weights, and description for the exporter."""

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch

from fsnp_onnx.errors import ConfigError
from fsnp_onnx.export.checkpoint import read_checkpoint
from fsnp_onnx.export.identify import infer
from fsnp_onnx.network.config import NetworkConfig
from fsnp_onnx.network.fullsubnet_plus import FullSubNetPlus, with_mulca

Variant = Literal["original", "simplified"]  # that can be trained


def small_config(mulca: Variant) -> NetworkConfig:
    """Sizes of the default model: 3.85 M parameters, made for a CPU."""
    return NetworkConfig(
        mulca=mulca,
        complex_norm="magnitude",
        tcn_hidden_size=256,
        sub_band_hidden_size=128,
    )


def fresh_network(mulca: Variant, seed: int, sizes: NetworkConfig | None = None) -> FullSubNetPlus:
    """A network with random weights; weights that both variants of MulCA have are equal.

    Args:
        mulca: Variant to train.
        seed: Of the weights.
        sizes: Sizes and options, default those of the default model; its variant is ignored.
    """
    sizes = sizes or small_config(mulca)
    torch.manual_seed(seed)
    original = FullSubNetPlus(replace(sizes, mulca="original"))
    if mulca == "original":
        return original
    simplified = FullSubNetPlus(replace(sizes, mulca=mulca))
    names = simplified.state_dict().keys()
    shared = {name: weight for name, weight in original.state_dict().items() if name in names}
    simplified.load_state_dict(shared, strict=False)
    return simplified


def renew_attention(network: FullSubNetPlus, mulca: Variant, seed: int) -> None:
    """Give the channel attentions of all branches random weights and keep the rest.

    Trained attention weights of one variant would give that variant an advantage.
    """
    fresh = fresh_network(mulca, seed, network.config)
    for name in ("channel_attention", "channel_attention_real", "channel_attention_imag"):
        getattr(network, name).load_state_dict(getattr(fresh, name).state_dict())


def trained_network(checkpoint: Path, mulca: Variant) -> FullSubNetPlus:
    """The network of a checkpoint of any size, with this variant of MulCA.

    Args:
        checkpoint: File that this trainer, or another of FullSubNet+, wrote.
        mulca: Variant to train; original weights are converted to the simplified variant.

    Raises:
        MissingFileError: There is no such file.
        CheckpointError: It is not a checkpoint of FullSubNet+.
        ConfigError: It was trained as the simplified variant, which cannot become the original.
    """
    loaded = read_checkpoint(checkpoint)
    config = infer(loaded.tensors, loaded.config).network
    if (config.mulca, mulca) == ("simplified", "original"):
        raise ConfigError(
            f"{checkpoint} was trained as the simplified variant and has no convolutions; "
            "expected original weights, or --mulca simplified"
        )
    network = FullSubNetPlus(config)
    network.load_state_dict(loaded.tensors)
    return with_mulca(network, mulca).train()


def made_causal(network: FullSubNetPlus) -> FullSubNetPlus:
    """A causal network with the weights of a network that looks at whole utterances.

    Raises:
        ConfigError: A part of the network, such as original MulCA, has no causal form.
    """
    causal = FullSubNetPlus(replace(network.config, causal=True))
    causal.load_state_dict(network.state_dict())
    return causal


def toml_args(config: NetworkConfig) -> dict[str, Any]:
    """The [model.args] that describe `config` to the exporter, with the published names."""
    args: dict[str, Any] = {
        "num_freqs": config.n_freqs,
        "look_ahead": config.look_ahead,
        "sequence_model": config.sub_band_model,
        "fb_num_neighbors": config.fb_num_neighbors,
        "sb_num_neighbors": config.sb_num_neighbors,
        "fb_output_activate_function": config.fb_activation,
        "sb_output_activate_function": False,
        "channel_attention_model": config.attention,
        "sb_model_hidden_size": config.sub_band_hidden_size,
        "tcn_hidden_size": config.tcn_hidden_size,
        "norm_type": config.norm,
        "complex_norm": config.complex_norm,
        "kersize": list(config.kernel_sizes),
        "subband_num": 1,
    }
    if config.mulca == "simplified":
        args["mulca"] = config.mulca
    if config.causal:
        args |= {"causal": True, "horizon_frames": config.horizon_frames}
    return args
