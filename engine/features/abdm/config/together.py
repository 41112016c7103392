"""The destination of kind ``abdm``, the channels that send there, and those that patients share their profiles with.

The keys of ABDM in `labrelay help keys`.
"""

from collections.abc import Iterator, Mapping

from engine.config.channel import ChannelConfig
from engine.config.findings.agreement import Destinations, Disagreement
from engine.config.reading.joining import Block, KeyHelp
from engine.config.reading.problems import closest
from engine.config.reading.yaml_nodes import KeyPath
from engine.features.abdm.config.destination import AbdmDestination, CallbackConfig, FacilityConfig
from engine.features.abdm.config.share import SharePart, share_of

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
