"""Read the state of channels and lanes: their tallies, open work and pauses."""

from typing import Any

import orjson

from engine.model.errors import IntegrityError
from engine.model.records import CRITICAL, ChannelView, LaneView, OpenLane, Pause, Target
from engine.store.core.vault import Vault
from engine.store.queries.reader import Reader


def list_channels(reader: Reader) -> list[ChannelView]:
    with reader.snapshot() as execute:
        return [
            ChannelView(name=r[0], last_seq=r[1], last_us=r[2], stored=r[3], dead=r[4], incomplete=r[5])
            for r in execute("SELECT name, last_seq, last_us, stored, dead, incomplete FROM channel ORDER BY name")
        ]


def list_lanes(reader: Reader) -> list[LaneView]:
    with reader.snapshot() as execute:
        return [
            LaneView(
                id=r[0], channel=r[1], destination=r[2], last_seq=r[3], open=r[4], dead=r[5], held=r[6],
                delivered_us=r[7], paused=bool(r[8]), held_by=r[9], held_since_us=r[10] or 0,
                held_critical=r[11] or 0,
            )
            for r in execute(
                "SELECT id, channel, destination, last_seq, open, dead, held, delivered_us, paused, held_by,"
                " CASE WHEN held > 0 THEN (SELECT min(d.settled_us) FROM delivery d"
                " WHERE d.lane = lane.id AND d.state = 'held') END,"
                " CASE WHEN held > 0 THEN (SELECT count(*) FROM delivery d"
                " WHERE d.lane = lane.id AND d.state = 'held' AND d.flags & ?) END"
                " FROM lane ORDER BY channel, destination",
                (CRITICAL,),
            )
        ]  # fmt: skip


def open_lanes(reader: Reader) -> list[OpenLane]:
    """Lanes with work, and the age of the oldest."""
    with reader.snapshot() as execute:
        rows = execute(
            "SELECT l.channel, l.destination, l.open, ("
            "  SELECT j.received_us FROM delivery d JOIN journal j ON j.id = d.message_id"
            "  WHERE d.lane = l.id AND d.state = 'waiting' ORDER BY d.seq LIMIT 1), ("
            "  SELECT j.received_us FROM delivery d JOIN journal j ON j.id = d.message_id"
            "  WHERE d.lane = l.id AND d.state = 'sending' ORDER BY d.seq LIMIT 1)"
            " FROM lane l WHERE l.open > 0 ORDER BY l.channel, l.destination"
        ).fetchall()
    return [
        OpenLane(
            channel=channel,
            destination=destination,
            open=count,
            oldest_us=min((at for at in (waiting, sending) if at is not None), default=0),
        )
        for channel, destination, count, waiting, sending in rows
    ]


def list_pauses(reader: Reader) -> list[Pause]:
    """All pauses; without the key, or where the audit row is lost, they lack person and reason."""
    with reader.snapshot() as execute:
        rows = execute(
            "SELECT p.channel, p.destination, p.since_us, p.act, j.body FROM pause p"
            " LEFT JOIN journal j ON j.id = p.act AND j.kind = 3 ORDER BY p.channel, p.destination"
        ).fetchall()
    found = []
    for channel, destination, since_us, act, sealed in rows:
        said = _said(reader.keys, act, sealed)
        what = said.get("what", {})
        found.append(
            Pause(
                target=Target(channel=channel, destination=destination),
                since_us=since_us,
                actor=str(said.get("actor", "")),
                reason=str(what.get("paused") or what.get("reason", "")),
            )
        )
    return found


def _said(vault: Vault | None, act: int, sealed: bytes | None) -> dict[str, Any]:
    if vault is None or not sealed:
        return {}
    try:
        content: dict[str, Any] = orjson.loads(vault.open(sealed, "body", act, ""))
    except IntegrityError:
        return {}  # it is paused all the same; `labrelay verify` reports the damage
    return content
