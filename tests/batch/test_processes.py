"""Recordings spread over processes: the same files, whatever dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from fsnp_onnx.batch.worker import Failed
from fsnp_onnx.errors import FsnpError, WorkerError
from fsnp_onnx.runtime.enhancer import Enhancer
from fsnp_onnx.runtime.recording import Done
from tests.batch.conftest import Run
from tests.batch.folders import contents, members, recordings, wait_for
from tests.runtime.signals import noise

# every process of the run imports the main module, and with it this
_PATCHED = """
import os, time
from pathlib import Path
import soundfile
from fsnp_onnx.runtime import decode

read = decode.read
def read_or_die(path, name, **how):
    if "deadly" in name:
        os.kill(os.getpid(), 9)
    if "odd" in name:
        raise KeyError(name)
    if "once" in name and not Path("died").exists():
        Path("died").touch()
        os.kill(os.getpid(), 9)
    return read(path, name, **how)
decode.read = read_or_die

write = soundfile.SoundFile.write
def write_slowly(self, samples):
    write(self, samples)
    if 1 < len(samples) < int(os.environ.get("SLOW_BELOW", 0)):
        time.sleep(60)
soundfile.SoundFile.write = write_slowly
"""
Main = Callable[..., list[str]]
needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")


@pytest.mark.slow
def test_two_processes_write_the_same_files_as_one(run: Run) -> None:
    recordings(Path("in"), 7)
    Path("in/bad.wav").write_bytes(b"junk")
    one, two = (run("in", f"out{jobs}", recursive=True, jobs=jobs) for jobs in (1, 2))
    assert contents(Path("out1")) == contents(Path("out2"))
    assert len(contents(Path("out1"))) == 7
    assert {result.input for result in one} == {result.input for result in two}
    for results in (one, two):
        (failed,) = [result for result in results if isinstance(result, Failed)]
        assert (failed.input, failed.output is not None) == ("in/bad.wav", True)
        assert "in/bad.wav cannot be decoded" in str(failed.error)


@pytest.mark.slow
def test_the_longest_recording_goes_first(run: Run) -> None:
    for name, n_samples in (("a", 3000), ("b", 9000), ("c", 6000), ("d", 12000)):
        sf.write(f"{name}.wav", noise(n_samples), 16000)
    begun: list[str] = []
    inputs = [f"{name}.wav" for name in "abcd"]
    run(inputs, "out", jobs=2, on_progress=lambda progress: begun.append(progress.input))
    assert list(dict.fromkeys(begun)) == ["d.wav", "b.wav", "c.wav", "a.wav"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "opened"),
    [
        ("jobs=3", ["threads 4 device 0"] * 3),
        ("jobs=100", ["threads 3 device 0"] * 4),
        ("jobs=2, threads=7, provider='cpu', device_id=5", ["threads 7 device 5"] * 2),
    ],
)
@pytest.mark.usefixtures("in_empty_folder")
def test_each_process_gets_its_share_of_the_cpus_and_no_recording_goes_without_one(
    main: Main, options: str, opened: list[str]
) -> None:
    recordings(Path("in"), 4)
    patch = """
import os
from fsnp_onnx.batch import files
from fsnp_onnx.runtime import enhancer
files.available_cpus = lambda: (12, "a test")
opened = enhancer.Enhancer.__init__
def note(self, *arguments, threads, device_id):
    if __name__ != "__main__":
        os.write(1, f"threads {threads} device {device_id}\\n".encode())
    opened(self, *arguments, threads=1)
