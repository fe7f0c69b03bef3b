"""Find out which FullSubNet+ a checkpoint is: from its tensors, its training TOML, or the defaults.

Sizes, attention and sequence model follow from tensor names and shapes. Look-ahead, norm, activations
and STFT do not: they come from the TOML (``[acoustics]``, ``[model.args]``, the published names) or are
the published defaults. Where both speak they must agree.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, get_args

from torch import Tensor

from fsnp_onnx.errors import ConfigError, MissingFileError
from fsnp_onnx.export.sizes import check_tensors, read_sizes, sub_band_width
from fsnp_onnx.network.config import NORMS, Activation, ComplexNorm, NetworkConfig
from fsnp_onnx.spec import StftSpec

_UNREAD: Final = {  # published options that do not change inference, or are checked on their own
    "fb_model_hidden_size",
    "num_groups_in_drop_band",
    "weight_init",
    "output_size",
    "subband_num",
}
_ARGS: Final = {  # published option -> field
    "num_freqs": "n_freqs",
    "look_ahead": "look_ahead",
    "sequence_model": "sub_band_model",
    "sb_model_hidden_size": "sub_band_hidden_size",
    "fb_num_neighbors": "fb_num_neighbors",
    "sb_num_neighbors": "sb_num_neighbors",
    "fb_output_activate_function": "fb_activation",
    "sb_output_activate_function": "sb_activation",
    "channel_attention_model": "attention",
    "kersize": "kernel_sizes",
    "norm_type": "norm",
    "tcn_hidden_size": "tcn_hidden_size",
    "complex_norm": "complex_norm",
    "mulca": "mulca",
}
_STFT_ARGS: Final = {
    "sr": "sample_rate_hz",
    "n_fft": "n_fft",
    "win_length": "win_length",
    "hop_length": "hop_length",
}


@dataclass
class Findings:
    """The network's options and where each comes from ("tensors", "config", "published default")."""

    values: dict[str, Any] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, value: object, source: str) -> None:
        """Note an option; a second source must agree with the first."""
        known = self.values.get(name, value)
        if known != value:
            raise ConfigError(
                f"{name} is {value!r} by the {source}, {known!r} by the {self.sources[name]}; "
                "give the TOML this checkpoint was trained with"
            )
        self.values[name] = value
        self.sources.setdefault(name, source)


@dataclass(frozen=True)
class Inferred:
    """A network's configuration, its STFT, and the source of every option."""

    network: NetworkConfig
    stft: StftSpec
    sources: dict[str, str]


def read_toml(path: Path) -> dict[str, Any]:
    """Read a training configuration.

    Raises:
        MissingFileError: The file cannot be read.
        ConfigError: It is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise MissingFileError(f"cannot read config {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"config {path} is not TOML: {error}") from error


def infer(tensors: Mapping[str, Tensor], document: Mapping[str, Any] | None) -> Inferred:
    """Infer the configuration and check every tensor's name and shape against it.

    Args:
        tensors: The checkpoint's parameters.
        document: Parsed training TOML, None for none.

    Raises:
        ConfigError: The configuration is invalid or contradicts the tensors.
        CheckpointError: Tensors are missing, unexpected or mis-shaped.
    """
    findings = Findings()
    for name, value in read_sizes(tensors).items():
        findings.add(name, value, "tensors")
    arguments, acoustics = _sections(document)
    _read_arguments(arguments, findings)
    _infer_neighbours(tensors, findings)
    defaults = NetworkConfig()
    for name in defaults.as_dict():
        if name not in findings.values:
            findings.add(name, getattr(defaults, name), "published default")
    network = NetworkConfig(**findings.values)
    _check_reflection(network)
    stft = _read_stft(acoustics, network.n_freqs, findings)
    check_tensors(tensors, network)
    return Inferred(network, stft, findings.sources)


def _sections(
    document: Mapping[str, Any] | None,
) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    document = document or {}
    model = document.get("model", {})
    arguments = model.get("args", {}) if isinstance(model, Mapping) else None
    acoustics = document.get("acoustics", {})
    if not isinstance(arguments, Mapping) or not isinstance(acoustics, Mapping):
        raise ConfigError("the config's [model.args] and [acoustics] must be tables")
    return arguments, acoustics


def _read_arguments(arguments: Mapping[str, Any], findings: Findings) -> None:
    unknown = [name for name in arguments if name not in _ARGS and name not in _UNREAD]
    if unknown:
        raise ConfigError(f"the config has unknown options in [model.args]: {', '.join(unknown)}")
    for name, expected in (("subband_num", 1), ("output_size", 2)):
        if arguments.get(name, expected) != expected:
            raise ConfigError(
                f"the config says {name} = {arguments[name]!r}; only {expected} is supported"
            )
    for name, value in arguments.items():
        if name in _UNREAD or _is_silent(name, findings):
            continue
        findings.add(_ARGS[name], _parse(name, value), "config")
    if findings.values.get("attention", "") == "":
        findings.values.pop("attention", None)
        findings.add("attention", "SE", "published default (its tensors fit SE and CBAM)")


def _is_silent(name: str, findings: Findings) -> bool:
    """Tell whether the published code does not read an option of this network."""
    if name == "sb_model_hidden_size":
        return bool(findings.values["sub_band_model"] == "TCN")
    if name == "kersize":
        return bool(findings.values.get("mulca") != "original")
    return False


def _parse(name: str, value: object) -> object:
    """Check one option's type and range; return it as `NetworkConfig` wants it."""
    choices: dict[str, tuple[object, ...]] = {
        "fb_output_activate_function": (None, *get_args(Activation)),
        "sb_output_activate_function": (None, *get_args(Activation)),
        "channel_attention_model": (None, "TSSE", "SE", "CBAM", "ECA"),
        "sequence_model": ("LSTM", "GRU", "TCN"),
        "norm_type": NORMS,
        "complex_norm": get_args(ComplexNorm),
        "mulca": ("original", "simplified"),
    }
    if name in choices:
        value = value or None
        if value not in choices[name]:
            raise ConfigError(
                f"the config says {name} = {value!r}; expected one of {choices[name]}"
            )
        return value
    if name == "kersize":
        if not isinstance(value, list) or not all(_is_count(k, 1) for k in value):
            raise ConfigError(f"the config says kersize = {value!r}; expected three lengths")
        return tuple(value)
    if not _is_count(value, 0):
        raise ConfigError(f"the config says {name} = {value!r}; expected a whole number from 0 on")
    return value


