"""results/*.json -> RESULTS.md: the page shows what the JSON holds."""

import json
from pathlib import Path
from textwrap import fill
from typing import Any

from benchmarks import sections
from benchmarks.figures import draw_memory, draw_peers
from benchmarks.goals import goals
from evaluation.markdown import table

Document = dict[str, Any]
WIDTH = 100

SECTIONS = {
    "speed": (
        "Speed against torch",
        (
            "torch runs the whole utterance eagerly in float32, from samples to samples: torch.stft, "
            "network, mask, torch.istft. All systems have the same weights and the same number of "
            "threads. torch keeps the whole utterance unfolded in memory (see Memory), which makes it "
            "slower on long recordings. State the length of the recording with every ratio."
        ),
        sections.speed,
    ),
    "memory": (
        "Memory",
        (
            "Peak resident memory of a fresh process that loads the model and enhances one recording. "
            "It includes the samples of recording and result (8 bytes per sample). Runs of more than a "
            "minute are not repeated."
        ),
        sections.memory,
    ),
    "cold-start": (
        "Cold start",
        (
            "A fresh Python process imports, loads, enhances one second of audio and ends. Its files "
            "are in the page cache. `fsnp-enhance` is the command itself, float32, from WAV to WAV."
        ),
        sections.cold_start,
    ),
    "profile": (
        "Where the time goes",
        (
            "ONNX Runtime's profiler, node by node. *Outside the network* is the time that "
            "`Enhancer.enhance` needs for transform, mask and inverse. It is the difference of two runs "
            "without the profiler, and below 0 where the runs vary more. The time of a Loop or Scan "
            "excludes the nodes inside it."
        ),
        sections.profile,
    ),
    "live": (
        "Live",
        (
            "A stream of one channel on one thread gets speech hop by hop, as fast as it takes it. "
            "Weights are random, which the time does not depend on. *Streams per core* is the hop "
            "divided by the 99th percentile. The peers run their own loops; only their mean is known."
        ),
        sections.live,
    ),
    "gemm": (
        "Share of matrix multiplications",
        (
            "The recurrent layers consist mostly of matrix multiplications. Here ONNX Runtime and numpy "
            "run the same multiplications alone. The ratios divide that time by the time of the layers, "
            "or of the whole sub-band stage. With ONNX Runtime's multiplications, a ratio of 1 would mean "
            "that the layers do nothing else. int8 layers are compared with multiplications of 8-bit integers "
            "(MatMulInteger). A MAC is one multiplication and addition. Quantised layers need more "
            "MACs where they take an input in two parts."
        ),
        sections.gemm,
    ),
    "scaling": (
        "Threads and jobs",
        (
            "Threads of one session, and jobs of `fsnp-enhance` on a folder. The time of the jobs "
            "includes the start of all processes. *Same files*: byte for byte equal to those of one job."
        ),
        sections.scaling,
    ),
    "peers": (
        "Other enhancers",
        (
            "One thread each, with the weights and libraries of each package. The time of 48 kHz models "
            "includes resampling. Quality: means over the noisy mixtures of "
            "[docs/quality.md](../docs/quality.md)."
        ),
        sections.peers,
    ),
}
FIGURES = {"memory": draw_memory, "peers": draw_peers}

_INTRODUCTION = """# Benchmarks

`python -m benchmarks` writes this page from the raw numbers in [{folder}]({folder}/). `make bench` runs
all benchmarks; every section names its own command. The systems take turns, round after round. A
number is the median over the rounds, brackets hold the quartiles, and ratios are taken within each
round. RTF, the real-time factor, is processing time divided by duration of the audio: an RTF of
0.1 is 10x real time. *published* is the published size (8.675 M parameters) with seeded random
weights, *default* the bundled model. All exports have the original variant of MulCA. MB are 10^6
bytes.
"""


def write_report(folder: Path) -> Path:
    """Write the page of a folder beside it (results -> RESULTS.md), and its pictures into it.

    Returns:
        Path of the page.
    """
    folder = folder.resolve()
    documents = read_results(folder)
    parts = [_INTRODUCTION.format(folder=folder.name)]
    page = folder.with_name(f"{folder.name.upper()}.md")
    parts += _other_pages(page)
    parts += ["## Goals\n", table(["what", "goal", "measured", ""], goals(documents))]
    parts += ["## Measured on\n", *_measured_on(documents)]
    parts += [_section(name, documents.get(name), folder) for name in SECTIONS]
    page.write_text("\n".join(parts), encoding="utf-8")
    return page


def _other_pages(page: Path) -> list[str]:
    """Links to the pages of other machines beside this one."""
    others = sorted(other.name for other in page.parent.glob("RESULTS*.md") if other != page)
    links = ", ".join(f"[{name}]({name})" for name in others)
    return [f"Measured on other machines: {links}.\n"] if links else []


def read_results(folder: Path) -> dict[str, Document]:
    """Read the raw numbers by the name of the benchmark."""
    files = {name: folder / f"{name}.json" for name in SECTIONS}
    return {
        name: json.loads(file.read_text(encoding="utf-8"))
        for name, file in files.items()
        if file.exists()
    }


def _section(name: str, document: Document | None, folder: Path) -> str:
    title, text, render = SECTIONS[name]
    text = f"## {title}\n\n{fill(text, WIDTH)}\n\n"
    command = f"python -m benchmarks {name}"
    if document is None:
        return f"{text}`{command}`: not measured.\n"
    given = ", ".join(f"{key} {value}" for key, value in document["settings"].items())
    command = document.get("command", command)  # older files lack it
    text += f"`{command}`, {given}.\n\n{render(document)}"
    if name in FIGURES:
        picture = folder / f"{name}.png"
        FIGURES[name](document, picture)
        text += f"\n![{title}]({folder.name}/{picture.name})\n"
    return text


def _measured_on(documents: dict[str, Document]) -> list[str]:
    if not documents:
        return ["Not measured.\n"]
    rows = []
    machines: dict[str, None] = {}
    for name, document in documents.items():
        environment = document["environment"]
        machines[_machine(environment)] = None
        loads = [f"{environment[key][0]:.2f}" for key in ("load", "load_after")]
        letter = chr(ord("A") + list(machines).index(_machine(environment)))
        others = "-" if environment["busy"] is None else f"{environment['busy']:.0%}"
        rows.append([name, environment["date"], str(environment["commit"]), letter, others, *loads])
    header = ["benchmark", "date (UTC)", "commit", "machine", "CPUs busy with other work"]
    header += ["load before", "after"]
    listed = [f" - **{chr(ord('A') + i)}**: {text}" for i, text in enumerate(machines)]
    return ["\n".join(listed) + "\n", table(header, rows)]


def _machine(environment: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in environment["versions"].items())
    return (
        f"{environment['cpu']}, {environment['cpus']} usable ({environment['cpus_limited_by']}), "
        f"{', '.join(environment['flags'])}; {environment['memory_gb']:g} GB; "
        f"{environment['system']}; {versions}"
    )
