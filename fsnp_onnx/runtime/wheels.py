"""Which wheel of ONNX Runtime is installed: there are two, and exactly one has to be.

They share one import package, so what is there is read from the distributions' metadata.
"""

from __future__ import annotations

import os
from importlib import metadata
from types import ModuleType
from typing import Final

from fsnp_onnx.errors import InstallError

WHEELS: Final = ("onnxruntime", "onnxruntime-gpu")


def installed_wheels() -> dict[str, str]:
    """Return which wheels of ONNX Runtime are installed, name to version."""
    found = {}
    for name in WHEELS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def load_onnxruntime() -> ModuleType:
    """Import ONNX Runtime.

    Raises:
        InstallError: Not exactly one of its wheels is installed, or it cannot be imported.
    """
    wheels = installed_wheels()
    if len(wheels) == 0:
        raise InstallError(
            "ONNX Runtime is not installed; run pip install 'fsnp-onnx[cpu]' (or [gpu])"
        )
    if len(wheels) > 1:
        raise InstallError(
            f"{' and '.join(wheels)} are both installed and overwrite each other; "
            "run pip uninstall on both, then pip install 'fsnp-onnx[cpu]' or 'fsnp-onnx[gpu]'"
        )
    # Some wheels send telemetry: at import they open a database in HOME and ask a name server, and their
    # clean-up hangs a forked child. ONNX Runtime reads this variable at import; a user's own value stays.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        import onnxruntime  # noqa: PLC0415 - fsnp_onnx can be imported without it
    except ImportError as error:
        raise InstallError(
            f"ONNX Runtime cannot be imported ({str(error).partition(chr(10))[0]}); "
            f"run pip install --force-reinstall {next(iter(wheels))}"
        ) from error
    module: ModuleType = onnxruntime
    return module
