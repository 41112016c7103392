"""Logs: one line an event, only listed fields, and never a patient, whatever a caller does by mistake."""

import ast
import asyncio
import io
import json
import logging
import re
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from engine.model.errors import ContentError, TransientDeliveryError
from engine.model.process.log_limits import REPEAT_WINDOW_S
from engine.model.texts.reasons import ReasonCode
from engine.monitoring.counters import LOG_FIELDS_DROPPED, LOG_LINES, LOG_OVER_BUDGET, LOG_REPEATS, Counters
from engine.monitoring.logs import (
    FIELDS,
    OVER_BUDGET,
    BudgetFilter,
    Fields,
    HumanFormatter,
    JsonFormatter,
    RepeatFilter,
    loop_exception_handler,
    setup_logging,
)
from tests.support.packages import PACKAGES

ROOT = Path(__file__).parents[3]
NAME, MRN = "Kovalenko", "MRN-4408812"
SEGMENT = f"PID|1||{MRN}||{NAME}^Oksana"


class Captured:
    """A logger of ours with its output and counters."""

    def __init__(self, *, human: bool = False, name: str = "labrelay.test.logs") -> None:
        self.counters = Counters()
        self.stream = io.StringIO()
        self.handler = logging.StreamHandler(self.stream)
        fields = Fields(self.counters)
        self.handler.setFormatter(HumanFormatter(fields) if human else JsonFormatter(fields))
        self.logger = logging.Logger(name)  # noqa: LOG001  # not in the tree: no other handler sees it
        self.logger.addHandler(self.handler)

    @property
    def text(self) -> str:
        return self.stream.getvalue()

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.splitlines()]


@pytest.fixture
def restored() -> Iterator[None]:
    """Put the process's logging and crash hooks back after `setup_logging`."""
    root, ours = logging.getLogger(), logging.getLogger("labrelay")
    before = (list(root.handlers), root.level, ours.level, logging.raiseExceptions)
    hooks = (sys.excepthook, sys.unraisablehook, threading.excepthook)
    yield
    root.handlers[:], root.level, ours.level, logging.raiseExceptions = before
    sys.excepthook, sys.unraisablehook, threading.excepthook = hooks


def test_one_event_is_one_json_line() -> None:
    log = Captured()
    log.logger.warning(
        "delivery postponed", extra={"channel": "chemistry", "attempt": 3, "reason": ReasonCode.NO_ANSWER}
    )
    (line,) = log.lines
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("ts"))
    assert line == {
        "level": "warning",
        "logger": "labrelay.test.logs",
        "msg": "delivery postponed",
        "channel": "chemistry",
        "attempt": 3,
        "reason": "NO_ANSWER",
    }
    assert log.counters.cell(LOG_LINES, "warning").n == 1


def careless(logger: logging.Logger) -> None:
    """Every way we could think of to log a patient by mistake."""
    logger.info("stored", extra={"payload": SEGMENT, "patient": NAME, "mrn": MRN})
    logger.info("stored", extra={"journal_id": {"name": NAME}, "peer": SEGMENT.encode(), "detail": [b"x", NAME]})
    logger.info("stored %s", SEGMENT.encode())
    logger.info("stored %s and %s", {"name": NAME}, ValueError(SEGMENT))
    try:
        try:
            raise ValueError(SEGMENT)
        except ValueError as error:
            raise KeyError(NAME) from error
    except KeyError:
        logger.exception("mapping failed")
        logger.exception("mapping failed", stack_info=True)
    try:
        raise ExceptionGroup(NAME, [ContentError(ReasonCode.BAD_VALUE, SEGMENT), OSError(5, NAME, MRN)])
    except ExceptionGroup:
        logger.critical("tasks failed", exc_info=True)
    connection = sqlite3.connect(":memory:")
    try:
        connection.execute(f'SELECT "{NAME}" FROM "{MRN}"')
    except sqlite3.Error:
        logger.exception("store failed")
    finally:
        connection.close()


@pytest.mark.parametrize("human", [False, True])
@pytest.mark.promise("P8")
def test_no_patient_gets_into_the_log(human: bool) -> None:
    log = Captured(human=human)
    careless(log.logger)
    assert log.text.count("mapping failed") == 2
    assert NAME not in log.text
    assert MRN not in log.text
    assert log.counters.cell(LOG_FIELDS_DROPPED).n >= 3


@pytest.mark.parametrize("human", [False, True])
def test_foreign_loggers_say_their_template_only(human: bool) -> None:
    log = Captured(human=human, name="asyncio")
    careless(log.logger)
    as_asyncio_says_it = f"Task exception was never retrieved\nfuture: <Task exception=ValueError({NAME!r})>"
    log.logger.error(as_asyncio_says_it)
    log.logger.error("Executing %s took %.3f seconds", NAME, 0.5)
    assert NAME not in log.text
    assert MRN not in log.text
    assert "Task exception was never retrieved" in log.text
    assert "Executing %s took %.3f seconds" in log.text


