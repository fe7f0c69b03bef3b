"""The speech and noise clips of the training: on the device, cut and resampled in batches."""

import json
from pathlib import Path
from typing import NamedTuple

import soundfile
import torch
from torch import Tensor

from training.draw import Draw

SAMPLE_RATE = 16_000
FADE = 80  # samples: 5 ms at both ends of a clip, so that cuts do not click
TAPS = 12  # interpolation kernel of `resample`, samples on either side


class Clips(NamedTuple):
    """Where some clips lie in the bank: int64 tensors of one shape, in samples."""

    offsets: Tensor
    lengths: Tensor


class Bank:
    """All clips as one int16 tensor, in groups by source: 115 MB an hour, on the device."""

    def __init__(self, folder: Path, device: torch.device) -> None:
        index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        self.groups: dict[str, range] = {}  # of clip numbers
        n_samples = sum(map(sum, index.values()))
        self.samples = torch.empty(n_samples, dtype=torch.int16, device=device)
        tables, start, n_clips = [], 0, 0
        for name, lengths in index.items():
            samples, _ = soundfile.read(folder / f"{name}.flac", dtype="int16")
            if len(samples) != sum(lengths):
                raise OSError(
                    f"{folder / name}.flac is not as the index says; run training.prepare"
                )
            ends = torch.tensor(lengths).cumsum(0)
            offsets = start + ends - torch.tensor(lengths)
            tables.append(Clips(offsets, torch.tensor(lengths)))
            self.groups[name] = range(n_clips, n_clips + len(lengths))
            n_clips += len(lengths)
            self.samples[start : start + len(samples)] = torch.from_numpy(samples)
            start += len(samples)
        columns = zip(*tables, strict=True)
        self._clips = Clips(*(torch.cat(column).to(device) for column in columns))

    def named(self, kind: str) -> list[str]:
        """Return the groups of a kind: the one of that name, or all below it, KIND/SOURCE/NAME."""
        return [name for name in self.groups if name.partition("/")[0] == kind]

    def choose(self, draw: Draw, groups: list[str], slots: int) -> Clips:
        """Draw `slots` clips for each entry of `groups`: tables [len(groups), slots]."""
        ranges = [self.groups[group] for group in groups]
        first = torch.tensor([r.start for r in ranges], device=draw.device)[:, None]
        count = torch.tensor([len(r) for r in ranges], device=draw.device)[:, None]
        index = first + (draw.uniform(len(groups), slots) * count).long()
        return Clips(self._clips.offsets[index], self._clips.lengths[index])

    def heads(self, clips: Clips, n_samples: int) -> Tensor:
        """Return the first N samples of clips [B], zeros behind their ends, float32 [B, N]."""
        time = torch.arange(n_samples, device=self.samples.device)
        index = (clips.offsets[:, None] + time).clamp(max=len(self.samples) - 1)
        return self.samples[index] / 32768.0 * (time < clips.lengths[:, None])

    def timeline(self, clips: Clips, gaps: Tensor, first: Tensor, n_samples: int) -> Tensor:
        """Join the clips of each row and cut one window out of it.

        Args:
            clips: Offsets and lengths, each [B, K].
            gaps: Silence after each clip in samples, int64 [B, K].
            first: Start of the window as a share in [0, 1] of the possible range, [B].
            n_samples: Length N of the window.

        Returns:
            Samples in [-1, 1], float32 [B, N]; zero in the gaps and past the last clip.
        """
        spans = clips.lengths + gaps
        ends = spans.cumsum(1)
        starts = ends - spans
        begin = (first * (ends[:, -1] - n_samples).clamp(min=0)).long()
        time = begin[:, None] + torch.arange(n_samples, device=first.device)
        slot = torch.searchsorted(ends, time, right=True).clamp(max=ends.shape[1] - 1)
        local = time - starts.gather(1, slot)
        left = clips.lengths.gather(1, slot) - 1 - local
        fade = (torch.minimum(local, left) / FADE).clamp(0, 1)
        index = clips.offsets.gather(1, slot) + local
        return self.samples[index.clamp(max=len(self.samples) - 1)] / 32768.0 * fade


def resample(samples: Tensor, speed: Tensor, n_samples: int) -> Tensor:
    """Play each row at its own speed: pitch, formants and tempo change together.

    Args:
        samples: [B, M] with M >= N * max(speed).
        speed: [B], 1 = unchanged; above 1 the band is limited so that nothing aliases.
        n_samples: Length N of the result.

    Returns:
        [B, N], a Hann-windowed sinc interpolation.
    """
    position = torch.arange(n_samples, device=samples.device) * speed[:, None]
    base = position.floor()
    part = position - base
    cutoff = (1 / speed).clamp(max=1.0)[:, None]
    padded = torch.nn.functional.pad(samples, (TAPS, 2 * TAPS))
    index = (base.long() + TAPS).clamp(max=padded.shape[1] - TAPS - 1)
    result = torch.zeros_like(part)
    for tap in range(1 - TAPS, TAPS + 1):
        distance = part - tap
        window = torch.cos(distance * (torch.pi / (2 * TAPS))).square()
        kernel = cutoff * torch.sinc(cutoff * distance) * window
        result += padded.gather(1, index + tap) * kernel
    return result
