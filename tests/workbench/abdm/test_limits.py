"""All that grows in the simulator has a limit; the oldest goes, or one more is refused in words."""

import pytest

from tests.support.abdm_world import FACILITY, abdm_world, record
from tests.support.waiting import until
from workbench.abdm import callbacks as sending
from workbench.abdm import state as limits
from workbench.abdm.people import PEOPLE
from workbench.abdm.state import Document, Settings, State
from workbench.errors import GatewayRefusalError

MEERA = PEOPLE[0].address


def test_request_ids_are_forgotten_from_the_oldest_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MOST_REQUEST_IDS", 2)
    state = State(Settings())
    assert [state.is_new(one) for one in ("a", "b", "b", "c", "c", "a")] == [True, True, False, True, False, True]
    assert len(state.request_ids) == 2


def test_documents_lose_their_content_from_the_oldest_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MOST_DOCUMENT_BYTES", 10)
    state = State(Settings())
    for number in range(4):
        state.keep(Document("t", "c", MEERA, f"LR-{number}", b"12345"))
    assert [len(one.content) for one in state.documents] == [0, 0, 5, 5]
    assert state.document_bytes == 10


def test_one_more_than_there_is_room_for_is_refused() -> None:
    state = State(Settings())
    state.room({1: 1}, most=2)
    with pytest.raises(GatewayRefusalError, match="POST /clear") as caught:
        state.room({1: 1, 2: 2}, most=2)
    assert caught.value.status == 507


async def test_too_many_callbacks_that_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "MOST_WAITING", 0)
    async with abdm_world() as world:
        said = {"patient": MEERA, "facility": FACILITY}
        async with world.http.post(f"{world.sandbox.url}/app/discover", json=said) as answer:
            assert answer.status == 507


async def test_callbacks_that_were_never_answered_are_forgotten_from_the_oldest_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sending, "MOST_OPEN", 2)
    async with abdm_world() as world:
        await world.hip.publish(record())
        for _ in range(4):
            await world.grant()
        assert len(world.sandbox.state.asked) == 2


async def test_clear_forgets_all_but_bridge_and_sessions() -> None:
    async with abdm_world() as world:
        await world.hip.publish(record())
        await world.pull(await world.grant())
        await world.ask("/clear", {})
        shown = await world.ask(f"/app/{MEERA}")
        assert (shown["linked"], shown["documents"], shown["consents"]) == ([], [], [])
        assert (await world.hip.call("GET", "/api/hiecm/gateway/v3/certs")).status == 200
        assert world.sandbox.state.bridge_url == world.hip.url


@pytest.mark.parametrize(
    ("path", "said", "status"),
    [
        ("/app/grant", {"patient": "unknown@sbx", "facility": FACILITY}, 400),
        ("/app/grant", {"patient": MEERA, "facility": FACILITY}, 400),
        ("/app/grant", {"patient": MEERA}, 400),
        ("/app/pull", {"consentId": "c"}, 404),
        ("/app/init", {"transactionId": "t"}, 404),
        ("/app/nothing", {}, 404),
        ("/nothing", {}, 404),
    ],
)
async def test_a_wrong_wish_is_explained(path: str, said: dict[str, str], status: int) -> None:
    async with abdm_world() as world, world.http.post(world.sandbox.url + path, json=said) as answer:
        assert answer.status == status
        assert (await answer.json())["error"]


async def test_stop_ends_callbacks_that_wait() -> None:
    async with abdm_world(repeat_after_s=3600) as world:
        await world.hip.publish(record())
        await world.ask("/bridge", {"url": "http://127.0.0.1:9"})
        await world.ask("/app/grant", {"patient": MEERA, "facility": FACILITY})
        await until(lambda: world.sandbox.state.sent[-1]["callback"] == "consent-notify")
        await until(lambda: len(world.sandbox._callbacks._tasks) == 1)
    assert world.sandbox._callbacks._tasks == set()
