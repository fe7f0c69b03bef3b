"""Every example in a docstring of the public surface runs and gives what it says."""

from __future__ import annotations

import doctest
import inspect
import io
import tempfile
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import fsnp_onnx
from fsnp_onnx.errors import ArgumentError, FsnpError

ROOT = Path(__file__).parents[1]

# What a call returns: the example of that call shows it.
RESULTS = {
    "Done",
    "ExportReport",
    "ExportedFile",
    "Failed",
    "FoundWeights",
    "Inferred",
    "MaskSpec",
    "ModelSpec",
    "Probe",
    "Progress",
    "SpeechProbe",
    "StateSpec",
    "StftSpec",
    "TensorSpec",
    "VariantDifference",
}


def public_objects() -> dict[str, object]:
    return {name: getattr(fsnp_onnx, name) for name in fsnp_onnx.__all__}


def is_plain_error(thing: object) -> bool:
    """Whether it is an error class that a message alone makes."""
    return isinstance(thing, type) and issubclass(thing, FsnpError) and thing is not ArgumentError


def needs_example() -> list[str]:
    documented = {
        name: thing
        for name, thing in public_objects().items()
        if inspect.isclass(thing) or inspect.isroutine(thing)
    }
    return [n for n, thing in documented.items() if n not in RESULTS and not is_plain_error(thing)]


def examples_of(thing: object, name: str, module: ModuleType) -> Iterator[doctest.DocTest]:
    """Return the docstrings of an object and its members that have examples; they see the module."""
    finder = doctest.DocTestFinder(exclude_empty=True)
    found = finder.find(thing, name, module=module)
    return (test for test in found if test.examples)


def all_examples() -> list[doctest.DocTest]:
    """Return the examples of the public names and of the modules that they live in, once each."""
    things = [t for t in public_objects().values() if inspect.isclass(t) or inspect.isroutine(t)]
    homes = {thing.__module__ for thing in things}
    modules = [import_module(name) for name in sorted({"fsnp_onnx", *homes})]
    return [test for m in modules for test in examples_of(m, m.__name__, m)]


def failures(test: doctest.DocTest) -> str:
    """Run the examples of one docstring and return what doctest says against them."""
    said = io.StringIO()
    runner = doctest.DocTestRunner(verbose=False, optionflags=doctest.ELLIPSIS)
    runner.run(test, out=said.write, clear_globs=False)
    return said.getvalue()


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Run in the repository, as its readers do; temporary folders that stay are the test's."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = tree()
    yield
    assert tree() == before, "an example has written into the repository"


def tree() -> set[Path]:
    folders = (ROOT, ROOT / "samples", ROOT / "tests" / "data", ROOT / "tests" / "data" / "golden")
    hidden = (".", "__pycache__")
    return {p for folder in folders for p in folder.iterdir() if not p.name.startswith(hidden)}


def marked(test: doctest.DocTest) -> Any:
    slow = test.name.endswith("export_checkpoint")
    return pytest.param(test, id=test.name, marks=[pytest.mark.slow] if slow else [])


@pytest.mark.parametrize("test", [marked(test) for test in all_examples()])
def test_an_example_gives_what_it_says(test: doctest.DocTest) -> None:
    assert not any(doctest.SKIP in example.options for example in test.examples)
    assert failures(test) == ""


@pytest.mark.parametrize("name", needs_example())
def test_a_public_name_has_an_example(name: str) -> None:
    thing = getattr(fsnp_onnx, name)
    module = inspect.getmodule(thing)
    assert module is not None
    assert list(examples_of(thing, name, module)), f"{name} needs an Example: in its docstring"


def test_results_without_examples_are_dataclasses_of_the_public_surface() -> None:
    assert [
        name for name in RESULTS if not hasattr(public_objects()[name], "__dataclass_fields__")
    ] == []


def doubled(number: int) -> int:
    """Return twice a number.

    Example:
        >>> doubled(2)
        4
        >>> doubled(3)
        7
    """
    return 2 * number


def test_a_wrong_example_is_found() -> None:
    (test,) = examples_of(doubled, "doubled", import_module(__name__))
    assert "Expected:\n    7\nGot:\n    6" in failures(test)
