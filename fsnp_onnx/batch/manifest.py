"""Tables of recordings as files: CSV with a header, or one JSON object per line."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from fsnp_onnx.errors import ManifestError, MissingFileError

SUFFIXES = (".csv", ".jsonl")


def read_rows(path: Path, columns: tuple[str, ...], remedy: str = "") -> Iterator[dict[str, str]]:
    """Yield the rows of a table, one after the other.

    Args:
        path: A file that ends in .csv or .jsonl.
        columns: What no row may leave empty; there may be more. What is null is "".
        remedy: What to do about a malformed row, default to give a table with the columns.

    Raises:
        MissingFileError: The file cannot be read.
        ManifestError: A row is malformed.
    """
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
        remedy = remedy or f"give a table with {' and '.join(columns)}"
        raise ManifestError(f"{path}, line {max(1, n_lines)}: {error}; {remedy}") from error


def row_writer(path: Path, columns: tuple[str, ...]) -> Callable[[dict[str, object]], str]:
    """Return a function that makes a line of a row."""
    if path.suffix == ".jsonl":
        return lambda row: json.dumps(row) + "\n"
    return lambda row: _csv_line([row.get(column, "") for column in columns])


def header(path: Path, columns: tuple[str, ...]) -> str:
    """Return what a table begins with."""
    return _csv_line(columns) if path.suffix == ".csv" else ""


def _csv_line(values: Iterable[object]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\r\n").writerow(values)  # quotes values that hold either
    return line.getvalue().removesuffix("\r\n") + "\n"


def _csv_rows(lines: Iterator[str], columns: tuple[str, ...]) -> Iterator[dict[str, str]]:
    table = csv.reader(lines, strict=True)
    names = next(filter(None, table), [])
    if names and (missing := [column for column in columns if column not in names]):
        raise ValueError(f"a header of {names} without {' and '.join(missing)}")
    if twice := [column for column in columns if names.count(column) > 1]:
        raise ValueError(f"a header of {names} with two of {' and '.join(twice)}")
    for values in table:
        if len(values) != len(names) and values:
            raise ValueError(f"{len(values)} values below a header of {len(names)}")
        if values:
            yield _whole(dict(zip(names, values, strict=True)), columns)


def _json_rows(lines: Iterator[str], columns: tuple[str, ...]) -> Iterator[dict[str, str]]:
    for line in lines:
        if not line.strip():
            continue
        try:
            values = _json_values(line, columns)
        except RecursionError:  # json nests as deep as Python's stack
            raise ValueError("values nested too deep to be read") from None
        yield _whole(values, columns)


def _json_values(line: str, columns: tuple[str, ...]) -> dict[str, str]:
    row = json.loads(line)
    if not isinstance(row, dict):
        raise ValueError("no JSON object")  # noqa: TRY004 - of the file, not of an argument
    for column in columns:
        if not isinstance(row.get(column), str | None):
            raise ValueError(f"{column} is {row[column]!r}, not text")  # noqa: TRY004 - likewise
    return {name: "" if value is None else str(value) for name, value in row.items()}


def _whole(row: dict[str, str], columns: tuple[str, ...]) -> dict[str, str]:
    if missing := [column for column in columns if not row.get(column)]:
        raise ValueError(f"a row without {' and '.join(missing)}")
    return row
