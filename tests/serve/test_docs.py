"""The commands and clients of docs/serve.md run against a service; its tables are complete."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from fsnp_onnx.serve.page import openapi
from tests.serve.running import Running

TEXT = (Path(__file__).parents[2] / "docs" / "serve.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(bash|python)\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize(("language", "code"), BLOCKS, ids=lambda text: text[:20].strip())
def test_what_is_shown_runs(
    service: Running, tmp_path: Path, wav: bytes, language: str, code: str
) -> None:
    (tmp_path / "noisy.wav").write_bytes(wav)
    code = code.replace("127.0.0.1:8000", f"127.0.0.1:{service.port}")
    command = [sys.executable] if language == "python" else ["bash", "-euo", "pipefail"]
    environment = {k: v for k, v in os.environ.items() if "proxy" not in k.lower()}
    subprocess.run([*command, "-c", code], cwd=tmp_path, env=environment, check=True, timeout=60)
    written = set(re.findall(r"clean\.wav|clean\.flac|live\.wav|clean\.s16", code))
    assert written
    for name in written:
        if name.endswith(".s16"):
            assert (tmp_path / name).stat().st_size == 2 * 16000
        else:
            assert sf.info(tmp_path / name).frames == 16000


def test_the_readme_shows_the_first_command() -> None:
    first = next(line for line in TEXT.splitlines() if line.startswith("curl "))
    assert f"\n{first}\n" in (Path(__file__).parents[2] / "README.md").read_text("utf-8")


def test_the_client_of_streams_takes_a_recording_that_fills_all_buffers(
    service: Running, tmp_path: Path
) -> None:
    code = next(code for language, code in BLOCKS if "websockets" in code)
    n_samples = 8_000_000  # 16 MB, where a connection holds up to 10
    sf.write(tmp_path / "noisy.wav", np.zeros(n_samples, np.int16), 16000)
    code = code.replace("127.0.0.1:8000", f"127.0.0.1:{service.port}").replace("+ 800", "+ 80000")
    code = code.replace(", 800)", ", 80000)")
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, timeout=120)
    assert (tmp_path / "clean.s16").stat().st_size == 2 * n_samples


def test_there_are_commands_and_two_clients() -> None:
    assert sorted(language for language, _ in BLOCKS) == ["bash", "python", "python"]
    clients = [code for language, code in BLOCKS if language == "python"]
    assert all(len([line for line in code.splitlines() if line]) <= 15 for code in clients)


def test_the_table_names_every_status_of_the_interface() -> None:
    statuses = openapi()["paths"]["/v1/enhance"]["post"]["responses"]
    assert set(re.findall(r"^\| (\d{3}) \|", TEXT, re.MULTILINE)) == set(statuses)
