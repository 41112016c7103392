"""Each fault of the simulator: what the laboratory gets, and that a right one comes to the same end all the same."""

import asyncio
from typing import Any

import pytest
from pydantic import ValidationError

from engine.features.abdm.wire.verdicts import read_faults
from tests.support.abdm_habits import Habits
from tests.support.abdm_world import FACILITY, abdm_world, record
from tests.support.waiting import until
from workbench.abdm import Faults
from workbench.abdm.calls import NAMES
from workbench.abdm.faults import ANSWERS, ARRIVALS, FORGED, PUSHES, SHAPES
from workbench.abdm.people import PEOPLE

MEERA = PEOPLE[0].address

# Kind -> status, shape and code of the answer, by our own reader of errors; the header Retry-After.
SAID: dict[str, tuple[int, str, str, str | None]] = {
    "empty": (400, "empty", "", None),
    "html": (200, "html", "", None),
    "html-502": (502, "html", "", None),
    "object": (400, "object", "ABDM-1024", None),
    "list": (400, "list", "ABDM-1006", None),
    "flat": (400, "flat", "ABDM-1010", None),
    "message": (400, "message", "", None),
    "fields": (400, "fields", "", None),
    "text": (403, "text", "", None),
    "429": (429, "object", "ABDM-2429", None),
    "429-after": (429, "object", "ABDM-2429", "7"),
    "503": (503, "object", "ABDM-9999", None),
    "503-after": (503, "object", "ABDM-9999", "7"),
    "500": (500, "object", "ABDM-9999", None),
    "401": (401, "flat", "900901", None),
    "ABDM-1022 Too many requests": (400, "object", "ABDM-1022", None),
}
CUT = {"lost", "reset", "hang"}


def test_each_fault_of_an_answer_is_tried() -> None:
    assert {*ANSWERS} <= {*SAID, *CUT}
    assert {*SHAPES} <= SAID.keys()
    assert {*PUSHES} <= {*SAID, *CUT}


@pytest.mark.parametrize("kind", SAID)
async def test_an_answer_that_is_wrong(kind: str) -> None:
    status, shape, code, after = SAID[kind]
    async with abdm_world() as world:
        await world.fail(calls={"generate-token": [kind]}, retry_after_s=7)
        body = {"abhaAddress": MEERA, "name": "Meera Iyer", "gender": "F", "yearOfBirth": 1986}
        heard = await world.hip.call("POST", "/api/hiecm/v3/token/generate-token", body, retry=False, X_HIP_ID=FACILITY)
        first = read_faults(heard.text.encode())[0]
        assert (heard.status, first.shape, first.code) == (status, shape, code)
        assert heard.headers.get("Retry-After") == after
        assert world.sandbox.state.tokens == {}
        await world.is_clean()


@pytest.mark.parametrize("kind", ["lost", "reset", "503", "429-after", "html", "401"])
@pytest.mark.parametrize(
    "call", sorted(NAMES & {"generate-token", "link", "context-notify", "on-request", "data-notify"})
)
async def test_a_call_that_fails_once_comes_to_its_end(call: str, kind: str) -> None:
    async with abdm_world() as world:
        await world.fail(calls={call: [kind]})
        if call in ("generate-token", "link", "context-notify"):
            await world.hip.publish(record())
            assert world.sandbox.state.linked.keys() == {(MEERA, FACILITY, "LR-1")}
        else:
            await world.hip.publish(record())
            assert (await world.pull(await world.grant()))["arrived"] == ["LR-1"]
        assert world.sandbox._drawer.counts == {kind: 1}
        await world.is_clean()


async def test_a_call_without_an_answer_is_given_up_by_its_caller() -> None:
    async with abdm_world() as world:
        await world.fail(calls={"certs": ["hang"]})
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(world.hip.call("GET", "/api/hiecm/gateway/v3/certs", retry=False), 0.3)
        assert (await world.hip.call("GET", "/api/hiecm/gateway/v3/certs")).status == 200


async def test_a_session_that_has_ended_is_renewed_once() -> None:
    async with abdm_world() as world:
        await world.ask("/end-sessions", {})
        before = world.hip.sessions
        await asyncio.gather(*(world.hip.call("GET", "/api/hiecm/gateway/v3/certs") for _ in range(5)))
        assert world.hip.sessions == before + 1
        await world.is_clean()


