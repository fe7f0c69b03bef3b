"""Hook of the build: a wheel takes the page along if `make page` has built it.

The bundled models are in the wheel already, so the page's copies stay out.
"""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class PageHook(BuildHookInterface[Any]):
    """Puts web/dist at fsnp_onnx/serve/page."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the files of the page; an editable install reads them from web/dist."""
        if version == "editable":
            return
        page = Path(self.root, "web", "dist")
        for file in page.rglob("*"):
            name = file.relative_to(page)
            if file.is_file() and name.parts[0] != "models":
                build_data["force_include"][str(file)] = f"fsnp_onnx/serve/page/{name}"
