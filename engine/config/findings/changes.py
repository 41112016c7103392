"""How a configuration differs from the one in force, by names alone: no value of a key is in it."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from engine.config.channel import ChannelConfig, of_link
from engine.config.load import Site
from engine.config.web import AT_START
from engine.model.texts.phrases import N_

LINK_KEYS = (
    "source",
    "enabled",
    "draft",
    "repeat_window",
    "ack",
    "ack_timeout",
    "on_store_fault",
    "ack_code",
    "timezone",
    "role",
)
FIXED = ("data",)  # keys of the site that a running daemon cannot follow
STARTS, ENDS, AGAIN, GOES_ON = N_(("it starts", "it ends", "it starts anew", "it goes on, with its new settings"))
LATER, REFUSED = N_(("at the next start of the service", "a reload is refused; start the service anew"))


class Change(NamedTuple):
    """One thing that a reload changes.

    Attributes:
        kind: ``channel``, ``destination``, or ``key`` of the site's file.
        then: one of the constants above.
    """

    kind: str
    name: str
    then: str


def same_link(old: ChannelConfig, new: ChannelConfig | None) -> bool:
    """Whether a channel's connections may stay open: all settings of its link are unchanged."""
    return new is not None and all(getattr(old, key) == getattr(new, key) for key in (*LINK_KEYS, *of_link()))


def changes(old: Site, new: Site) -> Iterator[Change]:
    """All that a reload of ``new`` changes, keys of the site's file first; changed mappings and tables apart."""
    yield from (Change("key", key, REFUSED) for key in FIXED if _differ(old.config, new.config, key))
    yield from (Change("key", f"web: {key}", LATER) for key in AT_START if _differ(old.config.web, new.config.web, key))
    for name, then in _by_name(_enabled(old), _enabled(new)):
        goes_on = then == AGAIN and same_link(old.channels[name], new.channels[name])
        yield Change("channel", name, GOES_ON if goes_on else then)
    yield from (
        Change("destination", name, then) for name, then in _by_name(old.config.destinations, new.config.destinations)
    )


def _differ(old: Any, new: Any, key: str) -> bool:
    return bool(getattr(old, key) != getattr(new, key))


def _enabled(site: Site) -> Mapping[str, ChannelConfig]:
    """The channels that run: one that is switched off is as none."""
    return {name: channel for name, channel in site.channels.items() if channel.enabled}


def _by_name(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name in sorted({*old, *new}):
        if name not in old or name not in new:
            yield name, ENDS if name in old else STARTS
        elif old[name] != new[name]:
            yield name, AGAIN