async def test_a_session_ends_by_its_own_time() -> None:
    async with abdm_world(Faults(token_life_s=1)) as world:
        token = world.hip._token
        await until(lambda: not world.sandbox._gate.is_live(f"Bearer {token}"))
        heard = await world.hip._send("GET", "/api/hiecm/gateway/v3/certs", None, token=token)
        assert (heard.status, heard.code) == (401, "900901")
        await world.is_clean()


# The callback that arrives in this way -> how often the laboratory got one of its path, and refused one.
ARRIVE: dict[str, tuple[int, int]] = {
    "duplicate": (2, 0),
    "repeat": (2, 0),
    "late": (1, 0),
    "reordered": (1, 0),
    "late-token": (1, 0),
    "no-prefix": (1, 0),
    "wrong-consent-signature": (1, 0),
    **dict.fromkeys(FORGED, (2, 1)),
}


def test_each_way_to_arrive_is_tried() -> None:
    assert {*ARRIVALS, *FORGED} == {*ARRIVE, "early", "dropped"}


@pytest.mark.parametrize("kind", ARRIVE)
async def test_a_request_that_arrives_in_another_way(kind: str) -> None:
    came, refused = ARRIVE[kind]
    async with abdm_world() as world:
        await world.hip.publish(record())
        consent = await world.grant()
        await world.fail(callbacks={"data-request": [kind]}, late_s=0.05)
        transfer = await world.pull(consent)
        sent = lambda: [one for one in world.sandbox.state.sent if one["callback"] == "data-request"]  # noqa: E731
        await until(lambda: len(sent()) == came)
        assert (transfer["arrived"], len(world.hip.refused)) == (["LR-1"], refused)
        assert len(world.sandbox.state.documents) == 1
        await world.is_clean()


@pytest.mark.parametrize("kind", [*ARRIVE, "early"])
async def test_a_result_that_arrives_in_another_way(kind: str) -> None:
    async with abdm_world() as world:
        await world.fail(callbacks={"on-link": [kind], "on-generate-token": [kind]}, late_s=0.05)
        await world.hip.publish(record())
        assert world.sandbox.state.linked.keys() == {(MEERA, FACILITY, "LR-1")}
        await world.is_clean()


async def test_an_early_result_comes_before_the_answer() -> None:
    async with abdm_world() as world:
        await world.fail(callbacks={"on-generate-token": ["early"]}, late_s=200)
        heard, asked = await world.hip.ask_token(record())
        assert (heard.status, asked in world.hip.results) == (202, True)


async def test_an_early_result_that_nothing_takes_does_not_hold_the_call() -> None:
    async with abdm_world(repeat_after_s=3600) as world:
        await world.fail(callbacks={"on-generate-token": ["early"]}, late_s=0.05)
        await world.ask("/bridge", {"url": "http://127.0.0.1:9"})
        heard, asked = await world.hip.ask_token(record())
        assert (heard.status, asked in world.hip.results) == (202, False)


async def test_a_result_that_never_comes() -> None:
    async with abdm_world() as world:
        await world.fail(callbacks={"on-generate-token": ["dropped"]})
        await world.hip.ask_token(record())
        await until(lambda: bool(world.sandbox.state.sent))
        assert [one["outcome"] for one in world.sandbox.state.sent] == ["dropped"]
        _, asked = await world.hip.ask_token(record())  # it may be asked for again: the laboratory has none
        assert "linkToken" in await world.hip.result(asked)
        await world.is_clean()


async def test_a_revocation_that_overtakes_its_grant() -> None:
    async with abdm_world() as world:
        await world.hip.publish(record())
        await world.fail(callbacks={"consent-notify": ["reordered"]}, late_s=200)
        said = {"patient": MEERA, "facility": FACILITY}
        consent = (await world.ask("/app/grant", said))["consentId"]
        await world.ask("/app/revoke", {"consentId": consent})
        await until(lambda: len(world.sandbox.state.consents[consent].acknowledged) == 2)
        notices = [body["notification"]["status"] for path, body in world.hip.heard if "consent" in path]
        assert notices == ["REVOKED", "GRANTED"]
        assert (await world.pull(consent))["error"]["code"] == "ABDM-1062"
        await world.is_clean()


@pytest.mark.parametrize("kind", FORGED)
async def test_a_forged_callback_that_is_taken(kind: str) -> None:
    async with abdm_world() as world:
        await world.hip.publish(record())
        world.hip.habits = Habits(trusting=True)
        await world.fail(callbacks={"consent-notify": [kind]})
        await world.grant()
        assert "forged-callback-taken" in await world.rules()


