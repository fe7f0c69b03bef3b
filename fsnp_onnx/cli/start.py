"""Entry points of the commands, and how each of them hears signals from its first moment on."""

from __future__ import annotations

import os
import signal
import sys
from functools import partial
from importlib import import_module
from typing import NoReturn


def _run(name: str) -> None:
    heard = signal.getsignal(signal.SIGINT)
    if heard is signal.default_int_handler:  # else the caller has decided, as nohup does
        signal.signal(signal.SIGINT, _interrupted)
    try:
        command = import_module(f"fsnp_onnx.cli.{name}")
    except (ImportError, OSError) as error:  # a package is missing, or a library that it loads
        reason = " ".join(str(error).split())
        extra = "serve" if name == "serve" else "cpu"
        remedy = f"run pip install 'fsnp-onnx[{extra}]'"
        sys.exit(f"error: fsnp-{name} cannot start ({reason}); {remedy}")
    signal.signal(signal.SIGINT, heard)
    for ending in ("SIGTERM", "SIGHUP"):  # as exceptions they let partial files be removed
        number = getattr(signal, ending, None)
        if number and signal.getsignal(number) != signal.SIG_IGN:  # which nohup sets
            signal.signal(number, _end)
    command.main()


_NAMES = ("enhance", "export", "doctor", "serve")
enhance, export, doctor, serve = (partial(_run, name) for name in _NAMES)


def _interrupted(*_: object) -> NoReturn:
    if sys.stderr:
        sys.stderr.write("interrupted\n")
        sys.stderr.flush()
    os._exit(130)


def _end(number: int, _: object) -> NoReturn:
    sys.exit(128 + number)
