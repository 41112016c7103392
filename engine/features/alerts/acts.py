"""Verbs for alerts: what is open, what was sent, tests of sinks, and what people say."""

import asyncio
from dataclasses import asdict, replace

from engine.actions.control import Request
from engine.actions.running_site import Result, RunningSite
from engine.features.alerts.lists import ALERT, SENT, SILENCE, shown
from engine.features.alerts.rows import reading as rows
from engine.features.alerts.service import Alerting
from engine.runtime.control_requests import AlertsSent, AlertTaken, AlertTest, NoArguments, OneSilence, SilenceMade


async def listed(site: RunningSite, request: Request, asked: NoArguments) -> Result:
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


async def sent(site: RunningSite, request: Request, asked: AlertsSent) -> Result:
    found = await asyncio.to_thread(rows.sent, site.app.journal, key=asked.key, limit=asked.limit)
    return {"sent": SENT.rows(found)}


async def test(site: RunningSite, request: Request, asked: AlertTest) -> Result:
    return {"tested": [asdict(one) for one in await site.app.service(Alerting).test(asked.sink or "")]}


async def acknowledge(site: RunningSite, request: Request, asked: AlertTaken) -> Result:
    key, act = await site.app.service(Alerting).acknowledge(asked.key, request.actor, asked.note)
    return {"key": key, "act": act}


async def silence(site: RunningSite, request: Request, asked: SilenceMade) -> Result:
    return {
        "silence": await site.app.service(Alerting).silence(asked.pattern, request.actor, asked.reason, asked.seconds)
    }


async def unsilence(site: RunningSite, request: Request, asked: OneSilence) -> Result:
    return {"act": await site.app.service(Alerting).unsilence(asked.silence, request.actor)}
