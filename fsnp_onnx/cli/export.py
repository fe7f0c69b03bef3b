"""fsnp-export: a FullSubNet+ checkpoint in, proven ONNX files out."""

from __future__ import annotations

import time
from dataclasses import asdict, replace
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from fsnp_onnx.cli.console import VersionOption, new_app, run, say
from fsnp_onnx.errors import InstallError
from fsnp_onnx.runtime.ort import SLOW_INT8, int8_overflows, load_onnxruntime

if TYPE_CHECKING:
    from fsnp_onnx.export.pipeline import Report

app = new_app()

_EXAMPLES = """\b
Examples:
  fsnp-export best_model.tar                      both forms of MulCA, beside it
  fsnp-export best_model.tar --config train.toml  for what tensors do not tell
  fsnp-export best_model.tar --mulca original -o enhance.onnx --report out.json
  fsnp-export best_model.tar --precision int8     quantised for CPUs
"""


class MulcaChoice(StrEnum):
    """The forms of MulCA, as typer wants the choices of a repeated option."""

    original = "original"
    equivalent = "equivalent"
    simplified = "simplified"


_TOOL_CHAIN = ("torch", "onnx", "onnxsim", "onnxscript")


@app.command(epilog=_EXAMPLES)
def export(  # noqa: PLR0913 - one parameter for each option
    checkpoint: Annotated[
        Path, typer.Argument(help="Checkpoint file, or the folder of an unpacked one.")
    ],
    *,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="PATH",
            help="File to write; with several forms PATH becomes PATH.FORM.onnx. "
            "Default: NAME.FORM.onnx beside the checkpoint, NAME.FORM.int8.onnx for int8.",
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="TOML",
            help="Configuration the checkpoint was trained with. Default: the one inside the "
            "checkpoint, or the published defaults.",
        ),
    ] = None,
    mulca: Annotated[
        list[MulcaChoice] | None,
        typer.Option(
            help="Form of the channel attention MulCA; may be repeated. Default: original and "
            "simplified, or the form the network was trained in."
        ),
    ] = None,
    block_frames: Annotated[
        int,
        typer.Option(
            min=1,
            max=1024,
            help="Frames per step of the sub-band model; int8 rounds their input on one scale.",
        ),
    ] = 8,
    opset: Annotated[int, typer.Option(min=18, max=21, help="ONNX operator set.")] = 18,
    precision: Annotated[
        Literal["float32", "int8"],
        typer.Option(help="int8 quantises the sub-band LSTM: faster on CPUs, not exact."),
    ] = "float32",
    min_snr_db: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="DB",
            help="How close int8 must come to float32 on speech; an export that does not is no "
            "file. Default: 30.",
        ),
    ] = None,
    no_simplify: Annotated[bool, typer.Option("--no-simplify", help="Leave onnxsim out.")] = False,
    report: Annotated[
        Path | None, typer.Option(metavar="JSON", help="Write findings and certificates.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace existing outputs.")] = False,
    version: VersionOption = False,  # noqa: ARG001 - its callback ends the command
) -> None:
    """Export a FullSubNet+ checkpoint to ONNX and prove that the file equals the network."""
    load_onnxruntime()
    _require_tool_chain()
    from fsnp_onnx.export.pipeline import (  # noqa: PLC0415 - torch, slow and an extra
        Options,
        export_checkpoint,
    )

    if min_snr_db is not None and precision == "float32":
        raise typer.BadParameter("is for --precision int8", param_hint="'--min-snr-db'")
    options = Options(block_frames, opset, simplify=not no_simplify, precision=precision)
    if min_snr_db is not None:
        options = replace(options, min_snr_db=min_snr_db)
    start = time.perf_counter()
    done = export_checkpoint(
        checkpoint,
        output,
        config=config,
        mulca=[form.value for form in mulca or ()],
        options=options,
        report=report,
        force=force,
        on_step=lambda step: say(f"[{time.perf_counter() - start:6.1f} s] {step}"),
    )
    typer.echo("\n".join(_lines(done)))


def main() -> None:
    """Entry point of the command."""
    run(app)


def _require_tool_chain() -> None:
    missing = [name for name in _TOOL_CHAIN if find_spec(name) is None]
    if missing:
        raise InstallError(
            f"fsnp-export needs {', '.join(missing)}, not installed; "
            "run pip install 'fsnp-onnx[cpu,export]'"
        )


def _lines(report: Report) -> list[str]:
    values = report.inferred.network.as_dict() | asdict(report.inferred.stft)
    lines = ["", "network", *_by_source(values, report.inferred.sources), ""]
    lines.append(
        f"{'file':40} {'MulCA':10} {'MB':>6} {'nodes':>6} {'max |error|':>11} {'allowed':>8} {'SNR dB':>7}"
    )
    for file in report.exported:
        worst = max(file.spec.verification, key=lambda probe: probe.max_abs_error / probe.tolerance)
        lines.append(
            f"{file.path!s:40} {file.spec.mulca or '-':10} {file.n_bytes / 1e6:6.2f} "
            f"{file.n_nodes:6d} {worst.max_abs_error:11.1e} {worst.tolerance:8.1e} {worst.snr_db:7.1f}"
        )
    lines.append("(error of the mask against the float64 network, worst of all probes)")
    for file in report.exported:
        if file.spec.quantization:
            least = min(file.spec.quantization, key=lambda probe: probe.snr_db)
            lines.append(
                f"{file.path.name}: the float32 graph was proven; int8 is {least.snr_db:.1f} dB SNR "
                f"from it on {least.recording} (the least; {least.min_snr_db:g} dB required)"
            )
    if any(file.spec.quantization for file in report.exported) and int8_overflows(
        load_onnxruntime()
    ):
        lines.append(f"note: {SLOW_INT8}; a CPU with VNNI gains more")
    loosest = max(p.tolerance for file in report.exported for p in file.spec.verification)
    if loosest > 0.1:  # a hundredth of what the clamped mask spans
        lines.append(
            f"note: a bound of {loosest:.2g} excludes little; float32 itself is that far off on this "
            "network's norms (docs/parity.md)"
        )
    if report.difference:
        lines.append(
            f"simplified against original on noisy speech: mask differs by up to "
            f"{report.difference.max_mask_error:.2g}, enhanced waveform by "
            f"{report.difference.snr_db:.1f} dB SNR"
        )
    return lines


def _by_source(values: dict[str, Any], sources: dict[str, str]) -> list[str]:
    """Group the options by where they come from, one line per source."""
    groups: dict[str, list[str]] = {}
    for name, source in sources.items():
        groups.setdefault(source, []).append(f"{name}={values[name]}")
    return [f"  from {source}: {', '.join(options)}" for source, options in groups.items()]
