"""Acts on alerts: what is open, what was sent, tests of sinks, and what people say."""

import asyncio
from dataclasses import asdict, replace
from typing import Annotated

from pydantic import Field

from engine.actions.control import Request
from engine.actions.declaring import Declared, Key, Names, RowNumber, Seconds, Why
from engine.actions.running_site import Result, RunningSite
from engine.features.alerts.lists import ALERT, SENT, SILENCE, shown
from engine.features.alerts.rows import reading as rows
from engine.features.alerts.service import Alerting
from engine.model.site.permissions import ACTING, LOOKING

ACTS = Declared(11)
AlertKey = Annotated[Key, Names("alert.key")]
SilenceNumber = Annotated[RowNumber, Names("alert_silence.act")]


@ACTS.act("alerts", LOOKING, not_in_api="a look, of which the to-do list has the causes")
async def listed(site: RunningSite, request: Request) -> Result:
    app = site.app
    now_us = app.clock.now_us()
    kept, _ = await asyncio.to_thread(rows.kept, app.journal, now_us)
    takers = await asyncio.to_thread(rows.takers, app.journal, kept)
    silences = await asyncio.to_thread(rows.silences, app.journal, now_us)
    if not request.reads_notes:
        silences = [replace(one, reason="") for one in silences]
    return {
        "configured": app.service(Alerting).config is not None,
        "alerts": ALERT.rows(shown(kept, takers, silences)),
        "silences": SILENCE.rows(silences),
    }


@ACTS.act("alert_sent", LOOKING, not_in_api="a look of the command")
async def sent(
    site: RunningSite,
    request: Request,
    *,
    key: Annotated[str, Field(max_length=300)] = "",
    limit: Annotated[int, Field(ge=1, le=10_000)] = 100,
) -> Result:
    """``key``: of one alert; empty: of all."""
    found = await asyncio.to_thread(rows.sent, site.app.journal, key=key, limit=limit)
    return {"sent": SENT.rows(found)}


@ACTS.act("alert_acknowledge", ACTING, api="take an alert")
async def acknowledge(
    site: RunningSite, request: Request, *, key: AlertKey, note: Annotated[str, Field(max_length=500)] = ""
) -> Result:
    key, act = await site.service(Alerting).acknowledge(key, request.actor, note)
    return {"key": key, "act": act}


@ACTS.act("alert_silence", ACTING, api="send nothing of some alerts for a time")
async def silence(site: RunningSite, request: Request, *, pattern: AlertKey, seconds: Seconds, reason: Why) -> Result:
    """``pattern``: a key, or the beginning of keys with a ``*`` behind it."""
    return {"silence": await site.service(Alerting).silence(pattern, request.actor, reason, seconds)}


@ACTS.act("alert_unsilence", ACTING, api="end a silence")
async def unsilence(site: RunningSite, request: Request, *, silence: SilenceNumber) -> Result:
    return {"act": await site.service(Alerting).unsilence(silence, request.actor)}


@ACTS.act("alert_test", ACTING, api="send a test to where alerts go")
async def try_sinks(
    site: RunningSite, request: Request, *, sink: Annotated[str, Field(min_length=1, max_length=64)] | None = None
) -> Result:
    """``sink``: without it all."""
    return {"tested": [asdict(one) for one in await site.service(Alerting).test(sink or "")]}
