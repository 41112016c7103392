"""What of controls waits for a person."""

import shlex
from collections.abc import Iterator
from datetime import UTC, date, timedelta
from zoneinfo import ZoneInfo

from engine.features.quality_control.config import ControlsConfig
from engine.features.quality_control.rows.reading import (
    FailureView,
    LotView,
    TargetView,
    TestView,
    count_unknown,
    list_failures,
    list_jobs,
    list_lots,
    list_targets,
    list_tests,
    without_target,
)
from engine.features.quality_control.rules.lots import PROPOSED
from engine.features.quality_control.rules.maintenance import JobView
from engine.features.quality_control.service import QualityService
from engine.model.process.clock import from_us
from engine.model.texts.phrases import PageText, Phrase
from engine.monitoring.snapshot.states import Level
from engine.monitoring.todo import Entry, Look, Way

UNKNOWN_US = 7 * 86_400_000_000  # so long a control that is on no list stays in sight
_NAMED = 5  # tests of an entry
_WAY = Way("Quality control", "/quality")


async def entries(look: Look) -> list[Entry]:
    service = look.service(QualityService)
    config = ControlsConfig() if service is None else service.config
    failures = await look.read(list_failures) or []
    tests = await look.read(lambda reader: list_tests(reader, now_us=look.now_us)) or []
    targets = await look.read(list_targets) or []
    lots = await look.read(list_lots) or []
    bare = await look.read(without_target) or []
    unknown = await look.read(lambda reader: count_unknown(reader, look.now_us - UNKNOWN_US)) or {}
    jobs = () if service is None else service.jobs
    zone = ZoneInfo(look.site.timezone) if jobs else UTC
    due = (await look.read(lambda reader: list_jobs(reader, jobs, look.now_us, zone)) or []) if jobs else []
    return [
        *filter(None, map(_maintenance, due)),
        *_of_failures(failures),
        *_due(tests, targets, config, look.now_us),
        *_ending(lots, config, look.now_us),
        *map(_without_target, bare),
        *(_unknown(channel, count) for channel, count in unknown.items()),
    ]


def _maintenance(one: JobView) -> Entry | None:
    words = {"name": one.channel, "job": one.job, "date": one.due.isoformat() if one.due else ""}
    if one.state == "later":
        return None
    return Entry(
        key=f"maintenance/{one.channel}/{one.job}",
        level=Level.PROBLEM if one.state == "late" else Level.ATTENTION,
        phrase=Phrase(MAINTENANCE[one.state], words),
        step=f"labrelay quality done {one.channel} {shlex.quote(one.job)} --reason TEXT",
        subject=one.channel,
    )


MAINTENANCE: dict[str, PageText] = {
    "late": "Maintenance of {name} was due on {date}: {job}",
    "due": "Maintenance of {name} is due on {date}: {job}",
    "never": "Maintenance of {name} was never noted as done: {job}",
    "over": "Maintenance of {name} has no date to come: {job}",
}


def _of_failures(failures: list[FailureView]) -> Iterator[Entry]:
    for one in failures:
        words = {"test": one.test, "name": one.channel}
        if not one.until_us:
            phrase = Phrase("The control of {test} failed on {name}: its results wait", words)
            step = "labrelay quality failures"
            if one.repeat:
                phrase = Phrase("The repeat of {test} on {name} was accepted: close the failed run", words)
                step = f"labrelay quality close {one.id} --cause TEXT --action TEXT --reason TEXT"
            yield Entry(
                key=f"control-failed/{one.id}", level=Level.PROBLEM, phrase=phrase, step=step,
                since=from_us(one.from_us), subject=one.channel, way=_WAY,
            )  # fmt: skip
        if left := one.looks - one.looked:
            yield Entry(
                key=f"control-look/{one.id}",
                level=Level.PROBLEM,
                phrase=Phrase(
                    "Results of {test} on {name} were sent before its control failed: {n}", {**words, "n": left}
                ),
                step=f"labrelay quality sent-before {one.id}",
                way=_WAY,
                count=left,
                since=from_us(one.from_us),
                subject=one.channel,
            )


def _due(tests: list[TestView], targets: list[TargetView], config: ControlsConfig, now_us: int) -> Iterator[Entry]:
    """Also a test with a target in force of which no control ever came."""
    due: dict[str, list[str]] = {}
    after_us = int(config.due_after * 1e6)
    measured = {(one.channel, one.test) for one in tests}
    for target in targets:
        is_new = target.state == PROPOSED or target.from_us + after_us > now_us
        if not is_new and (target.channel, target.test) not in measured:
            measured.add((target.channel, target.test))
            due.setdefault(target.channel, []).append(target.test)
    for one in tests:
        late = one.levels_us + after_us <= now_us
        many = 0 < config.due_patients <= one.patients
        changed = one.levels_us < one.event_us
        if one.has_target and not one.waits and (late or many or changed):
            due.setdefault(one.channel, []).append(one.test)
    for channel, names in due.items():
        more = f" (+{len(names) - _NAMED})" if len(names) > _NAMED else ""
        yield Entry(
            key=f"control-due/{channel}",
            level=Level.ATTENTION,
            phrase=Phrase(
                "Controls of {name} are due: {tests}", {"name": channel, "tests": ", ".join(names[:_NAMED]) + more}
            ),
            step="labrelay quality list",
            way=_WAY,
            count=len(names),
            subject=channel,
        )


def _ending(lots: list[LotView], config: ControlsConfig, now_us: int) -> Iterator[Entry]:
    last = (from_us(now_us).date() + timedelta(seconds=config.lot_ends)).isoformat()
    for one in lots:
        if one.expires and one.expires <= last:
            words = {"name": one.material, "lot": one.lot, "date": date.fromisoformat(one.expires).isoformat()}
            yield Entry(
                key=f"control-lot/{one.channel}/{one.material}/{one.lot}",
                level=Level.ATTENTION,
                phrase=Phrase("Lot {lot} of the control {name} expires: {date}", words),
                step="labrelay quality lots",
                subject=one.channel,
            )


def _without_target(one: LotView) -> Entry:
    return Entry(
        key=f"control-lot/{one.channel}/{one.material}/{one.level}/{one.lot}",
        level=Level.ATTENTION,
        phrase=Phrase("Lot {lot} of the control {name} has no target in force", {"lot": one.lot, "name": one.material}),
        step="labrelay quality targets",
        subject=one.channel,
    )


def _unknown(channel: str, count: int) -> Entry:
    return Entry(
        key=f"control-unknown/{channel}",
        level=Level.ATTENTION,
        phrase=Phrase("Controls of {name} are not on the list of controls: {n}", {"name": channel, "n": count}),
        step="labrelay quality points",
        count=count,
        subject=channel,
    )
