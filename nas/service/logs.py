"""Logs of the service: one JSON object a line, without secrets."""

import json
import logging
import re
import sys
from datetime import UTC, datetime
from typing import IO, Any

# What a record of `logging` has of itself; everything else in it was given as `extra`.
_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message"}

# Rather too much is hidden than too little. The number of a token is no secret: it says which one.
_SECRETS = (
    (re.compile(r"\b(nas_[0-9a-f]{8}_)[A-Za-z0-9_-]+"), r"\1…"),
    (re.compile(r"(://[^\s/:@\"']*:)[^\s\"']*@"), r"\1…@"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[^\s\"',;]+"), r"\1 …"),
    (re.compile(r"(?i)\b(password|passwd|pwd|secret|nas_token|authorization|(?:set-)?cookie)"
                r"([\"'\]\\]*\s*[:=,]\s*)(?:b?[\"'\\]*)[^\s\"',;})]+"), r"\1\2…"),
)


def redacted(text: str) -> str:
    """Returns a text without tokens, passwords, cookies and what stands in ``Authorization``."""
    for pattern, shown in _SECRETS:
        text = pattern.sub(shown, text)
    return text


class JsonLines(logging.Formatter):
    """One JSON object a record: time, level, logger, message, and what was given as `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(), "logger": record.name,
            "message": redacted(record.getMessage().strip())}
        line |= {name: value if isinstance(value, bool | int | float) else redacted(str(value))
                 for name, value in vars(record).items() if name not in _OWN and value is not None}
        if record.exc_info:
            line["error"] = redacted(self.formatException(record.exc_info))
        if record.stack_info:
            line["stack"] = redacted(self.formatStack(record.stack_info))
        return json.dumps(line, ensure_ascii=False)


def configure_logging(stream: IO[str] | None = None) -> None:
    """Sends the logs of this process to a stream, as `JsonLines`.

    Args:
        stream: Standard error if absent.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    for name in ("nas.service", "uvicorn.error"):
        logging.getLogger(name).setLevel(logging.INFO)