enhancer.Enhancer.__init__ = note
"""
    line = main(f"'in', 'out', recursive=True, {options}", before=patch, after="    list(results)")
    ended = subprocess.run(line, capture_output=True, text=True, timeout=60, check=True)
    assert ended.stdout.splitlines() == opened


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_the_attenuation_limit_reaches_every_recording(run: Run, jobs: int) -> None:
    model = Path(__file__).parents[1] / "data" / "wavy.onnx"
    inputs = ["a.wav", "b.wav"]
    for seed, name in enumerate(inputs):
        sf.write(name, noise(9000, seed=seed), 16000, "FLOAT")
    run(inputs, "out", jobs=jobs, model=model, provider="cpu", attenuation_limit_db=3.5)
    enhancer = Enhancer(model, "cpu")
    for name in inputs:
        noisy, _ = sf.read(name, dtype="float32")
        limited, _ = sf.read(f"out/{name}", dtype="float32")
        wanted = enhancer.enhance(noisy, 16000, attenuation_limit_db=3.5)
        np.testing.assert_allclose(limited, wanted, rtol=0, atol=1e-6)  # threads may differ
        assert np.abs(limited - enhancer.enhance(noisy, 16000)).max() > 1e-2


@pytest.mark.slow
@pytest.mark.usefixtures("in_empty_folder")
def test_a_warning_of_all_processes_is_given_once(main: Main) -> None:
    recordings(Path("in"), 4)
    patch = """
import warnings
from fsnp_onnx.runtime import enhancer
opened = enhancer.Enhancer.__init__
def warn(self, *arguments, **options):
    if __name__ != "__main__":
        warnings.warn("CUDA does not start here")
    opened(self, *arguments, **options)
enhancer.Enhancer.__init__ = warn
"""
    after = """
    import warnings
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        print(len(list(results)), *(warning.message for warning in caught))
"""
    line = main("'in', 'out', recursive=True, jobs=2", before=patch, after=after)
    ended = subprocess.run(line, capture_output=True, text=True, timeout=60, check=True)
    assert (ended.stdout, ended.stderr) == ("4 CUDA does not start here\n", "")


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.usefixtures("in_empty_folder")
def test_an_unexpected_error_costs_its_own_recording_only(main: Main, jobs: int) -> None:
    recordings(Path("in"), 4)
    sf.write("in/odd.wav", noise(3000), 16000)
    line = main(f"'in', 'out', jobs={jobs}, recursive=True", before=_PATCHED)
    ended = subprocess.run(line, capture_output=True, text=True, timeout=60, check=True)
    (failed,) = [line for line in ended.stdout.splitlines() if line.startswith("Failed(")]
    assert failed.startswith("Failed(input='in/odd.wav', output='out/odd.wav', error=RunError(")
    assert "unexpected KeyError('in/odd.wav')" in failed
    assert len(contents(Path("out"))) == 4


def test_a_model_that_does_not_open_is_raised_at_the_call(run: Run) -> None:
    recordings(Path("in"), 3)
    Path("a.onnx").write_bytes(b"not a model")
    for model in ("none.onnx", "a.onnx"):
        with pytest.raises(FsnpError, match=model):
            run("in", "out", jobs=2, model=model)
    assert not Path("out").exists()


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["", "local://"])
@pytest.mark.usefixtures("in_empty_folder")
def test_a_process_that_dies_costs_its_own_recording_only(
    main: Main, scheme: str, tmp_path: Path
) -> None:
    if scheme:
        pytest.importorskip("fsspec")
    recordings(Path("in"), 5)
    for name in ("deadly", "once"):
        sf.write(f"in/{name}.wav", noise(20000), 16000)
    folder = f"{scheme}{tmp_path}/in"
    Path("temporary").mkdir()
    ended = subprocess.run(
        main(f"{folder!r}, 'out', recursive=True, jobs=2", before=_PATCHED),
        env=os.environ | {"TMPDIR": str(tmp_path / "temporary")},
        capture_output=True,
        text=True,
        check=True,
    )
    (failed,) = [line for line in ended.stdout.splitlines() if line.startswith("Failed(")]
    assert failed.startswith(f"Failed(input='{folder}/deadly.wav', output='out/deadly.wav'")
    assert "WorkerError('the process that enhanced it died, and so did a second one; " in failed
    assert Path("died").exists()
    assert len(contents(Path("out"))) == 6
    assert not list(Path("temporary").glob("fsnp-*"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "death", ["os._exit(1)", "Enhancer.__init__ = lambda *_, **__: os.kill(os.getpid(), 9)"]
)
@pytest.mark.usefixtures("in_empty_folder")
def test_processes_that_die_while_they_open_the_model_end_the_run(main: Main, death: str) -> None:
    recordings(Path("in"), 3)
    patch = f"""
