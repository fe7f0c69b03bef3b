"""What a service may use: models, threads and limits."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from typing import Final

VARIABLE: Final = "FSNP_SERVE_SETTINGS"  # hands the settings to the worker processes
TOKEN_VARIABLE: Final = "FSNP_SERVE_TOKEN"


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of each worker process.

    Attributes:
        model: Name or path of the file behind ``model=default``.
        live_model: Name or path of the stream file behind ``model=live`` and the streams.
        jobs: Recordings that are enhanced at a time, each on one thread; 1 or more.
        queue: Further requests that may wait or send their upload, 0 or more.
        streams: WebSocket streams at a time, 0 or more.
        max_mb: Largest upload in MB (10^6 bytes).
        max_seconds: Longest recording in seconds. At its own rate and at the model's, it may hold
            as many samples as stereo of this length at 48 kHz.
        transfer_s: Seconds that an upload may take, and that its answer may take.
        idle_s: Seconds without a byte, either way, after which a connection ends.
    """

    model: str = "default"
    live_model: str = "live"
    jobs: int = 1
    queue: int = 16
    streams: int = 4
    max_mb: float = 200.0
    max_seconds: float = 900.0
    transfer_s: float = 300.0
    idle_s: float = 20.0

    @property
    def max_bytes(self) -> int:
        """Largest upload in bytes."""
        return round(self.max_mb * 1e6)

    @property
    def max_samples(self) -> int:
        """Most samples of a decoded recording, over all channels."""
        return round(self.max_seconds * 2 * 48000)

    def publish(self) -> None:
        """Put the settings where worker processes find them."""
        os.environ[VARIABLE] = json.dumps(asdict(self))

    @classmethod
    def published(cls) -> Settings:
        """Return the settings of the environment, or the defaults."""
        return cls(**json.loads(os.environ.get(VARIABLE, "{}")))
