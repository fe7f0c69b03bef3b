"""What Prometheus reads at /metrics: of one process, or of all workers together."""

from __future__ import annotations

import os
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    multiprocess,
)

FOLDER_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"  # where workers share their numbers

_RTF_BUCKETS: Final = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)
_REPLY_BUCKETS: Final = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.5)


class Metrics:
    """The numbers of one process."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        counter = partial(Counter, registry=self._registry)
        gauge = partial(Gauge, registry=self._registry, multiprocess_mode="livesum")
        histogram = partial(Histogram, registry=self._registry)
        self.requests = counter(
            "fsnp_requests", "HTTP requests by path and status.", ["path", "outcome"]
        )
        self.streams = counter("fsnp_streams", "Ended streams by close code.", ["outcome"])
        self.audio = counter("fsnp_audio_seconds", "Enhanced audio in seconds.", ["kind"])
        self.rtf = histogram(
            "fsnp_rtf",
            "Real-time factor: processing time divided by duration.",
            ["kind"],
            buckets=_RTF_BUCKETS,
        )
        self.reply = histogram(
            "fsnp_stream_reply_seconds",
            "From a message of a stream to its answer.",
            buckets=_REPLY_BUCKETS,
        )
        self.held = gauge("fsnp_places_held", "Uploads from the first byte to the last answered.")
        self.running = gauge("fsnp_running", "Recordings that are being enhanced.")
        self.open_streams = gauge("fsnp_open_streams", "Streams that are open.")

    def text(self) -> bytes:
        """Return the numbers in the text format of Prometheus."""
        folder = os.environ.get(FOLDER_VARIABLE)
        if not folder:
            return generate_latest(self._registry)
        _forget_the_dead(Path(folder))
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry, folder)  # type: ignore[no-untyped-call]
        return generate_latest(registry)


def _forget_the_dead(folder: Path) -> None:
    """Remove the gauges of workers that were killed, which will never go down."""
    for file in folder.glob("gauge_live*_*.db"):
        pid = int(file.stem.rpartition("_")[2])
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            with suppress(FileNotFoundError):  # another worker is asked at the same time
                multiprocess.mark_process_dead(pid, str(folder))  # type: ignore[no-untyped-call]
        except PermissionError:
            continue
