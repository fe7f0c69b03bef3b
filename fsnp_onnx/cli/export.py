"""fsnp-export: a FullSubNet+ checkpoint in, verified ONNX files out."""

from __future__ import annotations

import time
from dataclasses import asdict
from enum import StrEnum
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from fsnp_onnx.cli.console import VersionOption, new_app, run, say
from fsnp_onnx.errors import InstallError
from fsnp_onnx.export.options import OPSETS, ExportOptions, Precision
from fsnp_onnx.runtime.ort import SLOW_INT8, int8_overflows, load_onnxruntime

if TYPE_CHECKING:
    from fsnp_onnx.export.pipeline import ExportReport

app = new_app()

_advanced = partial(typer.Option, rich_help_panel="Advanced")
_TOOL_CHAIN: Final = ("torch", "onnx", "onnxsim", "onnxscript")
_EXAMPLES: Final = """\b
Examples:
  fsnp-export best_model.tar                    original and simplified MulCA
  fsnp-export best_model.tar --config train.toml --report report.json
  fsnp-export best_model.tar --mulca original -o enhance.onnx
  fsnp-export best_model.tar --precision int8   quantised for CPUs
"""


class MulcaChoice(StrEnum):
    """The variants of MulCA, as typer wants the choices of a repeated option."""

    original = "original"
    equivalent = "equivalent"
    simplified = "simplified"


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
            help="File to write; with several variants PATH becomes PATH.VARIANT.onnx. "
            "Default: NAME.VARIANT.onnx beside the checkpoint, NAME.VARIANT.int8.onnx for int8.",
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
            help="Variant of the channel attention MulCA; may be repeated. Default: original and "
            "simplified, or the variant the network was trained in."
        ),
    ] = None,
    precision: Annotated[
        Precision,
        typer.Option(help="int8 quantises the sub-band LSTM: faster on CPUs, not exact."),
    ] = ExportOptions.precision,
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace existing outputs.")] = False,
    version: VersionOption = False,  # noqa: ARG001 - its callback ends the command
    report: Annotated[
        Path | None, _advanced(metavar="JSON", help="Write what was found and verified.")
    ] = None,
    min_snr_db: Annotated[
        float | None,
        _advanced(
            min=0,
            metavar="DB",
            help="How close int8 must come to float32 on speech, in dB SNR; otherwise no file is "
            f"written. Default: {ExportOptions.min_snr_db:g}.",
        ),
    ] = None,
    opset: Annotated[
        int, _advanced(min=OPSETS.start, max=OPSETS.stop - 1, help="ONNX operator set.")
    ] = ExportOptions.opset,
) -> None:
    """Export a FullSubNet+ checkpoint to ONNX and verify every file against the network."""
    load_onnxruntime()
    _require_tool_chain()
    from fsnp_onnx.export.pipeline import export_checkpoint  # noqa: PLC0415 - torch, slow

    if min_snr_db is not None and precision == "float32":
        raise typer.BadParameter("is for --precision int8", param_hint="'--min-snr-db'")
    options = ExportOptions(
        opset, precision, ExportOptions.min_snr_db if min_snr_db is None else min_snr_db
    )
    start = time.perf_counter()
    done = export_checkpoint(
        checkpoint,
        output,
        config=config,
        mulca=[variant.value for variant in mulca or ()],
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


def _lines(report: ExportReport) -> list[str]:
    values = report.inferred.network.as_dict() | asdict(report.inferred.stft)
    lines = ["", "network", *_by_source(values, report.inferred.sources), ""]
    lines.append(
        f"{'file':40} {'MulCA':10} {'MB':>6} {'nodes':>6} {'max error':>9} {'tolerance':>9} {'SNR dB':>7}"
    )
    for file in report.exported:
        worst = max(file.spec.verification, key=lambda probe: probe.max_abs_error / probe.tolerance)
        lines.append(
            f"{file.path!s:40} {file.spec.mulca or '-':10} {file.n_bytes / 1e6:6.2f} "
            f"{file.n_nodes:6d} {worst.max_abs_error:9.1e} {worst.tolerance:9.1e} {worst.snr_db:7.1f}"
        )
    return [*lines, *_explanation(report)]


def _explanation(report: ExportReport) -> list[str]:
    """Say what was verified, and what is not exact."""
    probes = [probe for file in report.exported for probe in file.spec.verification]
    speech = {f.path.name: f.spec.quantization for f in report.exported if f.spec.quantization}
    graphs = "the float32 graph of each file" if speech else "each file"
    n_probes = len(report.exported[0].spec.verification)
    longest = max(probe.n_frames for probe in probes)
    verified = (
        f"verified: ONNX Runtime ran {graphs} on {n_probes} spectra of noisy speech of up to {longest} "
        "frames. Each mask differed from the float64 network's by less than the tolerance; the table "
        "shows the spectrum that came nearest to it."
    )
    lines = [verified]
    for name, recordings in speech.items():
        least = min(recordings, key=lambda probe: probe.snr_db)
        lines.append(
            f"{name}: int8 is {least.snr_db:.1f} dB SNR from float32 on {least.recording} (the "
            f"least; {least.min_snr_db:g} dB required)"
        )
    if speech and int8_overflows(load_onnxruntime()):
        lines.append(f"note: {SLOW_INT8}; a CPU with VNNI gains more")
    loosest = max(probe.tolerance for probe in probes)
    if loosest > 0.1:  # a hundredth of what the clamped mask spans
        lines.append(
            f"note: a tolerance of {loosest:.2g} says little; torch's own float32 is nearly that far "
            "from float64 on this network's norms"
        )
    if report.difference:
        lines.append(
            f"simplified MulCA compared with original on noisy speech: the mask differs by up to "
            f"{report.difference.max_mask_error:.2g}, the enhanced waveform by "
            f"{report.difference.snr_db:.1f} dB SNR"
        )
    return lines


def _by_source(values: dict[str, Any], sources: dict[str, str]) -> list[str]:
    """Group the options by where they come from, one line per source."""
    groups: dict[str, list[str]] = {}
    for name, source in sources.items():
        groups.setdefault(source, []).append(f"{name}={values[name]}")
    return [f"  from {source}: {', '.join(options)}" for source, options in groups.items()]
