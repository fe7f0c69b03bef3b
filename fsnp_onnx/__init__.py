"""FullSubNet+ speech enhancement as one proven ONNX file.

The package in the order things flow::

    export/    checkpoint -> network -> graph -> parity -> model.onnx     (needs torch and onnx)
    spec.py    ModelSpec: what the file says about itself, the contract between the two halves
    runtime/   noisy samples -> spectrum -> model.onnx -> mask -> enhanced samples (never torch)
    cli/       fsnp-export, fsnp-enhance, fsnp-doctor
    errors.py  FsnpError and its family

Each name is loaded at its first use: `Enhancer` brings numpy, `export_checkpoint` torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from fsnp_onnx.errors import FsnpError, InstallError

if TYPE_CHECKING:
    from fsnp_onnx.export.pipeline import export_checkpoint
    from fsnp_onnx.runtime.enhancer import Enhancer
    from fsnp_onnx.spec import ModelSpec

__all__ = ["Enhancer", "FsnpError", "ModelSpec", "export_checkpoint"]

_HOMES: Final = {
    "Enhancer": "fsnp_onnx.runtime.enhancer",
    "ModelSpec": "fsnp_onnx.spec",
    "export_checkpoint": "fsnp_onnx.export.pipeline",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version  # noqa: PLC0415 - slow, and seldom asked for

        return version("fsnp-onnx")
    if name not in _HOMES:
        raise AttributeError(f"module 'fsnp_onnx' has no attribute {name!r}")
    try:
        return getattr(import_module(_HOMES[name]), name)
    except ImportError as error:
        if name != "export_checkpoint":
            raise
        raise InstallError(
            f"exporting needs {error.name}, which is not installed; "
            "run pip install 'fsnp-onnx[export]'"
        ) from error
