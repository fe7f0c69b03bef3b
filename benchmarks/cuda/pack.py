"""Write a folder, and parts of it, with all that the check on CUDA needs."""

import copy
import json
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks import machine
from fsnp_onnx.errors import CheckpointError
from fsnp_onnx.export.checkpoint import read_checkpoint
from fsnp_onnx.export.identify import infer, read_toml
from fsnp_onnx.export.options import ExportOptions, Interface
from fsnp_onnx.export.pipeline import export_checkpoint
from fsnp_onnx.export.reference import enhance_exactly
from fsnp_onnx.export.verify import LONG_FRAMES, probe_samples, probe_spectrum
from fsnp_onnx.network.config import MulcaVariant
from fsnp_onnx.network.fullsubnet_plus import FullSubNetPlus, with_mulca
from fsnp_onnx.probes import Probe
from fsnp_onnx.runtime.bundled import MODELS
from fsnp_onnx.runtime.session import Session
from fsnp_onnx.spec import INPUT_NAMES, NOISY, ModelSpec

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "data" / "golden"
CHECKPOINTS = ROOT / "training" / "checkpoints"
BUNDLED = ("default", "default-waveform", "live")
WHEELS = ("onnxruntime-gpu", "numpy")
EXACT_VARIANTS: tuple[MulcaVariant, ...] = ("original", "equivalent")
Arrays = dict[str, NDArray[Any]]
SPLITS = {"hop by hop": [1], "in pieces of 64 hops": [64], "in mixed pieces": [3, 1, 17, 8, 40, 2]}


