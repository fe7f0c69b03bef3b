"""What a user chooses: how files are built, which variants of MulCA, and where the files go."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, get_args

from fsnp_onnx.errors import ArgumentError, OutputError
from fsnp_onnx.network.config import MULCA_VARIANTS, MulcaVariant, NetworkConfig

OPSETS: Final = range(18, 22)
BLOCK_FRAMES: Final = range(1, 1025)
Precision = Literal["float32", "int8"]


@dataclass(frozen=True)
class ExportOptions:
    """How an ONNX file is built.

    Attributes:
        block_frames: Frames per iteration of the sub-band Scan, 1 to 1024; limits memory. A float32
            file gives the same numbers for any value; an int8 file rounds the input of a block on
            one scale.
        opset: ONNX operator set, 18 to 21.
        simplify: Run onnxsim.
        precision: "int8" quantises the sub-band LSTM, for CPUs.
        min_snr_db: How close an int8 file must come to float32 on speech, in dB SNR, 0 or more.

    Raises:
        ArgumentError: A value is out of its range, or two are in conflict.

    Example:
        >>> ExportOptions(precision="int8").min_snr_db
        30.0
        >>> ExportOptions(opset=12)
        Traceback (most recent call last):
        fsnp_onnx.errors.ArgumentError: opset is 12; expected 18 to 21
    """

    block_frames: int = 8
    opset: int = 18
    simplify: bool = True
    precision: Precision = "float32"
    min_snr_db: float = 30.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name, valid in (("block_frames", BLOCK_FRAMES), ("opset", OPSETS)):
            value = getattr(self, name)
            if value not in valid:
                raise ArgumentError(name, f"is {value}; expected {valid.start} to {valid.stop - 1}")
        if self.precision not in get_args(Precision):
            raise ArgumentError("precision", f"is {self.precision!r}; expected float32 or int8")
        if self.precision == "int8" and not self.simplify:
            raise ArgumentError(
                "precision", "is int8, which needs the weights that onnxsim folds; keep onnxsim on"
            )
        if not 0 <= self.min_snr_db < math.inf:
            raise ArgumentError("min_snr_db", f"is {self.min_snr_db}; expected 0 dB or more")


def choose_variants(
    network: NetworkConfig, asked: Sequence[MulcaVariant] | None
) -> tuple[MulcaVariant | None, ...]:
    """Return the variants of MulCA to write, (None,) for a network without MulCA.

    Raises:
        ArgumentError: This network does not have a variant that was asked for.
    """
    variants = tuple(dict.fromkeys(asked or ()))
    unknown = [variant for variant in variants if variant not in MULCA_VARIANTS]
    if unknown:
        raise ArgumentError(
            "mulca", f"is {unknown[0]!r}; expected one of {', '.join(MULCA_VARIANTS)}"
        )
    if network.attention != "TSSE":
        if variants:
            raise ArgumentError(
                "mulca",
                f"is {variants[0]!r}, but the network's channel attention is "
                f"{network.attention or 'none'}; leave it out",
            )
        return (None,)
    if network.mulca == "simplified":
        if set(variants) - {"simplified"}:
            raise ArgumentError(
                "mulca",
                f"is {variants[0]!r}, but the network was trained in the simplified variant and "
                "has no convolutions; leave it out",
            )
        return ("simplified",)
    return variants or ("original", "simplified")


def output_paths(
    stem: Path, output: Path | None, variants: Sequence[MulcaVariant | None], precision: Precision
) -> list[Path]:
    """Return one path per variant, or exactly ``output`` if there is one variant.

    Args:
        stem: Folder and name of the files without ``output``.
        output: File, or stem of several; a folder is refused later.
        variants: Variants of MulCA, None for none.
        precision: Arithmetic; the name tells it unless it is float32: STEM.VARIANT.int8.onnx.
    """
    if output is not None and (len(variants) == 1 or output.is_dir()):
        return [output]
    stem = output or stem
    name = stem.name.removesuffix(".onnx")
    tail = None if precision == "float32" else precision
    return [stem.with_name(".".join(filter(None, (name, v, tail, "onnx")))) for v in variants]


def check_outputs(
    outputs: Sequence[Path], report: Path | None, sources: Sequence[Path], *, force: bool
) -> None:
    """Check, before the work begins, that all files may be written.

    Raises:
        OutputError: One exists (without ``force``), is an input, or its folder does not exist; or
            the report is one of the outputs.
    """
    for path in (*outputs, *filter(None, [report])):
        _check_output(path, sources, force=force)
    if report and any(report.resolve() == output.resolve() for output in outputs):
        raise OutputError(f"report {report} is an output of this export; give another file")


def _check_output(path: Path, sources: Sequence[Path], *, force: bool) -> None:
    if path.exists() and any(source.exists() and path.samefile(source) for source in sources):
        raise OutputError(f"output {path} is an input; give another output")
    if path.exists() and not force:
        raise OutputError(f"output {path} exists already; give another output or force")
    if path.is_dir():
        raise OutputError(f"output {path} is a folder; give the path of a file")
    if not path.parent.is_dir():
        raise OutputError(f"folder {path.parent} does not exist; create it first")
