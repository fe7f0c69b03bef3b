"""FullSubNet+ speech enhancement as one proven ONNX file.

The package in the order things flow::

    export/    checkpoint -> network -> graph -> parity -> model.onnx     (needs torch and onnx)
    spec.py    ModelSpec: what the file says about itself, the contract between the two halves
    runtime/   noisy samples -> spectrum -> model.onnx -> mask -> enhanced samples (never torch)
    cli/       fsnp-export, fsnp-enhance, fsnp-doctor
    errors.py  FsnpError and its family

`Enhancer` and `ModelSpec` need numpy alone to be imported; `export_checkpoint` is loaded at its
first use, as it brings torch.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from fsnp_onnx.errors import FsnpError, InstallError
from fsnp_onnx.runtime.enhancer import Enhancer
from fsnp_onnx.spec import ModelSpec

if TYPE_CHECKING:
    from fsnp_onnx.export.pipeline import export_checkpoint

__all__ = ["Enhancer", "FsnpError", "ModelSpec", "export_checkpoint"]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return version("fsnp-onnx")
    if name != "export_checkpoint":
        raise AttributeError(f"module 'fsnp_onnx' has no attribute {name!r}")
    try:
        from fsnp_onnx.export.pipeline import export_checkpoint  # noqa: PLC0415
    except ImportError as error:
        raise InstallError(
            f"exporting needs {error.name}, which is not installed; "
            "run pip install 'fsnp-onnx[export]'"
        ) from error
    return export_checkpoint
