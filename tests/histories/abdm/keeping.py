"""Acts of those who keep the machine and its journal: stops, copies, erasure, retention, the clock."""

from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from engine.features.abdm.client.gateway import CERTS
from engine.features.abdm.rows import forgetting
from engine.model.errors import GatewayDownError
from engine.store.core.writing.batch import Batch
from engine.store.core.writing.operation import Priority, operation
from engine.store.lifecycle import erasure
from tests.support.waiting import until
from workbench.abdm.people import PEOPLE

if TYPE_CHECKING:
    from tests.histories.abdm.play import History

LEAPS_S = (0, 0, -2700, -600, 600, 2700)  # of wall time, from what it is
NOWHERE = "http://127.0.0.1:9"
PASSES_S = (60, 360, 660)


async def restart(history: "History") -> None:
    await history.site.restart()


async def take_copy(history: "History") -> None:
    made = await history.place.copy(history.ours.journal, check=False)
    noted = (history.contexts, history.kept, history.papers)
    history.copy = (made, history.model.copy(), *map(dict, noted), set(history.gone))


async def restore(history: "History") -> Any:
    """The disk was lost: the copy takes its place. The network's tokens are asked for anew."""
    if history.copy is None:
        return None
    copied, model, *noted, gone = history.copy
    await history.ours.stop()
    history.restored += 1
    target = history.place.site.parent / f"restored-{history.restored}"
    history.place.restore(copied, target)
    history.site.folder = target / "var"
    history.model = model.copy()
    history.contexts, history.kept, history.papers = map(dict, noted)
    history.gone, history.silent = set(gone), set()
    for who in range(len(PEOPLE)):
        history.forget_tokens(who)
    await history.site.start()
    return history.restored


async def erase(history: "History") -> Any:
    """A patient wants to be forgotten. Once that has returned nothing of him goes out.

    One who has scanned a code, and has no linked report, is not found by a number of the laboratory.
    """
    who = history.choices.one_of(range(len(PEOPLE)))
    linked = history.ours.rows("abdm_context WHERE state = 'linked'", "number")
    is_known = any(history.contexts[number][3] == who for (number,) in linked if number in history.contexts)
    messages = [number for number, issue in history.kept.items() if issue.who == who]
    await history.ours.journal.run(erasure.erase, messages, [f"PID-{who}"], actor="asha", reason="asked", more={})
    history.gone |= {issue for issue in history.issues.values() if issue.who == who}
    history.kept = {number: issue for number, issue in history.kept.items() if issue.who != who}
    history.silent |= {who} if is_known else set()
    history.model.erased(who)
    history.forget_tokens(who)  # as after months: else no other one is given (ABDM-1092)
    return who, messages


@operation(priority=Priority.SETTLE)
def let_go(batch: Batch, messages: Iterable[int]) -> None:
    forgetting.let_go(batch, messages)


async def prune(history: "History") -> Any:
    """Retention deletes the message of a report's newest version."""
    key = history.key("state <> 'dropped'")
    found = history.newest(key, "state <> 'dropped'")
    assert found is not None
    number, _ = found
    ((message,),) = history.ours.rows(f"abdm_context WHERE number = {number}", "message_id")
    await history.ours.journal.run(let_go, [message])
    assert history.ours.rows(f"abdm_context WHERE number = {number}", "state, reason") == [("dropped", "retention")]
    if history.is_current(number, key):
        history.model.pruned(key)
    return number, key


async def leap(history: "History") -> Any:
    """The clock of the machine is set."""
    seconds = history.choices.one_of(LEAPS_S)
    await set_clock(history, seconds)
    return seconds


async def set_clock(history: "History", ahead_s: float) -> None:
    """The gateway shows its time by the next answer; until then no callback comes."""
    await history.site.ask("/bridge", {"url": NOWHERE})
    await until(lambda: not history.on_the_way)
    history.is_time_sure = False
    history.clock.jumped_s = ahead_s
    history.ours.dispatcher.changed()
    while not history.is_time_sure:
        with suppress(GatewayDownError):
            await history.ours.gateway.look(CERTS)
            history.is_time_sure = True
    await history.site.ask("/bridge", {"url": history.ours.url})


async def pass_time(history: "History") -> Any:
    """For all."""
    seconds = history.choices.one_of(PASSES_S)
    for clock in (history.clock, history.gateway_clock):
        clock.passed_s += seconds
    history.ours.dispatcher.changed()
    return seconds
