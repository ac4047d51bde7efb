"""How every process writes its log: one event a line, fields at the end, secrets blackened as a last defence."""

import json
import logging
import os
import re
import sys
import time
from logging.handlers import RotatingFileHandler
from typing import Any

LOG_FILE = "MANYARM_LOG_FILE"
_FILE_BYTES = 16 * 1024 * 1024
_OLD_FILES = 3
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_LIBRARIES = ("pika", "paramiko", "urllib3", "fabric", "invoke", "gunicorn", "peewee", "werkzeug")
# What never stands in a log even if somebody logs it: API keys, join codes, bearer tokens, passwords in URLs, PEM keys.
_SECRET_SHAPES = re.compile(
    r"mak_[A-Za-z0-9]{8}_[A-Za-z0-9_-]{20,}|maj1-[a-z2-7-]{20,}|(?<=Bearer )\S+|(?<=://)[^/\s:@]+:[^/\s@]+(?=@)"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)"
)


def set_up(level: str, style: str, process: str) -> None:
    """Send all logs of this process to the file that MANYARM_LOG_FILE names, turned over by size, else to stderr.

    `style` is `text` or `json`.
    """
    file = os.environ.get(LOG_FILE)
    handler: logging.Handler = (
        RotatingFileHandler(file, maxBytes=_FILE_BYTES, backupCount=_OLD_FILES, delay=True)
        if file
        else logging.StreamHandler(sys.stderr)
    )
    handler.setFormatter(JsonFormatter(process) if style == "json" else TextFormatter(process))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for library in _LIBRARIES:
        logging.getLogger(library).setLevel(logging.WARNING)
    # pika writes a stack trace for each ordinary disconnect; our own connection says it in a line.
    logging.getLogger("pika").setLevel(logging.CRITICAL)


def redact(text: str) -> str:
    """The text with everything that has the shape of a credential replaced by ***."""
    return _SECRET_SHAPES.sub("***", text)


class TextFormatter(logging.Formatter):
    """`2026-11-23T10:00:00.123Z INFO  hub job finished job=… exit_code=0`."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        fields = "".join(f" {name}={value}" for name, value in _extra(record).items())
        line = f"{_stamp(record)} {record.levelname:<7} {self._process} {record.getMessage()}{fields}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return redact(line)


class JsonFormatter(logging.Formatter):
    """One JSON object a line, with the fields as keys of their own."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        event: dict[str, Any] = {
            "at": _stamp(record),
            "level": record.levelname.lower(),
            "process": self._process,
            "logger": record.name,
            "event": record.getMessage(),
            **_extra(record),
        }
        if record.exc_info:
            event["exception"] = self.formatException(record.exc_info)
        return redact(json.dumps(event, default=str, ensure_ascii=False))


def _stamp(record: logging.LogRecord) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z"


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}