import os
from fsnp_onnx.runtime.enhancer import Enhancer
if __name__ != '__main__': {death}
"""
    ended = subprocess.run(
        main("'in', 'out', recursive=True, jobs=2", before=patch),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert f"{WorkerError.__name__}: the processes died while they opened the model" in ended.stderr
    assert not Path("out").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dies", "is_whole"), [("[1]", True), ("[0, 2, 3]", True), ("[0, 2, 3, 4]", False)]
)
@pytest.mark.usefixtures("in_empty_folder")
def test_processes_that_die_while_they_open_the_model_do_not_end_a_run_that_works(
    main: Main, dies: str, is_whole: bool
) -> None:
    recordings(Path("in"), 3)
    sf.write("in/once.wav", noise(20000), 16000)
    patch = f"""{_PATCHED}
from itertools import count
from fsnp_onnx.runtime import enhancer
opened = enhancer.Enhancer.__init__
def open_or_die(self, *arguments, **options):
    for number in count():
        try:
            Path(f"opened{{number}}").touch(exist_ok=False)
            break
        except FileExistsError:
            pass
    if number in {dies}:
        os.kill(os.getpid(), 9)
    opened(self, *arguments, **options)
if __name__ != "__main__":
    enhancer.Enhancer.__init__ = open_or_die
"""
    ended = subprocess.run(
        main("'in', 'out', recursive=True, jobs=2", before=patch),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode == 0) == is_whole, ended.stderr
    assert (len(contents(Path("out"))) == 4) == is_whole
    assert "the processes died while they opened the model" in ended.stderr or is_whole


def run_script() -> subprocess.CompletedProcess[str]:
    """Run script.py, which a test has written, as its user would."""
    line = [sys.executable, "script.py"]
    return subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.slow
@pytest.mark.usefixtures("in_empty_folder")
def test_processes_that_die_at_once_are_noticed_also_with_a_model_of_many_bytes(
    unity_path: Path,
) -> None:
    recordings(Path("in"), 3)
    Path("script.py").write_text(
        "import os\nfrom pathlib import Path\n"
        "if __name__ != '__main__': os._exit(1)\n"
        "from fsnp_onnx import enhance_files\n"
        # a field of half a megabyte that ONNX does not know
        "padding = bytes([0x82, 1, 0x80, 0x80, 0x20]) + bytes(2**19)\n"
        f"model = Path({str(unity_path)!r}).read_bytes() + padding\n"
        "list(enhance_files('in', 'out', recursive=True, jobs=2, model=model))"
    )
    assert "the processes died while they opened the model" in run_script().stderr


@pytest.mark.slow
@pytest.mark.usefixtures("in_empty_folder")
def test_a_script_that_does_not_protect_its_call_ends_with_an_error_that_says_how(
    unity_path: Path,
) -> None:
    recordings(Path("in"), 3)
    Path("script.py").write_text(
        "from fsnp_onnx import enhance_files\n"
        f"print(list(enhance_files('in', 'out', recursive=True, jobs=2, model={str(unity_path)!r})))"
    )
    ended = run_script()
    assert ended.returncode == 1
    assert ended.stderr.endswith("has to call enhance_files below if __name__ == '__main__':\n")
    assert ended.stderr.count("Traceback") < 20  # no processes that start processes
    assert not Path("out").exists()


@pytest.mark.slow
@needs_proc
@pytest.mark.usefixtures("in_empty_folder")
def test_closing_the_results_ends_all_processes_and_leaves_no_partial_file(main: Main) -> None:
    recordings(Path("in"), 6)
    end = """
    next(results)
    while not list(Path("out").rglob(".*.part")):
        time.sleep(0.02)
    results.close()
    print(len(multiprocessing.active_children()))
