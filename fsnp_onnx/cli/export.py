"""fsnp-export: a FullSubNet+ checkpoint in, verified ONNX files out."""

from __future__ import annotations

import time
from dataclasses import asdict
from enum import StrEnum
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from fsnp_onnx.cli.console import VersionOption, flag, new_app, run, say
from fsnp_onnx.errors import InstallError
from fsnp_onnx.export.options import ExportOptions, Interface, Precision
from fsnp_onnx.runtime.ort import SLOW_INT8, int8_overflows, load_onnxruntime

if TYPE_CHECKING:
    from fsnp_onnx.export.pipeline import ExportReport

app = new_app()

_advanced = partial(typer.Option, rich_help_panel="Advanced")
_EXAMPLES: Final = """Examples:
fsnp-export best_model.tar                    original and simplified MulCA
fsnp-export best_model.tar --config train.toml --report report.json
fsnp-export best_model.tar --mulca original -o enhance.onnx
fsnp-export best_model.tar --precision int8   quantised for CPUs
fsnp-export best_model.tar --interface waveform   samples in, samples out
fsnp-export live.tar --interface stream       a causal network, hop by hop""".replace(
    "\n", "\n\n"
)  # in rich text a single line end is a space


class MulcaChoice(StrEnum):
    """The variants of MulCA, as typer wants the choices of a repeated option."""

    original = "original"
    equivalent = "equivalent"
    simplified = "simplified"


@app.command(epilog=_EXAMPLES)
def export(  # noqa: PLR0913 - one parameter for each option
    checkpoint: Annotated[
        Path, typer.Argument(help="Checkpoint file (any ending), or the folder of an unpacked one.")
    ],
    *,
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            metavar="PATH",
            help="File to write, or a folder; with several variants a file PATH becomes "
            "PATH.VARIANT.onnx. Default: NAME.VARIANT.onnx beside the checkpoint, "
            "NAME.VARIANT.waveform.int8.onnx for another interface and int8.",
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="TOML",
            help="Training configuration. Default: the one inside the checkpoint, or published values.",
        ),
    ] = None,
    mulca: Annotated[
        list[MulcaChoice] | None,
        typer.Option(
            metavar="VARIANT",
            help="Variant of MulCA; may be repeated. Default: original and simplified, or as trained."
            "\n\noriginal: the published convolutions."
            "\n\nequivalent: the same values without convolutions."
            "\n\nsimplified: ignores the edges; exact only if trained so.",
        ),
    ] = None,
    precision: Annotated[
        Precision,
        typer.Option(help="int8 quantises the sub-band LSTM: faster on CPUs, not exact."),
    ] = ExportOptions.precision,
    interface: Annotated[
        Interface,
        typer.Option(
            help="What goes in and out. mask: spectra and masks, for fsnp-enhance. waveform: samples "
            "and samples, for any program. stream: samples hop by hop, live, for causal networks."
        ),
    ] = ExportOptions.interface,
    force: Annotated[bool, flag("--force", "-f", help="Replace existing outputs.")] = False,
    version: VersionOption = False,  # noqa: ARG001 - its callback ends the command
    entry: Annotated[
        str | None,
        _advanced(
            metavar="NAME",
            help="Which network to take from a checkpoint that has several, such as model and ema.",
        ),
    ] = None,
    report: Annotated[
        Path | None,
        _advanced(
            metavar="FILE", help="Write the configuration and the verification report as JSON."
        ),
    ] = None,
    min_snr_db: Annotated[
        float,
        _advanced(
            metavar="DB",
            help="SNR of int8 against float32 on speech, below which no file is written.",
        ),
    ] = ExportOptions.min_snr_db,
    opset: Annotated[int, _advanced(help="ONNX operator set, 18 to 21.")] = ExportOptions.opset,
) -> None:
    """Export a FullSubNet+ checkpoint to ONNX and verify every file against the network."""
    load_onnxruntime()
    _require_tool_chain()
    from fsnp_onnx.export.pipeline import export_checkpoint  # noqa: PLC0415 - torch, slow

    start = time.perf_counter()
    done = export_checkpoint(
        checkpoint,
        output,
        config=config,
        entry=entry,
        mulca=[variant.value for variant in mulca or ()],
        options=ExportOptions(opset, precision, min_snr_db, interface),
        report=report,
        force=force,
        on_step=lambda step: say(f"[{time.perf_counter() - start:6.1f} s] {step}"),
    )
    typer.echo("\n".join(_lines(done)))


