"""What can be checked of deploy/ without a container engine and without Triton."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import yaml

from fsnp_onnx.runtime.bundled import MODELS
from tests.runtime.models import DELAY, UNITY
from tests.web.tools import ROOT, installed

DEPLOY = ROOT / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text("utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
SERVE = [sys.executable, "-c", "from fsnp_onnx.cli.start import serve; serve()"]


def make_repository(folder: Path, *models: Path) -> subprocess.CompletedProcess[str]:
    script = DEPLOY / "triton" / "make_repository.py"
    command: list[str | Path] = [sys.executable, script, folder, *models]
    environment = {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def lint(tool: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    program = installed(Path(__file__).parent) / "node_modules" / ".bin" / tool
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_the_configurations_of_triton_are_those_of_the_bundled_files(tmp_path: Path) -> None:
    assert make_repository(tmp_path).returncode == 0
    for interface, model in (("waveform", "default-waveform.onnx"), ("stream", "live.onnx")):
        name = f"fsnp_{interface}/config.pbtxt"
        assert (DEPLOY / "triton" / name).read_text() == (tmp_path / name).read_text()
        copied = tmp_path / f"fsnp_{interface}" / "1" / "model.onnx"
        assert copied.read_bytes() == (MODELS / model).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("model", ["default-waveform.onnx", "live.onnx", DELAY])
def test_a_configuration_names_the_tensors_and_sizes_that_the_runtime_sees(
    model: str | Path, tmp_path: Path
) -> None:
    make_repository(tmp_path, MODELS / model)
    (path,) = tmp_path.glob("*/config.pbtxt")
    text = path.read_text("utf-8")
    session = onnxruntime.InferenceSession(MODELS / model, providers=["CPUExecutionProvider"])
    given, *state = session.get_inputs()
    taken, *next_state = session.get_outputs()
    assert f'input [ {{ name: "{given.name}" data_type: TYPE_FP32 dims: [ -1 ] }} ]' in text
    assert f'output [ {{ name: "{taken.name}" data_type: TYPE_FP32 dims: [ -1 ] }} ]' in text
    assert re.findall(r'input_name: "(\w+)"', text) == [s.name for s in state]
    assert re.findall(r'output_name: "(\w+)"', text) == [s.name for s in next_state]
    assert re.findall(r"dims: \[ (\d+) \]", text) == [str(s.shape[1]) for s in state * 2]
    assert text.count("zero_data: true") == len(state)


def test_triton_gets_no_file_of_the_interface_mask(tmp_path: Path) -> None:
    done = make_repository(tmp_path / "repository", UNITY)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert not (tmp_path / "repository").exists()


@pytest.mark.slow
def test_the_dockerfile_passes_a_linter_that_refuses_a_wrong_one(tmp_path: Path) -> None:
    assert lint("dockerfile-utils", "lint", DEPLOY / "Dockerfile").stdout.strip() == ""
    wrong = tmp_path / "Dockerfile"
    wrong.write_text(DOCKERFILE.replace("USER 10001", "USE 10001"))
    found = lint("dockerfile-utils", "lint", wrong)
    assert "USE" in found.stdout + found.stderr


def test_the_image_copies_what_the_repository_has_and_runs_as_nobody_special() -> None:
    for sources in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE):
        assert [name for name in sources.split() if not (ROOT / name).exists()] == []
    base = DOCKERFILE.split(" AS base\n")[1]
    assert "\nUSER 10001\n" in base
    assert not re.search(r"^USER (?!10001)", base, re.MULTILINE)
    assert re.findall(r"^FROM base AS (\w+)", DOCKERFILE, re.MULTILINE) == ["cuda", "cpu"]


@pytest.mark.slow
def test_compose_passes_a_linter_that_refuses_a_wrong_one(tmp_path: Path) -> None:
    rule = ("--disable-rule", "no-build-and-image")  # the image is the name of what is built
    done = lint("dclint", DEPLOY / "compose.yaml", *rule, "--max-warnings", "0")
    assert done.returncode == 0, done.stdout
    wrong = tmp_path / "compose.yaml"
    wrong.write_text(json.dumps(COMPOSE | {"services": {"cpu": {"image": "a", "cap_dropp": []}}}))
    assert lint("dclint", wrong, *rule).returncode == 1


@pytest.mark.parametrize("name", ["cpu", "cuda"])
def test_a_service_may_write_only_to_memory_and_use_only_its_share(name: str) -> None:
    service = COMPOSE["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert [mount.split(":")[0] for mount in service["tmpfs"]] == ["/tmp"]
    assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory", "pids"}
    assert [port.split(":")[0] for port in service["ports"]] == ["127.0.0.1"]
    assert f" AS {service['build']['target']}\n" in DOCKERFILE
    assert (DEPLOY / service["build"]["context"] / service["build"]["dockerfile"]).exists()


@pytest.mark.slow
def test_the_command_of_the_container_starts_a_service_that_its_check_finds_alive() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    entry = re.findall(r"^ENTRYPOINT (.+)$", DOCKERFILE, re.MULTILINE)[0]
    name, *options = json.loads(entry.replace("8000", port).replace("0.0.0.0", "127.0.0.1"))
    assert name == "fsnp-serve"
    check = json.loads(re.findall(r"^HEALTHCHECK .*CMD (.+)$", DOCKERFILE, re.MULTILINE)[0])
    code = check[2].replace("8000", port)

    def alive() -> bool:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
        return done.returncode == 0

    assert not alive()
    command = [*SERVE, *options, *COMPOSE["services"]["cpu"]["command"]]
    environment = {"PYTHONPATH": str(ROOT), "PATH": ""}
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as service:
        try:
            end = time.monotonic() + 60
            while not (found := alive()) and time.monotonic() < end and service.poll() is None:
                time.sleep(0.2)
            assert found
        finally:
            service.terminate()
    assert service.returncode == 0  # as it must when a container stops
