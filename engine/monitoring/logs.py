"""Logs that may leave the laboratory: one JSON object per line, and nothing in it from the content of a message.

    {"ts": "2026-03-01T06:00:00.000Z", "level": "warning", "logger": "labrelay.delivery",
     "msg": "delivery postponed", "channel": "chemistry", "journal_id": 4711, "attempt": 3, "reason": "NO_ANSWER"}

Three rules keep patients out, whatever a caller does by mistake:

* of ``extra`` only the keys in `FIELDS` pass, as numbers, codes or short printable text; others are counted;
* of an exception its type, its place (file:line of each frame), and our own code of it pass, never its text: texts
  quote the values that they choked on;
* of foreign loggers (asyncio, aiohttp) the message template passes without its arguments: they hold reprs of tasks,
  requests and exceptions.

One event is one line; repetitions of an event within `REPEAT_WINDOW_S` are counted, and one line at the end has the
count. Of each level `LINES_AN_HOUR` are written at most.
"""

import asyncio
import errno
import json
import logging
import os
import sys
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from engine.model.process.log_limits import LINES_AN_HOUR, REPEAT_WINDOW_S
from engine.model.tables import table_lines
from engine.monitoring.counters import LOG_FIELDS_DROPPED, LOG_LINES, LOG_OVER_BUDGET, LOG_REPEATS, Counters

OURS = "labrelay"
# Each module has the literal of its own logger. Two more exist for errors that no task has handled: `labrelay.loop` and
# `labrelay.crash`.
LOGGERS = dict(line.split(": ", 1) for line in table_lines(__file__, "loggers.txt"))
REPEATS_REMEMBERED = 1000
OVER_BUDGET = "too many lines of one level: more of it are counted, not written, until the hour is over"
TEXT_MAX = 200
FRAMES_MAX = 20

# The fields that an event may have. Names and numbers of ours, addresses of peers, codes: never content.
FIELDS = frozenset(
    {
        "act", "action", "actor", "address", "age_s", "attempt", "attempts", "bytes", "cause", "channel",
        "config_hash", "count", "delay_s", "delivery_id", "destination", "detail", "duration_s", "earlier", "fault",
        "file", "first_id", "from_state", "head", "journal_id", "kind", "lane", "last_id", "limit", "line", "listen",
        "next_s", "outcome", "path", "peer", "pid", "place", "reason", "repeat_of", "restarts", "rule", "seq", "signal",
        "size_bytes", "stale", "state", "status", "table", "task", "to_state", "trace", "uid", "until", "verb",
        "version", "waiting",
    }
)  # fmt: skip
# The fields by which `RepeatFilter` recognises the same event.
_IDENTITY = ("channel", "destination", "lane", "task", "kind", "reason", "state", "to_state", "earlier")
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "repeated"}
_SYSLOG = {"critical": 2, "error": 3, "warning": 4, "info": 6, "debug": 7}


def setup_logging(
    counters: Counters, *, level: str = "INFO", style: str = "auto", stream: TextIO | None = None
) -> logging.Handler:
    """Send all logs of this process to ``stream`` (standard error), and crash reports too.

    Args:
        style: ``json``, ``human``, or ``auto``: for people on a terminal, else JSON.

    Returns:
        The handler, so that a test can remove it again.
    """
    out = sys.stderr if stream is None else stream
    human = style == "human" or (style == "auto" and out.isatty())
    handler = logging.StreamHandler(out)
    fields = Fields(counters)
    handler.setFormatter(HumanFormatter(fields) if human else JsonFormatter(fields, journal=_is_journal(out)))
    handler.addFilter(_one_line_of_malformed)
    handler.addFilter(RepeatFilter(counters, handler))
    handler.addFilter(BudgetFilter(counters, handler))
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger(OURS).setLevel(level.upper())
    logging.raiseExceptions = False  # a failing log line must not print its arguments
    sys.excepthook = _log_crash
    sys.unraisablehook = _log_unraisable
    threading.excepthook = _log_thread_crash
    return handler


