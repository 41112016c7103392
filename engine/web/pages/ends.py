"""Both ends of a line as a page shows them: connections with their addresses, a serial line, a destination's server."""

from typing import Any

from engine.monitoring.ends import ChannelEnds, DestinationEnds, DeviceEnd
from engine.monitoring.snapshot.channels import DestinationSnapshot
from engine.monitoring.snapshot.states import DestinationState
from engine.web.cells import Fact
from engine.web.pages.words import Words, shown

CERTIFICATE_WARN_DAYS = 30


def of_channel(seen: ChannelEnds, words: Words) -> dict[str, Any]:
    """Values of the template."""
    return {
        "transport": seen.transport,
        "device": [] if seen.device is None else _device(seen.device, words),
        "connections": [
            {
                "own": one.own or "-",
                "peer": shown(one.peer),
                "since": one.since.astimezone(words.zone).strftime("%Y-%m-%d %H:%M:%S"),
                "iso": one.since.isoformat(timespec="seconds"),
                "ago": words.ago(int(one.since.timestamp() * 1e6)),
            }
            for one in seen.connections
        ],
    }


def _device(device: DeviceEnd, words: Words) -> list[Fact]:
    facts = [
        Fact(words.say("Device"), device.device),
        Fact(words.say("Settings"), device.settings),
    ]
    if device.is_remote:
        return [*facts[: 1 + bool(device.settings)], Fact(words.say("Place"), words.say("at a device server"))]
    if device.fault:
        return [*facts, Fact(words.say("Plugged in"), f"{words.say('no')}: {shown(device.fault, 200)}", "problem")]
    named = (
        Fact(words.say("Plugged in"), words.say("yes")),
        Fact(words.say("Port"), device.path),
        Fact(words.say("Lasting name"), next(iter(device.names), "")),
        Fact(words.say("Adapter"), shown(device.description)),
        Fact(words.say("USB"), " ".join(part for part in (device.usb, shown(device.serial_number)) if part)),
        Fact(words.say("Driver"), device.driver),
    )
    return [*facts, *(one for one in named if one.value)]


def of_destination(seen: DestinationEnds, one: DestinationSnapshot, words: Words) -> list[Fact]:
    """Values of the template; the circuit is the breaker that spares a server which is down."""
    facts = [_circuit(one, words)]
    if seen.windows:
        facts.append(Fact(words.say("Expected downtime"), ", ".join(seen.windows)))
    if seen.host:
        facts.append(Fact(words.say("Host"), f"{seen.host}:{seen.port}"))
    if seen.far is None:
        facts.append(Fact(words.say("Addresses"), words.say("being looked up: open the page again"), "attention"))
    elif seen.far.addresses:
        facts.append(Fact(words.say("Addresses"), ", ".join(seen.far.addresses)))
    if seen.far is not None and seen.far.certificate_until is not None:
        until = seen.far.certificate_until
        days = (until - words.now).days
        level = "problem" if days < 0 else "attention" if days < CERTIFICATE_WARN_DAYS else "ok"
        facts.append(Fact(words.say("Its certificate ends"), f"{until:%Y-%m-%d}", level))
    if seen.far is not None and seen.far.trouble:
        facts.append(Fact(words.say("Trouble"), shown(seen.far.trouble, 200), "problem"))
    if seen.own_certificate:
        facts.append(Fact(words.say("Our certificate"), seen.own_certificate))
    return facts


def _circuit(one: DestinationSnapshot, words: Words) -> Fact:
    if one.state is DestinationState.PROBING:
        return Fact(words.say("Circuit"), words.say("half-open: one attempt is under way"), "attention")
    if one.breaker_until is not None:
        time = words.time(int(one.breaker_until.timestamp() * 1e6))
        return Fact(words.say("Circuit"), words.say("open: no attempt until {time}", time=time), "problem")
    return Fact(words.say("Circuit"), words.say("closed: attempts are made"))
