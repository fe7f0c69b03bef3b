"""enhance_files: what it checks at the call, and what it yields."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf

from fsnp_onnx import Enhancer
from fsnp_onnx.batch.cluster import Cluster
from fsnp_onnx.batch.files import Progress, enhance_files
from fsnp_onnx.batch.worker import Failed
from fsnp_onnx.errors import ArgumentError, ArgumentTypeError, FsnpError, InstallError, OutputError
from fsnp_onnx.runtime.recording import Done
from tests.batch.conftest import Run
from tests.batch.folders import contents, recordings
from tests.runtime.models import with_mask
from tests.runtime.signals import noise
from tests.runtime.sound_files import odd


def names(results: list[Done | Failed]) -> list[str]:
    return [result.input for result in results]


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ([], {}, "inputs is missing"),
        (["in"], {}, "output is missing; input in is a folder"),
        ([""], {}, "inputs has an empty name"),
        (["in", ""], {}, "output has an empty name"),
        (["in", "out"], {"jobs": 0}, "jobs is 0; give 1 or more"),
        (["in", "out"], {"jobs": True}, "jobs is True; give 1 or more"),
        (["in", "out"], {"threads": 0}, "threads is 0"),
        (["in", "out"], {"provider": "tpu"}, "provider is 'tpu'"),
        (["in", "out"], {"provider": "tpu", "jobs": 2}, "provider is 'tpu'"),
        (["in", "out"], {"device_id": -1}, "device_id is -1"),
        (["in", "out"], {"attenuation_limit_db": -3}, "attenuation_limit_db is -3"),
        (["in", "out"], {"attenuation_limit_db": "3"}, "attenuation_limit_db is '3'"),
        (["in", "out"], {"resume": True}, "resume needs a journal"),
        (["in", "out"], {"journal": "r.csv"}, "journal r.csv does not end in .jsonl"),
        (["in"], {"manifest": "m.csv"}, "manifest names all inputs and outputs"),
        ([], {"manifest": "m.csv", "output": "out"}, "manifest names all inputs and outputs"),
        ([], {"manifest": "m.csv", "recursive": True}, "manifest names all inputs and outputs"),
        ([], {"manifest": "m.txt"}, "manifest m.txt ends neither in .csv nor in .jsonl"),
        (["in", "out"], {"plot": "x.png", "recursive": True}, "plot is for one recording, not 2"),
        (["in", "out"], {"plot": "x.png", "cluster": Cluster()}, "plot is written on this machine"),
        (["in", "out"], {"residual": "r.wav", "recursive": True}, "residual is for one recording"),
        (["in", "out"], {"residual": "r.wav", "cluster": Cluster()}, "residual is written on this"),
        (["in", "out"], {"strength": 1.5}, "strength is 1.5; give a number from 0"),
        (["in", "out"], {"channels": "both"}, "channels is 'both'; give 'each' or 'linked'"),
        (
            ["in", "out"],
            {"device_id": 1, "cluster": Cluster()},
            "device_id applies only to this machine",
        ),
    ],
)
@pytest.mark.usefixtures("in_empty_folder")
def test_wrong_arguments_are_reported_at_the_call_by_their_name(
    unity_path: Path, arguments: list[str], options: dict[str, Any], message: str
) -> None:
    recordings(Path("in"), 2)
    Path("m.csv").write_text("input,output\nin/001.wav,x.wav\n")
    before = contents(Path())
    with pytest.raises(ArgumentError) as caught:
        enhance_files(*arguments, model=unity_path, **options)
    assert str(caught.value).startswith(message)
    assert contents(Path()) == before


@pytest.mark.parametrize(
    "argument", ["inputs", "output", "model", "manifest", "journal", "plot", "residual"]
)
def test_a_name_that_is_not_text_is_a_type_error(run: Run, argument: str) -> None:
    value = [7] if argument == "inputs" else 7
    with pytest.raises(ArgumentTypeError, match=f"{argument} has a int; give paths or URLs"):
        run(**{"inputs": "x.wav", argument: value})


@pytest.mark.parametrize("share", [0, 1.5, "1", None])
def test_a_share_of_a_gpu_is_a_number_up_to_one(share: Any) -> None:
    with pytest.raises(ArgumentError, match="gpus_per_job is "):
        Cluster(gpus_per_job=share)


@pytest.mark.usefixtures("in_empty_folder")
def test_two_inputs_for_one_output_stop_before_any_work() -> None:
    for name in ("a/x.wav", "b/x.wav", "c.wav"):
        Path(name).parent.mkdir(exist_ok=True)
        sf.write(name, noise(3000), 16000)
    with pytest.raises(OutputError, match=r"a/x\.wav and b/x\.wav would both be written"):
        enhance_files(["c.wav", "a/x.wav", "b/x.wav"], "out")
    assert not Path("out").exists()


def test_the_work_begins_with_the_first_result_that_is_asked_for(
    run: Run, unity_path: Path
) -> None:
    recordings(Path("in"), 4)
    results = enhance_files("in", "out", model=unity_path, journal="r.jsonl", recursive=True)
    assert not Path("out").exists()
    assert not Path("r.jsonl").exists()
    next(results)
    assert len(contents(Path("out"))) == 1
    results.close()
    assert len(contents(Path("out"))) == 1
    assert len(run("in", "out", journal="r.jsonl", recursive=True, resume=True)) == 4


def test_results_that_nobody_asks_for_hold_nothing(run: Run, unity_path: Path) -> None:
    recordings(Path("in"), 2)
    results = enhance_files("in", "out", model=unity_path, journal="r.jsonl")
    with pytest.raises(OutputError, match="is being written by another run"):
        enhance_files("in", "out", model=unity_path, journal="r.jsonl")
    del results
    assert len(run("in", "out", journal="r.jsonl")) == 1


def test_inputs_are_one_name_or_several_and_the_model_may_be_bytes(
    run: Run, unity_path: Path
) -> None:
    recordings(Path("in"), 4)
    assert names(run("in/001.wav")) == ["in/001.wav"]
    inputs = (path for path in (Path("in/001.wav"), Path("in/003.wav")))
    (first, second) = run(inputs, Path("out"), model=unity_path.read_bytes())
    assert (first.output, second.output) == ("out/001.wav", "out/003.wav")
    assert Path("in/001.enhanced.wav").read_bytes() == Path("out/001.wav").read_bytes()


def test_every_recording_has_one_result_and_failures_do_not_stop_the_others(run: Run) -> None:
    recordings(Path("in"), 4)
    Path("in/bad.wav").write_bytes(b"junk")
    Path("empty").mkdir()
    results = run(["in", "empty", "none.wav", "in/deep/000.flac"], "out")
    failed = {r.input: r for r in results if isinstance(r, Failed)}
    assert names(results) == [
        "empty", "in/001.wav", "in/003.wav", "in/bad.wav", "none.wav", "in/deep/000.flac",
    ]  # fmt: skip
    assert failed.keys() == {"empty", "in/bad.wav", "none.wav"}
    assert "empty contains no sound files" in str(failed["empty"].error)
    assert failed["empty"].output is None
    assert isinstance(failed["in/bad.wav"].error, FsnpError)


def test_progress_is_reported_when_a_recording_begins_and_when_it_has_ended(run: Run) -> None:
    recordings(Path("in"), 4)
    reported: list[Progress] = []
    run("in", "out", on_progress=reported.append)
    assert reported == [
        Progress("in/001.wav", 0, 2),
        Progress("in/001.wav", 1, 2),
        Progress("in/003.wav", 1, 2),
        Progress("in/003.wav", 2, 2),
    ]


@pytest.mark.parametrize("force", [False, True])
def test_inputs_and_the_model_are_never_replaced(run: Run, unity_path: Path, force: bool) -> None:
    recordings(Path("in"), 2)
    Path("model.wav").write_bytes(unity_path.read_bytes())
    Path("link.wav").hardlink_to("model.wav")
    before = contents(Path())
    for output in ("in/001.wav", "model.wav", "link.wav"):
        (failed,) = run("in/001.wav", output, model="model.wav", force=force)
        assert isinstance(failed, Failed)
        assert f"{output} is an input of this run or its model" in str(failed.error)
    assert contents(Path()) == before


def test_an_output_that_would_not_last_is_refused(run: Run) -> None:
    pytest.importorskip("fsspec")
    recordings(Path("in"), 2)
    with pytest.raises(OutputError, match=r"memory://bucket/x\.wav exists only in this process"):
        run("in/001.wav", "memory://bucket/x.wav")


def test_no_room_for_the_list_is_an_output_error(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect("")) as full:
        full.execute("PRAGMA max_page_count = 2")
        monkeypatch.setattr(sqlite3, "connect", lambda *_, **__: full)
        recordings(Path("in"), 2)
        with pytest.raises(OutputError, match="the temporary folder cannot hold the list of rec"):
            run("in", "out")


def test_a_plot_is_drawn_for_one_recording(run: Run) -> None:
    pytest.importorskip("matplotlib")
    recordings(Path("in"), 2)
    run("in", "out", plot="pictures/x.png")
    assert Path("pictures/x.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.usefixtures("in_empty_folder")
def test_a_plot_without_matplotlib_is_found_at_the_call(
    unity_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "matplotlib", None)
    recordings(Path("in"), 2)
    with pytest.raises(InstallError, match=r"pip install 'fsnp-onnx\[plot\]'"):
        enhance_files("in", "out", model=unity_path, plot="x.png")


def test_a_residual_is_written_for_one_recording(run: Run) -> None:
    recordings(Path("in"), 2)
    model = with_mask(0.2)
    (done,) = run("in/001.wav", "y.wav", model=model, residual="deep/r.wav", strength=0.5)
    assert isinstance(done, Done)
    noisy, kept, removed = (sf.read(name)[0] for name in ("in/001.wav", "y.wav", "deep/r.wav"))
    np.testing.assert_allclose(kept + removed, noisy, rtol=0, atol=2**-15)
    assert np.abs(removed).max() > 0.01


def test_every_recording_gets_the_strength_and_the_channels(run: Run) -> None:
    recordings(Path("in"), 2)
    noisy = {name: noise(9000, 2, seed=seed) for seed, name in enumerate(("a.wav", "b.wav"))}
    for name, samples in noisy.items():
        sf.write(name, samples, 16000, "FLOAT")
    how: dict[str, Any] = {"strength": 0.5, "channels": "linked"}
    run([*noisy], "out", model=None, provider="cpu", **how)
    for name, samples in noisy.items():
        wanted = Enhancer(provider="cpu").enhance(samples, 16000, **how)
        np.testing.assert_array_equal(sf.read(f"out/{name}", dtype="float32")[0], wanted)


@pytest.mark.parametrize("residual", ["in/001.wav", "./y.wav", "to_m", "r.jsonl", "x.png"])
@pytest.mark.usefixtures("in_empty_folder")
def test_a_residual_over_a_file_of_the_run_is_refused_at_the_call(
    unity_path: Path, residual: str
) -> None:
    pytest.importorskip("matplotlib")
    recordings(Path("in"), 2)
    Path("m.onnx").write_bytes(unity_path.read_bytes())
    Path("to_m").symlink_to("m.onnx")
    others: Any = {"model": "m.onnx", "journal": "r.jsonl", "plot": "x.png", "force": True}
    before = contents(Path())
    with pytest.raises(OutputError, match=f"^{Path(residual)} is "):
        enhance_files("in/001.wav", "y.wav", residual=residual, **others)
    assert contents(Path()) == before


def test_an_existing_residual_is_protected_without_force(run: Run) -> None:
    recordings(Path("in"), 2)
    Path("r.wav").write_bytes(b"precious")
    with pytest.raises(OutputError, match=r"r\.wav exists already"):
        run("in/001.wav", "y.wav", residual="r.wav")
    assert Path("r.wav").read_bytes() == b"precious"
    run("in/001.wav", "y.wav", residual="r.wav", force=True)
    assert sf.info("r.wav").frames == 3500


def test_strict_lets_truncated_recordings_fail(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    recordings(Path("in"), 2)
    odd(monkeypatch, "truncated: 3500 of 4000 samples")
    (done,) = run("in/001.wav", "y.wav")
    assert isinstance(done, Done)
    assert (done.truncated, done.warning) == (True, "truncated: 3500 of 4000 samples")
    (failed,) = run("in/001.wav", "z.wav", strict=True)
    assert isinstance(failed, Failed)
    assert "3500 of 4000" in str(failed.error)


@pytest.mark.parametrize("plot", ["in/001.wav", "y.wav", "./y.wav", "to_y.wav", "to_m", "m.onnx"])
@pytest.mark.usefixtures("in_empty_folder")
def test_a_plot_over_a_file_of_the_run_is_refused_at_the_call(unity_path: Path, plot: str) -> None:
    pytest.importorskip("matplotlib")
    recordings(Path("in"), 2)
    Path("m.onnx").write_bytes(unity_path.read_bytes())
    Path("to_m").symlink_to("m.onnx")
    Path("to_y.wav").symlink_to("y.wav")
    with pytest.raises(OutputError, match=f"^{Path(plot)} is "):
        enhance_files("in/001.wav", "y.wav", model="m.onnx", plot=plot, force=True)


@pytest.mark.usefixtures("in_empty_folder")
def test_a_plot_over_the_journal_is_refused_at_the_call(unity_path: Path) -> None:
    pytest.importorskip("matplotlib")
    recordings(Path("in"), 2)
    with pytest.raises(OutputError, match=r"^r\.jsonl is another output of this run"):
        enhance_files("in/001.wav", "y.wav", model=unity_path, plot="r.jsonl", journal="r.jsonl")


@pytest.mark.usefixtures("in_empty_folder")
def test_the_journal_replaces_no_file_of_the_run(unity_path: Path) -> None:
    recordings(Path("in"), 2)
    Path("m.jsonl").write_text('{"input": "in/001.wav", "output": "x.wav"}')
    with pytest.raises(OutputError, match=r"m\.jsonl is an input of this run"):
        enhance_files(manifest="m.jsonl", journal="m.jsonl", model=unity_path, force=True)
