"""What a file is, by its first bytes: a sound file, a video, or no sound at all."""

from __future__ import annotations

import re
from codecs import getincrementaldecoder

HEAD_BYTES = 4096  # are enough to tell

_BY_LIBSNDFILE = {
    "WAV": rb"(?:RIFF|RIFX|RF64|BW64)....WAVE",
    "W64": rb"riff\x2e\x91\xcf\x11",
    "AIFF": rb"FORM....AIF[FC]",
    "SVX": rb"FORM....(?:8SVX|16SV)",
    "CAF": rb"caff",
    "AU": rb"\.snd|dns\.",
    "FLAC": rb"fLaC",
    "OGG": rb"OggS",
    "NIST": rb"NIST_1A",
    "VOC": rb"Creative Voice File",
    "SDS": rb"\xf0\x7e.\x01..[\x08-\x1c].{14}",
    "AVR": rb"2BIT",
    "WVE": rb"ALawSoundFile",
    "MAT4_LE": rb"\x00{4}(?:\x01\x00{3}){2}.{8}samplerate\x00",
    "MAT4_BE": rb"\x00\x00\x03\xe8(?:\x00{3}\x01){2}.{8}samplerate\x00",
    "MAT5_LE": rb"MATLAB 5\.0 MAT-file.{107}IM",
    "MAT5_BE": rb"MATLAB 5\.0 MAT-file.{107}MI",
}
_WITHOUT_NAME = {  # samples may look like their first bytes
    "HTK": rb".{8}\x00\x02\x00\x00",
    "MPC2K": rb"\x01[\x04\x03].{16}",
}
_BY_PYAV = {
    "an MPEG-4 file (M4A, MP4, MOV, 3GP)": rb"....(?:ftyp|moov|mdat|wide|free|skip|pnot)",
    "a WebM or Matroska file": rb"\x1aE\xdf\xa3",
    "a Windows Media file (WMA, WMV)": rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11",
    "AAC audio": rb"\xff[\xf0\xf1\xf8\xf9][\x40-\xbf]|ADIF",
    "AC-3 audio": rb"\x0b\x77",
    "DTS audio": rb"\x7f\xfe\x80\x01",
    "AMR audio": rb"#!AMR",
    "an Ogg file with Speex, FLAC or a video": rb"OggS.{24}(?:Speex   |\x7fFLAC|\x80theora|fishead\0)",
    "an AVI video": rb"RIFF....AVI ",
    "a WAV with a codec such as MP2, AC-3 or G.722": rb"RIFF....WAVE.*?fmt .{4}"
    rb"(?:[\x20\x45\x50]\0|\x61\x01|\x8f\x02|\x00\x20|\xac\xf1)",
    "an MPEG video": rb"\0\0\x01[\xba\xb3]|G.{187}G.{187}G",
    "a Flash video": rb"FLV\x01",
    "a RealMedia file": rb"\.RMF|\.ra\xfd",
    "Monkey's Audio": rb"MAC ",
    "WavPack audio": rb"wvpk",
    "True Audio": rb"TTA[12]",
    "Musepack audio": rb"MPCK|MP\+",
    "DSD audio": rb"DSD |FRM8",
}
_NO_SOUND = {
    "a Git LFS pointer (run git lfs pull)": rb"version https://git-lfs",
    "an HTML page (download the sound itself)": rb"(?i:\s*(?:<!--.*?-->\s*)*<(?:!doctype html|html|head|body))",
    "an XML file": rb"\s*<\?xml",
    "JSON text": rb"\s*[\[{]\s*[\]}\"\d\[{]",
    "a playlist": rb"#EXTM3U|\[playlist\]",
    "a ZIP archive (unpack it)": rb"PK\x03\x04",
    "a gzip archive (unpack it)": rb"\x1f\x8b\x08",
    "a 7z archive (unpack it)": rb"7z\xbc\xaf\x27\x1c",
    "a RAR archive (unpack it)": rb"Rar!\x1a\x07",
    "an xz archive (unpack it)": rb"\xfd7zXZ\0",
    "a PDF document": rb"%PDF-",
    "a picture": rb"\x89PNG|\xff\xd8\xff|GIF8[79]a",
    "a MIDI file, which holds notes and no sound": rb"MThd",
    "a MIDI sample dump without a sample": rb"\xf0\x7e.\x01.{0,143}\Z",
    "an ONNX or PyTorch file": rb"\x08[\x03-\x0f]\x12|\x80\x02\x8a\x0a",
}


def _first(kinds: dict[str, bytes], head: bytes) -> str | None:
    return next((kind for kind, magic in kinds.items() if re.match(magic, head, re.DOTALL)), None)


def container(head: bytes) -> str | None:
    """Return the container of a sound file that libsndfile reads, by the name that begins it."""
    return _first(_BY_LIBSNDFILE, head)


def container_or_guess(head: bytes) -> str | None:
    """Return the container, also of a file that may be something else."""
    return _first(_BY_LIBSNDFILE | _WITHOUT_NAME, head)


def for_pyav(head: bytes) -> str | None:
    """Return what a file is that PyAV may decode."""
    return _first(_BY_PYAV, head)


def no_sound(head: bytes) -> str | None:
    """Return what a file is that holds no sound, None if it may hold one."""
    if not head:
        return "an empty file"
    if kind := _first(_NO_SOUND, head):
        return kind
    try:
        text = getincrementaldecoder("utf-8")().decode(head)  # whose last letter may be cut
    except UnicodeDecodeError:
        return None
    return "text" if all(letter.isprintable() or letter.isspace() for letter in text) else None


def behind_id3(data: bytes) -> int:
    """Return where the tags at the beginning end, which may be behind the data."""
    position = 0
    while data.startswith(b"ID3", position) and position + 10 <= len(data):
        n_bytes = 0
        for seven_bits in data[position + 6 : position + 10]:
            n_bytes = n_bytes << 7 | seven_bits & 0x7F
        has_footer = data[position + 5] & 0x10
        position += n_bytes + (20 if has_footer else 10)
    return position
