"""The documents and the code say the same."""

from __future__ import annotations

import importlib
import io
import re
from pathlib import Path

import pytest
import soundfile
from starlette.testclient import TestClient

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")


def test_the_service_of_the_readme_is_the_example() -> None:
    example = (ROOT / "examples" / "service.py").read_text("utf-8")
    assert example.split('"""\n\n', 1)[1] in README


def test_every_file_the_documents_name_exists() -> None:
    for document in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text("utf-8")):
            assert (document.parent / target).exists(), f"{document.name} links {target}"


def test_every_module_is_on_the_map() -> None:
    for part in ("export", "runtime"):
        folder = ROOT / "fsnp_onnx" / part
        described = (folder / "__init__.py").read_text("utf-8")
        for module in folder.glob("*.py"):
            assert module.name == "__init__.py" or module.name in described


def test_the_service_enhances_what_is_posted_and_refuses_the_rest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(ROOT / "examples")
    client = TestClient(importlib.import_module("service").app)
    noisy = (ROOT / "samples" / "hiss_0db_noisy.flac").read_bytes()
    answer = client.post("/enhance", content=noisy)
    assert answer.status_code == 200
    enhanced, sample_rate = soundfile.read(io.BytesIO(answer.content))
    assert (len(enhanced), sample_rate) == (soundfile.info(io.BytesIO(noisy)).frames, 16000)
    assert client.post("/enhance", content=b"no sound").status_code == 400
