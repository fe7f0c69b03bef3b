"""Which input goes to which output: files, folders, URLs and manifests."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from fsnp_onnx.batch import storage
from fsnp_onnx.batch.jobs import Plan
from fsnp_onnx.batch.manifest import SUFFIXES, read_rows
from fsnp_onnx.errors import (
    ArgumentError,
    ArgumentTypeError,
    AudioError,
    FsnpError,
    ManifestError,
    MissingFileError,
    OutputError,
)


def given_name(argument: str, value: object) -> str:
    """Return the text of a path or URL."""
    name = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(name, str):
        raise ArgumentTypeError(argument, f"has a {type(value).__name__}; give paths or URLs")
    if not name:
        raise ArgumentError(argument, "has an empty name; is a variable not set?")
    return name


def add_manifest(plan: Plan, manifest: Path) -> None:
    """Add the recordings of a manifest to a plan."""
    if manifest.suffix not in SUFFIXES:
        raise ArgumentError("manifest", f"{manifest} ends neither in .csv nor in .jsonl")
    for row in read_rows(manifest, ("input", "output")):
        plan.add(_plain(row["input"]), _plain(row["output"]))
    if not len(plan):
        raise ManifestError(f"{manifest} lists no recordings; give rows with input and output")


def add_inputs(plan: Plan, inputs: Sequence[str], output: str | None, *, recursive: bool) -> None:
    """Add files, folders and URLs to a plan."""
    names = [_plain(name) for name in inputs]
    if output is None:
        for name in names:
            plan.add(name, _beside(name))
        return
    target = _plain(output)
    is_folder = len(names) > 1 or output.endswith(("/", os.sep))
    if not (is_folder or any(map(storage.is_folder, [*names, target]))):
        plan.add(names[0], target)
        return
    for name in names:
        try:
            _add_to_folder(plan, name, target, recursive=recursive)
        except OutputError:
            raise  # concerns the plan as a whole
        except (FsnpError, OSError) as error:
            plan.failed[name] = error


def _beside(name: str) -> str:
    if storage.is_folder(name):
        raise ArgumentError(
            "output", f"is missing; input {name} is a folder, so give an output folder"
        )
    stem, ending = os.path.splitext(name)  # noqa: PTH122 - also of a URL
    return f"{stem}.enhanced{ending}"


def _add_to_folder(plan: Plan, name: str, output: str, *, recursive: bool) -> None:
    """Add one input, a file or a folder, to an output folder."""
    if not storage.is_folder(name):
        plan.add(name, storage.below(output, storage.last_name(name)))
        return

    def note(error: OSError) -> None:
        folder = error.filename or name
        plan.failed[folder] = MissingFileError(f"cannot read {folder} ({error.strerror})")

    holds_none = True
    for found in storage.sound_files(name, output, recursive=recursive, on_error=note):
        plan.add(found.source, storage.below(output, found.relative), found.size)
        holds_none = False
    if holds_none and name not in plan.failed:
        hint = "" if recursive else "; use --recursive (recursive=True) to search subfolders"
        raise AudioError(f"{name} contains no sound files such as .wav, .flac, .ogg or .mp3{hint}")


def _plain(given: str) -> str:
    """Return a path without detours, also for a file:// URL; other URLs stay as they are."""
    name = unquote(urlsplit(given).path) if given.startswith("file://") else given
    try:
        is_possible = b"\0" not in os.fsencode(name)
    except UnicodeEncodeError:
        is_possible = False
    if not is_possible:
        raise MissingFileError(f"{given!a} cannot be the name of a file; give another")
    return name if storage.is_url(name) else str(Path(name))
