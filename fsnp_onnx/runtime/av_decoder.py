"""What libsndfile does not read, by PyAV (FFmpeg): m4a, mp4, mov, webm, mkv, aac, wma, ..., the extra [av].

Files from anywhere come here. FFmpeg gets an open file, never a name, and only demuxers that read
that one file: playlists and the like would open other files, or the network.
"""

from __future__ import annotations

import os
import re
import struct
from fractions import Fraction
from typing import Any, BinaryIO, Final

import av
import numpy as np
from av.audio.frame import format_dtypes
from av.audio.plane import AudioPlane
from numpy.typing import NDArray

from fsnp_onnx.errors import AudioError
from fsnp_onnx.runtime.audio import AudioFormat
from fsnp_onnx.runtime.containers.spliced import patched
from fsnp_onnx.runtime.decode import Recording, Watch, watch_nothing
from fsnp_onnx.runtime.tags import TAGS

_DEMUXERS: Final = (
    "aac,ac3,aiff,amr,amrnb,amrwb,ape,asf,au,avi,caf,dsf,dts,dtshd,eac3,flac,flv,loas,matroska,mlp,mov,"
    "mp3,mpc,mpc8,mpeg,mpegts,mxf,nut,ogg,oma,rm,tak,truehd,tta,w64,wav,wv"
)
# Of the others FFmpeg guesses the duration from the size, or takes that of the last packet.
_KNOW_THEIR_DURATION: Final = frozenset(
    ("aiff", "ape", "caf", "flac", "flv", "matroska", "mov", "tta", "w64", "wav", "wv")
)
_ASF_PROPERTIES: Final = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")  # of its header
_DURATION: Final = re.compile(r"(\d+):(\d+):(\d+(?:\.\d+)?)")  # of a stream of Matroska
_LOSSLESS: Final = 4  # a property of a codec
_SUBTYPES: Final = {"flt": "FLOAT", "dbl": "FLOAT", "s32": "PCM_24", "s64": "PCM_24"}


def decode_with_av(file: BinaryIO, name: str, watch: Watch = watch_nothing) -> Recording:
    """Decode the first audio stream of a file that can seek.

    Args:
        file: Where to read; it stays open.
        name: What messages call the file.
        watch: As for `read_seekable`, after every frame.

    Returns:
        The samples, without the encoder's delay as far as the container tells it. Damaged packets
        are left out, and the warning says so.

    Raises:
        AudioError: It is of no kind that is accepted, has no sound, or nothing of it can be decoded.
    """
    nameless = patched(file, file.seek(0, os.SEEK_END))
    options = {"format_whitelist": _DEMUXERS}
    try:
        with av.open(
            nameless, container_options=options, metadata_errors="replace", io_open=_refuse
        ) as container:
            return _recording(file, container, watch)
    except (av.FFmpegError, PermissionError, ValueError) as error:
        raise AudioError(f"{name} cannot be decoded: {_cause(file, error)}") from error


def _refuse(*_: object) -> None:
    raise PermissionError("it refers to other files")


def _recording(file: BinaryIO, container: Any, watch: Watch) -> Recording:
    if not container.streams.audio:
        raise ValueError("it has no sound; give a recording with an audio track")
    stream = container.streams.audio[0]
    if stream.codec_context is None:
        raise ValueError("FFmpeg has no decoder for its sound; convert it to WAV first")
    blocks, rate, n_damaged = _decoded(container, stream, watch)
    if not blocks:
        raise ValueError("no packet of its sound is whole; copy it again")
    samples = np.concatenate(blocks)
    n_announced = round(_announced_s(file, container, stream) * rate)
    # Milliseconds are rounded; a lossy codec's delay and the rest of its last packet may be counted.
    n_unsure = rate // 500 if _is_lossless(stream) else 2 * max(map(len, blocks))
    truncated = len(samples) + n_unsure < n_announced
    warning = f"truncated: {len(samples)} of {n_announced} samples" if truncated else None
    if n_damaged and not truncated:
        warning = f"damaged: {n_damaged} packets were left out, {len(samples)} samples are there"
    kind = container.format.name.partition(",")[0].upper()
    audio_format = AudioFormat(kind, _subtype(stream), "FILE", rate, samples.shape[1])
    found = {key.lower(): text for key, text in (stream.metadata | container.metadata).items()}
    tags = {tag: found[tag] for tag in TAGS if found.get(tag)}
    return Recording(samples, audio_format, tags, truncated, warning)


