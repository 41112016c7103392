"""Orders of people to the running parts: pause, resume and restart; and when a replay has to wait for a lane."""

from collections.abc import Callable

from engine.actions.pause_resume import concerns
from engine.actions.underway import LIVE_FIRST
from engine.delivery.breaker import BreakerState
from engine.model.journal.records import Pause, Target
from engine.runtime.parts import Parts

QUIET = 32  # operations that wait for the journal's writer: with more, a replay waits


class Switchboard:
    """Carries out orders (`engine.actions.pause_resume.PauseListener`).

    Args:
        switched: called after each pause or resumption.
    """

    def __init__(self, parts: Parts, switched: Callable[[], None]) -> None:
        self._parts = parts
        self._switched = switched

    async def switched(self, target: Target, pause: Pause | None) -> None:
        """``target`` was paused, or (None) resumed."""
        if pause is not None:
            self._parts.pauses[target] = pause
        else:
            self._parts.pauses.pop(target, None)
        try:
            await self._follow(target)
        finally:
            self._switched()

    async def _follow(self, target: Target) -> None:
        parts = self._parts
        # Deliveries first, at once: no further attempt begins.
        if target.kind == "lane":
            parts.read_lane(target.channel, target.destination)
        elif target.kind in ("destination", "deliveries"):
            parts.follow_pauses([name for name in parts.delivery_workers if target.destination in ("", name)])
        elif target.kind == "channel":
            async with parts.reloading:
                if (source := parts.sources.get(target.channel)) is None:
                    return
                if source.paused != (target in parts.pauses):
                    source.paused = not source.paused
                    await parts.stop_sources([source])
                if source.idle:
                    await source.start()

    async def restarted(self, target: Target) -> None:
        """Close and open a source or destination, or retry a lane's deliveries at once."""
        parts = self._parts
        if target.kind == "lane":
            if (worker := parts.delivery_workers.get(target.destination)) is not None:
                worker.try_now(target.channel)
            return
        async with parts.reloading:
            if target.kind == "channel":
                if (source := parts.sources.get(target.channel)) is not None:
                    await parts.stop_sources([source])
                    await source.start()
            elif target.destination in parts.delivery_workers:
                await parts.replace({target.destination}, parts.built, at_once=True)

    def connections(self, channel: str) -> int:
        source = self._parts.sources.get(channel)
        return len(source.channel.connections) if source is not None else 0

    def in_flight(self, target: Target) -> int:
        return sum(
            len(lane.in_flight)
            for name, worker in self._parts.delivery_workers.items()
            for lane in worker.memory.lanes.values()
            if concerns(target, lane.channel, name)
        )


def replay_waits(parts: Parts, channel: str, destination: str) -> str:
    """Why a replay queues nothing in a lane now, or "": live messages go first (`engine.actions.underway`)."""
    worker = parts.delivery_workers.get(destination)
    if worker is None:
        return ""  # it waits in the store for the destination to be configured again
    if parts.intake.waiting or parts.journal.writer.waiting > QUIET:
        return LIVE_FIRST
    probe = worker.breaker.next_probe
    if worker.breaker.state is not BreakerState.CLOSED and (probe is None or probe > parts.clock.monotonic()):
        return f"{destination} is not reachable"
    if worker.paused:
        return f"{destination} is paused"
    lane = worker.lane(channel)
    if lane.held:
        return f"{destination} or its lane is paused, or held by a dead letter"
    return "" if lane.drained and not lane.spilled else LIVE_FIRST
