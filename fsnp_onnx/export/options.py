"""What a user chooses: how files are built, which variants of MulCA, and where the files go."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, get_args

from fsnp_onnx.errors import ArgumentError, OutputError
from fsnp_onnx.network.config import MULCA_VARIANTS, MulcaVariant, NetworkConfig
from fsnp_onnx.runtime.outputs import require_free

OPSETS: Final = range(18, 22)
Precision = Literal["float32", "int8"]
Interface = Literal["mask", "waveform", "stream"]


@dataclass(frozen=True)
class ExportOptions:
    """How an ONNX file is built.

    Attributes:
        opset: ONNX operator set, 18 to 21.
        precision: "int8" quantises the sub-band LSTM, for CPUs.
        min_snr_db: How close an int8 file must come to float32 on speech, in dB SNR, 0 or more.
        interface: What goes in and out: "mask" takes spectra and returns masks, "waveform" takes and
            returns samples, "stream" takes and returns samples hop by hop, for causal networks.

    Raises:
        ArgumentError: A value is out of its range.

    Example:
        >>> ExportOptions(precision="int8").min_snr_db
        30.0
        >>> ExportOptions(opset=12)
        Traceback (most recent call last):
        fsnp_onnx.errors.ArgumentError: opset is 12; expected 18 to 21
    """

    opset: int = 18
    precision: Precision = "float32"
    min_snr_db: float = 30.0
    interface: Interface = "mask"

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.opset not in OPSETS:
            expected = f"{OPSETS.start} to {OPSETS.stop - 1}"
            raise ArgumentError("opset", f"is {self.opset}; expected {expected}")
        if self.precision not in get_args(Precision):
            raise ArgumentError("precision", f"is {self.precision!r}; expected float32 or int8")
        if self.interface not in get_args(Interface):
            expected = ", ".join(get_args(Interface))
            raise ArgumentError("interface", f"is {self.interface!r}; expected one of {expected}")
        if not 0 <= self.min_snr_db < math.inf:
            raise ArgumentError("min_snr_db", f"is {self.min_snr_db}; expected 0 dB or more")
        if self.precision == "float32" and self.min_snr_db != ExportOptions.min_snr_db:
            raise ArgumentError("min_snr_db", "is for precision int8 only; leave it out")


def choose_variants(
    network: NetworkConfig, asked: Sequence[MulcaVariant] | None
) -> tuple[MulcaVariant | None, ...]:
    """Return the variants of MulCA to write, (None,) for a network without MulCA."""
    variants = tuple(dict.fromkeys(asked or ()))
    unknown = [variant for variant in variants if variant not in MULCA_VARIANTS]
    if unknown:
        raise ArgumentError(
            "mulca", f"is {unknown[0]!r}; expected one of {', '.join(MULCA_VARIANTS)}"
        )
    problem = None
    if network.attention != "TSSE" and variants:
        problem = f"the network's channel attention is {network.attention or 'none'}"
    elif network.mulca == "simplified" and set(variants) - {"simplified"}:
        problem = "the network was trained in the simplified variant and has no convolutions"
    if problem:
        raise ArgumentError("mulca", f"is {variants[0]!r}, but {problem}; leave it out")
    if network.attention != "TSSE":
        return (None,)
    if network.mulca == "simplified":
        return ("simplified",)
    return variants or ("original", "simplified")


def output_folder(output: str | os.PathLike[str] | None) -> Path | None:
    """Return the folder that an output names: one that exists, or a path that ends in a slash."""
    if output is None:
        return None
    is_folder = Path(output).is_dir() or os.fspath(output).endswith(("/", os.sep))
    return Path(output) if is_folder else None


def output_paths(
    stem: Path,
    output: Path | None,
    variants: Sequence[MulcaVariant | None],
    options: ExportOptions,
) -> list[Path]:
    """Return ``output`` if there is one variant, else STEM.VARIANT.onnx.

    An interface other than mask, and int8, stand after the variant: STEM.VARIANT.waveform.int8.onnx. The
    stem is ``output``, by default ``stem``.
    """
    if output is not None and len(variants) == 1:
        return [output]
    stem = output or stem
    name = stem.name.removesuffix(".onnx")
    interface = None if options.interface == "mask" else options.interface
    precision = None if options.precision == "float32" else options.precision
    return [
        stem.with_name(".".join(filter(None, (name, variant, interface, precision, "onnx"))))
        for variant in variants
    ]


def check_outputs(
    outputs: Sequence[Path],
    report: Path | None,
    sources: Sequence[Path],
    *,
    force: bool,
    folder: Path | None = None,
) -> None:
    """Check, before the work begins, that all files may be written; the sources exist.

    Only ``folder``, the one that the output names, need not exist.
    """
    kept = list(sources)
    for path in (*outputs, *filter(None, [report])):
        require_free(path, kept, force=force)
        if not path.parent.is_dir() and path.parent != folder:
            raise OutputError(f"folder {path.parent} does not exist; create it first")
        kept.append(path)
