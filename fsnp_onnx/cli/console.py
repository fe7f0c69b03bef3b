"""How the commands meet a shell: one-line errors, exit codes, interrupts and closed pipes.

Data goes to standard output, everything said to people to standard error.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from typing import Annotated, Any, Final, NoReturn

import typer

from fsnp_onnx.errors import ArgumentError, FsnpError, OutputError, one_line

flag = partial(typer.Option, metavar="")  # a switch, whose help shows no type
_UsageError: Any = typer.BadParameter.__base__  # of click, which some versions of typer contain
_ENDED: Final = (129, 130, 143)  # 128 + the numbers of SIGHUP, SIGINT and SIGTERM
_OPTIONS: Final = {  # of the Python arguments with another name
    "inputs": "INPUT",
    "checkpoint": "CHECKPOINT",
    "attenuation_limit_db": "--attenuation-limit",
    "cluster": "--engine",
    "sample_rate": "--rate",
    "gpus_per_job": "--gpus",
}


def new_app() -> typer.Typer:
    """Return an application whose help has panels; rich draws them and is imported for them alone."""
    return typer.Typer(
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def say(message: str) -> None:
    """Print a line for people."""
    if sys.stderr:  # None where it was closed
        sys.stderr.write(f"{message}\n")  # not typer.echo, which writes past a progress bar
        sys.stderr.flush()


def say_error(message: str, about: str = "") -> None:
    """Print an error as one line that names the file it is about."""
    say(f"error: {message}" if about in message else f"error: {about}: {message}")


@contextmanager
def writing_output() -> Iterator[None]:
    """Name standard output in the error of a block that writes to it; a closed pipe is no error."""
    try:
        yield
    except OSError as error:
        if isinstance(error, FsnpError | BrokenPipeError):
            raise
        raise OutputError(f"cannot write standard output ({error.strerror or error})") from error


def _print_version(wanted: bool) -> None:  # noqa: FBT001 - as typer calls it
    if wanted:
        typer.echo(f"fsnp-onnx {version('fsnp-onnx')}")
        raise typer.Exit


VersionOption = Annotated[
    bool,
    flag("--version", help="Print the version.", is_eager=True, callback=_print_version),
]


def run(app: typer.Typer) -> NoReturn:
    """Run a command and leave the process with its exit code.

    0 is success, 1 an error that the user can fix, 2 wrong usage, 128 + N the end by signal N.
    """
    warnings.showwarning = _show_warning
    code: int | str | None
    try:
        code = app(standalone_mode=False)  # else errors of usage take five lines
    except SystemExit as end:
        code = end.code
    except typer.Abort:
        code = 130
    except _UsageError as error:
        say_error(one_line(error.format_message()))
        code = 2
    except ArgumentError as error:
        option = "--" + error.argument.replace("_", "-")
        say_error(f"{_OPTIONS.get(error.argument, option)} {error.problem}")
        code = 2
    except (FsnpError, OSError, MemoryError) as error:
        say_error(one_line(error))
        code = 1
    if code in _ENDED:
        say("interrupted")
        os._exit(int(code))  # a run of the model may still be on its way and cannot be joined
    sys.exit(code)


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    say(f"warning: {' '.join(str(message).split())}")
