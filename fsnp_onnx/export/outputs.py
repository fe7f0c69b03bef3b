"""Which files an export writes, decided and checked before the work rather than after it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fsnp_onnx.errors import ConfigError, OutputError
from fsnp_onnx.network.config import MULCA_FORMS, MulcaForm, NetworkConfig


def choose_forms(
    network: NetworkConfig, asked: Sequence[MulcaForm] | None
) -> tuple[MulcaForm | None, ...]:
    """Return the forms of MulCA to write, (None,) for a network without MulCA.

    Raises:
        ConfigError: A form was asked for that this network does not have.
    """
    forms = tuple(dict.fromkeys(asked or ()))
    unknown = [form for form in forms if form not in MULCA_FORMS]
    if unknown:
        raise ConfigError(f"mulca is {unknown[0]!r}; expected one of {', '.join(MULCA_FORMS)}")
    if network.attention != "TSSE":
        if forms:
            raise ConfigError(
                f"mulca {forms[0]!r} was asked for, but the network's channel attention is "
                f"{network.attention or 'none'}; leave --mulca out"
            )
        return (None,)
    if network.mulca == "simplified":
        if set(forms) - {"simplified"}:
            raise ConfigError(
                f"mulca {forms[0]!r} was asked for, but the network was trained in the simplified "
                "form and has no convolutions; leave --mulca out"
            )
        return ("simplified",)
    return forms or ("original", "simplified")


def output_paths(
    stem: Path, output: Path | None, forms: Sequence[MulcaForm | None], precision: str
) -> list[Path]:
    """Return one path per form, or exactly ``output`` if there is one form.

    Args:
        stem: Where the files go and what they are called without ``output``.
        output: File, or stem of several; a folder is refused later.
        forms: Forms of MulCA, None for none.
        precision: Arithmetic; what is not float32 is in the name: STEM.FORM.int8.onnx.
    """
    if output is not None and (len(forms) == 1 or output.is_dir()):
        return [output]
    stem = output or stem
    name = stem.name.removesuffix(".onnx")
    tail = None if precision == "float32" else precision
    return [stem.with_name(".".join(filter(None, (name, form, tail, "onnx")))) for form in forms]


def check_outputs(
    outputs: Sequence[Path], report: Path | None, sources: Sequence[Path], *, force: bool
) -> None:
    """Check that all files may be written.

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
        raise OutputError(f"output {path} exists already; give another one or --force")
    if path.is_dir():
        raise OutputError(f"output {path} is a folder; give the path of a file")
    if not path.parent.is_dir():
        raise OutputError(f"folder {path.parent} does not exist; create it first")
