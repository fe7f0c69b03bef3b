"""One recording through standard input or standard output."""

from __future__ import annotations

import sys
from collections.abc import Generator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, Final

from fsnp_onnx.batch import storage
from fsnp_onnx.batch.worker import Failed
from fsnp_onnx.cli.console import writing_output
from fsnp_onnx.errors import ArgumentError
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
    with ExitStack() as stack:
        if not isinstance(target, Path):
            stack.enter_context(writing_output())
        path = stack.enter_context(storage.fetched(source)) if isinstance(source, str) else source
        done = enhancer.enhance_file(path, target, **how)
    yield replace(done, input=source) if isinstance(source, str) else done
