"""What is asked for is checked before the work: ranges, variants, precisions and outputs."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fsnp_onnx.errors import ArgumentError, OutputError
from fsnp_onnx.export.options import (
    ExportOptions,
    check_outputs,
    choose_variants,
    output_paths,
)
from fsnp_onnx.network.config import MulcaVariant
from tests.export.small import CONFIG


@pytest.mark.parametrize(
    ("options", "argument"),
    [
        ({"opset": 17}, "opset"),
        ({"precision": "int4"}, "precision"),
        ({"interface": "samples"}, "interface"),
        ({"min_snr_db": math.nan}, "min_snr_db"),
        ({"min_snr_db": -1.0}, "min_snr_db"),
    ],
    ids=str,
)
def test_options_that_cannot_be_are_refused_by_name(options: dict[str, Any], argument: str) -> None:
    with pytest.raises(ArgumentError, match=f"^{argument} is ") as caught:
        ExportOptions(**options)
    assert caught.value.argument == argument


def test_the_default_is_original_and_simplified_or_what_was_trained() -> None:
    assert choose_variants(CONFIG, None) == ("original", "simplified")
    assert choose_variants(replace(CONFIG, mulca="simplified"), None) == ("simplified",)
    assert choose_variants(replace(CONFIG, attention="SE"), None) == (None,)
    assert choose_variants(CONFIG, ["original", "original"]) == ("original",)


def test_variants_that_a_network_does_not_have_are_refused() -> None:
    with pytest.raises(ArgumentError, match="attention is SE"):
        choose_variants(replace(CONFIG, attention="SE"), ["original"])
    with pytest.raises(ArgumentError, match="trained in the simplified variant"):
        choose_variants(replace(CONFIG, mulca="simplified"), ["original"])
    with pytest.raises(ArgumentError, match=r"^mulca is 'fast'; expected one of"):
        choose_variants(CONFIG, ["fast"])  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("output", "variants", "names"),
    [
        (None, ("original", "simplified"), ["net.v2.original.onnx", "net.v2.simplified.onnx"]),
        (None, (None,), ["net.v2.onnx"]),
        (Path("x/y.onnx"), ("equivalent",), ["y.onnx"]),
        (Path("x/y.onnx"), ("original", "equivalent"), ["y.original.onnx", "y.equivalent.onnx"]),
        (
            Path("x/y.v3"),
            ("original", "equivalent"),
            ["y.v3.original.onnx", "y.v3.equivalent.onnx"],
        ),
    ],
)
def test_names_of_outputs(
    output: Path | None, variants: tuple[MulcaVariant | None, ...], names: list[str]
) -> None:
    paths = output_paths(Path("dir/net.v2"), output, variants, ExportOptions())
    assert [path.name for path in paths] == names
    assert all(path.parent == (output or Path("dir/net.v2.tar")).parent for path in paths)


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (ExportOptions(precision="int8"), ["net.original.int8.onnx", "net.int8.onnx"]),
        (ExportOptions(interface="waveform"), ["net.original.waveform.onnx", "net.waveform.onnx"]),
        (
            ExportOptions(precision="int8", interface="waveform"),
            ["net.original.waveform.int8.onnx", "net.waveform.int8.onnx"],
        ),
    ],
    ids=["int8", "waveform", "both"],
)
def test_what_is_not_the_default_is_in_the_names_of_outputs(
    options: ExportOptions, names: list[str]
) -> None:
    paths = output_paths(Path("net"), None, ("original", None), options)
    assert [path.name for path in paths] == names


def test_outputs_that_cannot_be_written_are_refused(tmp_path: Path) -> None:
    checkpoint, there = tmp_path / "net.tar", tmp_path / "there.onnx"
    checkpoint.touch()
    there.touch()
    for output, force, message in (
        (checkpoint, True, "is an input"),
        (there, False, "exists already"),
        (tmp_path / "nowhere" / "out.onnx", True, "does not exist"),
        (tmp_path, True, "is a folder"),
    ):
        with pytest.raises(OutputError, match=message):
            check_outputs([output], None, [checkpoint], force=force)
        with pytest.raises(OutputError, match=message):
            check_outputs([], output, [checkpoint], force=force)
    with pytest.raises(OutputError, match=r"is an input, .* or another output"):
        check_outputs([there], tmp_path / "." / "there.onnx", [checkpoint], force=True)
    check_outputs([there, tmp_path / "new.onnx"], None, [checkpoint], force=True)
