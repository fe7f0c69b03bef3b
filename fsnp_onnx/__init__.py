"""FullSubNet+ speech enhancement as one verified ONNX file, without PyTorch.

The package, in the order things flow::

    network/   FullSubNet+ in torch, and its configuration
    export/    checkpoint -> network -> graph -> verification -> model.onnx   (extra [export])
    spec.py    ModelSpec: what a file says about itself
    runtime/   noisy samples -> spectrum -> model.onnx -> mask -> enhanced samples, whole or live
    batch/     many recordings: inputs, processes, Ray, journal
    cli/       fsnp-export, fsnp-enhance, fsnp-doctor
    errors.py  FsnpError and its family

A name is loaded at its first use: `Enhancer` brings numpy, `export_checkpoint` brings torch.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from fsnp_onnx.errors import (
    ArgumentError,
    ArgumentTypeError,
    AudioError,
    CheckpointError,
    ConfigError,
    ExportError,
    FsnpError,
    InstallError,
    JournalError,
    ManifestError,
    MissingFileError,
    ModelFileError,
    OutputError,
    ProviderError,
    RunError,
    VerificationError,
    WorkerError,
)

# Some wheels of ONNX Runtime send telemetry: at import they open a database in HOME and ask a name server,
# and their clean-up hangs a forked child. Torch's exporter imports ONNX Runtime as well, so the variable
# that it reads is set here, before any of that; a user's own value stays.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if TYPE_CHECKING:
    from fsnp_onnx.batch.cluster import Cluster
    from fsnp_onnx.batch.files import Progress, enhance_files
    from fsnp_onnx.batch.worker import Failed
    from fsnp_onnx.export.checkpoint import FoundWeights
    from fsnp_onnx.export.fidelity import VariantDifference
    from fsnp_onnx.export.identify import Inferred
    from fsnp_onnx.export.options import ExportOptions, Interface, Precision
    from fsnp_onnx.export.pipeline import ExportedFile, ExportReport, export_checkpoint
    from fsnp_onnx.network.config import MulcaVariant, NetworkConfig
    from fsnp_onnx.probes import Probe, SpeechProbe
    from fsnp_onnx.runtime.enhancer import Enhancer
    from fsnp_onnx.runtime.ort import Provider
    from fsnp_onnx.runtime.recording import Done
    from fsnp_onnx.runtime.stream import Stream
    from fsnp_onnx.spec import (
        MaskSpec,
        ModelSpec,
        StateSpec,
        StftSpec,
        TensorSpec,
    )

__all__ = [
    "ArgumentError",
    "ArgumentTypeError",
    "AudioError",
    "CheckpointError",
    "Cluster",
    "ConfigError",
    "Done",
    "Enhancer",
    "ExportError",
    "ExportOptions",
    "ExportReport",
    "ExportedFile",
    "Failed",
    "FoundWeights",
    "FsnpError",
    "Inferred",
    "InstallError",
    "Interface",
    "JournalError",
    "ManifestError",
    "MaskSpec",
    "MissingFileError",
    "ModelFileError",
    "ModelSpec",
    "MulcaVariant",
    "NetworkConfig",
    "OutputError",
    "Precision",
    "Probe",
    "Progress",
    "Provider",
    "ProviderError",
    "RunError",
    "SpeechProbe",
    "StateSpec",
    "StftSpec",
    "Stream",
    "TensorSpec",
    "VariantDifference",
    "VerificationError",
    "WorkerError",
    "enhance_files",
    "export_checkpoint",
]

_HOMES: Final = {
    "batch.cluster": "Cluster",
    "batch.files": "Progress enhance_files",
    "batch.worker": "Failed",
    "export.checkpoint": "FoundWeights",
    "export.fidelity": "VariantDifference",
    "export.identify": "Inferred",
    "export.options": "ExportOptions Interface Precision",
    "export.pipeline": "ExportReport ExportedFile export_checkpoint",
    "network.config": "MulcaVariant NetworkConfig",
    "probes": "Probe SpeechProbe",
    "runtime.enhancer": "Enhancer",
    "runtime.ort": "Provider",
    "runtime.recording": "Done",
    "runtime.stream": "Stream",
    "spec": "MaskSpec ModelSpec StateSpec StftSpec TensorSpec",
}
_HOME_OF: Final = {name: home for home, names in _HOMES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version  # noqa: PLC0415 - slow, and seldom asked for

        return version("fsnp-onnx")
    if name not in _HOME_OF:
        raise AttributeError(f"module 'fsnp_onnx' has no attribute {name!r}")
    home = _HOME_OF[name]
    try:
        return getattr(import_module(f"fsnp_onnx.{home}"), name)
    except ImportError as error:
        if not home.startswith("export"):
            raise
        raise InstallError(
            f"exporting needs {error.name}, which is not installed; "
            "run pip install 'fsnp-onnx[export]'"
        ) from error
