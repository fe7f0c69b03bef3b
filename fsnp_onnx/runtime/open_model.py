"""Open an exported file: its interface says which class runs it."""

from __future__ import annotations

from typing import Final

from fsnp_onnx.runtime.mask_model import MaskModel
from fsnp_onnx.runtime.ort import Provider
from fsnp_onnx.runtime.session import ModelFile, Session
from fsnp_onnx.runtime.speech_model import SpeechModel
from fsnp_onnx.runtime.stream_model import StreamModel
from fsnp_onnx.runtime.waveform_model import WaveformModel

_RUNS: Final[dict[str, type[SpeechModel]]] = {
    "mask": MaskModel,
    "waveform": WaveformModel,
    "stream": StreamModel,
}


def open_model(
    model: ModelFile,
    provider: Provider = "auto",
    *,
    threads: int | None = None,
    device_id: int = 0,
) -> SpeechModel:
    """Open a file; the arguments and the errors are those of `Enhancer`."""
    session = Session(model, provider, threads=threads, device_id=device_id)
    return _RUNS[session.spec.interface](session)
