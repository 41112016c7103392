"""The clock of the machine is ahead while work is put off, a patient is blocked, or one searches; then it is set right:
nothing lasts longer than it was to last.
"""

from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from adapters.clients.http.templated import TemplatedRequests
from engine.features.abdm.client.gateway import CERTS
from engine.features.abdm.flows import discovery, pushing, texting
from engine.model.errors import GatewayDownError, TransientDeliveryError
from engine.model.texts.reasons import ReasonCode
from tests.support import abdm_records as records
from tests.support.abdm_finding import choose, codes, report_of, search, type_code, with_sms
from tests.support.abdm_site import AbdmSite, abdm_site, person, report
from tests.support.clocks import MovedClock
from tests.support.waiting import until
from workbench.abdm import Faults

YEAR_S, DAY_S, HOUR_S = 366 * 86_400.0, 86_400.0, 3_600.0
WITHIN_S = 240.0


async def see_the_time(site: AbdmSite) -> None:
    """The gateway shows its time by its next answer; until then no callback can be checked."""
    while True:
        with suppress(GatewayDownError):
            await site.ours.gateway.look(CERTS)
            return


async def set_right(site: AbdmSite, clock: MovedClock, *, restarts: bool) -> None:
    clock.jumped_s = 0.0
    if restarts:
        await site.restart()
    await see_the_time(site)
    site.ours.dispatcher.changed()


@pytest.mark.parametrize("restarts", [False, True])
async def test_no_page_of_records_is_put_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, restarts: bool) -> None:
    monkeypatch.setattr(pushing, "LONGEST_S", 1.0)
    clock = MovedClock(jumped_s=HOUR_S / 2)
    async with abdm_site(tmp_path, monkeypatch, Faults(reader="down"), clock=clock) as site:
        await records.published(site, "A-1")
        transaction = await records.asked(site, await records.granted(site))
        await until(lambda: site.ours.rows("abdm_page WHERE attempt > 2 AND not_before_us > changed_us"))
        await set_right(site, clock, restarts=restarts)
        await site.fail(reader="up")
        await until(lambda: bool(site.ours.rows("abdm_page WHERE state = 'delivered'")), WITHIN_S)
        await records.done(site, transaction)


@pytest.mark.parametrize("restarts", [False, True])
async def test_no_sms_is_put_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, restarts: bool) -> None:
    monkeypatch.setattr(texting, "AGAIN_S", (1.0,) * 1000)
    clock, refused = MovedClock(jumped_s=HOUR_S / 2), 0
    send = TemplatedRequests.send

    async def down(service: TemplatedRequests, values: Mapping[str, str]) -> None:
        nonlocal refused
        if clock.jumped_s:
            refused += 1
            raise TransientDeliveryError(ReasonCode.NO_ANSWER, "down")
        await send(service, values)

    monkeypatch.setattr(TemplatedRequests, "send", down)
    async with abdm_site(tmp_path, monkeypatch, config=with_sms, clock=clock) as site:
        await see_the_time(site)
        await site.ours.offer(report_of("A-1"), None)
        transaction, _ = await search(site)
        await site.ask("/app/init", {"transactionId": transaction})
        await until(lambda: refused > 1 and bool(site.ours.rows("abdm_code WHERE state = 'waiting'")))
        await set_right(site, clock, restarts=restarts)
        await until(lambda: bool(codes(site)), WITHIN_S)
        found = site.sandbox.state.discoveries[transaction]
        await until(lambda: found.state == "otp-sent")
        assert await type_code(site, transaction, codes(site)[0][1]) == "linked"


