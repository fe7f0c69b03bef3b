"""A service in this process, and one as a process."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator

import numpy as np
import pytest
import soundfile as sf
from numpy.typing import NDArray

if not os.environ.get("CI"):  # where it must not be missing
    for name in ("uvicorn", "prometheus_client", "python_multipart", "websockets", "httpx2"):
        pytest.importorskip(name)

from starlette.testclient import TestClient

from fsnp_onnx.serve.app import create_app
from fsnp_onnx.serve.settings import Settings
from tests.runtime.models import DELAY, UNITY
from tests.serve.running import SMALL, Running, running

LIMITS = Settings(model=str(UNITY), live_model=str(DELAY), max_mb=1, max_seconds=30, streams=2)


@pytest.fixture(scope="session")
def client() -> Iterator[TestClient]:
    with TestClient(create_app(LIMITS)) as inside:
        yield inside


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    options = (*SMALL, "--transfer-timeout", "3", "--idle-timeout", "1", "--streams", "2")
    with running(tmp_path_factory.mktemp("service"), *options) as started:
        yield started


@pytest.fixture(scope="session")
def noisy() -> NDArray[np.float32]:
    return np.random.default_rng(0).uniform(-0.5, 0.5, 16000).astype(np.float32)


@pytest.fixture(scope="session")
def wav(noisy: NDArray[np.float32]) -> bytes:
    return encoded(noisy, 16000, "WAV")


def encoded(samples: NDArray[np.float32], rate: int, container: str) -> bytes:
    file = io.BytesIO()
    sf.write(file, samples, rate, format=container)
    return file.getvalue()
