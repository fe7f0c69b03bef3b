"""Every error a user can cause, as one tree.

Each class is also a builtin, so that callers catch by family or by kind::

    FsnpError
    ├── MissingFileError      FileNotFoundError   a path that is not there or cannot be read
    ├── OutputError           OSError             an output that exists, collides or cannot be written
    ├── AudioError            ValueError          audio that cannot be decoded, enhanced or written
    │   └── SamplesTypeError  TypeError           an array of the wrong type
    ├── ManifestError         ValueError          a manifest or record of results that is malformed
    ├── CheckpointError       ValueError          a file or state_dict that is no FullSubNet+ checkpoint
    ├── ConfigError           ValueError          a configuration that is wrong or contradicts the tensors
    ├── ModelFileError        ValueError          an ONNX file that is foreign, damaged or too new
    ├── ProviderError         RuntimeError        an execution provider that does not start
    ├── InstallError          ImportError         a package that is missing or installed twice
    └── ParityError           ArithmeticError     an exported graph that differs from its network

Messages are one line: what was found, what was expected, what to do.
"""


class FsnpError(Exception):
    """Base of all errors raised on purpose by this package."""


class MissingFileError(FsnpError, FileNotFoundError):
    """A file that does not exist or cannot be read."""


class OutputError(FsnpError, OSError):
    """An output that exists already, collides with another or cannot be written."""


class AudioError(FsnpError, ValueError):
    """Audio that cannot be decoded, enhanced or written."""


class SamplesTypeError(AudioError, TypeError):
    """Samples that are no float array."""


class ManifestError(FsnpError, ValueError):
    """A manifest or a record of results that is malformed or belongs to another run."""


class CheckpointError(FsnpError, ValueError):
    """A file that is no FullSubNet+ checkpoint, or one with wrong tensors."""


class ConfigError(FsnpError, ValueError):
    """A configuration that is invalid or contradicts the checkpoint's tensors."""


class ModelFileError(FsnpError, ValueError):
    """An ONNX file that this version cannot run: foreign, damaged or of a newer format."""


class ProviderError(FsnpError, RuntimeError):
    """An execution provider that was asked for and does not start."""


class InstallError(FsnpError, ImportError):
    """A package that is missing, or two packages that exclude each other."""


class ParityError(FsnpError, ArithmeticError):
    """An exported graph whose numbers differ from its network's."""
