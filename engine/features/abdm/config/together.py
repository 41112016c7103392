"""The destination of kind ``abdm``, the channels that send there, and those that patients share their profiles with.

The keys of ABDM in `labrelay help keys`.

The part of a ``source:`` block for patients who share their profile at a counter, by ABDM.

source: {kind: abdm-share}
"""

from collections.abc import Iterator, Mapping
from typing import Literal

from engine.config.channel import ChannelConfig
from engine.config.findings.agreement import Destinations, Disagreement
from engine.config.reading.joining import Block, KeyHelp
from engine.config.reading.problems import closest
from engine.config.reading.values import Model, Texts
from engine.config.reading.yaml_nodes import KeyPath
from engine.config.sources.source import Source
from engine.features.abdm.config.destination import AbdmDestination, CallbackConfig, FacilityConfig


class SharePart(Model):
    """Patients who have scanned the code of a counter, with their tokens: each is an HL7 v2 message (ADT^A04), which
    the routes of the channel send to the laboratory system."""

    transport: Literal["abdm"] = "abdm"
    """How messages come: from `abdm`, the site's destination of this kind."""

    link: Literal["whole"] = "whole"
    """`whole`: a message is written at once."""

    format: Literal["hl7v2"] = "hl7v2"
    """Content: `hl7v2`."""

    facilities: Texts = ()
    """The laboratories whose counters are meant, by their id at the gateway. By default all."""

    @property
    def place(self) -> str:
        return "ABDM"


class ShareSource(SharePart, Source):
    """Patients who share their profile at a counter, by ABDM."""

    preset = "abdm-share"


def share_of(channel: ChannelConfig) -> SharePart | None:
    """The source of a channel of patients at a counter; None: it has another one."""
    source: object = channel.source
    return source if isinstance(source, SharePart) else None


Channels = Mapping[str, ChannelConfig]


def disagreements(channels: Channels, destinations: Destinations) -> Iterator[Disagreement]:
    """All of them. One account of ABDM; each of its reports is of one facility."""
    if destinations is None:
        return
    every: Mapping[str, object] = destinations
    ours = [(key, one) for key, one in every.items() if isinstance(one, AbdmDestination)]
    for key, _ in ours[1:]:
        text = f"{ours[0][0]} is of kind abdm, too; put all facilities into one of them"
        yield Disagreement("", ("destinations", key), 2, text)
    if not ours:
        yield from _shares(None, channels)
    for key, one in ours[:1]:
        yield from _facilities(key, one, channels)
        yield from _shares(one, channels)


def _facilities(key: str, ours: AbdmDestination, channels: Channels) -> Iterator[Disagreement]:
    """Facilities have channels of this site, and each channel that sends there is of one."""
    for facility, of in ours.facilities.items():
        for at, name in enumerate(of.channels or ()):
            if name not in channels:
                path: KeyPath = ("destinations", key, "facilities", facility, "channels", at)
                hint = closest(name, channels) or "; name a channel of this site"
                yield Disagreement("", path, 5, f"unknown channel '{name}'{hint}")
    for name, channel in channels.items():
        sends = any(key in (route.to or ()) for route in channel.routes)
        if sends and not ours.facility_of(name):
            text = f"channel {name} sends here, and no facility has it; add it to channels of one"
            yield Disagreement("", ("destinations", key, "facilities"), 3, text)


def _shares(ours: AbdmDestination | None, channels: Channels) -> Iterator[Disagreement]:
    """Who shares a profile does so at a laboratory of the site's destination."""
    for name, channel in channels.items():
        if (source := share_of(channel)) is None:
            continue
        if ours is None:
            text = "needs a destination of kind abdm: it takes the profiles that patients share"
            yield Disagreement(name, ("source", "kind"), 2, text)
            continue
        for at, facility in enumerate(source.facilities):
            if facility not in ours.facilities:
                hint = closest(facility, ours.facilities) or "; name one of the destination's facilities"
                yield Disagreement(name, ("source", "facilities", at), 2, f"unknown facility '{facility}'{hint}")


KEYS = KeyHelp(
    {
        "destinations": (
            Block("`callbacks:` of `kind: abdm`", [CallbackConfig]),
            Block("`facilities:` of `kind: abdm`", [FacilityConfig]),
        ),
        "sources": (Block("Patients who share their profile (`kind: abdm-share`)", [SharePart], intro=False),),
    }
)