def _is_count(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _infer_neighbours(tensors: Mapping[str, Tensor], findings: Findings) -> None:
    """Fill in the neighbour counts that the width of the sub-band input leaves possible.

    The width is 2 N + 1 + 3 (2 M + 1) for N magnitude and M full-band neighbours per side.
    """
    width = sub_band_width(tensors)
    if "fb_num_neighbors" not in findings.values:
        given = findings.values.get("sb_num_neighbors")
        n_full_band = 0 if given is None else (width - 4 - 2 * given) // 6
        findings.add("fb_num_neighbors", max(n_full_band, 0), _source_of(given))
    n_full_band = findings.values["fb_num_neighbors"]
    n_sub_band = (width - 4 - 6 * n_full_band) // 2
    if 2 * n_sub_band + 4 + 6 * n_full_band != width or n_sub_band < 0:
        raise ConfigError(
            f"the sub-band model takes {width} features, which no neighbour counts with "
            f"fb_num_neighbors = {n_full_band} give; give the TOML this checkpoint was trained with"
        )
    findings.add("sb_num_neighbors", n_sub_band, "tensors")


def _source_of(given: int | None) -> str:
    return "published default" if given is None else "tensors"


def _check_reflection(network: NetworkConfig) -> None:
    widest = max(network.sb_num_neighbors, network.fb_num_neighbors)
    if widest >= network.n_freqs:
        raise ConfigError(
            f"{widest} neighbours per side cannot be reflected on {network.n_freqs} bins; "
            "expected fewer neighbours than bins"
        )


def _read_stft(acoustics: Mapping[str, Any], n_freqs: int, findings: Findings) -> StftSpec:
    """Read ``[acoustics]``; without it the window spans the bins and the hop half the window."""
    values: dict[str, int] = {}
    for name, key in _STFT_ARGS.items():
        if name not in acoustics:
            continue
        if not _is_count(acoustics[name], 1):
            raise ConfigError(
                f"the config says {name} = {acoustics[name]!r}; expected a number > 0"
            )
        values[key] = acoustics[name]
        findings.sources[key] = "config"
    n_fft = values.get("n_fft", 2 * (n_freqs - 1))
    win_length = values.get("win_length", n_fft)
    defaults = {
        "sample_rate_hz": 16000,
        "n_fft": n_fft,
        "win_length": win_length,
        "hop_length": max(win_length // 2, 1),
    }
    for key, value in defaults.items():
        if key not in values:
            values[key] = value
            findings.sources[key] = "published default"
    try:
        stft = StftSpec(**values)
    except ValueError as error:
        raise ConfigError(f"the config's [acoustics] do not fit together: {error}") from error
    if stft.n_freqs != n_freqs:
        raise ConfigError(
            f"the config says n_fft = {n_fft}, which gives {stft.n_freqs} bins; "
            f"the tensors have {n_freqs}"
        )
    return stft