@pytest.mark.parametrize("restarts", [False, True])
@pytest.mark.parametrize("ahead_s", [HOUR_S, YEAR_S])
async def test_a_block_by_the_network_lasts_its_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, restarts: bool, ahead_s: float
) -> None:
    clock, gateway_clock = MovedClock(jumped_s=ahead_s), MovedClock()
    faults = Faults(callbacks={"on-generate-token": ["ABDM-1027"]})
    async with abdm_site(tmp_path, monkeypatch, faults, clock=clock, gateway_clock=gateway_clock) as site:
        await see_the_time(site)
        await site.ours.offer(report(), person(name="Made-up Other"))
        await site.ours.is_quiet()
        assert site.ours.rows("abdm_context", "state, reason") == [("ready", "blocked")]
        await set_right(site, clock, restarts=restarts)
        a_day_on_us = clock.now_us() + round(DAY_S * 1_000_000)
        await until(lambda: not site.ours.rows(f"abdm_link_token WHERE until_us > {a_day_on_us + 60_000_000}"))

        async def offered(number: int, *, told: bool) -> None:
            made = await site.ours.offer(report(f"A-{number}", message_id=number), person())
            await site.ours.is_told(made) if told else await site.ours.is_quiet()

        await offered(2, told=False)
        assert site.ours.rows("abdm_context", "state, reason") == [("ready", "blocked")] * 2
        clock.passed_s = gateway_clock.passed_s = DAY_S - 600
        await offered(3, told=False)
        assert site.ours.rows("abdm_context", "state, reason") == [("ready", "blocked")] * 3
        clock.passed_s = gateway_clock.passed_s = DAY_S + 60
        await offered(4, told=True)


async def test_searches_of_a_year_ahead_lock_a_patient_out_for_an_hour_at_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(discovery, "SEARCHES_AN_HOUR", 2)
    monkeypatch.setattr(discovery, "TEXTS_AN_HOUR", 2)
    clock, gateway_clock = MovedClock(jumped_s=YEAR_S), MovedClock()
    site_of = partial(abdm_site, tmp_path, monkeypatch, config=with_sms, clock=clock, gateway_clock=gateway_clock)
    async with site_of() as site:
        await see_the_time(site)
        await site.ours.offer(report_of("A-1"), None)
        for _ in range(2):
            transaction, _ = await search(site)
            assert await choose(site, transaction) == "otp-sent"
        await set_right(site, clock, restarts=False)
        assert (await search(site))[1]["state"] == "no-match"
        made = " UNION ALL ".join(f"SELECT made_us FROM {table}" for table in ("abdm_offer", "abdm_code"))
        await until(lambda: not site.ours.rows(f"({made}) WHERE made_us > {clock.now_us()}"))
        clock.passed_s = gateway_clock.passed_s = HOUR_S + 60
        transaction, found = await search(site)
        assert found["state"] == "found"
        assert await choose(site, transaction) == "otp-sent"


async def test_a_code_whose_sms_was_under_way_lasts_no_longer_than_it_was_to_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So does the window of what was under way: it was made ahead, and changed once the clock was right."""
    clock, gateway_clock = MovedClock(jumped_s=HOUR_S * 12), MovedClock()
    send = TemplatedRequests.send

    async def and_right(service: TemplatedRequests, values: Mapping[str, str]) -> None:
        await send(service, values)
        clock.jumped_s = 0.0

    monkeypatch.setattr(TemplatedRequests, "send", and_right)
    site_of = partial(abdm_site, tmp_path, monkeypatch, config=with_sms, clock=clock, gateway_clock=gateway_clock)
    async with site_of() as site:
        await see_the_time(site)
        await site.ours.offer(report_of("A-1"), None)
        transaction, _ = await search(site)
        await site.ask("/app/init", {"transactionId": transaction})
        await until(lambda: bool(site.ours.rows("abdm_code WHERE state = 'sent'")))
        await set_right(site, clock, restarts=False)
        await until(
            lambda: all(
                made <= clock.now_us() and ends <= clock.now_us() + HOUR_S * 1e6
                for made, ends in site.ours.rows("abdm_code", "made_us, ends_us")
            )
        )
        found = site.sandbox.state.discoveries[transaction]
        await until(lambda: found.state == "otp-sent")
        assert await type_code(site, transaction, codes(site)[0][1]) == "linked"
