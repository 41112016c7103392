"""Pause, resume and restart a channel, a destination or a lane, on a person's order.

The order is first a row of the journal, and only then takes effect; it has taken effect when the answer is sent. So a
destination that is paused during a storm of retries makes no further attempt, and a pause outlives the daemon: the next
start reads the rows (`engine.store.operations.pauses`) before anything is opened.

    pause channel      the source is closed, or answers over HTTP that it takes nothing; acknowledged messages are still
                       delivered
    pause destination  attempts under way end, none begins; everything is still received, mapped and queued
    pause lane         the same for the deliveries of one channel to one destination
    pause deliveries   the same for all destinations; a journal with missing rows starts so
                       (`engine.store.integrity.rollback`)
    restart            close and open the source; close and open the destination, and retry its waiting deliveries at
                       once; retry the lane's deliveries at once

Without a daemon the same orders are written under the data folder's lock; the next start follows them.

What a pause, a resumption or a restart does, in words: for those who are about to order it.

Each sentence is about the people and devices at the other end: whether an analyzer is answered, where results wait, and
what happens to them.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from engine.config.load import Site
from engine.config.sources.source import E1381Options, TcpPart
from engine.config.sources.source_fhir import FhirSearchPart
from engine.config.sources.source_folder import FolderPart, TextPart
from engine.config.sources.source_http import HttpPart
from engine.config.sources.source_serial import SerialPart
from engine.config.sources.source_tee import TeePart
from engine.model.errors import LabRelayError, RefusedError, StoreError
from engine.model.journal.records import DELIVERIES, Pause, Target
from engine.model.texts.phrases import N_, R_
from engine.model.texts.spelling import did_you_mean
from engine.store.journal import Journal
from engine.store.operations import audit, pauses
from engine.store.queries.lanes import list_channels, list_lanes, list_pauses

KINDS = ("channel", "destination", "lane", "deliveries")
VERBS = ("pause", "resume", "restart")


class PauseListener(Protocol):
    """The daemon's reactions to an order."""

    async def switched(self, target: Target, pause: Pause | None) -> None:
        """``target`` was paused, or (None) resumed."""

    async def restarted(self, target: Target) -> None:
        """Close and open it, or retry its deliveries at once."""

    def connections(self, channel: str) -> int:
        """The number of present connections to a channel."""

    def in_flight(self, target: Target) -> int:
        """The number of present attempts of a destination or lane."""


@dataclass(frozen=True, slots=True)
class SwitchOrder:
    """The action, and the person and reason behind it."""

    verb: str
    target: Target
    actor: str
    reason: str


