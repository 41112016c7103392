"""Controls, as the API reads them."""

from collections.abc import Sequence

from pydantic import Field

from engine.features.quality_control.lists import FAILURE, JOB, LOOK, LOT, MARK, POINT, TARGET, TEST
from engine.features.quality_control.rows import reading
from engine.features.quality_control.rows.reading import (
    FailureView,
    LookView,
    LotView,
    MarkView,
    PointView,
    TargetView,
    TestView,
)
from engine.features.quality_control.rules.maintenance import Job, JobView
from engine.web.api.lists import Asked, Resource
from engine.web.api.parameters import Channel, Cursor, Limit, Nothing, OneRow, RowNumber, Since, Until, Word


class Points(Nothing):
    limit: Limit = 100
    cursor: Cursor = ""
    channel: Word | None = None
    test: Word | None = Field(None, description="As the analyzer writes it.")
    level: Word | None = None
    run: RowNumber | None = None
    since: Since | None = Field(None, description="Measured since.")
    until: Until | None = Field(None, description="Measured before.")


class Targets(Channel):
    closed: bool = Field(default=False, description="Also those that are closed.")


class Failures(Nothing):
    all: bool = Field(default=False, description="Also those that are closed and looked at.")


def quality_points(asked: Asked[Points]) -> Sequence[PointView]:
    given, (since_us, until_us) = asked.arguments, asked.times()
    return reading.list_points(
        asked.journal, channel=given.channel, test=given.test, level=given.level, run=given.run, since_us=since_us,
        until_us=until_us, before_id=asked.before, limit=asked.limit,
    )  # fmt: skip


def quality(asked: Asked[Channel]) -> Sequence[TestView]:
    return reading.list_tests(asked.journal, asked.arguments.channel)


def quality_targets(asked: Asked[Targets]) -> Sequence[TargetView]:
    return reading.list_targets(asked.journal, asked.arguments.channel, closed=asked.arguments.closed)


def quality_lots(asked: Asked[Channel]) -> Sequence[LotView]:
    return reading.list_lots(asked.journal, asked.arguments.channel)


def quality_failures(asked: Asked[Failures]) -> Sequence[FailureView]:
    return reading.list_failures(asked.journal, all_of_them=asked.arguments.all)


def quality_maintenance(asked: Asked[Channel]) -> Sequence[JobView]:
    jobs: Sequence[Job] = asked.snapshot.of_features.get("maintenance", ())  # type: ignore[assignment]
    wanted = [one for one in jobs if asked.arguments.channel in (None, one.channel)]
    return reading.list_jobs(asked.journal, wanted, asked.now_us, asked.sources.zone)


def quality_looks(asked: Asked[OneRow]) -> Sequence[LookView]:
    return reading.list_looks(asked.journal, asked.arguments.number)


def quality_verdicts(asked: Asked[OneRow]) -> Sequence[MarkView]:
    return reading.list_marks(asked.journal, asked.arguments.number)


LISTS = (
    Resource(
        "/quality", "tests with controls, with their newest verdict", quality, TEST, verb="quality list", place=62
    ),
    Resource(
        "/quality/points", "control results, newest first", quality_points, POINT, key="id", verb="quality points"
    ),
    Resource("/quality/targets", "targets of controls", quality_targets, TARGET, verb="quality targets"),
    Resource(
        "/quality/maintenance", "maintenance of analyzers: last done, and due", quality_maintenance, JOB,
        verb="quality maintenance",
    ),
    Resource("/quality/lots", "lots of controls in use", quality_lots, LOT, verb="quality lots"),
    Resource(
        "/quality/failures", "failed runs of controls that wait for a person", quality_failures, FAILURE,
        verb="quality failures",
    ),
    Resource(
        "/quality/failures/{number}/results", "results that went out before the failure was known", quality_looks, LOOK
    ),
    Resource("/quality/runs/{number}/verdicts", "each verdict on a run, and what made it", quality_verdicts, MARK),
)  # fmt: skip
