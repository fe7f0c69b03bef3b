"""fsnp-doctor: what is installed, what starts, and what a model file says about itself."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from fsnp_onnx.cli.console import new_app, run
from fsnp_onnx.errors import FsnpError
from fsnp_onnx.runtime.cpus import available_cpus
from fsnp_onnx.runtime.enhancer import DEFAULT_MODEL
from fsnp_onnx.runtime.model import open_model
from fsnp_onnx.runtime.ort import SLOW_INT8, installed_wheels, int8_overflows, load_onnxruntime

app = new_app()

_PACKAGES = ("fsnp-onnx", "numpy", "soundfile", "soxr", "typer")


@app.command()
def doctor(
    model: Annotated[
        Path, typer.Argument(help="File written by fsnp-export. Default: the bundled one.")
    ] = DEFAULT_MODEL,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Print versions, which providers start, threads, and a model's verification report.

    The exit code is 1 when the model cannot be run here.
    """
    findings = examine(model)
    typer.echo(json.dumps(findings) if as_json else "\n".join(_lines(findings)))
    if findings["errors"]:
        raise typer.Exit(1)


def main() -> None:
    """Entry point of the command."""
    run(app)


def examine(model: Path) -> dict[str, Any]:
    """Collect everything; what fails is text under "errors"."""
    cpus, reason = available_cpus()
    findings: dict[str, Any] = {
        "versions": _versions(),
        "onnxruntime": installed_wheels(),
        "threads": {"default": cpus, "limited_by": reason},
        "int8": _try_int8(),
        "providers": {"cpu": _try_provider("cpu"), "cuda": _try_provider("cuda")},
        "model": {"path": str(model)},
        "errors": [],
    }
    try:
        opened = open_model(model, "cpu")
        findings["model"] |= {"size_bytes": model.stat().st_size, **asdict(opened.spec)}
    except FsnpError as error:
        findings["errors"].append(str(error))
    return findings


def _try_provider(provider: Literal["cpu", "cuda"]) -> str:
    """Start a provider with the bundled model, so that no other file can be the reason."""
    try:
        open_model(DEFAULT_MODEL, provider)
    except FsnpError as error:
        return str(error)
    return "starts"


def _try_int8() -> str:
    """Tell what an int8 file gains on this CPU."""
    try:
        overflow = int8_overflows(load_onnxruntime())
    except FsnpError as error:
        return str(error)
    return SLOW_INT8 if overflow else "8-bit matrix multiplications are exact and fast on this CPU"


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version(), "platform": platform.platform()}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed as a package"
    try:
        import soundfile  # noqa: PLC0415 - a broken libsndfile is a finding, not a crash

        versions["libsndfile"] = soundfile.__libsndfile_version__
    except (ImportError, OSError) as error:
        versions["libsndfile"] = f"cannot be loaded ({error})"
    return versions


def _lines(findings: dict[str, Any]) -> list[str]:
    threads = findings["threads"]
    wheels = findings["onnxruntime"] or {"onnxruntime": "not installed"}
    rows = [*findings["versions"].items(), *wheels.items()]
    rows.append(("threads", f"{threads['default']} ({threads['limited_by']})"))
    rows.append(("int8", findings["int8"]))
    rows += [(f"provider {name}", state) for name, state in findings["providers"].items()]
    model = findings["model"]
    rows.append(("model", model["path"]))
    lines = _aligned(rows)
    if "stft" in model:
        lines += _model_lines(model)
    return [*lines, *(f"error: {error}" for error in findings["errors"])]


def _model_lines(model: dict[str, Any]) -> list[str]:
    groups = ("stft", "mask", "network", "provenance")
    keys = ("size_bytes", "interface", "min_frames", "look_ahead", "mulca", "precision")
    rows = [(key, model[key]) for key in keys]
    rows += [(f"{group} {key}", value) for group in groups for key, value in model[group].items()]
    lines = _aligned(rows)
    if not model["verification"]:
        return [*lines, "the file has no verification report"]
    lines.append(f"{'frames':>8}{'batch':>7}{'max |error|':>13}{'tolerance':>11}{'SNR dB':>8}")
    for probe in model["verification"]:
        lines.append(
            f"{probe['n_frames']:8d}{probe['batch']:7d}{probe['max_abs_error']:13.1e}"
            f"{probe['tolerance']:11.1e}{probe['snr_db']:8.1f}"
        )
    if model["quantization"]:
        lines.append(
            "The report is of the float32 graph. SNR of int8 against it, of the enhanced waveform:"
        )
    lines += [
        f"{probe['snr_db']:8.1f} dB on {probe['recording']} (at least {probe['min_snr_db']:g} dB)"
        for probe in model["quantization"]
    ]
    return lines


def _aligned(rows: list[tuple[str, Any]]) -> list[str]:
    width = max(len(name) for name, _ in rows) + 2
    return [f"{name:{width}}{value}" for name, value in rows]
