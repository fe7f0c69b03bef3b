"""Manifests name inputs and outputs; a malformed one stops the call before any work."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import soundfile as sf

from fsnp_onnx.batch.worker import Failed
from fsnp_onnx.errors import FsnpError, ManifestError
from tests.batch.conftest import Run
from tests.batch.folders import contents, recordings
from tests.runtime.signals import noise


def test_a_manifest_names_inputs_and_outputs(run: Run) -> None:
    recordings(Path("in"), 4)
    Path("m.csv").write_text(
        "output,note,input,,\nx/a.wav,,in/001.wav,,\ny/b.wav,!,in/deep/000.flac,,\n"
    )
    run(manifest="m.csv")
    assert set(contents(Path("x"))) | set(contents(Path("y"))) == {"a.wav", "b.wav"}
    assert sf.info("y/b.wav").frames == 3000
    pairs = [("in/003.wav", "z/3.wav"), ("in/deep/002.flac", "z/2.flac")]
    text = "\n".join(json.dumps({"input": i, "output": o, "n": 1}) for i, o in pairs)
    Path("m.jsonl").write_text(text)
    run(manifest=Path("m.jsonl"), journal="r.jsonl")
    assert set(contents(Path("z"))) == {"3.wav", "2.flac"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("input,output\na.wav,b.wav\nc.wav,b.wav\n", "a.wav and c.wav would both be written to b"),
        ("input,output\na.wav,\n", "m.csv, line 2: output is missing in this row"),
        ("input\na.wav\n", "m.csv, line 1: column output is missing in the header ['input']"),
        (
            "input;output\na.wav;b.wav\n",
            "m.csv, line 1: column input is missing in the header ['input;output']",
        ),
        (
            "input, output\na.wav,b.wav\n",
            "column output is missing in the header ['input', ' output']",
        ),
        (
            "input,output,input\na.wav,b.wav,c.wav\n",
            "m.csv, line 1: column input appears twice in the header ['input', ",
        ),
        (
            "input,output\na.wav,b.wav,c.wav\n",
            "m.csv, line 2: 3 values, but 2 columns in the header",
        ),
        ('input,output\n"a.wav,b.wav\n', "m.csv, line 2: "),
        ("input,output\n", "m.csv lists no recordings"),
        ("input,output\na.wav,b\0.wav\n", "'b\\x00.wav' cannot be the name of a file"),
    ],
)
def test_a_malformed_manifest_stops_before_any_work(run: Run, text: str, message: str) -> None:
    sf.write("a.wav", noise(500), 16000)
    Path("m.csv").write_text(text)
    with pytest.raises(FsnpError) as caught:
        run(manifest="m.csv")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert sorted(contents(Path())) == ["a.wav", "m.csv"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("m.csv", "input,output\na.wav,b.wav\n".encode("utf-16"), "zero bytes, as in UTF-16"),
        ("m.jsonl", '{"input": "a.wav"}'.encode("utf-16"), "zero bytes, as in UTF-16"),
        ("m.jsonl", b'{"input": ["a.wav"], "output": "b.wav"}', "input is ['a.wav'], not text"),
        ("m.jsonl", b'{"input": "a.wav", "output": 7}', "output is 7, not text"),
        ("m.jsonl", b"[" * 100_000, "values nested too deep to be read"),
    ],
)
def test_a_manifest_that_holds_something_else_is_one_line(
    run: Run, name: str, content: bytes, message: str
) -> None:
    Path(name).write_bytes(content)
    with pytest.raises(ManifestError) as caught:
        run(manifest=name)
    assert str(caught.value).startswith(f"{name}, line 1: {message}")
    assert str(caught.value).endswith("; give a table with input and output")


def test_an_input_of_a_manifest_is_never_overwritten(run: Run) -> None:
    for name in "ab":
        sf.write(f"{name}.wav", noise(500), 16000)
    Path("link.wav").symlink_to("b.wav")
    before = contents(Path())
    Path("m.csv").write_text("input,output\na.wav,b.wav\nlink.wav,c.wav\n")
    first, _ = run(manifest="m.csv", force=True)
    assert isinstance(first, Failed)
    assert "b.wav is an input of this run" in str(first.error)
    assert contents(Path()).items() >= before.items()