"""
    line = main("'in', 'out', recursive=True, jobs=2", before=_PATCHED, after=end)
    environment = os.environ | {"SLOW_BELOW": "5000"}  # the two longest ones go first
    ended = subprocess.run(
        line, env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    assert ended.stdout == "0\n"
    assert not list(Path("out").rglob(".*"))


@pytest.mark.slow
@pytest.mark.usefixtures("in_empty_folder")
def test_an_interrupt_ends_all_processes_and_leaves_nothing(main: Main, tmp_path: Path) -> None:
    recordings(Path("in"), 4)
    Path("temporary").mkdir()
    with subprocess.Popen(
        main("'in', 'out', recursive=True, jobs=2", before=_PATCHED),
        env=os.environ | {"TMPDIR": str(tmp_path / "temporary"), "SLOW_BELOW": "1000000"},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stderr is not None
        wait_for(lambda: len(list(Path().glob("out/**/.*.part"))) == 2)
        os.killpg(process.pid, signal.SIGINT)
        process.wait(60)
        assert process.stderr.read().count("KeyboardInterrupt") == 1  # of the parent alone
    assert not contents(Path("out"))
    assert not list(Path("temporary").glob("fsnp-*"))


@pytest.mark.slow
@needs_proc
@pytest.mark.usefixtures("in_empty_folder")
def test_processes_that_start_do_not_hear_an_interrupt(main: Main) -> None:
    recordings(Path("in"), 4)
    patch = "import os, time\nos.write(2, b'begun\\n')\nif __name__ != '__main__': time.sleep(60)"
    with subprocess.Popen(
        main("'in', 'out', recursive=True, jobs=2", before=patch),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stderr is not None
        assert [process.stderr.readline() for _ in range(3)] == ["begun\n"] * 3
        for number in set(members(process.pid)) - {process.pid}:
            os.kill(number, signal.SIGINT)
        time.sleep(0.5)  # in which a process that heard it would say so
        process.send_signal(signal.SIGINT)
        process.wait(60)
        assert process.stderr.read().count("KeyboardInterrupt") == 1


@pytest.mark.slow
@needs_proc
@pytest.mark.usefixtures("in_empty_folder")
def test_processes_do_not_outlive_a_killed_parent(main: Main) -> None:
    recordings(Path("in"), 4)
    line = main("'in', 'out', recursive=True, jobs=2", before=_PATCHED)
    environment = os.environ | {"SLOW_BELOW": "1000000"}
    with subprocess.Popen(line, env=environment, start_new_session=True) as process:
        wait_for(lambda: len(list(Path().glob("out/**/.*.part"))) == 2)
        assert len(members(process.pid)) >= 3
        process.kill()
    wait_for(lambda: not members(process.pid))


@pytest.mark.slow
def test_a_run_of_two_processes_that_is_killed_resumes_to_the_bytes_of_the_command(
    run: Run, main: Main, unity_path: Path
) -> None:
    from tests.cli.shell import shell

    recordings(Path("in"), 12)
    command = shell(unity_path, "in", "-o", "whole", "-r")
    subprocess.run(command, check=True, capture_output=True)
    choices = "recursive=True, jobs=2, journal='r.jsonl', resume=True"
    with subprocess.Popen(
        main(f"'in', 'out', {choices}"), stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        os.killpg(process.pid, signal.SIGKILL)
    results = run("in", "out", recursive=True, jobs=2, journal="r.jsonl", resume=True)
    assert all(isinstance(result, Done) for result in results)
    assert any(isinstance(result, Done) and result.skipped for result in results)
    assert contents(Path("out")) == contents(Path("whole"))
