"""Acts on controls: lots, targets, rules, points, events, failed runs."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from engine.actions.control import Request
from engine.actions.declaring import CHANNEL, MESSAGE, Declared, Names, NumberOrNone, RowNumber, Why
from engine.actions.running_site import Result, RunningSite, known
from engine.features.quality_control.rows import deciding
from engine.features.quality_control.rules.lots import IN_FORCE, INTERIM
from engine.features.quality_control.rules.maintenance import Job, jobs_of
from engine.features.quality_control.rules.tables import LONGEST, read
from engine.features.quality_control.rules.westgard import FORMS, RULES, WARNINGS, RuleSet
from engine.model.content.quality_controls import ControlResult
from engine.model.errors import LabRelayError
from engine.model.process.clock import SystemClock
from engine.model.site.permissions import ACTING, CHANGING
from engine.web.api.parameters import one_of

ACTS = Declared(12)
_WARN = sorted(WARNINGS)
MAX_TABLE = 1_000_000  # characters
Text = Annotated[str, Field(max_length=LONGEST)]
Named = Annotated[str, Field(min_length=1, max_length=LONGEST)]
Numbers = Annotated[list[RowNumber], Field(min_length=1, max_length=1000)]
Messages = Annotated[Numbers, Names(MESSAGE)]
Channel = Annotated[Named, Names(CHANNEL)]
Point = Annotated[RowNumber, Names("qc_point.id")]
Failure = Annotated[RowNumber, Names("qc_closed.id")]
RuleName = Annotated[str, one_of(RULES)]
Rules = Annotated[list[RuleName], Field(min_length=1, max_length=len(RULES))]
InForce = Annotated[str, one_of((IN_FORCE, INTERIM))]
Sentence = Annotated[str, Field(min_length=1, max_length=200)]


@ACTS.act("quality_load", CHANGING, api="take a table of lots or targets of controls")
async def load(
    site: RunningSite,
    request: Request,
    *,
    text: Annotated[str, Field(max_length=MAX_TABLE)],
    file: Named = "table.csv",
    reason: Why,
) -> Result:
    """``text``: the table, as CSV. Targets are proposed by it."""
    found = read(text, file, frozenset(site.loaded().channels))
    return await site.journal.run(
        deciding.load, found.lots, found.targets, file=file, actor=request.actor, reason=reason
    )


@ACTS.act("quality_accept", CHANGING, api="put proposed targets in force")
async def accept(
    site: RunningSite,
    request: Request,
    *,
    targets: Numbers,
    state: InForce = IN_FORCE,
    from_us: NumberOrNone = 0,
    reason: Why,
) -> Result:
    """``from_us``: since when, in microseconds since 1970; 0: from now on."""
    begins = from_us or SystemClock().now_us()
    return await site.journal.run(deciding.accept, targets, state, begins, actor=request.actor, reason=reason)


@ACTS.act("quality_end", CHANGING, api="end a target")
async def end(
    site: RunningSite, request: Request, *, target: RowNumber, until_us: NumberOrNone = 0, reason: Why
) -> Result:
    """``until_us``: until when, in microseconds since 1970; 0: from now on."""
    ends = until_us or SystemClock().now_us()
    return {"act": await site.journal.run(deciding.close_target, target, ends, actor=request.actor, reason=reason)}


@ACTS.act("quality_rules", CHANGING, api="set the rules of a test, an analyzer, or all")
async def rules(
    site: RunningSite,
    request: Request,
    *,
    rules: Rules,
    warnings: list[RuleName] = _WARN,
    r4s: Annotated[str, one_of(FORMS)] = FORMS[0],
    channel: Text = "",
    test: Text = "",
    reason: Why,
) -> Result:
    """``warnings``: those of them that only warn."""
    if channel:
        known(site.loaded().channels, channel)
    made = RuleSet(rules=tuple(rules), warnings=frozenset(warnings), r4s=r4s)
    version = await site.journal.run(deciding.set_rules, channel, test, made, actor=request.actor, reason=reason)
    return {"version": version}


@ACTS.act("quality_exclude", ACTING, api="leave a point out of all counts")
async def exclude(
    site: RunningSite,
    request: Request,
    *,
    point: Point,
    cause: Annotated[str, one_of(deciding.CAUSES)],
    reason: Why,
) -> Result:
    """The verdict on a failed run stays."""
    return {"act": await site.journal.run(deciding.exclude, point, cause, actor=request.actor, reason=reason)}


@ACTS.act("quality_include", ACTING, api="take back that a point is left out")
async def include(site: RunningSite, request: Request, *, point: Point, reason: Why) -> Result:
    return {"act": await site.journal.run(deciding.take_back, point, actor=request.actor, reason=reason)}


@ACTS.act("quality_event", ACTING, api="note a calibration, a reagent lot, maintenance, a correction")
async def event(
    site: RunningSite,
    request: Request,
    *,
    channel: Channel,
    kind: Annotated[str, one_of(deciding.KINDS)],
    test: Text = "",
    at_us: NumberOrNone = 0,
    resets: bool = False,
    reason: Why,
) -> Result:
    """``resets``: the counts of rules begin anew. ``at_us``: when, in microseconds since 1970; 0: now."""
    known(site.loaded().channels, channel)
    when = at_us or SystemClock().now_us()
    act = await site.journal.run(
        deciding.add_event, channel, test, when, kind, resets=resets, actor=request.actor, reason=reason
    )
    return {"act": act}


@ACTS.act("quality_done", ACTING, api="say that maintenance of an analyzer was done")
async def done(
    site: RunningSite, request: Request, *, channel: Channel, job: Named, at_us: NumberOrNone = 0, reason: Why
) -> Result:
    """``job``: its name in the channel's file. ``at_us``: when, in microseconds since 1970; 0: now."""
    known(site.loaded().channels, channel)
    jobs = {one.job: one for one in jobs_of(site.loaded().channels) if one.channel == channel}
    when = at_us or SystemClock().now_us()
    one = known_job(jobs, job)
    act = await site.journal.run(
        deciding.add_event, channel, "", when, "maintenance", job=one, actor=request.actor, reason=reason
    )
    return {"act": act}


