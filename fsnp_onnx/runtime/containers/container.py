"""How a sound file is to be read, and what its container announces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO

JOINED = "another sound file follows and is left out; split them to enhance both"


@dataclass(frozen=True, slots=True)
class Container:
    """A sound file as libsndfile should read it, and what it announces.

    Attributes:
        file: What libsndfile is to read.
        n_samples: How many samples are announced, None if libsndfile knows it.
        n_bytes: How many bytes of samples are announced, None if the container does not tell.
        n_bytes_there: How many bytes of samples there are.
        block_samples: Samples of a block, the last of which may be padding, else 0.
        missing: What is missing at the end, None if nothing is known to be.
        note: What else is odd.
    """

    file: BinaryIO
    n_samples: int | None = None
    n_bytes: int | None = None
    n_bytes_there: int = 0
    block_samples: int = 0
    missing: str | None = None
    note: str | None = None

    def without_padding(self, n_samples: int) -> int:
        """Return how many of the samples that libsndfile announces are to be read."""
        announced = self.n_samples or 0
        is_padded = 0 < n_samples - announced < self.block_samples
        return announced if is_padded else n_samples

    def judge(self, n_samples: int, n_announced: int) -> tuple[bool, str | None]:
        """Return whether samples are missing, and a warning.

        The numbers are those of the samples that were decoded and that libsndfile announced.
        """
        if self.missing:
            return True, f"truncated: {self.missing}; {n_samples} samples are there"
        if self.n_bytes is None:
            announced = n_announced if self.n_samples is None else self.n_samples
            if n_samples < announced:
                return True, f"truncated or damaged: {n_samples} of {announced} samples"
            if n_samples > announced == self.n_samples:
                return False, f"its header announces {announced} samples, but {n_samples} are there"
        elif self.n_bytes_there < self.n_bytes and n_samples != self.n_samples:
            there, announced, unit = self._numbers(n_samples)
            return True, f"truncated: {there} of {announced} {unit}"
        elif self.n_bytes_there > self.n_bytes:
            there, announced, unit = self._numbers(n_samples)
            return False, f"its header announces {announced} {unit}, but {there} are there"
        return False, self.note

    def _numbers(self, n_samples: int) -> tuple[int, int, str]:
        if self.n_samples is None or self.n_samples == n_samples:
            return self.n_bytes_there, self.n_bytes or 0, "bytes"
        return n_samples, self.n_samples, "samples"