async def test_an_error_in_place_of_a_result_links_nothing() -> None:
    async with abdm_world() as world:
        await world.fail(callbacks={"on-link": ["ABDM-9999 try later"]})
        _, asked = await world.hip.ask_token(record())
        await world.hip.result(asked)
        _, asked = await world.hip.link(record())
        came = await world.hip.result(asked)
        assert came["error"] == {"code": "ABDM-9999", "message": "try later"}
        assert world.sandbox.state.linked == {}
        await world.is_clean()


@pytest.mark.parametrize("where", [{"calls": {"link": ["ABDM-1038"]}}, {"callbacks": {"on-link": ["ABDM-1038"]}}])
async def test_a_link_token_that_is_refused_may_be_asked_for_anew(where: dict[str, Any]) -> None:
    async with abdm_world() as world:
        await world.fail(**where)
        _, asked = await world.hip.ask_token(record())
        await world.hip.result(asked)
        await until(lambda: all(one.delivered for one in world.sandbox.state.tokens.values()))
        heard, asked = await world.hip.link(record())
        if heard.status == 202:
            await world.hip.result(asked)
        _, asked = await world.hip.ask_token(record())
        assert "linkToken" in await world.hip.result(asked)
        await world.is_clean()


async def test_a_laboratory_that_was_down_gets_its_callbacks_later() -> None:
    async with abdm_world(repeats=100) as world:
        await world.hip.publish(record())
        await world.ask("/bridge", {"url": "http://127.0.0.1:9"})
        consent = (await world.ask("/app/grant", {"patient": MEERA, "facility": FACILITY}))["consentId"]
        await until(lambda: len(world.sandbox.state.sent) > 4)
        assert [one["subject"] for one in await world.ask("/pending")] == [f"{consent} GRANTED"]
        await world.hip.register()
        await until(lambda: bool(world.sandbox.state.consents[consent].acknowledged))
        await world.is_clean()


@pytest.mark.parametrize("kind", ["lost", "reset", "503", "429-after", "html"])
async def test_a_page_that_fails_once_is_sent_again(kind: str) -> None:
    async with abdm_world() as world:
        await world.hip.publish(record())
        await world.fail(pushes=[kind])
        if kind == "html":  # 200, and no reader's: the laboratory may take it for success, so it is not its fault
            transfer = await world.pull(await world.grant())
            assert transfer["arrived"] == ["LR-1"]
            return
        transfer = await world.pull(await world.grant())
        assert (transfer["arrived"], transfer["repeats"]) == (["LR-1"], int(kind == "lost"))
        await world.is_clean()


async def test_a_reader_that_is_down() -> None:
    async with abdm_world() as world:
        await world.hip.publish(record("LR-1"))
        await world.fail(reader="down")
        transfer = await world.pull(await world.grant())
        assert (transfer["pages"], transfer["outcome"]["sessionStatus"]) == (0, "FAILED")
        await world.is_clean()


async def test_a_reader_that_is_slow() -> None:
    async with abdm_world() as world:
        await world.hip.publish(record("LR-1"))
        await world.fail(reader="slow", slow_s=0.2)
        assert (await world.pull(await world.grant()))["arrived"] == ["LR-1"]
        await world.is_clean()


async def test_a_page_after_the_window() -> None:
    async with abdm_world(window_s=0.1) as world:
        await world.hip.publish(record())
        await world.fail(callbacks={"data-request": ["late"]}, late_s=0.3)
        transfer = await world.pull(await world.grant())
        assert (transfer["pages"], await world.rules()) == (0, {"page-after-window"})


@pytest.mark.parametrize(
    "wrong",
    [
        {"calls": {"link": ["nonsense"]}},
        {"calls": {"link": ["200"]}},
        {"callbacks": {"on-link": ["503"]}},
        {"calls": {"lnik": ["503"]}},
        {"callbacks": {"onlink": ["late"]}},
        {"pushes": ["ABDM-1000"]},
        {"reader": "away"},
        {"another": 1},
    ],
)
async def test_a_fault_that_does_not_exist(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Faults.model_validate(wrong)
    async with abdm_world() as world, world.http.post(f"{world.sandbox.url}/faults", json=wrong) as answer:
        assert answer.status == 400
        assert next(iter(wrong)) in (await answer.json())["error"]
