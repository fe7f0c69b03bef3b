"""One recording through standard input or standard output."""

from __future__ import annotations

import sys
from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, Final

from fsnp_onnx.batch import storage
from fsnp_onnx.batch.worker import Failed
from fsnp_onnx.errors import ArgumentError, FsnpError, OutputError
from fsnp_onnx.runtime.enhancer import Enhancer
from fsnp_onnx.runtime.recording import Done

PIPE: Final = "-"


def pipe_ends(
    inputs: Sequence[str], output: str | None, others: dict[str, Any], *, as_json: bool
) -> tuple[str | BinaryIO, Path | BinaryIO]:
    """Return where one recording comes from and goes to, one of which is a stream."""
    if len(inputs) != 1 or Path(inputs[0]).is_dir():
        raise ArgumentError("inputs", "has to be one file, as a stream carries one recording")
    for argument, value in others.items():
        if value:
            raise ArgumentError(argument, "needs files; standard input and output are streams")
    (name,) = inputs
    if name == PIPE and sys.stdin is None:
        raise ArgumentError("inputs", "is standard input, which is closed")
    source = sys.stdin.buffer if name == PIPE else name
    if output is None or output == PIPE:
        return source, _standard_output(as_json=as_json)
    if storage.is_url(output) or output.endswith("/") or Path(output).is_dir():
        raise ArgumentError("output", f"is {output}; standard input needs the path of a file")
    return source, Path(output)


def _standard_output(*, as_json: bool) -> BinaryIO:
    if sys.stdout is None:
        raise ArgumentError("output", "is standard output, which is closed")
    if as_json:
        raise ArgumentError("json", "needs standard output, which carries the sound; give -o FILE")
    if sys.stdout.isatty():
        raise ArgumentError("output", "is a terminal; redirect it or give -o FILE")
    return sys.stdout.buffer


def enhance_pipe(
    enhancer: Enhancer, source: str | BinaryIO, target: Path | BinaryIO, how: dict[str, Any]
) -> Generator[Done | Failed]:
    """Yield the result of the one recording."""
    try:
        if not isinstance(source, str):
            yield enhancer.enhance_file(source, target, **how)
            return
        with storage.fetched(source) as path:
            done = enhancer.enhance_file(path, target, **how)
    except OSError as error:
        if isinstance(error, FsnpError | BrokenPipeError) or isinstance(target, Path):
            raise
        raise OutputError(f"cannot write standard output ({error.strerror or error})") from error
    yield replace(done, input=source)
