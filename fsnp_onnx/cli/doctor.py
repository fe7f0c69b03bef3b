"""fsnp-doctor: what is installed, what starts, and what a model file says about itself."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import typer

from fsnp_onnx.cli.console import VersionOption, flag, new_app, run, writing_output
from fsnp_onnx.errors import FsnpError
from fsnp_onnx.runtime.bundled import DEFAULT_MODEL, model_path
from fsnp_onnx.runtime.cpus import available_cpus
from fsnp_onnx.runtime.open_model import open_model
from fsnp_onnx.runtime.ort import (
    CPU_BUILD,
    SLOW_INT8,
    WHEELS,
    has_cuda,
    installed,
    int8_overflows,
    load_onnxruntime,
)
from fsnp_onnx.runtime.stream_model import StreamModel

app = new_app()

_PACKAGES = ("fsnp-onnx", "numpy", "soundfile", "soxr", "typer", "rich", "filelock")

_HOPS = 500


@app.command()
def doctor(
    model: Annotated[
        str,
        typer.Argument(metavar="MODEL", help="default, live, or a file written by fsnp-export."),
    ] = "default",
    *,
    as_json: Annotated[bool, flag("--json", help="Print one JSON object.")] = False,
    version: VersionOption = False,  # noqa: ARG001 - its callback ends the command
) -> None:
    """Print versions, which providers start, threads, and a model's verification report.

    The exit code is 1 when the model cannot be run here.
    """
    findings = examine(model_path(model))
    with writing_output():
        typer.echo(json.dumps(findings) if as_json else "\n".join(_lines(findings)))
    if findings["errors"]:
        raise typer.Exit(1)


main = partial(run, app)


def examine(model: Path) -> dict[str, Any]:
    """Collect everything; what fails is text under "errors"."""
    cpus, reason = available_cpus()
    findings: dict[str, Any] = {
        "versions": _versions(),
        "onnxruntime": installed(WHEELS),
        "threads": {"default": cpus, "limited_by": reason},
        "int8": _try_int8(),
        "providers": {"cpu": _try_provider("cpu"), "cuda": _try_provider("cuda")},
        "model": {"path": str(model)},
        "errors": [],
    }
    try:
        opened = open_model(model, "cpu", threads=1)
        findings["model"] |= {"size_bytes": model.stat().st_size, **asdict(opened.spec)}
        if isinstance(opened, StreamModel):
            findings["live"] = _time_hops(opened)
    except FsnpError as error:
        findings["errors"].append(str(error))
    return findings


def _time_hops(model: StreamModel) -> dict[str, Any]:
    """Run a few seconds hop by hop on one thread, as a live stream does."""
    spec = model.spec.stft
    noise = np.random.default_rng(0).normal(0, 0.1, _HOPS * spec.hop_length)
    median, late = 1000 * np.percentile(model.time_hops(noise.astype(np.float32)), [50, 99])
    hop_ms = 1000 * spec.hop_length / spec.sample_rate_hz
    return {
        "latency_ms": 1000 * model.spec.latency_s,
        "hop_ms": hop_ms,
        "median_ms": round(float(median), 3),
        "percentile_99_ms": round(float(late), 3),
        "on_one_core": bool(late < hop_ms),
    }


def _try_provider(provider: Literal["cpu", "cuda"]) -> str:
    """Start a provider with the bundled model, so that no other file can be the reason."""
    try:
        if provider == "cuda" and not has_cuda(load_onnxruntime()):
            return f"not available: {CPU_BUILD}"
        open_model(DEFAULT_MODEL, provider)
    except FsnpError as error:
        return str(error)
    return "starts"


def _try_int8() -> str:
    """Return what an int8 file gains on this CPU."""
    try:
        overflow = int8_overflows(load_onnxruntime())
    except FsnpError as error:
        return str(error)
    return SLOW_INT8 if overflow else "8-bit matrix multiplications are exact and fast on this CPU"


def _versions() -> dict[str, str]:
    packages = dict.fromkeys(_PACKAGES, "not installed as a package") | installed(_PACKAGES)
    try:
        import soundfile  # noqa: PLC0415 - a broken libsndfile is a finding, not a crash

        libsndfile = soundfile.__libsndfile_version__
    except (ImportError, OSError) as error:
        libsndfile = f"cannot be loaded ({error})"
    system = {"python": platform.python_version(), "platform": platform.platform()}
    return {**system, **packages, "libsndfile": libsndfile}


def _lines(findings: dict[str, Any]) -> list[str]:
    threads, model = findings["threads"], dict(findings["model"])
    rows = findings["versions"] | (findings["onnxruntime"] or {"onnxruntime": "not installed"})
    rows |= {"threads": f"{threads['default']} ({threads['limited_by']})", "int8": findings["int8"]}
    rows |= {f"provider {name}": state for name, state in findings["providers"].items()}
    if live := findings.get("live"):
        rows["latency"] = f"{live['latency_ms']:g} ms"
        rows["time of a hop"] = (
            f"{live['median_ms']:.2f} ms (99th percentile {live['percentile_99_ms']:.2f} ms), "
            f"at most {live['hop_ms']:g} ms for live use"
        )
        rows["runs live on one core"] = "yes" if live["on_one_core"] else "no"
    rows["model"] = model.pop("path")
    reports = _reports(model.pop("verification"), model.pop("quantization")) if model else []
    for key, value in model.items():
        is_table = isinstance(value, dict)
        rows |= {f"{key} {k}": v for k, v in value.items()} if is_table else {key: value}
    width = max(map(len, rows)) + 2
    lines = [f"{name:{width}}{'none' if value is None else value}" for name, value in rows.items()]
    return [*lines, *reports, *(f"error: {error}" for error in findings["errors"])]


def _reports(verification: list[dict[str, Any]], quantization: list[dict[str, Any]]) -> list[str]:
    if not verification:
        return ["the file has no verification report"]
    lines = ["Verification against PyTorch float64"]
    lines += _table("frames", [probe for probe in verification if probe["n_samples"] is None])
    lines += _table("samples", [probe for probe in verification if probe["n_samples"]])
    if quantization:
        lines.append(
            "The report is of the float32 graph. SNR of int8 against it, of the enhanced waveform:"
        )
    lines += [
        f"{probe['snr_db']:8.1f} dB on {probe['recording']} (at least {probe['min_snr_db']:g} dB)"
        for probe in quantization
    ]
    return lines


def _table(unit: str, probes: list[dict[str, Any]]) -> list[str]:
    """Lines for the probes whose length counts in this unit: frames for masks, samples for waveforms."""
    if not probes:
        return []
    header = f"{unit:>8}{'batch':>7}{'max |error|':>13}{'tolerance':>11}{'SNR dB':>8}"
    return [
        header,
        *(
            f"{probe[f'n_{unit}']:8d}{probe['batch']:7d}{probe['max_abs_error']:13.1e}"
            f"{probe['tolerance']:11.1e}{probe['snr_db']:8.1f}"
            for probe in probes
        ),
    ]