def known_job(jobs: Mapping[str, Job], name: str) -> Job:
    """Raises LabRelayError where the channel's file has no job of this name."""
    if name not in jobs:
        raise LabRelayError(f"there is no job {name}; known: {', '.join(jobs) or '-'}")
    return jobs[name]


@ACTS.act("quality_enter", ACTING, api="enter a control result that no message brings")
async def enter(
    site: RunningSite,
    request: Request,
    *,
    channel: Channel,
    test: Named,
    number: Named,
    value: Named,
    unit: Text = "",
    at_us: NumberOrNone = 0,
    reason: Why,
) -> Result:
    """``number``: of the control, as the list of controls has it."""
    known(site.loaded().channels, channel)
    control = ControlResult(test=test, codes=(test,), number=number, value=value, unit=unit, at_us=at_us, mark="person")
    return await site.journal.run(deciding.enter, channel, control, actor=request.actor, reason=reason)


@ACTS.act("quality_close", ACTING, api="close a failed run, so that results of its test go on")
async def close(
    site: RunningSite, request: Request, *, failure: Failure, cause: Sentence, action: Sentence, reason: Why
) -> Result:
    """Its repeat was accepted. It releases no held result."""
    return await site.journal.run(
        deciding.open_test, failure, cause=cause, action=action, actor=request.actor, reason=reason
    )


@ACTS.act("quality_look", ACTING, api="say that you have looked at results sent before their control failed")
async def looked(site: RunningSite, request: Request, *, failure: Failure, messages: Messages, reason: Why) -> Result:
    return await site.journal.run(deciding.looked_at, failure, messages, actor=request.actor, reason=reason)
