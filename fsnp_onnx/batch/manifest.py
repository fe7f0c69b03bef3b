"""Tables of recordings as files: CSV with a header, or one JSON object per line."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from fsnp_onnx.errors import JournalError, ManifestError, MissingFileError

SUFFIXES = (".csv", ".jsonl")


def read_rows(
    path: Path,
    columns: tuple[str, ...],
    error_type: type[ManifestError | JournalError] = ManifestError,
    remedy: str = "give a table with input and output",
) -> Iterator[dict[str, Any]]:
    """Yield the rows of a table, each with text in these columns; it may have more."""
    n_lines = 0

    def lines(file: Iterable[str]) -> Iterator[str]:
        nonlocal n_lines
        for line in file:
            n_lines += 1
            if n_lines == 1 and "\0" in line:
                raise ValueError("zero bytes, as in UTF-16; save it as UTF-8")
            yield line

    parse = _csv_rows if path.suffix == ".csv" else _json_rows
    try:
        # names need not be UTF-8; a spreadsheet puts a mark of byte order at the start
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            yield from parse(lines(file), columns)
    except OSError as error:
        raise MissingFileError(f"cannot read {path} ({error.strerror})") from error
    except (ValueError, csv.Error) as error:
        raise error_type(f"{path}, line {max(1, n_lines)}: {error}; {remedy}") from error


def _csv_rows(lines: Iterator[str], columns: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    table = filter(None, csv.reader(lines, strict=True))  # without empty lines
    names = next(table, [])
    if names and (missing := [column for column in columns if column not in names]):
        raise ValueError(f"column {missing[0]} is missing in the header {names}")
    if twice := [column for column in columns if names.count(column) > 1]:
        raise ValueError(f"column {twice[0]} appears twice in the header {names}")
    for values in table:
        if len(values) != len(names):
            raise ValueError(f"{len(values)} values, but {len(names)} columns in the header")
        yield _whole(dict(zip(names, values, strict=True)), columns)


def _json_rows(lines: Iterator[str], columns: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    for line in filter(str.strip, lines):
        try:
            row = json.loads(line)
        except RecursionError:  # json nests as deep as Python's stack
            raise ValueError("values nested too deep to be read") from None
        if not isinstance(row, dict):
            raise ValueError("not a JSON object")  # noqa: TRY004 - of the file, not of an argument
        yield _whole(row, columns)


def _whole(row: dict[str, Any], columns: tuple[str, ...]) -> dict[str, Any]:
    for column in columns:
        if row.get(column) in (None, ""):
            raise ValueError(f"{column} is missing in this row")
        if not isinstance(row[column], str):
            raise ValueError(f"{column} is {row[column]!r}, not text")  # noqa: TRY004 - likewise
    return row
