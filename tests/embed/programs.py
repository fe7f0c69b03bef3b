"""The programs of examples/cpp and examples/node, built where their tools are to be had."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import soundfile
from numpy.typing import NDArray

from tests.web.tools import ROOT, installed, missing, require

Samples = NDArray[np.float32]
Program = Callable[[Path, Path, Path], subprocess.CompletedProcess[str]]

NODE = ROOT / "examples" / "node"
_DEBIAN = Path("/usr/include")
_HEADERS = (  # where the npm package of package.json has them
    "node_modules/com.github.asus4.onnxruntime/Plugins/iOS~/onnxruntime.xcframework/"
    "ios-arm64/onnxruntime.framework/Headers"
)


def build_cpp(folder: Path) -> Path:
    """Build the C++ program with the library of the Python wheel and return its path."""
    cmake = require("cmake")
    require("g++")
    for header in ("nlohmann/json.hpp", "sndfile.hh"):
        if not (_DEBIAN / header).exists():
            missing(f"{header} of nlohmann-json3-dev and libsndfile1-dev")
    headers = _DEBIAN / "onnxruntime"  # of libonnxruntime-dev, which Debian 12 has not
    if not headers.exists():
        headers = installed(Path(__file__).parent) / _HEADERS
    (library,) = Path(onnxruntime.__file__).parent.glob("capi/libonnxruntime.so.*")
    for name in ("libonnxruntime.so", "libonnxruntime.so.1"):  # for the linker, and for the loader
        (folder / name).symlink_to(library)
    options = [
        f"-DONNXRUNTIME_INCLUDE={headers}",
        f"-DONNXRUNTIME_LIBRARY={folder}/libonnxruntime.so",
    ]
    source = str(ROOT / "examples" / "cpp")
    build = str(folder / "build")
    for command in (
        [cmake, "-S", source, "-B", build, "-DCMAKE_CXX_FLAGS=-Werror", *options],
        [cmake, "--build", build],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    return folder / "build" / "enhance"


def node(
    script: str, *arguments: Path, data: bytes | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run a Node program with its own packages."""
    command: list[str | Path] = [require("node"), installed(NODE) / script, *arguments]
    return subprocess.run(command, input=data, capture_output=True, timeout=300, check=False)


def node_whole(model: Path, noisy: Path, clean: Path) -> subprocess.CompletedProcess[str]:
    done = node("enhance.mjs", model, noisy, clean)
    return subprocess.CompletedProcess(done.args, done.returncode, "", done.stderr.decode())


def node_live(model: Path, noisy: Path, clean: Path) -> subprocess.CompletedProcess[str]:
    """Send the samples of a file of 16 bits through live.mjs."""
    samples, rate = soundfile.read(noisy, dtype="int16")
    done = node("live.mjs", model, data=samples.tobytes())
    if done.returncode == 0:
        soundfile.write(clean, np.frombuffer(done.stdout, np.int16), rate, subtype="PCM_16")
    return subprocess.CompletedProcess(done.args, done.returncode, "", done.stderr.decode())
