"""The documents do what they show: their code runs, their links lead somewhere."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import pytest
import soundfile

from fsnp_onnx import Enhancer
from fsnp_onnx.export.graph.waveform import waveform_model
from fsnp_onnx.spec import METADATA_KEY
from tests.runtime.models import DELAY

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
DOCUMENTS = [README, *sorted((ROOT / "docs").glob("*.md"))]
SAMPLE = ROOT / "samples" / "hiss_0db_noisy.flac"
GOLDEN = ROOT / "tests" / "data" / "golden" / "tsse_wide"
MODEL = ROOT / "fsnp_onnx" / "models" / "default.onnx"
EXECUTED = {
    "python": [d for d in DOCUMENTS if d.name != "serve.md"],  # tests/serve runs it at a service
    "sh": [README, ROOT / "docs" / "scaling.md", ROOT / "docs" / "live.md"],
}
# What a ```console block shows and no test runs: it installs something, or needs a cluster, a bucket,
# minutes, or programs for sound.
SHOWN = (
    "pip install ",
    "ray ",
    "fsnp-enhance s3://",
    "fsnp-enhance recordings -r -o clean/ --engine ray",
    "fsnp-export causal.tar",
    "fsnp-serve ",  # tests/serve runs its commands
    "curl ",
    "arecord ",
    "apt-get ",
    "cd ",
    "cmake ",
    "docker ",
    "node ",
    "npm ",
    "python deploy/",
    "build/",
    "ffmpeg ",
    "sox ",
)
SLOW = re.compile(r"fsnp-|export_checkpoint|jobs=")  # starts several processes or exports


class Block(NamedTuple):
    """A fenced block of a document."""

    document: Path
    language: str
    code: str


def blocks() -> list[Block]:
    fenced = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
    return [
        Block(document, *found)
        for document in DOCUMENTS
        for found in fenced.findall(document.read_text("utf-8"))
    ]


def executed_blocks() -> list[object]:
    """Return the blocks to run as parameters of a test."""
    return [
        pytest.param(
            block,
            id=f"{block.document.name}, {block.language} {number}",
            marks=[pytest.mark.slow] if SLOW.search(block.code) else [],
        )
        for number, block in enumerate(blocks())
        if block.document in EXECUTED.get(block.language, [])
    ]


def headings(document: Path) -> set[str]:
    """Return the anchors of a document."""
    titles = re.findall(r"^#+ (.*)$", document.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.fixture(scope="session")
def waveform_file() -> bytes:
    """The bundled model with the interface waveform."""
    spec = Enhancer(MODEL).spec
    model = waveform_model(onnx.load(MODEL), spec)
    metadata = replace(spec, interface="waveform").to_metadata()
    onnx.helper.set_model_props(model, {METADATA_KEY: metadata})
    content: bytes = model.SerializeToString()
    return content


@pytest.fixture
def folder(tmp_path: Path, waveform_file: bytes) -> Path:
    """Return a folder with the files that the documents speak of."""
    noisy, sample_rate = soundfile.read(SAMPLE, dtype="float32")
    (tmp_path / "recordings" / "deep").mkdir(parents=True)
    soundfile.write(tmp_path / "noisy.wav", noisy, sample_rate)
    soundfile.write(tmp_path / "recordings" / "first.flac", noisy[:16000], sample_rate)
    soundfile.write(
        tmp_path / "recordings" / "deep" / "second.wav", noisy[16000:30000], sample_rate
    )
    shutil.copy(MODEL, tmp_path / "model.onnx")
    (tmp_path / "waveform.onnx").write_bytes(waveform_file)
    shutil.copy(GOLDEN.with_suffix(".tar"), tmp_path / "best_model.tar")
    shutil.copy(GOLDEN.with_suffix(".toml"), tmp_path / "train.toml")
    shutil.copy(DELAY, tmp_path / "live.onnx")
    integers = np.rint(noisy * 32767).astype("<i2")
    (tmp_path / "noisy.s16").write_bytes(integers.tobytes())
    (tmp_path / "noisy.f32").write_bytes(np.repeat(noisy, 2).astype("<f4").tobytes())
    return tmp_path


def run(block: Block, folder: Path) -> None:
    """Run a block as a user would: a script, or commands in a shell."""
    script = folder / f"script.{block.language}"
    script.write_text(block.code, "utf-8")
    interpreter = [sys.executable] if block.language == "python" else ["bash", "-euo", "pipefail"]
    commands = str(Path(sys.executable).parent)
    environment = os.environ | {
        "PATH": os.pathsep.join([commands, os.environ["PATH"]]),
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        [*interpreter, script.name],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("block", executed_blocks())
def test_code_of_the_documents_runs_and_writes_what_it_says(block: Block, folder: Path) -> None:
    written = [
        name for names in re.findall(r"# writes (.+)", block.code) for name in names.split(" and ")
    ]
    exported = ["model.onnx"] if "export_checkpoint" in block.code else []
    for name in written + exported:
        (folder / name).unlink(missing_ok=True)
    run(block, folder)
    assert [name for name in written if not (folder / name).exists()] == []


def test_what_is_shown_and_not_run_installs_or_needs_more_than_this_machine() -> None:
    lines = [line for b in blocks() if b.language == "console" for line in b.code.splitlines()]
    assert lines
    assert [line for line in lines if not line.startswith(SHOWN)] == []


def test_commands_that_are_not_run_have_options_that_exist() -> None:
    help_text = subprocess.run(
        [sys.executable, "-c", "from fsnp_onnx.cli.start import enhance; enhance()", "--help"],
        env=os.environ | {"COLUMNS": "200", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for block in blocks():
        for arguments in re.findall(r"fsnp-enhance (.*)", block.code):
            for option in re.findall(r"--[a-z-]+", arguments):
                assert option in help_text


@pytest.mark.parametrize(
    ("interface", "file"), [("mask", None), ("waveform", None), ("stream", DELAY)]
)
def test_the_clients_of_the_format_page_give_the_samples_that_the_package_gives(
    folder: Path, interface: str, file: Path | None
) -> None:
    python = [b for b in blocks() if b.document.name == "format.md" and b.language == "python"]
    (client,) = [b for b in python if f'!= "{interface}"' in b.code]
    noisy, sample_rate = soundfile.read(SAMPLE, frames=5 * 256 + 255, dtype="float32")
    soundfile.write(folder / "noisy.wav", noisy, sample_rate, subtype="FLOAT")
    run(client, folder)
    enhanced, _ = soundfile.read(folder / "clean.wav", dtype="float32")
    # some roundings to float32 of numbers up to 1
    np.testing.assert_allclose(
        enhanced, Enhancer(file).enhance(noisy, sample_rate), rtol=0, atol=1e-6
    )


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_to_files_and_headings_that_exist(document: Path) -> None:
    for target, _, anchor in re.findall(r"\]\(([^)#:]*)(#([^)]+))?\)", document.read_text("utf-8")):
        linked = document.parent / target if target else document
        assert linked.exists(), f"{document.name} links {target}"
        assert not anchor or anchor in headings(linked), f"{document.name} links {target}#{anchor}"