main = partial(run, app)


def _require_tool_chain() -> None:
    names = ("torch", "onnx", "onnxsim", "onnxscript")
    missing = [name for name in names if find_spec(name) is None]
    if missing:
        raise InstallError(
            f"fsnp-export needs {', '.join(missing)}, not installed; "
            "run pip install 'fsnp-onnx[cpu,export]'"
        )


def _lines(report: ExportReport) -> list[str]:
    values = report.inferred.network.as_dict() | asdict(report.inferred.stft)
    by_source: dict[str, list[str]] = {}
    for name, source in report.inferred.sources.items():
        by_source.setdefault(source, []).append(f"{name}={values[name]}")
    lines = ["", f"weights: {report.weights}", "network"]
    lines += [f"  from {source}: {', '.join(options)}" for source, options in by_source.items()]
    row = "{!s:40} {:10} {:>6} {:>9} {:>9} {:>7}".format
    lines += ["", row("file", "MulCA", "MB", "max error", "tolerance", "SNR dB")]
    for file in report.exported:
        worst = max(file.spec.verification, key=lambda probe: probe.max_abs_error / probe.tolerance)
        size, error = f"{file.n_bytes / 1e6:.2f}", f"{worst.max_abs_error:.1e}"
        tolerance, snr_db = f"{worst.tolerance:.1e}", f"{worst.snr_db:.1f}"
        mulca = file.spec.mulca or "-"
        lines.append(row(file.path, mulca, size, error, tolerance, snr_db))
    return [*lines, *_explanation(report)]


_COMPARED: Final = {
    "mask": "Each mask",
    "waveform": "Each mask and each waveform",
    "stream": "Each waveform, streamed in hops, at once or in random pieces,",
}


def _explanation(report: ExportReport) -> list[str]:
    """Say what was verified, and what is not exact."""
    probes = [probe for file in report.exported for probe in file.spec.verification]
    speech = {file.path.name: file.spec.quantization for file in report.exported}
    quantised = {name: recordings for name, recordings in speech.items() if recordings}
    loosest = max(probe.tolerance for probe in probes)
    spec = report.exported[0].spec
    longest_s = max(p.n_frames for p in probes) * spec.stft.hop_length / spec.stft.sample_rate_hz
    verified = (
        f"verified: ONNX Runtime ran {'the float32 graph of ' * bool(quantised)}each file on noisy "
        f"speech of up to {longest_s:.0f} s. {_COMPARED[spec.interface]} differed from the float64 "
        "network's by less than the tolerance; the table shows the one that came nearest to it."
    )
    lines = [verified]
    for name, recordings in quantised.items():
        least = min(recordings, key=lambda probe: probe.snr_db)
        lines.append(
            f"{name}: int8 is {least.snr_db:.1f} dB SNR from float32 on {least.recording} (the "
            f"least; {least.min_snr_db:g} dB required)"
        )
    if quantised and int8_overflows(load_onnxruntime()):
        lines.append(f"note: {SLOW_INT8}; a CPU with VNNI gains more")
    if loosest > 0.1:  # a hundredth of what the clamped mask spans
        lines.append(
            f"note: a tolerance of {loosest:.2g} says little; torch's own float32 is nearly that far "
            "from float64 on this network's norms"
        )
    if report.difference:
        mask_error = report.difference.max_mask_error
        mask = "" if mask_error is None else f"the mask differs by up to {mask_error:.2g}, "
        lines.append(
            f"simplified MulCA compared with original on noisy speech: {mask}the enhanced waveform "
            f"{'by' if mask else 'differs by'} {report.difference.snr_db:.1f} dB SNR"
        )
    return lines