class Switches:
    """Carries out orders.

    Args:
        running: None without a daemon.
    """

    def __init__(self, journal: Journal, running: PauseListener | None = None) -> None:
        self._journal = journal
        self._running = running

    async def carry_out(self, order: SwitchOrder, site: Site, *, dry_run: bool = False) -> dict[str, Any]:
        """Carry out the order, or (``dry_run``) report what it would change.

        Returns:
            the result of `underway`, with ``verb``, ``changed``, ``act`` (the id of the audit row), ``effects`` (as
            `engine.actions.pause_resume`), ``warning`` (about data that is lost), and ``before``, a pause.

        Raises:
            LabRelayError: nothing has this name.
            RefusedError: the order is impossible, or has no reason.
        """
        verb, target = order.verb, order.target
        if not dry_run and not order.reason.strip():
            raise RefusedError(f"to {verb} something needs a reason")
        paused = {pause.target: pause for pause in list_pauses(self._journal)}
        if verb != "resume" or target not in paused:  # a target that the configuration lacks now can be resumed
            _known(site, target)
        before = paused.get(target)
        if verb == "pause":
            _refuse_tee(site, target)
        if verb == "restart":
            self._refuse_restart(target, paused)
        changes = verb == "restart" or (before is None) == (verb == "pause")
        act: int | None = None
        if changes and not dry_run:
            act = await self._do(order)
        seen = self.underway(target)
        return {
            **seen,
            "verb": verb,
            "changed": changes,
            "act": act,
            "before": _said(before),
            "warning": _warning(site, target) if verb != "resume" else "",
            "effects": list(effects(site, verb, target)),
        }

    async def _do(self, order: SwitchOrder) -> int | None:
        target, actor, reason = order.target, order.actor, order.reason
        if order.verb == "restart":
            act = await self._journal.run(
                audit.note, actor, "restart", {"what": target.kind, "name": target.name, "reason": reason}
            )
            assert self._running is not None
            await self._running.restarted(target)
            return act
        change = pauses.pause if order.verb == "pause" else pauses.resume
        done = await self._journal.run(change, target, actor, reason)
        if self._running is not None:
            pause = next((one for one in list_pauses(self._journal) if one.target == target), None)
            await self._running.switched(target, pause)
        return done

    def underway(self, target: Target) -> dict[str, Any]:
        """The work under way there: ``connections`` and ``stored`` (received, not mapped) of a channel, ``waiting``
        deliveries, ``in_flight`` attempts. Numbers only.
        """
        channel = next((one for one in list_channels(self._journal) if one.name == target.channel), None)
        whole = target.kind == "channel"
        running = self._running
        return {
            "kind": target.kind,
            "name": target.name,
            "connections": running.connections(target.channel) if running is not None and whole else 0,
            "stored": channel.stored if channel is not None and whole else 0,
            "waiting": sum(
                lane.open for lane in list_lanes(self._journal) if concerns(target, lane.channel, lane.destination)
            ),
            "in_flight": running.in_flight(target) if running is not None else 0,
        }

    def _refuse_restart(self, target: Target, paused: Iterable[Target]) -> None:
        if self._running is None:
            raise StoreError("nothing runs, so there is nothing to restart")
        if target == DELIVERIES:
            raise RefusedError("deliveries cannot be restarted as a whole; name a destination")
        over = [target]
        if target.kind != "channel":
            over += [Target(destination=target.destination), DELIVERIES]
        stands = [one for one in paused if one in over]
        if stands:
            raise RefusedError(f"{stands[0].words} is paused; give: labrelay resume {stands[0].words} --reason TEXT")


def target_of(kind: Any, name: Any) -> Target:
    """The target with this kind and name.

    Raises:
        LabRelayError: no such kind, or a lane that is not ``channel/destination``.
    """
    if kind == "deliveries":
        if name:
            raise LabRelayError("deliveries are those of all destinations: give no name, or name one destination")
        return DELIVERIES
    if kind not in KINDS or not isinstance(name, str) or not name:
        raise LabRelayError("name a channel, destination or lane, or say deliveries")
    if kind == "channel":
        return Target(channel=name)
    if kind == "destination":
        return Target(destination=name)
    channel, slash, destination = name.partition("/")
    if not slash or not channel or not destination:
        raise LabRelayError(f"a lane is channel/destination, as haematology/lab-fhir, not '{name}'")
    return Target(channel=channel, destination=destination)


def targets(site: Site) -> dict[str, list[str]]:
    """Every name in the configuration, by kind."""
    lanes = {
        f"{name}/{destination}": None
        for name, channel in site.channels.items()
        for route in channel.routes
        for destination in route.to or ()
    }
    return {
        "channel": list(site.channels),
        "destination": list(site.config.destinations),
        "lane": list(lanes),
        "deliveries": [""],
    }


def _known(site: Site, target: Target) -> None:
    names = targets(site)[target.kind]
    if target.name not in names:
        hint = did_you_mean(target.name, names) or f"there are: {', '.join(names) or 'none'}"
        raise LabRelayError(f"there is no {target.words}; {hint}")


def _refuse_tee(site: Site, target: Target) -> None:
    if target.kind == "channel" and isinstance(site.channels[target.name].source, TeePart):
        raise RefusedError(
            f"{target.name} is a tee: pausing it would cut the line between the analyzer and its middleware. Pause its "
            "lanes or destinations instead, or say enabled: false once analyzer and middleware are connected directly"
        )


def _warning(site: Site, target: Target) -> str:
    """A warning about data that is lost while the line is closed; empty where the sender keeps unacknowledged data."""
    config = site.channels.get(target.name) if target.kind == "channel" else None
    return UNHEARD if config is not None and waits_for_no_answer(config.source) else ""


def concerns(target: Target, channel: str, destination: str) -> bool:
    """Whether a lane is part of the target."""
    return target.channel in ("", channel) and target.destination in ("", destination)


def _said(pause: Pause | None) -> dict[str, Any] | None:
    """A pause as data: person, time (microseconds since 1970), reason."""
    return None if pause is None else {"by": pause.actor, "since_us": pause.since_us, "reason": pause.reason}


