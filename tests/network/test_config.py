"""The configuration can be read where torch is not installed, and refuses what no network is."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from fsnp_onnx.errors import ConfigError
from fsnp_onnx.network.config import NetworkConfig


def test_the_configuration_needs_no_torch() -> None:
    script = (
        "import sys; sys.modules['torch'] = None\n"
        "from fsnp_onnx.network.config import NetworkConfig\n"
        "print(NetworkConfig().sub_band_features)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "34\n"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"attention": "SE"}, "needs attention = 'TSSE' or None, not 'SE'"),
        ({"mulca": "original"}, "needs mulca = 'simplified', not 'original'"),
        ({"norm": "cumulative_laplace_norm"}, "norm = 'offline_laplace_norm', not 'cumulative_l"),
        ({"complex_norm": "own"}, "complex_norm = 'magnitude', not 'own'"),
        ({"fb_activation": "Tanh"}, "fb_activation = 'ReLU' or 'ReLU6', not 'Tanh'"),
        ({"sub_band_model": "TCN"}, "sub_band_model = 'LSTM' or 'GRU', not 'TCN'"),
        ({"horizon_frames": 0}, "horizon_frames is 0; expected 1 or more"),
    ],
)
def test_a_causal_network_has_no_part_without_a_causal_form(
    options: dict[str, Any], message: str
) -> None:
    causal: dict[str, Any] = {
        "causal": True, "mulca": "simplified", "complex_norm": "magnitude"
    }  # fmt: skip
    with pytest.raises(ConfigError, match=message):
        NetworkConfig(**(causal | options))
    NetworkConfig(**options)


def test_a_causal_network_without_attention_has_no_variant_of_mulca_to_choose() -> None:
    assert NetworkConfig(attention=None, complex_norm="magnitude", causal=True).min_frames == 1
