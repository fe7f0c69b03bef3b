"""Which input of a command line or a manifest goes to which output."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

import typer

from fsnp_onnx.batch import discover
from fsnp_onnx.batch import storage as remote
from fsnp_onnx.batch.discover import Found
from fsnp_onnx.batch.manifest import read_rows
from fsnp_onnx.batch.plan import STREAM, Plan
from fsnp_onnx.errors import (
    AudioError,
    FsnpError,
    ManifestError,
    MissingFileError,
    OutputError,
)


def add_manifest(plan: Plan, manifest: Path) -> None:
    """Add the recordings of a manifest to a plan.

    Raises:
        MissingFileError: It cannot be read.
        ManifestError: A row is malformed, or there is none.
        OutputError: Two inputs would be written to one output.
    """
    for row in read_rows(manifest, ("input", "output")):
        source, target = (_name(row[column]) for column in ("input", "output"))
        plan.add(source, target, _size(source))
    if not len(plan):
        raise ManifestError(f"{manifest} lists no recordings; give rows with input and output")


def add_inputs(plan: Plan, inputs: list[str], output: str | None, *, recursive: bool) -> None:
    """Add the recordings of a command line to a plan.

    Raises:
        typer.BadParameter: Inputs and output do not go together.
        OutputError: Two inputs would be written to one output.
    """
    if "" in (*inputs, output):
        raise typer.BadParameter("a name is empty; is a shell variable not set?")
    inputs = [_name(name) for name in inputs]
    into_folder = len(inputs) > 1 or any(map(_is_folder, inputs))
    if STREAM in inputs or output == STREAM:
        plan.add(*_stream_job(inputs, output, into_folder=into_folder))
    elif output is not None and (into_folder or _names_folder(output)):
        for name in inputs:
            try:
                _add_folder(plan, name, output, recursive=recursive)
            except OutputError:
                raise  # concerns the plan as a whole
            except (FsnpError, OSError) as error:
                plan.failed[name] = error
    else:
        for name in inputs:
            plan.add(name, _file_target(name, output), _size(name))


def _stream_job(
    inputs: list[str], output: str | None, *, into_folder: bool
) -> tuple[str | None, str | None]:
    if into_folder:
        raise typer.BadParameter("standard input and output take one recording", param_hint="'-'")
    (name,) = inputs
    source = None if name == STREAM else name
    if output in (None, STREAM):
        return source, None
    if _names_folder(str(output)):
        raise typer.BadParameter(
            "standard input needs a file name, not a folder", param_hint="'-o'"
        )
    return source, _name(str(output))


def _file_target(name: str, output: str | None) -> str:
    if _is_folder(name):
        raise typer.BadParameter(f"{name} is a folder and needs -o FOLDER", param_hint="'INPUT...'")
    if output is not None:
        return _name(output)
    folder, slash, last = name.rpartition("/") if remote.is_url(name) else ("", "", name)
    path = PurePosixPath(last) if slash else Path(last)
    return f"{folder}{slash}{path.with_name(f'{path.stem}.enhanced{path.suffix}')}"


def _add_folder(plan: Plan, name: str, output: str, *, recursive: bool) -> None:
    """Add what an input gives that is a folder, or a file to be written into one."""
    if not _is_folder(name):
        last = remote.last_name(name) if remote.is_url(name) else Path(name).name
        plan.add(name, _below(output, last), _size(name))
        return
    holds_none = True
    for found in _sound_files(plan, name, output, recursive=recursive):
        plan.add(found.source, _below(output, found.relative), found.size)
        holds_none = False
    if holds_none and name not in plan.failed:
        hint = "" if recursive else "; --recursive looks into the folders below"
        raise AudioError(f"{name} holds no sound files such as .wav, .flac, .ogg or .mp3{hint}")


def _sound_files(plan: Plan, name: str, output: str, *, recursive: bool) -> Iterator[Found]:
    if remote.is_url(name):
        return remote.sound_files(name, output, recursive=recursive)

    def note(error: OSError) -> None:
        folder = error.filename or name
        plan.failed[folder] = MissingFileError(f"cannot read {folder} ({error.strerror})")

    return discover.sound_files(Path(name), Path(_name(output)), recursive=recursive, on_error=note)


def _name(given: str) -> str:
    """Return a path in its plain form, also of a file:// URL; other URLs and - as they are."""
    name = unquote(urlsplit(given).path) if given.startswith("file://") else given
    try:
        is_possible = b"\0" not in os.fsencode(name)
    except UnicodeEncodeError:
        is_possible = False
    if not is_possible:
        raise MissingFileError(f"{given!a} is no name that a file can have; give another")
    plain = str(Path(name))
    return name if remote.is_url(name) or plain == STREAM else plain


def _below(folder: str, relative: str) -> str:
    if remote.is_url(folder) and not folder.startswith("file://"):
        return f"{folder.rstrip('/')}/{relative}"
    return str(Path(_name(folder)) / relative)


def _is_folder(name: str) -> bool:
    return remote.is_folder(name) if remote.is_url(name) else Path(name).is_dir()


def _names_folder(output: str) -> bool:
    return output.endswith(("/", os.sep)) or _is_folder(_name(output))


def _size(name: str) -> int:
    """Return the size of a file in bytes, 0 where its reader will report that it is missing."""
    try:
        return 0 if remote.is_url(name) else Path(name).stat().st_size
    except OSError:
        return 0
