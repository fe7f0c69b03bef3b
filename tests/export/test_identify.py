"""A configuration is inferred from tensors, TOML and defaults; contradictions are named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from fsnp_onnx.errors import CheckpointError, ConfigError, MissingFileError
from fsnp_onnx.export.identify import infer, read_toml
from fsnp_onnx.network.attention import MulCA
from fsnp_onnx.network.config import NetworkConfig
from tests.export.small import CONFIG, state_dict


def document(**arguments: Any) -> dict[str, Any]:
    return {"model": {"args": arguments}}


@pytest.mark.parametrize(
    "config",
    [
        CONFIG,
        replace(CONFIG, sub_band_model="GRU", sub_band_layers=1),
        replace(CONFIG, sub_band_model="TCN", sub_band_layers=3, sub_band_hidden_size=5),
        replace(CONFIG, mulca="simplified", attention_hidden_size=4),
        replace(CONFIG, attention="ECA", kernel_sizes=(5,)),
        replace(CONFIG, attention="SE", attention_hidden_size=3),
        replace(CONFIG, attention=None),
        replace(CONFIG, kernel_sizes=(2, 4, 7), sb_num_neighbors=6, tcn_blocks=4),
        replace(CONFIG, tcn_kernel_size=5),
    ],
)
def test_sizes_and_kinds_follow_from_the_tensors_alone(config: NetworkConfig) -> None:
    inferred = infer(state_dict(config), None).network
    hidden = inferred.attention_hidden_size
    assert replace(config, attention_hidden_size=hidden) == inferred


def test_the_config_decides_what_tensors_cannot_tell() -> None:
    tensors = state_dict(replace(CONFIG, attention="CBAM", fb_num_neighbors=1, sb_num_neighbors=4))
    given = infer(
        tensors,
        document(
            channel_attention_model="CBAM", look_ahead=0, sb_num_neighbors=4,
            fb_output_activate_function=False, sb_output_activate_function="Tanh",
            norm_type="cumulative_layer_norm", fb_model_hidden_size=99, weight_init=True,
        )
        | {"acoustics": {"sr": 8000, "n_fft": 32, "win_length": 24, "hop_length": 8}},
    )  # fmt: skip
    network = given.network
    assert (network.attention, network.look_ahead, network.fb_num_neighbors) == ("CBAM", 0, 1)
    assert (network.fb_activation, network.sb_activation) == (None, "Tanh")
    assert network.norm == "cumulative_layer_norm"
    assert (given.stft.sample_rate_hz, given.stft.win_length, given.stft.hop_length) == (
        8000,
        24,
        8,
    )
    assert given.sources["look_ahead"] == "config"
    assert given.sources["n_freqs"] == "tensors"


def test_without_a_config_the_published_defaults_hold() -> None:
    given = infer(state_dict(), None)
    assert (given.network.look_ahead, given.network.norm) == (2, "offline_laplace_norm")
    assert (given.stft.n_fft, given.stft.hop_length, given.stft.sample_rate_hz) == (32, 16, 16000)
    assert given.sources["look_ahead"] == "published default"


@pytest.mark.parametrize(
    "arguments",
    [
        {"num_freqs": 257},
        {"sequence_model": "GRU"},
        {"sb_model_hidden_size": 384},
        {"kersize": [3, 5, 9]},
        {"channel_attention_model": "SE"},
        {"channel_attention_model": False},
        {"sb_num_neighbors": 14},
        {"fb_num_neighbors": 1, "sb_num_neighbors": 15},
        {"mulca": "simplified"},
        {"tcn_hidden_size": 512},
        {"subband_num": 2},
        {"output_size": 1},
        {"look_ahead": -1},
        {"look_ahead": "two"},
        {"look_ahead": True},
        {"norm_type": "batch_norm"},
        {"kersize": 3},
        {"kersize": [3, 5, 10, 12]},
        {"fb_output_activate_function": "GELU"},
        {"complex_norm": "other"},
        {"causal": 1},
        {"causal": True},
        {"horizon_frames": -1},
        {"surprise": 1},
    ],
    ids=str,
)
def test_a_contradiction_or_bad_value_is_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        infer(state_dict(), document(**arguments))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "acoustics",
    [{"n_fft": 512}, {"hop_length": 0}, {"hop_length": 64}, {"win_length": 64}, {"sr": "16k"}],
    ids=str,
)
def test_a_transform_that_does_not_fit_is_refused(acoustics: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        infer(state_dict(), {"acoustics": acoustics})


@pytest.mark.parametrize("document", [{"model": 3}, {"acoustics": []}, {"model": {"args": 1}}])
def test_sections_must_be_tables(document: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="tables"):
        infer(state_dict(), document)


def test_missing_unexpected_and_misshaped_tensors_are_named() -> None:
    tensors = state_dict()
    del tensors["sb_model.fc_output_layer.bias"]
    tensors["surplus"] = torch.ones(1)
    tensors["channel_attention.fc2.bias"] = torch.ones(3)
    with pytest.raises(CheckpointError) as caught:
        infer(tensors, None)
    for part in (
        "missing: sb_model.fc_output_layer.bias",
        "unexpected: surplus",
        "wrong shape: channel_attention.fc2.bias [3] for [17]",
    ):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    "name",
    [
        "fb_model.fc_output_layer.weight",
        "fb_model.sequence_model.0.conv1x1.weight",
        "fb_model.sequence_model.0.depthwise_conv.weight",
        "sb_model.sequence_model.weight_hh_l0",
        "sb_model.sequence_model.weight_ih_l0",
        "channel_attention.largeConv1d.0.weight",
    ],
)
@pytest.mark.parametrize("damage", ["missing", "scalar", "empty", "odd"])
def test_damage_to_a_tensor_that_sizes_are_read_from_is_an_error(name: str, damage: str) -> None:
    tensors = state_dict()
    replacement = {"scalar": torch.tensor(1.0), "empty": torch.ones(0), "odd": torch.ones(7, 5)}
    if damage == "missing":
        del tensors[name]
    else:
        tensors[name] = replacement[damage]
    with pytest.raises((CheckpointError, ConfigError)):
        infer(tensors, None)


def test_mulca_over_several_sub_bands_is_refused_by_its_kernels() -> None:
    tensors = state_dict()
    for scale, size in zip(MulCA.SCALES, (3, 5, 10), strict=True):
        tensors[f"channel_attention.{scale}.0.weight"] = torch.ones(17, 2, size)
    with pytest.raises(ConfigError, match="subband_num"):
        infer(tensors, None)


def test_neighbours_that_cannot_be_reflected_are_refused() -> None:
    tensors = state_dict()
    tensors["sb_model.sequence_model.weight_ih_l0"] = torch.ones(24, 2 * 20 + 4)
    with pytest.raises(ConfigError, match="20 neighbours"):
        infer(tensors, None)


def test_unreadable_toml_is_named(tmp_path: Path) -> None:
    path = tmp_path / "train.toml"
    with pytest.raises(MissingFileError):
        read_toml(path)
    for data in (b"[model", b"\xff\xfe"):
        path.write_bytes(data)
        with pytest.raises(ConfigError, match="not TOML"):
            read_toml(path)
