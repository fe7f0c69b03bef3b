"""Find out which FullSubNet+ a checkpoint is: from its tensors, its training TOML, or the defaults.

Sizes, attention and sequence model follow from tensor names and shapes. Look-ahead, norm, activations
and STFT do not: they come from the TOML (``[acoustics]``, ``[model.args]``, the published names) or are
the published defaults. Where both speak they must agree.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final, get_args

from torch import Tensor

from fsnp_onnx.errors import ConfigError, MissingFileError
from fsnp_onnx.export.sizes import check_tensors, read_sizes
from fsnp_onnx.network import config as net
from fsnp_onnx.network.config import NetworkConfig
from fsnp_onnx.spec import StftSpec

_ACTIVATIONS: Final = (None, *get_args(net.Activation))
# published option -> field ("" for none) and choices (None for numbers)
_OPTIONS: Final[dict[str, tuple[str, tuple[object, ...] | None]]] = {
    "num_freqs": ("n_freqs", None),
    "look_ahead": ("look_ahead", None),
    "sequence_model": ("sub_band_model", get_args(net.SubBandModel)),
    "sb_model_hidden_size": ("sub_band_hidden_size", None),
    "fb_num_neighbors": ("fb_num_neighbors", None),
    "sb_num_neighbors": ("sb_num_neighbors", None),
    "fb_output_activate_function": ("fb_activation", _ACTIVATIONS),
    "sb_output_activate_function": ("sb_activation", _ACTIVATIONS),
    "channel_attention_model": ("attention", (None, *get_args(net.Attention))),
    "kersize": ("kernel_sizes", None),
    "norm_type": ("norm", get_args(net.Norm)),
    "tcn_hidden_size": ("tcn_hidden_size", None),
    "complex_norm": ("complex_norm", get_args(net.ComplexNorm)),
    "mulca": ("mulca", ("original", "simplified")),
    "causal": ("causal", None),
    "horizon_frames": ("horizon_frames", None),
    "subband_num": ("", (1,)),
    "output_size": ("", (2,)),
}
# published options that do not change inference
_UNREAD: Final = {"fb_model_hidden_size", "num_groups_in_drop_band", "weight_init"}


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
                f"{name} is {value!r} in the {source} but {known!r} in the {self.sources[name]}; "
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
    """Read a training configuration."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise MissingFileError(f"cannot read config {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"config {path} is not TOML: {error}") from error


def infer(tensors: Mapping[str, Tensor], document: Mapping[str, Any] | None) -> Inferred:
    """Infer the configuration from tensors and training TOML; check every tensor against it."""
    findings = Findings()
    sizes = read_sizes(tensors)
    n_features = sizes.pop("sub_band_features")
    for name, value in sizes.items():
        findings.add(name, value, "tensors")
    arguments, acoustics = _sections(document or {})
    _read_arguments(arguments, findings)
    if "attention" not in findings.values:
        findings.add("attention", "SE", "published default (its tensors fit SE and CBAM)")
    _infer_neighbours(n_features, findings)
    for option in fields(NetworkConfig):
        if option.name not in findings.values:
            findings.add(option.name, option.default, "published default")
    network = NetworkConfig(**findings.values)
    stft = _read_stft(acoustics, network.n_freqs, findings)
    check_tensors(tensors, network)
    return Inferred(network, stft, findings.sources)


