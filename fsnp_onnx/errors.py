"""Every error that this package raises on purpose; a class means one thing.

Each class is also a builtin, so that callers catch by family or by kind::

    FsnpError
      ArgumentError         ValueError         the call is wrong
        ArgumentTypeError   TypeError
      MissingFileError      FileNotFoundError  the input
      AudioError            ValueError
      ManifestError         ValueError
      JournalError          ValueError
      OutputError           OSError            the output
      ModelFileError        ValueError         the model, and where it runs
      ProviderError         RuntimeError
      RunError              RuntimeError
      WorkerError           RuntimeError
      InstallError          ImportError
      CheckpointError       ValueError         the export
      ConfigError           ValueError
      ExportError           RuntimeError
      VerificationError     ArithmeticError

Messages are one line: what was found, what was expected, what to do.
"""

from __future__ import annotations


class FsnpError(Exception):
    """Base of all errors that this package raises on purpose."""


class ArgumentError(FsnpError, ValueError):
    """An argument of a call that is out of range or in conflict with another one.

    Attributes:
        argument: Name of the Python argument.
        problem: What is wrong with it and what to give instead, as a continuation of the name.

    Example:
        >>> raise ArgumentError("jobs", "is 0; give 1 or more")
        Traceback (most recent call last):
        fsnp_onnx.errors.ArgumentError: jobs is 0; give 1 or more
    """

    def __init__(self, argument: str, problem: str) -> None:
        super().__init__(argument, problem)
        self.argument = argument
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.argument} {self.problem}"


class ArgumentTypeError(ArgumentError, TypeError):
    """An argument of a call that has the wrong type."""


class MissingFileError(FsnpError, FileNotFoundError):
    """A path or URL that names nothing, or nothing that can be read."""


class OutputError(FsnpError, OSError):
    """A file, such as a journal or a temporary one, that exists, is in use, collides or cannot be written."""


class AudioError(FsnpError, ValueError):
    """Audio that is missing from a folder, or cannot be decoded, enhanced or encoded as asked."""


class ManifestError(FsnpError, ValueError):
    """A manifest that is malformed."""


class JournalError(FsnpError, ValueError):
    """A journal that is malformed, or of a run with other settings."""


class ModelFileError(FsnpError, ValueError):
    """An ONNX file that this version cannot run: foreign, damaged or of a newer format."""


class ProviderError(FsnpError, RuntimeError):
    """An execution provider that was asked for and does not start."""


class RunError(FsnpError, RuntimeError):
    """A run of the model that failed, usually for lack of memory."""


class WorkerError(FsnpError, RuntimeError):
    """A worker process or a cluster that died or cannot be reached."""


class InstallError(FsnpError, ImportError):
    """A package that is missing, broken or installed twice."""


class CheckpointError(FsnpError, ValueError):
    """A file that is not a FullSubNet+ checkpoint, or one with wrong tensors."""


class ConfigError(FsnpError, ValueError):
    """A training configuration that is invalid or contradicts the checkpoint's tensors."""


class ExportError(FsnpError, RuntimeError):
    """A network that the export tool chain cannot turn into a graph."""


class VerificationError(FsnpError, ArithmeticError):
    """An exported file whose numbers differ too much from its reference."""


def one_line(error: BaseException) -> str:
    """Return the message of an error as one line, in which nothing commands a terminal."""
    text = " ".join(str(error).split())
    # A lone surrogate stands for a byte of a name that is not UTF-8; the console escapes it.
    shown = (c if c.isprintable() or "\ud800" <= c <= "\udfff" else "?" for c in text)
    return "".join(shown) or type(error).__name__