PORT_CLOSED = N_("Its port is closed. The analyzer cannot connect and gets no answer, not even a NAK.")
CALL_ENDED = N_("LabRelay closes the connection and makes no other. The analyzer gets no answer, not even a NAK.")
DEVICE_CLOSED = N_("The serial line is closed. The analyzer gets no answer, not even a NAK.")
FOLDER_LEFT = N_("The folder is not looked at. Files wait in it.")
SERVER_LEFT = N_("The server is not asked. Orders wait in it.")
SERVER_ASKED = N_("The server is asked again. Orders that it has got since are taken.")
SENDERS_REFUSED = N_("Each sender gets 503 and sends it again later. Nothing is stored.")
ANALYZER_KEEPS = N_("Results wait in the analyzer. It sends them when the pause is over.")
UNHEARD = R_("its analyzer waits for no acknowledgement: data that it sends meanwhile is lost")
STORED_GO_ON = N_("Received results are still delivered.")
WAIT_HERE = N_("Results are received as ever. They wait here, in their order.")
NO_ATTEMPT = N_("No attempt is made. One that is under way ends, and counts.")
OTHERS_GO_ON = N_("Other analyzers and other destinations go on.")
LINE_OPENS = N_("The line is opened. The analyzer sends the results that it has kept.")
SENDERS_TAKEN = N_("Requests are taken again. Senders repeat those that were refused.")
SENT_NOW = N_("Waiting results are sent at once, in their order.")
WHERE_REACHABLE = N_("While the destination is not reachable, they wait for its next try.")
LINE_RENEWED = N_("The line is closed, and opened at once. The analyzer may have to connect again.")
TEE_RENEWED = N_("The line between the analyzer and its middleware is closed, and opened at once.")
UNACKNOWLEDGED = N_("A message that is coming in is not acknowledged. The analyzer sends it again.")
CONNECTIONS_RENEWED = N_("Its connections are made anew.")

EFFECTS = {
    ("pause", "destination"): (NO_ATTEMPT, WAIT_HERE),
    ("pause", "lane"): (NO_ATTEMPT, WAIT_HERE, OTHERS_GO_ON),
    ("pause", "deliveries"): (NO_ATTEMPT, WAIT_HERE),
    ("resume", "destination"): (SENT_NOW, WHERE_REACHABLE),
    ("resume", "lane"): (SENT_NOW, WHERE_REACHABLE),
    ("resume", "deliveries"): (SENT_NOW, WHERE_REACHABLE),
    ("restart", "destination"): (CONNECTIONS_RENEWED, SENT_NOW),
    ("restart", "lane"): (SENT_NOW, WHERE_REACHABLE),
}


def effects(site: Site, verb: str, target: Target) -> tuple[str, ...]:
    """The effects of an order, in English, the nearest first."""
    if target.kind != "channel":
        return EFFECTS[verb, target.kind]
    channel = site.channels.get(target.name)
    if channel is None:  # a pause of what the configuration lacks now
        return ()
    source = channel.source
    if isinstance(source, FhirSearchPart):
        return (SERVER_LEFT, STORED_GO_ON) if verb == "pause" else (SERVER_ASKED,)
    answered = not waits_for_no_answer(source) and not isinstance(source, FolderPart)
    if verb == "restart":
        if isinstance(source, TeePart):
            return (TEE_RENEWED,)
        return (LINE_RENEWED, UNACKNOWLEDGED) if answered else (LINE_RENEWED,)
    if verb == "resume":
        return (SENDERS_TAKEN if isinstance(source, HttpPart) else LINE_OPENS,)
    keeps = (ANALYZER_KEEPS,) if answered and not isinstance(source, HttpPart) else ()
    return (_closed(source), *keeps, STORED_GO_ON)


def waits_for_no_answer(source: Any) -> bool:
    """Whether an analyzer sends without waiting for an acknowledgement."""
    if isinstance(source, TextPart):
        return not source.text_layout.framing.good
    return isinstance(source, E1381Options) and "none" in (source.acks, source.framing)


def _closed(source: Any) -> str:
    if isinstance(source, HttpPart):
        return SENDERS_REFUSED
    if isinstance(source, FolderPart):
        return FOLDER_LEFT
    if isinstance(source, SerialPart):
        return DEVICE_CLOSED
    return PORT_CLOSED if isinstance(source, TcpPart) and source.listen is not None else CALL_ENDED
