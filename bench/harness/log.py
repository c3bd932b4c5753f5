"""The log of a grid: a file beside the records, and records of workers that reach the parent through its connection."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path

from typing_extensions import override

from bench.errors import error_line
from bench.escape import terminal

logger = logging.getLogger(__name__)

NAME = "grid.log"
"""Name of the file in the folder of the records."""


class _File(logging.FileHandler):
    """A file that costs no run when it cannot be written."""

    @override
    def format(self, record: logging.LogRecord) -> str:
        return terminal(super().format(record))

    @override
    def handleError(self, record: logging.LogRecord) -> None:
        pass


@contextmanager
def log_file(folder: Path) -> Iterator[None]:
    """Appends what is logged in the block, from level INFO and with tracebacks, to the file in ``folder``."""
    root = logging.getLogger()
    handler = _File(folder / NAME, encoding="utf-8", errors="backslashreplace", delay=True)
    handler.setLevel(logging.INFO)
    handler.setFormatter(
        logging.Formatter("%(asctime)s %(process)d %(levelname)s %(message)s", datefmt="%Y-%m-%dT%H:%M:%S%z")
    )
    before = root.level
    root.setLevel(min(before, logging.INFO))
    root.addHandler(handler)
    try:
        yield
    except BaseException as error:
        logger.info("stopped: %s", error_line(error))
        raise
    finally:
        root.removeHandler(handler)
        root.setLevel(before)
        with suppress(OSError):  # a full disk
            handler.close()


class Sender(logging.Handler):
    """Sends log records through the connection of a worker; the traceback is sent as text."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(logging.INFO)
        self.connection = connection

    @override
    def emit(self, record: logging.LogRecord) -> None:
        # Other attributes, such as the arguments, may have types that cannot be sent.
        sent = {name: getattr(record, name) for name in ("name", "levelno", "levelname", "created", "msecs", "process")}
        trace = logging.Formatter().formatException(record.exc_info) if record.exc_info else record.exc_text
        self.connection.send(logging.makeLogRecord({**sent, "msg": record.getMessage(), "exc_text": trace}))


def log_received(record: logging.LogRecord) -> None:
    """Logs the record of a worker as if it came from this process, whose levels and handlers decide about it."""
    logger = logging.getLogger(record.name)
    if logger.isEnabledFor(record.levelno):
        logger.handle(record)