@dataclass(frozen=True)
class Case:
    """Inputs of a file by name, and what it must return: ``exact`` among the arrays.

    A stream must return it however the input is split; `splits` has numbers of hops, repeated.
    """

    name: str
    arrays: Arrays
    tolerance: float
    splits: dict[str, list[int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Subject:
    """A file, the float32 network that it must equal, and cases that come from elsewhere."""

    name: str
    file: Path
    network: FullSubNetPlus
    measured: bool = False
    cases: tuple[Case, ...] = ()


def golden(names: list[str], folder: Path) -> Iterator[Subject]:
    """Export golden networks with the interfaces mask and waveform, in all exact variants."""
    for name in names:
        checkpoint, config = GOLDEN / f"{name}.tar", GOLDEN / f"{name}.toml"
        network = _network(checkpoint, config)
        variants = EXACT_VARIANTS if network.config.attention == "TSSE" else None
        interfaces: tuple[Interface, ...] = ("mask", "waveform")
        for interface in interfaces:
            report = export_checkpoint(
                checkpoint,
                f"{folder}/",
                config=config,
                mulca=variants,
                options=ExportOptions(interface=interface),
                force=True,
            )
            published = tuple(_published(name)) if interface == "mask" else ()
            for file in report.exported:
                yield Subject(f"golden/{file.path.stem}", file.path, network, cases=published)


def bundled(names: tuple[str, ...] = BUNDLED) -> Iterator[Subject]:
    """The files of the package, with the networks of the checkpoints that they name.

    Raises:
        CheckpointError: A file comes from another checkpoint than the one of that name.
    """
    for name in names:
        file = MODELS / f"{name}.onnx"
        spec = Session(file, "cpu").spec
        checkpoint = CHECKPOINTS / f"{spec.provenance['checkpoint']}.tar"
        if read_checkpoint(checkpoint).sha256 != spec.provenance["checkpoint_sha256"]:
            raise CheckpointError(f"{file} was not exported from {checkpoint}; export it again")
        yield Subject(name, file, _network(checkpoint, None), measured=True)


def write(folder: Path, subjects: Iterator[Subject]) -> None:
    """Write files, cases and code into a folder; what was there before is removed."""
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("files", "cases"):
        (folder / name).mkdir(parents=True)
    entries = [_entry(folder, number, subject) for number, subject in enumerate(subjects)]
    index = {"commit": machine.describe()["commit"], "files": entries}
    (folder / "index.json").write_text(json.dumps(index, indent=1), encoding="utf-8")
    only_code = shutil.ignore_patterns("__pycache__", "default*.onnx", "live.onnx")
    shutil.copytree(ROOT / "fsnp_onnx", folder / "fsnp_onnx", ignore=only_code)
    here = Path(__file__).parent
    shutil.copytree(here, folder / "benchmarks" / "cuda", ignore=only_code)
    for name in ("__init__.py", "machine.py"):
        shutil.copy(here.parent / name, folder / "benchmarks")
    shutil.copy(here / "run.sh", folder)


def download(folder: Path, pythons: list[str]) -> None:
    """Download the wheels for some versions of Python, such as "3.12", on Linux x86-64."""
    platforms = [f"--platform=manylinux_2_{minor}_x86_64" for minor in (28, 27, 17)]
    for version in pythons:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--only-binary=:all:", f"--python-version={version}", *platforms]
        subprocess.run([*command, f"--dest={folder / 'wheels'}", *WHEELS], check=True)


def cut(folder: Path, part_mb: float) -> list[Path]:
    """Write a folder as parts of a tar file, FOLDER.tar.000 and so on, none above so many MB."""
    whole = folder.with_name(f"{folder.name}.tar")
    for old in folder.parent.glob(f"{whole.name}*"):
        old.unlink()
    with tarfile.open(whole, "w") as archive:
        archive.add(folder, folder.name)
    parts: list[Path] = []
    with whole.open("rb") as file:
        while piece := file.read(int(1e6 * part_mb)):
            parts.append(whole.with_name(f"{whole.name}.{len(parts):03}"))
            parts[-1].write_bytes(piece)
    whole.unlink()
    return parts


def cases(spec: ModelSpec, network: FullSubNetPlus) -> Iterator[Case]:
    """Repeat the probes of a file's verification report, with its tolerances."""
    reference = copy.deepcopy(network).double()
    if spec.interface == "stream":
        probes = {(probe.n_frames, probe.batch): probe for probe in spec.verification}
        for probe in probes.values():
            yield _stream_case(spec, reference, probe)
        return
    for probe in spec.verification:
        if spec.interface == "mask":
            yield _mask_case(spec, reference, probe)
        elif probe.n_samples is not None:
            noisy = probe_samples(spec.stft, probe.n_samples, probe.batch)
            arrays: Arrays = {NOISY: noisy, "exact": enhance_exactly(reference, noisy, spec)}
            name = f"{probe.n_samples} samples, batch {probe.batch}"
            yield Case(name, arrays, probe.tolerance)


def _mask_case(spec: ModelSpec, reference: FullSubNetPlus, probe: Probe) -> Case:
    parts = probe_spectrum(spec.stft, probe.n_frames, probe.batch)
    # All bins of a long probe would take minutes; nine spread ones show what grows with length.
    step = 1 if probe.n_frames < LONG_FRAMES else max(1, spec.stft.n_freqs // 8)
    bins = list(range(0, spec.stft.n_freqs, step))
    with torch.no_grad():
        exact = reference(*(torch.from_numpy(part).double() for part in parts), bins)
    arrays: Arrays = dict(zip(INPUT_NAMES, parts, strict=True))
    arrays |= {"exact": exact.numpy(), "bins": np.array(bins)}
    return Case(f"{probe.n_frames} frames, batch {probe.batch}", arrays, probe.tolerance)


def _stream_case(spec: ModelSpec, reference: FullSubNetPlus, probe: Probe) -> Case:
    hop = spec.stft.hop_length
    n_samples = probe.n_samples or (probe.n_frames - 1) * hop + hop // 3  # not whole hops
    noisy = probe_samples(spec.stft, n_samples, probe.batch)
    arrays: Arrays = {NOISY: noisy, "exact": enhance_exactly(reference, noisy, spec)}
    name = f"{probe.n_frames} frames, batch {probe.batch}"
    return Case(name, arrays, probe.tolerance, SPLITS)


def _published(name: str) -> Iterator[Case]:
    """What the published code computed in float64, with the tolerance of its own float32."""
    with np.load(GOLDEN / f"{name}.npz") as stored:
        arrays = dict(stored)
    for length in sorted({int(key.split("_")[1]) for key in arrays}):
        real, imag, rounded, exact = (
            arrays[f"{key}_{length}"][None] for key in ("real", "imag", "mask32", "mask64")
        )
        tolerance = max(2e-5, 8 * float(np.abs(rounded - exact).max()))
        inputs = dict(zip(INPUT_NAMES, (real, imag), strict=True))
        yield Case(f"published, {length} frames", inputs | {"exact": exact}, tolerance)


def _network(checkpoint: Path, config: Path | None) -> FullSubNetPlus:
    loaded = read_checkpoint(checkpoint)
    found = infer(loaded.tensors, read_toml(config) if config else loaded.config)
    network = FullSubNetPlus(found.network)
    network.load_state_dict(loaded.tensors)
    return network.eval()


def _entry(folder: Path, number: int, subject: Subject) -> dict[str, Any]:
    spec = Session(subject.file, "cpu").spec
    simplified = spec.mulca == "simplified" and subject.network.config.mulca != "simplified"
    network = with_mulca(subject.network, "simplified") if simplified else subject.network
    file = f"files/{number:02}-{subject.file.name}"
    shutil.copy(subject.file, folder / file)
    listed: list[dict[str, Any]] = []
    for case in (*subject.cases, *cases(spec, network)):
        arrays = f"cases/{number:02}-{len(listed):02}.npz"
        np.savez_compressed(folder / arrays, **case.arrays)  # type: ignore[arg-type]
        stored = {"arrays": arrays, "tolerance": case.tolerance}
        splits = case.splits or {"": []}
        listed += [
            stored | {"name": ", ".join(filter(None, (case.name, split))), "hops": hops}
            for split, hops in splits.items()
        ]
    entry = {"name": subject.name, "file": file, "measured": subject.measured}
    return entry | {"cases": listed}
