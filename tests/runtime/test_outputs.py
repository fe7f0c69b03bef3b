"""Outputs appear whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fsnp_onnx.errors import AudioError, OutputError
from fsnp_onnx.runtime.outputs import replacing


def test_output_appears_at_the_end_with_its_folders(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "x.bin"
    with replacing(path) as temporary:
        temporary.write_bytes(b"whole")
        assert not path.exists()
        assert temporary.parent == path.parent
    assert path.read_bytes() == b"whole"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, AudioError, ValueError])
def test_output_stays_as_it_was_after_an_error(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "x.bin"
    path.write_bytes(b"before")
    with pytest.raises(error):
        _write_half(path, error)
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def _write_half(path: Path, error: type[BaseException]) -> None:
    with replacing(path) as temporary:
        temporary.write_bytes(b"half")
        raise error


def test_error_of_the_system_names_the_output(tmp_path: Path) -> None:
    path = tmp_path / "x.bin"
    with pytest.raises(OutputError, match=r"x\.bin \(No space left on device\)"), replacing(path):
        raise OSError(28, "No space left on device")
    assert not any(tmp_path.iterdir())


def test_mode_is_that_of_any_new_file(tmp_path: Path) -> None:
    umask = os.umask(0o027)
    try:
        with replacing(tmp_path / "x"):
            pass
    finally:
        os.umask(umask)
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o640


def test_devices_and_folders_are_not_replaced(tmp_path: Path) -> None:
    for path in (Path(os.devnull), tmp_path):
        with pytest.raises(OutputError, match="not a regular file"), replacing(path):
            pytest.fail("must not get here")


def test_file_in_the_place_of_a_folder_is_reported(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"")
    with pytest.raises(OutputError, match="is not a folder"), replacing(tmp_path / "x" / "y"):
        pytest.fail("must not get here")
