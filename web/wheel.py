"""Hook of the build: a wheel takes the page along if `make page` has built it.

The bundled models are in the wheel already, so the page's copies stay out. WebAssembly is packed
with xz, which makes it 40 % smaller than a zip file does; fsnp-serve unpacks it.
"""

import lzma
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class PageHook(BuildHookInterface[Any]):
    """Puts web/dist at fsnp_onnx/serve/page."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the files of the page; an editable install reads them from web/dist."""
        if version == "editable":
            return
        self._work = TemporaryDirectory()  # until the wheel is written
        page = Path(self.root, "web", "dist")
        for file in page.rglob("*"):
            name = file.relative_to(page)
            if not file.is_file() or name.parts[0] == "models":
                continue
            source, target = file, f"fsnp_onnx/serve/page/{name}"
            if file.suffix == ".wasm":
                source, target = self._packed(file), f"{target}.xz"
            build_data["force_include"][str(source)] = target

    def _packed(self, file: Path) -> Path:
        packed = Path(self._work.name, file.name)
        packed.write_bytes(lzma.compress(file.read_bytes(), preset=9))
        return packed
