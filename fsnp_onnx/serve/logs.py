"""Log lines: one JSON object each, on standard error. They hold no audio, file name or query."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any, Final

logger: Final = logging.getLogger("fsnp_onnx.serve")


class JsonLines(logging.Formatter):
    """Formats a record as one JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; a traceback is one of its values."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
        }
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line)


def log(event: str, fields: dict[str, Any]) -> None:
    """Write a line."""
    logger.info(event, extra={"fields": fields})


CONFIG: Final[dict[str, Any]] = {  # for `logging.config.dictConfig`
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"json": {"()": JsonLines}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json"}},
    "loggers": {
        "fsnp_onnx.serve": {"level": "INFO", "handlers": ["stderr"], "propagate": False},
        # at INFO, uvicorn writes the address and the query of every WebSocket
        "uvicorn": {"level": "WARNING", "handlers": ["stderr"], "propagate": False},
    },
    "root": {"level": "WARNING", "handlers": ["stderr"]},  # asyncio, the parser of forms, warnings
}
