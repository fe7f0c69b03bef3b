"""What people take for a checkpoint is named, with what to do."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest

from fsnp_onnx.errors import CheckpointError
from fsnp_onnx.export.checkpoint import read_checkpoint

ROOT = Path(__file__).parents[2]


def zipped(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def tarred(mode: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:  # type: ignore[call-overload]
        archive.addfile(tarfile.TarInfo("best_model.tar"))
    return buffer.getvalue()


def saved(array: bool) -> bytes:
    buffer = io.BytesIO()
    if array:
        np.save(buffer, np.zeros(3))
    else:
        np.savez(buffer, a=np.zeros(3))
    return buffer.getvalue()


FILES = {
    "empty": (b"", "is empty; download or copy it again"),
    "spaces": (b" \n", "is empty"),
    "git lfs": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
        "is a Git LFS pointer, not the file itself; run git lfs pull",
    ),
    "html": (b"\n<!DOCTYPE html><html><head></head></html>", "is a web page"),
    "html with a mark": (b"\xef\xbb\xbf<html>Sign in</html>", "is a web page"),
    "index": (
        json.dumps({"metadata": {}, "weight_map": {"a": "model-00001-of-00002.safetensors"}}).encode(),
        "is the index of a checkpoint in several parts; save the state_dict as one file",
    ),
    "json": (b'{"sample_rate": 16000}', r"is a text file \(JSON\)"),
    "npz": (saved(array=False), r"is a NumPy archive \(.npz\)"),
    "npy": (saved(array=True), r"is a NumPy array \(.npy\)"),
    "onnx": ((ROOT / "fsnp_onnx" / "models" / "default.onnx").read_bytes(), "is an ONNX file"),
    "onnx of another producer": (
        onnx.helper.make_model(
            onnx.helper.make_graph([], "g", [], []), producer_name="p"
        ).SerializeToString(),
        "is an ONNX file",
    ),
    "tar": (tarred("w"), "is a tar archive of files; unpack it"),
    "tar.gz": (tarred("w:gz"), "is a gzip archive; unpack it first"),
    "tar.bz2": (tarred("w:bz2"), "is a bzip2 archive; unpack it first"),
    "tar.xz": (tarred("w:xz"), "is an xz archive; unpack it first"),
    "gz": (gzip.compress(b"a"), "is a gzip archive"),
    "zip": (zipped(readme=b"a"), "is a zip archive without a checkpoint"),
    "begun zip": (b"PK\x03\x04 cut", "is truncated or damaged: it begins as a checkpoint"),
    "text": (b"hello", "is not a PyTorch checkpoint, or is damaged"),
    "toml": (b"[model.args]\nlook_ahead = 2\n", "is not a PyTorch checkpoint"),
    "plain pickle": (b"\x80\x02}q\x00.", "is not a PyTorch checkpoint"),
    "zip of a pickle that is cut": (zipped(**{"a/data.pkl": b"\x80\x02}"}), "or is damaged"),
    "safetensors of nothing": (b"\x02\0\0\0\0\0\0\0{}", "holds no weights"),
    "safetensors with a wrong header": (b"\x03\0\0\0\0\0\0\0{a}", "or is damaged"),
}  # fmt: skip


@pytest.mark.parametrize(("data", "message"), FILES.values(), ids=FILES.keys())
@pytest.mark.parametrize("name", ["best_model.tar", "model.safetensors"])
def test_other_files_are_named(name: str, data: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=message) as caught:
        read_checkpoint(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)
