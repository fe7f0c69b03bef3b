"""One function per benchmark: JSON -> Markdown."""

from collections import defaultdict
from collections.abc import Iterable
from statistics import linear_regression, median, quantiles
from typing import Any

from benchmarks.goals import ratios, shares
from evaluation.markdown import table

Document = dict[str, Any]
STAGES = ("full band", "sub band")
_LEAST_SHARE = 0.01  # operators below it are summed


def spread(values: list[float], digits: int = 3) -> str:
    """Return the median, and the quartiles if there is more than one value."""
    if len(values) == 1:
        return f"{values[0]:.{digits}f}"
    low, middle, high = quantiles(values, n=4, method="inclusive")
    return f"{middle:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def speed(document: Document) -> str:
    """Times and ratios, and the differences of the outputs."""
    times, differences = [], []
    for network, result in document["results"].items():
        for point in result["points"]:
            audio, seconds = f"{round(point['audio_s'], 1):g} s", point["seconds"]
            for system, rounds in seconds.items():
                rtf = spread([s / point["audio_s"] for s in rounds])
                ratio = spread(ratios(seconds, system))
                times.append([network, audio, system, rtf, ratio, str(len(rounds))])
            differences += [
                [
                    network,
                    audio,
                    f"{d['of']} vs {d['from']}",
                    f"{d['max_abs']:.2g}",
                    f"{d['snr_db']:.1f}",
                ]
                for d in point["differences"]
            ]
    header = ["network", "audio", "system", "RTF", "relative to torch", "rounds"]
    return "\n".join(
        [
            table(header, times),
            "Differences between the enhanced samples (full scale is 1):\n",
            table(["network", "audio", "outputs", "largest difference", "SNR (dB)"], differences),
            *_missing(document),
        ]
    )


def memory(document: Document) -> str:
    """Peaks by duration, and the line through them."""
    parts = []
    for network, result in document["results"].items():
        points = result["points"]
        durations = sorted({p["audio_s"] for there in points.values() for p in there})
        cells = {
            (system, p["audio_s"]): _memory_cell(p) for system in points for p in points[system]
        }
        rows = [
            [f"{s:g} s", *(cells.get((system, s), "not measured") for system in points)]
            for s in durations
        ]
        header = [network, *(f"{system}, MB (RTF)" for system in points)]
        parts += [table(header, rows), "".join(_lines(points))]
    return "\n".join(parts + _missing(document))


def _memory_cell(point: dict[str, Any]) -> str:
    if "failed" in point:
        return f"failed: {point['failed']}"
    return f"{spread(point['peak_mb'], 0)} ({median(point['seconds']) / point['audio_s']:.3f})"


def _lines(points: dict[str, list[dict[str, Any]]]) -> Iterable[str]:
    for system, there in points.items():
        measured = [(p["audio_s"], median(p["peak_mb"])) for p in there if "peak_mb" in p]
        if len(measured) > 1:
            slope, intercept = linear_regression(*zip(*measured, strict=True))
            off_mb = max(abs(mb - intercept - slope * s) for s, mb in measured)
            fit = f", largest error {off_mb:.0f} MB" if len(measured) > 2 else ""
            yield (
                f" - {system}: {intercept:.0f} MB + {slope:.3f} MB per second of audio "
                f"(line fitted to {len(measured)} durations{fit})\n"
            )


def cold_start(document: Document) -> str:
    """Whole processes and their parts."""
    rows = []
    for network, result in document["results"].items():
        runs = result["runs"]
        whole = {system: [run["process_s"] for run in there] for system, there in runs.items()}
        for system, there in runs.items():
            parts = [
                spread([run[key] for run in there], 2) if key in there[0] else ""
                for key in ("import_s", "load_s", "enhance_s")
            ]
            ratio = spread(ratios(whole, system), 2)
            rows.append([network, system, spread(whole[system], 2), ratio, *parts])
    header = ["network", "system", "whole process (s)", "relative to torch", "import", "load"]
    return table([*header, "first second"], rows)


def profile(document: Document) -> str:
    """Shares by stage and operator, and a summary."""
    parts = []
    for network, result in document["results"].items():
        for precision, measured in result["precisions"].items():
            parts += _profile(f"{network}, {precision}", measured)
    return "\n".join(parts + _missing(document))


def _profile(name: str, measured: dict[str, Any]) -> list[str]:
    operators = measured["operators"]
    total_s = sum(o["seconds"] for o in operators)
    rest: dict[str, float] = defaultdict(float)
    rows = []
    for operator in operators:
        share = operator["seconds"] / total_s
        if share < _LEAST_SHARE:
            rest[operator["stage"]] += share
            continue
        rows.append([operator["stage"], operator["operator"], f"{share:.1%}"])
    rows += [[stage, "others", f"{share:.1%}"] for stage, share in rest.items()]
    whole_s, network_s = measured["seconds"]["enhance"], measured["seconds"]["network"]
    around_s = [whole - inside for whole, inside in zip(whole_s, network_s, strict=True)]
    by_stage = [
        sum(o["seconds"] for o in operators if o["stage"] == stage) / total_s for stage in STAGES
    ]
    top = operators[0]
    note = (
        f"**{name}**: the {top['operator']} of the {top['stage']} takes "
        f"{top['seconds'] / total_s:.1%} of the network's time, everything else in the sub band "
        f"{by_stage[1] - (top['stage'] == STAGES[1]) * top['seconds'] / total_s:.1%}, "
        f"the full band {by_stage[0]:.1%}. Outside the network: {spread(around_s)} s of "
        f"{median(whole_s):.3f} s.\n"
    )
    return [note, table(["stage", "operator", "share of the network's time"], rows)]


