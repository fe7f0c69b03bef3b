"""What an exported file says about itself: the contract between the exporter and any client.

The ONNX file has one metadata entry, key ``fsnp_onnx``. Its value is the JSON text of a `ModelSpec`.
With it and docs/format.md any client can run the file, in any language.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, astuple, dataclass, field, fields
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fsnp_onnx.errors import ModelFileError
from fsnp_onnx.probes import Probe, SpeechProbe
from fsnp_onnx.typed_json import as_type

METADATA_KEY: Final = "fsnp_onnx"
FORMAT: Final = 2
SAMPLE_RATES_HZ: Final = (100, 10_000_000)

INTERFACES: Final = ("mask", "waveform", "stream")
INPUT_NAMES: Final = ("noisy_real", "noisy_imag")
OUTPUT_NAME: Final = "mask"
NOISY: Final = "noisy"
ENHANCED: Final = "enhanced"

_MAX_N_FFT = 1 << 16
_LEAST_OVERLAP = 1e-2  # of the summed squared windows, which the inverse transform divides by


@dataclass(frozen=True, slots=True)
class StftSpec:
    """Short-time Fourier transform of the network, `torch.stft` with its defaults (centred).

    Attributes:
        sample_rate_hz: Sample rate the network was trained at, 100 to 10 million.
        n_fft: Transform length in samples, at most 65536.
        win_length: Length of the periodic Hann window in samples, at most ``n_fft``.
        hop_length: Step between frames in samples; the frames must overlap so far that the
            squared windows add up to more than 1 % of their maximum everywhere.
    """

    sample_rate_hz: int = 16000
    n_fft: int = 512
    win_length: int = 512
    hop_length: int = 256

    def __post_init__(self) -> None:
        """Check that the lengths are whole numbers that fit together and can be inverted."""
        if not all(isinstance(length, int) and length > 0 for length in astuple(self)):
            raise ValueError(f"{self}: expected whole numbers above 0")
        if not self.hop_length <= self.win_length <= self.n_fft <= _MAX_N_FFT:
            raise ValueError(f"{self}: expected hop_length <= win_length <= n_fft <= {_MAX_N_FFT}")
        lowest, highest = SAMPLE_RATES_HZ
        if not lowest <= self.sample_rate_hz <= highest:
            raise ValueError(f"{self}: expected a sample rate of {lowest} to {highest} Hz")
        squared = np.square(self.window())
        overlap = np.bincount(np.arange(self.n_fft) % self.hop_length, squared)
        if overlap.min() <= _LEAST_OVERLAP * overlap.max():
            raise ValueError(f"{self}: frames overlap too little; expected a shorter hop_length")

    @property
    def n_freqs(self) -> int:
        """Number of frequency bins, ``n_fft // 2 + 1``."""
        return self.n_fft // 2 + 1

    def n_frames(self, n_samples: int) -> int:
        """Number of frames of a signal of ``n_samples``, ``1 + n_samples // hop_length``."""
        return 1 + n_samples // self.hop_length

    def window(self) -> NDArray[np.float64]:
        """Periodic Hann window of ``win_length``, centred in ``n_fft`` samples of float64."""
        phase = 2 * np.pi * np.arange(self.win_length) / self.win_length
        padding = self.n_fft - self.win_length
        return np.pad(0.5 - 0.5 * np.cos(phase), (padding // 2, padding - padding // 2))


@dataclass(frozen=True, slots=True)
class MaskSpec:
    """Compression of the complex ideal ratio mask: ``mask = K (1 - e^{-c m}) / (1 + e^{-c m})``.

    Attributes:
        k: Largest magnitude K of the compressed mask.
        c: Steepness; the inverse is ``m = -1/c log((K - mask) / (K + mask))``.
        limit: The compressed mask is clamped to ``[-limit, limit]`` before it is expanded.
    """

    k: float = 10.0
    c: float = 0.1
    limit: float = 9.9

    def __post_init__(self) -> None:
        """Check that every clamped mask can be expanded."""
        fits = 0 < self.limit < self.k < math.inf and np.float32(self.limit / self.k) < 1
        if not (fits and 0 < self.c < math.inf):
            raise ValueError(f"{self}: expected 0 < limit < k and c > 0")


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A float32 input or output of the graph.

    Attributes:
        name: Its name in the graph.
        shape: Length of each axis; a name, such as "batch", where any length is accepted.
    """

    name: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True, slots=True)
class StateSpec:
    """What a client hands from one call of a file to the next: one tensor, zeros at the start.

    Attributes:
        input: Name of the input that takes it, float32 [batch, size].
        output: Name of the output that returns it.
        size: Numbers per row of the batch, 1 or more.
    """

    input: str
    output: str
    size: int

    def __post_init__(self) -> None:
        """Check that there is a state."""
        if self.size < 1:
            raise ValueError(f"{self}: expected a size of 1 or more")


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """Everything a client needs to run an exported file, and where the file comes from.

    Attributes:
        stft: Transform that the mask is for.
        mask: Compression of the mask.
        interface: What goes in and out, "mask", "waveform" or "stream"; fixes `inputs` and `outputs`.
        state: What a stream hands from call to call; None for the other interfaces.
        latency_samples: How far the output of a stream is behind its input; else None.
        causal: Whether the network looks ahead by no more than `look_ahead` frames.
        horizon_frames: Memory of the running means of a causal network in frames; else None.
        min_frames: Shortest input in frames; files of waveforms fill up shorter ones by themselves.
        look_ahead: Future frames that the sub-band model sees.
        mulca: Variant of the MulCA channel attention, None for networks without MulCA.
        precision: Arithmetic of the graph, "float32", or "int8" for a quantised LSTM.
        network: Sizes and options of the network, for people.
        provenance: Exporter, versions, opset, checkpoint sha256 and epoch.
        verification: One entry per probe; of an int8 file, of the float32 graph it comes from.
        quantization: How far an int8 file is from that float32 graph, one entry per recording.

    Example:
        >>> ModelSpec(StftSpec(), interface="waveform").inputs
        (TensorSpec(name='noisy', shape=('batch', 'samples')),)
    """

    stft: StftSpec
    mask: MaskSpec = field(default_factory=MaskSpec)
    interface: str = "mask"
    state: StateSpec | None = None
    latency_samples: int | None = None
    causal: bool = False
    horizon_frames: int | None = None
    min_frames: int = 1
    look_ahead: int = 2
    mulca: str | None = None
    precision: str = "float32"
    network: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    verification: tuple[Probe, ...] = ()
    quantization: tuple[SpeechProbe, ...] = ()

    def __post_init__(self) -> None:
        """Check the numbers, and that what belongs together is there together."""
        if self.min_frames < 1 or self.look_ahead < 0:
            raise ValueError(f"{self}: expected min_frames of 1 or more, look_ahead of 0 or more")
        if self.interface not in INTERFACES:
            raise ValueError(f"{self}: expected an interface of {', '.join(INTERFACES)}")
        streams = self.interface == "stream"
        if (self.state is not None) != streams or (streams and not self.causal):
            raise ValueError(f"{self}: expected a state if and only if a causal network streams")
        for value, present in (
            (self.latency_samples, streams),
            (self.horizon_frames, self.causal),
        ):
            if (value is None or value < 1) if present else value is not None:
                raise ValueError(
                    f"{self}: expected latency_samples of streams and horizon_frames of causal "
                    "networks, 1 or more, and null elsewhere"
                )

    @property
    def latency_s(self) -> float:
        """Time between a stream's input and output: the latency, and the hop that has to be complete."""
        n_samples = (self.latency_samples or 0) + self.stft.hop_length
        return n_samples / self.stft.sample_rate_hz

    def filled(self, n_samples: int) -> int:
        """Return the length of a recording with the silence that follows it, in samples.

        A network takes ``min_frames`` or more. Behind a causal one's recording, ``look_ahead + 2`` hops
        are silent, so that its end comes out as it does from a stream.
        """
        hop = self.stft.hop_length
        behind = (self.look_ahead + 2) * hop if self.causal else 0
        return max(n_samples + behind, (self.min_frames - 1) * hop)

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Inputs of the graph, in order."""
        if self.interface == "mask":
            shape = ("batch", self.stft.n_freqs, "frames")
            return tuple(TensorSpec(name, shape) for name in INPUT_NAMES)
        noisy = TensorSpec(NOISY, ("batch", "samples"))
        state = self.state
        return (noisy, TensorSpec(state.input, ("batch", state.size))) if state else (noisy,)

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """Outputs of the graph, in order."""
        if self.interface == "mask":
            return (TensorSpec(OUTPUT_NAME, ("batch", 2, self.stft.n_freqs, "frames")),)
        enhanced = TensorSpec(ENHANCED, ("batch", "samples"))
        state = self.state
        return (enhanced, TensorSpec(state.output, ("batch", state.size))) if state else (enhanced,)

    def to_metadata(self) -> str:
        """Return the JSON text that goes into the file, keys sorted."""
        inputs, outputs = map(asdict, self.inputs), map(asdict, self.outputs)
        document = {"format": FORMAT, "inputs": list(inputs), "outputs": list(outputs)}
        return json.dumps(document | asdict(self), sort_keys=True, allow_nan=False)

    @classmethod
    def from_metadata(cls, text: str) -> ModelSpec:
        """Read the JSON text of a file of format 1 or 2.

        Raises:
            ModelFileError: The text is damaged, or its format or interface is unknown here.

        Example:
            >>> text = ModelSpec(StftSpec(hop_length=128)).to_metadata()
            >>> ModelSpec.from_metadata(text).stft.hop_length
            128
        """
        try:
            return _from_document(json.loads(text))
        except ModelFileError:
            raise
        except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
            raise ModelFileError(
                f"metadata {METADATA_KEY!r} is incomplete or damaged ({error}); "
                "export the checkpoint again"
            ) from error


def _from_document(document: dict[str, Any]) -> ModelSpec:
    version = document["format"]
    if version not in (1, FORMAT) or isinstance(version, bool):
        raise ModelFileError(
            f"model file has format {version!r}, this version reads formats 1 and {FORMAT}; "
            "upgrade fsnp-onnx or export the checkpoint again"
        )
    if version == 1:
        document = _upgraded(document)
    if document["interface"] not in INTERFACES:
        raise ModelFileError(
            f"model file has interface {document['interface']!r}, this version knows "
            f"{', '.join(INTERFACES)}; upgrade fsnp-onnx"
        )
    present = document.keys() & {f.name for f in fields(ModelSpec)} | {"mask", "verification"}
    spec: ModelSpec = as_type({key: document[key] for key in present}, ModelSpec, _TABLES)
    written = json.loads(spec.to_metadata())
    for key in ("inputs", "outputs"):
        if document.get(key, written[key]) != written[key]:
            raise ValueError(f"{key} are {document[key]}, expected {written[key]}")
    return spec


def _upgraded(document: dict[str, Any]) -> dict[str, Any]:
    """Return a document of format 1 as format 2 puts it."""
    if (document.pop("inputs"), document["output"]) != (list(INPUT_NAMES), OUTPUT_NAME):
        raise ValueError(f"expected inputs {INPUT_NAMES} and output {OUTPUT_NAME!r}")
    new_names = {"allowed": "tolerance", "required_db": "min_snr_db"}
    reports = {"verification": document["parity"], "quantization": document.get("quantization", [])}
    for name, tables in reports.items():
        document[name] = [{new_names.get(k, k): t[k] for k in dict(t)} for t in tables]
    return document | {"interface": "mask"}


_TABLES: Final = (StftSpec, MaskSpec, StateSpec, Probe, SpeechProbe)
