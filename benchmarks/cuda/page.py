"""cuda.json -> the tables of docs/cuda.md, between two comments."""

import json
import re
from pathlib import Path
from typing import Any

from evaluation.markdown import table

PAGE = Path(__file__).parents[2] / "docs" / "cuda.md"
BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"
NOT_RUN = "**Not run.** No GPU was at hand since these files were made.\n"


def write_page(results: Path, page: Path = PAGE) -> None:
    """Write the tables of `results` into the page; that the check was not run, where there is no file."""
    document = json.loads(results.read_text(encoding="utf-8")) if results.exists() else None
    text = page.read_text(encoding="utf-8")
    block = f"{BEGIN}\n\n{render(document)}\n{END}"
    changed = re.sub(f"{BEGIN}.*{END}", lambda _: block, text, flags=re.DOTALL)
    page.write_text(changed, encoding="utf-8")


def render(document: dict[str, Any] | None) -> str:
    """Return the tables as Markdown."""
    if document is None:
        return NOT_RUN
    files = document["files"]
    parts = [_measured_on(document), "### Accuracy\n", _accuracy(files)]
    parts += ["### Nodes on the CPU\n", _placement(files)]
    measured = [file for file in files if file["speed"]]
    parts += ["### Speed\n"] if measured else []
    parts += [f"`{file['name']}`:\n\n{_speed(file)}" for file in measured]
    return "\n".join(parts)


def _measured_on(document: dict[str, Any]) -> str:
    environment = document["environment"]
    versions = ", ".join(f"{name} {number}" for name, number in environment["versions"].items())
    return (
        f"Provider {document['provider']}; {environment['gpu'] or 'no GPU'}; {environment['cpu']}; "
        f"{versions}; {environment['date']}, commit {environment['commit']}.\n"
    )


def _accuracy(files: list[dict[str, Any]]) -> str:
    """A line for each file, with the case that comes closest to its tolerance."""
    rows = []
    for file in files:
        worst = max(file["cases"], key=_share)
        passed = sum(case["passed"] for case in file["cases"])
        found = worst["max_abs_error"]
        error = "not a number" if found is None else f"{found:.1e}"
        cases = f"{passed} of {len(file['cases'])}"
        tolerance = f"{worst['tolerance']:.1e}"
        rows.append([file["name"], file["interface"], cases, worst["case"], error, tolerance])
    header = ["file", "interface", "cases passed", "closest to its tolerance", "error", "tolerance"]
    return table(header, rows)


def _share(case: dict[str, Any]) -> float:
    found = case["max_abs_error"]
    return float("inf") if found is None else float(found / case["tolerance"])


def _placement(files: list[dict[str, Any]]) -> str:
    rows = []
    for file in files:
        on_cpu = file["placement"].get("CPU", {})
        listed = ", ".join(f"{count} {operator}" for operator, count in sorted(on_cpu.items()))
        on_cuda = sum(file["placement"].get("CUDA", {}).values())
        rows.append([file["name"], str(on_cuda), listed or "none"])
    return table(["file", "nodes on CUDA", "nodes on the CPU"], rows)


def _speed(file: dict[str, Any]) -> str:
    """Batches down, lengths across: time of a run, and how many times real time that is."""
    lengths = sorted({line["n_samples"] for line in file["speed"]})
    seconds = {line["n_samples"]: line["audio_s"] / line["batch"] for line in file["speed"]}
    found = {(line["batch"], line["n_samples"]): _time(line) for line in file["speed"]}
    rows = [
        [str(batch), *(found.get((batch, length), "-") for length in lengths)]
        for batch in sorted({line["batch"] for line in file["speed"]})
    ]
    return table(["batch", *(f"{seconds[length]:g} s each" for length in lengths)], rows)


def _time(line: dict[str, Any]) -> str:
    if "error" in line:
        return "failed"
    return f"{1000 * line['seconds']:.1f} ms ({line['audio_s'] / line['seconds']:.0f}x)"
