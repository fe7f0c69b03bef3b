"""Say what a file is that people take for a checkpoint."""

from __future__ import annotations

import io
import tarfile
import zipfile
from typing import Final

_BEGINNINGS: Final = {
    b"version https://git-lfs": "a Git LFS pointer, not the file itself; run git lfs pull",
    b"\x93NUMPY": "a NumPy array (.npy); save the state_dict by torch.save",
    b"\x89HDF": "an HDF5 file; save the state_dict by torch.save",
    b"\x1f\x8b": "a gzip archive; unpack it first",
    b"BZh": "a bzip2 archive; unpack it first",
    b"\xfd7zXZ": "an xz archive; unpack it first",
    b"7z\xbc\xaf": "a 7z archive; unpack it first",
    b"Rar!": "a RAR archive; unpack it first",
    b"<": "a web page (HTML or XML), not the file itself; download the file that it links",
    b"{": "a text file (JSON), not a checkpoint; give the file with the weights",
    b"GGUF": "a GGUF file; give the PyTorch checkpoint",
}
_INDEX: Final = "the index of a checkpoint in several parts; save the state_dict as one file"


def is_safetensors(data: bytes) -> bool:
    """Whether a file begins as safetensors: the length of a header in 8 bytes, and the header in JSON."""
    return data[4:9] == b"\0\0\0\0{"


def foreign_kind(data: bytes) -> str | None:
    """Return what a file is and what to do, None for what may be a checkpoint."""
    if is_safetensors(data):
        return None
    if data.startswith(b"PK"):
        return _zip_kind(data)
    text = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n")  # a mark of UTF-8, and spaces
    kinds = [kind for beginning, kind in _BEGINNINGS.items() if text.startswith(beginning)]
    if kinds:
        return _INDEX if b'"weight_map"' in data else kinds[0]
    if not text:
        return "empty; download or copy it again"
    if data[0] == 0x08 and data[2:3] == b"\x12":  # fields 1 and 2 of a ModelProto
        return "an ONNX file, so it is exported already; give the PyTorch checkpoint"
    is_tar = tarfile.is_tarfile(io.BytesIO(data))
    return "a tar archive of files; unpack it and give the checkpoint in it" if is_tar else None


def _zip_kind(data: bytes) -> str | None:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            last = {name.rpartition("/")[2] for name in archive.namelist()}
    except (zipfile.BadZipFile, NotImplementedError, ValueError):
        return (
            "truncated or damaged: it begins as a checkpoint, and the list of its parts is missing "
            "from its end; download or copy it again"
        )
    if "constants.pkl" in last:
        return "a TorchScript archive, which holds a program; save the state_dict alone"
    if "data.pkl" in last:
        return None
    if any(name.endswith(".npy") for name in last):
        return "a NumPy archive (.npz); save the state_dict by torch.save"
    return "a zip archive without a checkpoint of PyTorch; unpack it and give the file with the weights"
