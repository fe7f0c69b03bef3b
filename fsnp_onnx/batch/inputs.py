"""Which input goes to which output: files, folders, URLs and manifests."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote, urlsplit

import soundfile as sf

from fsnp_onnx.batch import storage
from fsnp_onnx.batch.jobs import Plan
from fsnp_onnx.batch.manifest import SUFFIXES, read_rows
from fsnp_onnx.batch.search import search
from fsnp_onnx.errors import (
    ArgumentError,
    ArgumentTypeError,
    AudioError,
    FsnpError,
    ManifestError,
    MissingFileError,
    OutputError,
)
from fsnp_onnx.runtime.audio import AUDIO_EXTENSIONS, AV_EXTENSIONS, ending_of

OnPassedOver = Callable[[str, str], object]  # called with a path or URL and the reason

_NO_PLACE = ("/dev/", "/proc/")  # for an output beside an input


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


def add_inputs(
    plan: Plan,
    inputs: Sequence[str],
    output: str | None,
    *,
    recursive: bool,
    on_passed_over: OnPassedOver = lambda *_: None,
) -> None:
    """Add files, folders and URLs to a plan; files of a folder that are no sound are reported."""
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
            _add_to_folder(plan, name, target, recursive, on_passed_over)
        except OutputError:
            raise  # concerns the plan as a whole
        except (FsnpError, OSError) as error:
            plan.failed[name] = error


def _beside(name: str) -> str:
    if storage.is_folder(name):
        raise ArgumentError(
            "output", f"is missing; input {name} is a folder, so give an output folder"
        )
    if name.startswith(_NO_PLACE):
        raise ArgumentError("output", f"is missing; {name} is a device or pipe, so give an output")
    stem, ending = _split(name, name)
    return f"{stem}.enhanced{ending}"


def _add_to_folder(
    plan: Plan,
    name: str,
    output: str,
    recursive: bool,  # noqa: FBT001 - private
    on_passed_over: OnPassedOver,
) -> None:
    """Add one input, a file or a folder, to an output folder."""
    if not storage.is_folder(name):
        _add(plan, name, storage.below(output, storage.last_name(name)))
        return

    def note(error: OSError) -> None:
        folder = error.filename or name
        plan.failed[folder] = MissingFileError(f"cannot read {folder} ({error.strerror})")

    holds_none = True
    for found in search(name, output, recursive=recursive, on_error=note):
        if found.passed_over:
            on_passed_over(found.source, found.passed_over)
            continue
        _add(plan, found.source, storage.below(output, found.relative), found.size)
        holds_none = False
    if holds_none and name not in plan.failed:
        hint = "" if recursive else "; use --recursive (recursive=True) to search subfolders"
        raise AudioError(f"{name} contains no sound files such as .wav, .flac, .ogg or .mp3{hint}")


def _add(plan: Plan, source: str, target: str, size: int | None = None) -> None:
    """Add a recording whose output may need another ending than its input."""
    stem, ending = _split(target, source)
    try:
        plan.add(source, stem + ending, size)
    except OutputError:
        if target == stem + ending:
            raise
        plan.add(source, target + ending, size)  # beside talk.wav, talk.m4a becomes talk.m4a.wav


def _split(target: str, source: str) -> tuple[str, str]:
    """Split the name of an output into stem and ending, by default those of its source.

    A container that cannot be written becomes WAV. A name without the ending of a sound file gets
    the one of the source's content.
    """
    stem, ending = os.path.splitext(target)  # noqa: PTH122 - also of a URL
    if ending.lower() in AUDIO_EXTENSIONS:
        return stem, ending
    if ending.lower() in AV_EXTENSIONS:
        return stem, ".wav"
    with suppress(sf.LibsndfileError):
        if os.path.isfile(source):  # noqa: PTH113 - not a pipe, which can be read only once
            return target, ending_of(sf.info(source).format)
    return target, ".wav"


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