def gemm(document: Document) -> str:
    """Shares, and the rate of every matrix multiplication."""
    header = ["network", "layers, GMAC/s", "ONNX Runtime / layers", "numpy / layers"]
    rows, rates = [], []
    for network, result in document["results"].items():
        for precision, measured in result["precisions"].items():
            name = f"{network}, {precision}"
            layers = spread([measured["macs"] / s / 1e9 for s in measured["layers_s"]], 0)
            libraries = measured["matmul_s"]
            of_numpy = (
                spread(shares(measured, "numpy", "layers_s"), 2) if "numpy" in libraries else "-"
            )
            of_ort = [
                spread(shares(measured, "onnxruntime", key), 2)
                for key in ("layers_s", "sub_band_s")
            ]
            rows.append([name, layers, of_ort[0], of_numpy, of_ort[1]])
            rates += _rates(name, measured)
    return "\n".join(
        [
            table([*header, "ONNX Runtime / whole stage"], rows),
            "Each multiplication alone, GMAC/s:\n",
            table(
                ["network", "multiplication", "share of the MACs", "ONNX Runtime", "numpy"], rates
            ),
            *_missing(document),
        ]
    )


def _rates(name: str, measured: dict[str, Any]) -> list[list[str]]:
    rows = []
    for index, matmul in enumerate(measured["matmuls"]):
        m, k, n = matmul["shape"]
        of_all = f"{m * k * n * matmul['count'] / measured['macs']:.0%}"
        rates = [
            spread([m * k * n / times[index] / 1e9 for times in measured["matmul_s"][library]], 0)
            if library in measured["matmul_s"]
            else "-"
            for library in ("onnxruntime", "numpy")
        ]
        rows.append([name, f"[{m}, {k}] x [{k}, {n}]", of_all, *rates])
    return rows


def scaling(document: Document) -> str:
    """Threads of a session, and jobs of the command."""
    threads: list[list[str]] = []
    jobs: list[list[str]] = []
    for network, result in document["results"].items():
        for precision, measured in result["precisions"].items():
            name = f"{network}, {precision}"
            threads += _thread_rows(name, measured["threads"])
            jobs += _job_rows(name, measured["jobs"])
    header = ["network", "threads", "RTF", "speedup"]
    job_header = ["network", "jobs", "x real time", "speedup", "same files"]
    return "\n".join(
        [
            "One session with more threads:\n",
            table([*header, "largest difference of the output"], threads),
            "More jobs of one thread each:\n",
            table(job_header, jobs),
            *_missing(document),
        ]
    )


def _thread_rows(name: str, measured: dict[str, Any]) -> Iterable[list[str]]:
    seconds = measured["seconds"]
    first = next(iter(seconds))
    for n, rounds in seconds.items():
        rtf = spread([s / measured["audio_s"] for s in rounds])
        speedup = spread([1 / ratio for ratio in ratios(seconds, n, first)], 2)
        yield [name, n, rtf, speedup, f"{measured['max_abs'][n]:.2g}"]


def _job_rows(name: str, measured: dict[str, Any]) -> Iterable[list[str]]:
    seconds = measured["seconds"]
    first = next(iter(seconds))
    for n, rounds in seconds.items():
        rate = spread([measured["audio_s"] / s for s in rounds], 1)
        speedup = spread([1 / ratio for ratio in ratios(seconds, n, first)], 2)
        yield [name, n, rate, speedup, "yes" if measured["identical"][n] else "**no**"]


def peers(document: Document) -> str:
    """Speed and quality in one table, the fastest first."""
    result = document["results"]
    absent = {line.partition(" (")[0]: line for line in result["missing"]}
    titles = sorted(result["seconds"], key=lambda title: median(result["seconds"][title]))
    keys = {"pesq": 2, "stoi": 3, "si_sdr_db": 1, "ovrl": 2}
    rows = []
    for title in [*titles, *absent, "noisy"]:
        seconds = result["seconds"].get(title)
        rtf = spread([s / result["audio_s"] for s in seconds], 4) if seconds else "not measured"
        quality = result["quality"].get(title)
        scores = [f"{quality[k]:.{d}f}" if quality else "not measured" for k, d in keys.items()]
        name = f"**{title}**" if title in result["own"] else title
        rows.append([name, "-" if title == "noisy" else rtf, *scores])
    header = ["", "RTF", "PESQ-WB", "STOI", "SI-SDR dB", "DNSMOS ovrl"]
    return "\n".join(
        [
            table(header, rows),
            *(f" - not measured: {line}\n" for line in absent.values()),
        ]
    )


def live(document: Document) -> str:
    """Times of a hop by network and precision, the peers, and the memory."""
    result, hop_ms = document["results"], document["results"]["hop_ms"]
    rows = [
        [
            f"{network}, {precision}",
            f"{hop_ms:g}",
            *(f"{ms[key]:.2f}" for key in ("median", "p99", "largest")),
            f"{hop_ms / ms['p99']:.1f}",
        ]
        for network, there in result["hops"].items()
        for precision, ms in there.items()
    ]
    rows += [
        [title, f"{ms['hop_ms']:g}", f"{ms['mean']:.2f} (mean)", "-", "-", "-"]
        for title, ms in result["peers"].items()
    ]
    memory = result["memory"]
    grown = f"{memory['after_a_minute']:.1f} MB after a minute, {memory['at_the_end']:.1f} MB after"
    header = ["", "hop ms", "median ms", "99 % ms", "largest ms", "streams per core"]
    sentence = f"The benchmark's process, which holds PyTorch as well, takes {grown} {memory['hours']:g} h of one stream.\n"
    return "\n".join([table(header, rows), sentence])


def _missing(document: Document) -> list[str]:
    return [
        f" - {network}, {precision}: not measured ({reason})\n"
        for network, result in document["results"].items()
        for precision, reason in result["missing"].items()
    ]