def differences(document: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Return which options have another value, as "look_ahead = 2 in place of 1"."""
    try:
        before = _sections(other)
    except ConfigError:
        return ["that one cannot be read"]
    pairs = zip(_sections(document), before, strict=True)
    return [
        f"{name} = {new.get(name, 'default')} in place of {old.get(name, 'default')}"
        for new, old in pairs
        for name in sorted(new.keys() | old.keys())
        if new.get(name) != old.get(name)
    ]


def _sections(document: Mapping[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    model = document.get("model", {})
    arguments = model.get("args", {}) if isinstance(model, Mapping) else None
    acoustics = document.get("acoustics", {})
    if not isinstance(arguments, Mapping) or not isinstance(acoustics, Mapping):
        raise ConfigError("the config's [model.args] and [acoustics] must be tables")
    return _plain(arguments), _plain(acoustics)


def _plain(table: Mapping[Any, Any]) -> dict[str, Any]:
    """Return a table as TOML has it; a checkpoint's own may hold any object, which becomes its type's name."""
    return {
        str(_plain_value(name)): (
            list(map(_plain_value, value))
            if isinstance(value, list | tuple)
            else _plain_value(value)
        )
        for name, value in table.items()
    }


def _plain_value(value: Any) -> Any:
    if isinstance(value, str):
        is_plain = value.isprintable()
    elif isinstance(value, int):
        is_plain = abs(value) < 1 << 63
    else:
        is_plain = value is None or isinstance(value, float)
    return value if is_plain else type(value).__name__


def _read_arguments(arguments: Mapping[str, Any], findings: Findings) -> None:
    unknown = [name for name in arguments if name not in _OPTIONS.keys() | _UNREAD]
    if unknown:
        raise ConfigError(f"the config has unknown options in [model.args]: {', '.join(unknown)}")
    unread = set(_UNREAD)  # with what the published code does not read for this network
    if findings.values["sub_band_model"] == "TCN":
        unread.add("sb_model_hidden_size")
    if findings.values.get("mulca") != "original":
        unread.add("kersize")
    for name in [name for name in arguments if name not in unread]:
        option, choices = _OPTIONS[name]
        value = _parse(name, arguments[name], choices)
        if option:
            findings.add(option, value, "config")


def _parse(name: str, value: Any, choices: tuple[object, ...] | None) -> object:
    """Check one option's type and range; return it as `NetworkConfig` wants it."""
    if choices:
        value = value or None
        valid, expected = value in choices, " or ".join(map(repr, choices))
    elif name == "kersize":
        valid = isinstance(value, list) and all(_is_count(length, 1) for length in value)
        value, expected = tuple(value) if valid else value, "three lengths"
    elif name == "causal":
        valid, expected = isinstance(value, bool), "true or false"
    else:
        valid, expected = _is_count(value, 0), "a whole number of 0 or more"
    if not valid:
        raise ConfigError(f"the config says {name} = {value!r}; expected {expected}")
    return value


def _is_count(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _infer_neighbours(n_features: int, findings: Findings) -> None:
    """Fill in the neighbour counts that the width of the sub-band input leaves possible.

    The width is 2 N + 1 + 3 (2 M + 1) for N magnitude and M full-band neighbours per side.
    """
    if "fb_num_neighbors" not in findings.values:
        given = findings.values.get("sb_num_neighbors")
        if given is None:
            findings.add("fb_num_neighbors", 0, "published default")
        else:
            findings.add("fb_num_neighbors", max((n_features - 4 - 2 * given) // 6, 0), "tensors")
    n_full_band = findings.values["fb_num_neighbors"]
    n_sub_band = (n_features - 4 - 6 * n_full_band) // 2
    if 2 * n_sub_band + 4 + 6 * n_full_band != n_features or n_sub_band < 0:
        raise ConfigError(
            f"the sub-band input has width {n_features}, which does not match any sb_num_neighbors "
            f"with fb_num_neighbors = {n_full_band}; give the TOML this checkpoint was trained with"
        )
    findings.add("sb_num_neighbors", n_sub_band, "tensors")
    widest, n_freqs = max(n_sub_band, n_full_band), findings.values["n_freqs"]
    if widest >= n_freqs:
        raise ConfigError(
            f"{widest} neighbours per side cannot be reflected on {n_freqs} bins; "
            "expected fewer neighbours than bins"
        )


def _read_stft(acoustics: Mapping[str, Any], n_freqs: int, findings: Findings) -> StftSpec:
    """Read ``[acoustics]``; without it the window spans the bins and the hop half the window."""

    def read(name: str, default: int, option: str | None = None) -> int:
        value: int = acoustics.get(name, default)
        if name in acoustics and not _is_count(value, 1):
            raise ConfigError(f"the config says {name} = {value!r}; expected a number > 0")
        findings.sources[option or name] = "config" if name in acoustics else "published default"
        return value

    sample_rate_hz = read("sr", 16000, "sample_rate_hz")
    n_fft = read("n_fft", 2 * (n_freqs - 1))
    win_length = read("win_length", n_fft)
    hop_length = read("hop_length", max(win_length // 2, 1))
    try:
        stft = StftSpec(sample_rate_hz, n_fft, win_length, hop_length)
    except ValueError as error:
        raise ConfigError(f"the config's [acoustics] do not fit together: {error}") from error
    if stft.n_freqs != n_freqs:
        raise ConfigError(
            f"the config says n_fft = {n_fft}, which gives {stft.n_freqs} bins; "
            f"the tensors have {n_freqs}"
        )
    return stft