def loop_exception_handler(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """For ``loop.set_exception_handler``: errors of tasks that were never awaited, without the reprs in ``context``."""
    error = context.get("exception")
    logging.getLogger(f"{OURS}.loop").error(
        "unhandled error in the event loop", exc_info=error if isinstance(error, BaseException) else None
    )


def _one_line_of_malformed(record: logging.LogRecord) -> bool:
    """A request that is no HTTP is a fault of its sender: one line, without the place in aiohttp's own code."""
    error = record.exc_info[1] if record.exc_info else None
    if record.name == "aiohttp.server" and type(error).__module__ == "aiohttp.http_exceptions":
        record.msg, record.args, record.exc_info = "malformed request refused", (), None
        record.levelno, record.levelname = logging.WARNING, "WARNING"
    return True


class Fields:
    """Selects the loggable parts of a record."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters

    def message(self, record: logging.LogRecord) -> str:
        """The record's text; only our own loggers may fill in arguments, and no bytes."""
        if not _is_ours(record):
            return _printable(str(record.msg).partition("\n")[0])
        arguments = record.args
        if isinstance(arguments, tuple) and arguments:
            arguments = tuple(_scalar(value) for value in arguments)
        elif arguments:
            arguments = {key: _scalar(value) for key, value in arguments.items()}  # type: ignore[union-attr]  # a dict
        try:
            return _printable(str(record.msg) % arguments if arguments else str(record.msg))
        except (TypeError, ValueError, KeyError):
            return _printable(str(record.msg))

    def picked(self, record: logging.LogRecord) -> dict[str, object]:
        """The record's extra fields that are on the list, as JSON scalars."""
        picked: dict[str, object] = {}
        for key, value in vars(record).items():
            if key in _STANDARD:
                continue
            if key in FIELDS and _is_ours(record):
                if value is not None and value != "":
                    picked[key] = _scalar(value)
            else:
                self._counters.add(LOG_FIELDS_DROPPED)
        repeated = getattr(record, "repeated", 0)
        if repeated:
            picked["repeated"] = repeated
        return picked

    def written(self, record: logging.LogRecord) -> None:
        self._counters.add(LOG_LINES, record.levelname.lower())


class JsonFormatter(logging.Formatter):
    """One JSON object per line; under systemd with the priority that journalctl filters by in front."""

    def __init__(self, fields: Fields, *, journal: bool = False) -> None:
        super().__init__()
        self._fields = fields
        self._journal = journal

    def format(self, record: logging.LogRecord) -> str:
        level = record.levelname.lower()
        when = datetime.fromtimestamp(record.created, UTC)
        line: dict[str, object] = {
            "ts": when.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": level,
            "logger": record.name,
            "msg": self._fields.message(record),
        }
        line.update(self._fields.picked(record))
        if record.exc_info and record.exc_info[1] is not None:
            line["error"] = [describe(error) for error in _causes(record.exc_info[1])]
        self._fields.written(record)
        text = json.dumps(line, ensure_ascii=False, separators=(",", ":"))
        return f"<{_SYSLOG.get(level, 6)}>{text}" if self._journal else text


class HumanFormatter(logging.Formatter):
    """``10:12:03 warning  delivery postponed  channel=chemistry journal_id=4711``: the same facts for a terminal."""

    def __init__(self, fields: Fields) -> None:
        super().__init__()
        self._fields = fields

    def format(self, record: logging.LogRecord) -> str:
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        extra = " ".join(f"{key}={value}" for key, value in self._fields.picked(record).items())
        text = f"{clock} {record.levelname.lower():8} {self._fields.message(record)}{'  ' if extra else ''}{extra}"
        if record.exc_info and record.exc_info[1] is not None:
            for error in _causes(record.exc_info[1]):
                found = describe(error)
                text += f"\n  {found['type']}" + "".join(f" {key}={found[key]}" for key in _CODES if key in found)
                text += "".join(f"\n    {frame}" for frame in found["frames"])
        self._fields.written(record)
        return text


class RepeatFilter(logging.Filter):
    """Passes an event once a minute; the last line of a series has the number of repetitions.

    Two records are the same event when logger, level, template and the fields in ``_IDENTITY`` agree; ids and ages
    may differ. State changes differ in their fields, so they always pass.
    """

    def __init__(
        self, counters: Counters, handler: logging.Handler | None = None, *, now: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__()
        self._counters = counters
        self._handler = handler
        self._now = now
        self._seen: OrderedDict[tuple[object, ...], _Series] = OrderedDict()
        self._lock = threading.RLock()  # the journal's writer thread logs too

    def filter(self, record: logging.LogRecord) -> bool:
        if getattr(record, "repeated", 0):
            return True
        with self._lock:
            return self._pass(record, self._now())

    def _pass(self, record: logging.LogRecord, now: float) -> bool:
        self._close_series(now)
        key = (record.name, record.levelno, str(record.msg), *(_key(getattr(record, name, None)) for name in _IDENTITY))
        series = self._seen.get(key)
        if series is not None:
            series.repeats += 1
            series.last = record
            self._counters.add(LOG_REPEATS)
            return False
        if record.levelno > logging.DEBUG:
            self._seen[key] = _Series(now)
        return True

    def _close_series(self, now: float) -> None:
        while self._seen:
            key, series = next(iter(self._seen.items()))
            if now - series.since_s < REPEAT_WINDOW_S and len(self._seen) <= REPEATS_REMEMBERED:
                return
            del self._seen[key]
            if series.repeats and series.last is not None and self._handler is not None:
                series.last.repeated = series.repeats
                self._handler.handle(series.last)


class _Series:
    __slots__ = ("last", "repeats", "since_s")

    def __init__(self, since_s: float) -> None:
        self.since_s = since_s
        self.repeats = 0
        self.last: logging.LogRecord | None = None


class BudgetFilter(logging.Filter):
    """Passes `LINES_AN_HOUR` lines of each level in an hour, and all critical ones. The first one that is left out is
    announced by a line, and all are counted.
    """

    def __init__(
        self, counters: Counters, handler: logging.Handler, *, now: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__()
        self._counters = counters
        self._handler = handler
        self._now = now
        self._hour = -1
        self._written: Counter[int] = Counter()
        self._lock = threading.RLock()

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno >= logging.CRITICAL:
            return True
        with self._lock:
            hour = int(self._now() // 3600)
            if hour != self._hour:
                self._hour = hour
                self._written.clear()
            self._written[record.levelno] += 1
            if self._written[record.levelno] <= LINES_AN_HOUR:
                return True
            level = record.levelname.lower()
            self._counters.add(LOG_OVER_BUDGET, level)
            if self._written[record.levelno] == LINES_AN_HOUR + 1:
                self._announce(level)
            return False

    def _announce(self, level: str) -> None:
        told = {"name": f"{OURS}.run", "levelno": logging.ERROR, "levelname": "ERROR", "msg": OVER_BUDGET}
        record = logging.makeLogRecord({**told, "kind": level, "limit": LINES_AN_HOUR})
        self._handler.acquire()
        try:
            self._handler.emit(record)  # past the filters
        finally:
            self._handler.release()


def describe(error: BaseException) -> dict[str, Any]:
    """An exception without its text: type, our reason code or the system's, and its place."""
    found: dict[str, Any] = {"type": type(error).__name__}
    reason = getattr(error, "reason", None)
    if isinstance(reason, Enum):
        found["reason"] = str(reason.value)
    if isinstance(error, OSError) and error.errno is not None:
        found["errno"] = errno.errorcode.get(error.errno, str(error.errno))
    sqlite = getattr(error, "sqlite_errorname", None)
    if isinstance(sqlite, str):
        found["sqlite"] = sqlite
    found["frames"] = list(_frames(error.__traceback__))[-FRAMES_MAX:]
    return found


_CODES = ("reason", "errno", "sqlite")


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error, its causes, and the members of exception groups, at most ten."""
    waiting, seen = [error], set[int]()
    while waiting and len(seen) < 10:
        current = waiting.pop(0)
        if id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        if isinstance(current, BaseExceptionGroup):
            waiting.extend(current.exceptions)
        cause = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
        if cause is not None:
            waiting.append(cause)


def _frames(traceback: TracebackType | None) -> Iterator[str]:
    while traceback is not None:
        code = traceback.tb_frame.f_code
        path = Path(code.co_filename)
        yield f"{'/'.join(path.parts[-2:])}:{traceback.tb_lineno} {code.co_name}"
        traceback = traceback.tb_next


def _is_ours(record: logging.LogRecord) -> bool:
    return record.name == OURS or record.name.startswith(f"{OURS}.")


def _key(value: object) -> object:
    return value.value if isinstance(value, Enum) else value if isinstance(value, (str, int)) else None


def _scalar(value: object) -> object:
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, str):
        return _printable(value)
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds")
    if isinstance(value, Path):
        return _printable(str(value))
    if isinstance(value, (list, tuple, set, frozenset)) and all(isinstance(item, (str, int, Enum)) for item in value):
        return _printable(", ".join(str(_scalar(item)) for item in value))
    return type(value).__name__


def _printable(text: str) -> str:
    """One line, no control characters, no more than `TEXT_MAX` characters."""
    clean = "".join(char if char.isprintable() else " " for char in text[: TEXT_MAX + 1])
    return clean if len(clean) <= TEXT_MAX else clean[:TEXT_MAX] + "..."


def _is_journal(stream: TextIO) -> bool:
    """Whether ``stream`` is systemd's journal: JOURNAL_STREAM names its device and inode (systemd.exec(5))."""
    try:
        stat = os.fstat(stream.fileno())
    except (OSError, ValueError, AttributeError):
        return False
    return os.environ.get("JOURNAL_STREAM", "") == f"{stat.st_dev}:{stat.st_ino}"


def _log_crash(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    logging.getLogger(f"{OURS}.crash").critical("stopped by an error", exc_info=(kind, error, traceback))


def _log_thread_crash(arguments: threading.ExceptHookArgs) -> None:
    error = arguments.exc_value
    if error is not None:
        logging.getLogger(f"{OURS}.crash").critical("a thread was stopped by an error", exc_info=error)


def _log_unraisable(unraisable: Any) -> None:
    error = unraisable.exc_value
    logging.getLogger(f"{OURS}.crash").error("an error in a finalizer", exc_info=error)