def test_an_exception_is_told_by_type_code_and_place() -> None:
    log = Captured()
    try:
        try:
            raise ConnectionRefusedError(111, "refused", "10.0.0.1")
        except OSError as error:
            raise TransientDeliveryError(ReasonCode.NO_ANSWER, "x") from error
    except TransientDeliveryError:
        log.logger.exception("attempt failed")
    first, second = log.lines[0]["error"]
    assert (first["type"], first["reason"]) == ("TransientDeliveryError", "NO_ANSWER")
    assert (second["type"], second["errno"]) == ("ConnectionRefusedError", "ECONNREFUSED")
    assert re.fullmatch(
        r"monitoring/test_logs.py:\d+ test_an_exception_is_told_by_type_code_and_place", first["frames"][0]
    )


def test_errors_that_cause_each_other_end() -> None:
    log = Captured()
    one, two = ValueError(), ValueError()
    one.__cause__, two.__cause__ = two, one
    log.logger.error("circle", exc_info=one)
    assert len(log.lines[0]["error"]) == 2


def test_a_line_stays_a_line() -> None:
    log = Captured()
    log.logger.info("first\nsecond\x1b[31m", extra={"peer": "a\r\nlevel=error\x00", "detail": "x" * 5000})
    (line,) = log.lines
    assert line["msg"] == "first second [31m"
    assert line["peer"] == "a  level=error "
    assert len(line["detail"]) == 203


def test_a_broken_template_is_told_as_it_stands() -> None:
    log = Captured()
    log.logger.info("count %d", "many")
    log.logger.info("%(missing)s", {"other": 1})
    assert [line["msg"] for line in log.lines] == ["count %d", "%(missing)s"]


def test_the_journal_gets_a_priority() -> None:
    formatter = JsonFormatter(Fields(Counters()), journal=True)
    record = logging.makeLogRecord({"name": "labrelay", "levelno": 40, "levelname": "ERROR", "msg": "x"})
    assert formatter.format(record).startswith('<3>{"ts":')


def test_people_read_the_same_facts() -> None:
    log = Captured(human=True)
    log.logger.warning("delivery postponed", extra={"channel": "chemistry", "attempt": 3})
    assert re.fullmatch(r"\d\d:\d\d:\d\d warning  delivery postponed  channel=chemistry attempt=3\n", log.text)


# -- repeats -----------------------------------------------------------------------------------------------------


class Repeats:
    """A logger with a `RepeatFilter` whose time the test moves."""

    def __init__(self) -> None:
        self.log = Captured()
        self.now = 0.0
        self.log.handler.addFilter(RepeatFilter(self.log.counters, self.log.handler, now=lambda: self.now))

    def postponed(self, destination: str = "lab-fhir", attempt: int = 1) -> None:
        self.log.logger.warning("delivery postponed", extra={"destination": destination, "attempt": attempt})


def test_repeats_are_counted_and_told_once_at_the_end() -> None:
    repeats = Repeats()
    for attempt in range(1, 6):
        repeats.postponed(attempt=attempt)
    assert len(repeats.log.lines) == 1
    repeats.now = REPEAT_WINDOW_S + 1
    repeats.log.logger.info("something else")
    told = repeats.log.lines[1]
    assert (told["msg"], told["attempt"], told["repeated"]) == ("delivery postponed", 5, 4)
    assert repeats.log.counters.cell(LOG_REPEATS).n == 4
    repeats.postponed()
    assert len(repeats.log.lines) == 4


def test_another_destination_or_state_is_another_event() -> None:
    repeats = Repeats()
    repeats.postponed("a")
    repeats.postponed("b")
    for state in ("open", "closed"):
        repeats.log.logger.warning("breaker", extra={"destination": "a", "state": state})
    assert len(repeats.log.lines) == 4


def test_the_memory_for_repeats_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.monitoring.logs.REPEATS_REMEMBERED", 10)
    repeats = Repeats()
    for number in range(100):
        repeats.postponed(str(number))
        repeats.postponed(str(number))
    assert len(repeats.log.lines) > 100  # and the early ones were told at their end
    assert sum(line.get("repeated", 0) for line in repeats.log.lines) >= 89


