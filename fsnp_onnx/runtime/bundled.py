"""The models that come with the package, by name."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from fsnp_onnx.runtime.arguments import check_model

MODELS: Final = Path(__file__).parents[1] / "models"
NAMES: Final = ("default", "live")
DEFAULT_MODEL: Final = MODELS / "default.onnx"


def model_path(model: str | os.PathLike[str] | None) -> Path:
    """Return the path of a model.

    Args:
        model: "default" (also None), "live", or the path of an exported file. A file of such a
            name in the current folder is "./live".

    Returns:
        The path; whether a file is there is not looked up.

    Raises:
        ArgumentError: The name is empty, or no name.
    """
    if model is None:
        return DEFAULT_MODEL
    check_model(model)
    return MODELS / f"{model}.onnx" if model in NAMES else Path(model)