def _decoded(
    container: Any, stream: Any, watch: Watch
) -> tuple[list[NDArray[np.float32]], int, int]:
    """Decode as far as packets can be read: blocks, their sample rate, how many packets are damaged."""
    blocks: list[NDArray[np.float32]] = []
    rate = n_damaged = n_last = n_there = 0
    packets = container.demux(stream)  # ends behind its first error
    while True:
        try:
            if (packet := next(packets, None)) is None:
                break
            frames = packet.decode()
        except (av.FFmpegError, IndexError):  # the latter if another stream begins on the way
            n_damaged += 1
            continue
        for frame in frames:
            rate = rate or frame.sample_rate
            if not rate:
                raise ValueError("nothing in it tells the sample rate; copy it again")
            blocks.append(_to_float32(frame))
            if (frame.sample_rate, blocks[-1].shape[1]) != (rate, blocks[0].shape[1]):
                raise ValueError("its sample rate or channels change on the way")
            n_there += len(blocks[-1])
            watch(n_there, rate, blocks[-1].shape[1])
            n_last = int((packet.duration or 0) * stream.time_base * rate)
    if "mp4" in container.format.name and 0 < n_last < len(blocks[-1]):
        blocks[-1] = blocks[-1][:n_last]  # what fills the encoder's last packet up
    return blocks, rate, n_damaged


def _to_float32(frame: Any) -> NDArray[np.float32]:
    """Return the samples of a frame, [N, channels], integers scaled to +-1."""
    numbers: NDArray[Any]
    if frame.format.is_planar:  # of eight channels, frame.to_ndarray() finds nine and crashes
        dtype = format_dtypes[frame.format.name]
        planes: list[Any] = [AudioPlane(frame, index) for index in range(frame.layout.nb_channels)]
        numbers = np.stack([np.frombuffer(plane, dtype, frame.samples) for plane in planes])
    else:
        numbers = frame.to_ndarray().reshape(frame.samples, -1).T
    with np.errstate(over="ignore"):  # infinite ones are refused later
        samples = numbers.T.astype(np.float32)
    if numbers.dtype.kind in "iu":
        samples /= 2.0 ** (8 * numbers.itemsize - 1)
        samples -= numbers.dtype.kind == "u"
    return samples


def _announced_s(file: BinaryIO, container: Any, stream: Any) -> Fraction:
    """Return how long the container says that the stream is, 0 where it does not say."""
    if container.format.name == "asf":
        return _asf_duration_s(file)
    if _KNOW_THEIR_DURATION.isdisjoint(container.format.name.split(",")):
        return Fraction()
    if stream.duration:
        return Fraction(stream.duration * stream.time_base)
    if found := _DURATION.match(stream.metadata.get("DURATION", "")):
        hours, minutes, seconds = map(Fraction, found.groups())
        return 3600 * hours + 60 * minutes + seconds
    is_alone = len(container.streams) == 1  # else it is the duration of the longest
    return Fraction(container.duration or 0, av.time_base) if is_alone else Fraction()


def _asf_duration_s(file: BinaryIO) -> Fraction:
    """Return the duration in the header of a WMA: of a cut one, FFmpeg guesses it from the size."""
    file.seek(0)
    _, found, properties = file.read(1 << 16).partition(_ASF_PROPERTIES)
    if not found or len(properties) < 76:
        return Fraction()
    ticks, _, preroll_ms, flags = struct.unpack_from("<QQQI", properties, 48)
    if flags & 1:  # live, and the duration unknown
        return Fraction()
    return max(Fraction(), Fraction(ticks, 10**7) - Fraction(preroll_ms, 1000))


def _is_lossless(stream: Any) -> bool:
    return bool(stream.codec_context.codec.properties & _LOSSLESS)


def _subtype(stream: Any) -> str:
    """Return the subtype of libsndfile that loses nothing, the codec's name where it is lossy."""
    if _is_lossless(stream):
        return _SUBTYPES.get(stream.codec_context.format.packed.name, "PCM_16")
    return str(stream.codec_context.codec.name).removeprefix("lib").upper()


def _cause(file: BinaryIO, error: Exception) -> str:
    """Return why a file cannot be decoded, and what to do."""
    if isinstance(error, av.FFmpegError):
        file.seek(0)
        if file.read(8)[4:] == b"ftyp":
            return "its index is missing, as in a recording that was cut off; copy it again"
        return "this is no sound or video that FFmpeg reads alone; convert it to WAV first"
    return str(error)