def test_a_level_has_so_many_lines_an_hour_and_critical_ones_have_no_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.monitoring.logs.LINES_AN_HOUR", 5)
    log, now = Captured(), 0.0
    log.handler.addFilter(BudgetFilter(log.counters, log.handler, now=lambda: now))
    for number in range(20):
        log.logger.warning("delivery postponed", extra={"journal_id": number})
        log.logger.critical("fatal error, stopping")
    log.logger.info("ready")
    lines = [(line["level"], line["msg"]) for line in log.lines]
    assert lines.count(("warning", "delivery postponed")) == 5
    assert lines.count(("critical", "fatal error, stopping")) == 20
    assert ("info", "ready") in lines, "another level has its own number"
    (told,) = [line for line in log.lines if line["msg"] == OVER_BUDGET]
    assert (told["level"], told["kind"], told["logger"]) == ("error", "warning", "labrelay.run")
    assert log.counters.cell(LOG_OVER_BUDGET, "warning").n == 15
    now = 3600.0
    log.logger.warning("delivery postponed")
    assert log.lines[-1]["msg"] == "delivery postponed"
    assert log.counters.cell(LOG_OVER_BUDGET, "warning").n == 15


def test_the_log_of_a_process_has_the_bound() -> None:
    handler = setup_logging(Counters(), stream=io.StringIO())
    try:
        assert [type(one) for one in handler.filters if isinstance(one, logging.Filter)] == [RepeatFilter, BudgetFilter]
    finally:
        logging.getLogger().removeHandler(handler)


def test_threads_may_log_at_the_same_time() -> None:
    repeats = Repeats()
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for turn in range(300):
                repeats.now += REPEAT_WINDOW_S / 50
                repeats.postponed(str((number + turn) % 7))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert all(line["msg"] == "delivery postponed" for line in repeats.log.lines)


# -- the whole process -------------------------------------------------------------------------------------------


def test_setup_quiets_libraries_and_keeps_our_level(restored: None) -> None:
    stream = io.StringIO()
    setup_logging(Counters(), level="info", stream=stream)
    logging.getLogger("labrelay.x").info("ours")
    logging.getLogger("labrelay.x").debug("too fine")
    logging.getLogger("aiohttp.access").info("theirs")
    logging.getLogger("aiohttp.server").warning("theirs, serious")
    assert [json.loads(line)["msg"] for line in stream.getvalue().splitlines()] == ["ours", "theirs, serious"]


async def test_a_malformed_request_is_one_line_without_its_content(restored: None) -> None:
    stream = io.StringIO()
    setup_logging(Counters(), stream=stream)
    runner = web.AppRunner(web.Application(), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    reader, writer = await asyncio.open_connection("127.0.0.1", runner.addresses[0][1])
    writer.write(f"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: {NAME}\r\n\r\n".encode())
    assert (await asyncio.wait_for(reader.readline(), 240.0)).split()[1] == b"400"
    writer.close()
    await runner.cleanup()
    (line,) = map(json.loads, stream.getvalue().splitlines())
    del line["ts"]
    assert line == {"level": "warning", "logger": "aiohttp.server", "msg": "malformed request refused"}


async def test_what_nobody_awaited_is_logged_without_its_text(restored: None) -> None:
    stream = io.StringIO()
    setup_logging(Counters(), stream=stream)
    loop = asyncio.get_running_loop()
    loop_exception_handler(loop, {"message": NAME, "exception": ValueError(SEGMENT), "future": NAME})
    loop_exception_handler(loop, {"message": NAME})
    assert "ValueError" in stream.getvalue()
    assert NAME not in stream.getvalue()


@pytest.mark.parametrize("where", ["main", "thread", "finalizer"])
def test_a_crash_prints_no_patient(where: str) -> None:
    """A real interpreter that dies of an error whose text is a patient."""
    code = f"""
import threading
from engine.monitoring.logs import setup_logging
from engine.monitoring.counters import Counters
setup_logging(Counters())
class Bad:
    def __del__(self): raise ValueError({SEGMENT!r})
def crash(): raise ValueError({SEGMENT!r})
if {where!r} == "main": crash()
elif {where!r} == "thread":
    thread = threading.Thread(target=crash, name={NAME!r}); thread.start(); thread.join()
else: Bad()
"""
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert '"type":"ValueError"' in result.stderr
    assert NAME not in result.stderr + result.stdout
    assert MRN not in result.stderr + result.stdout


def test_every_field_that_the_code_logs_is_on_the_list() -> None:
    """Else it would be dropped in silence: add it to FIELDS, if it can never hold content."""
    used: dict[str, str] = {}
    for room in PACKAGES:
        for path in (ROOT / room).rglob("*.py"):
            for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(call, ast.Call):
                    for keyword in call.keywords:
                        if keyword.arg == "extra" and isinstance(keyword.value, ast.Dict):
                            for key in keyword.value.keys:
                                if isinstance(key, ast.Constant):
                                    used[str(key.value)] = path.name
    assert {key: file for key, file in used.items() if key not in FIELDS} == {}
