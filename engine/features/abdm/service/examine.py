"""What each laboratory still lacks at ABDM, for `labrelay doctor` and `labrelay check --online`.

The faults at the gateway are those of the preflight; what the site's own files lack is said beside them.
"""

from collections.abc import Iterator, Mapping

from engine.config.channel import ChannelConfig
from engine.config.load import Site
from engine.features.abdm.config.destination import AbdmDestination, found_in
from engine.features.abdm.rules.account import AbdmFault
from engine.features.abdm.service import preflight
from engine.model.site.health import Health, Line
from engine.monitoring.snapshot.states import Level

SUBJECT = "ABDM"


async def lines(site: Site) -> list[Line]:
    """One line for each fault, and for each thing that is in order; nothing where the site is not in the network."""
    named = found_in(site.config.destinations)
    if named is None:
        return []
    name, ours = named
    lacks = list(lacking(name, ours, site.channels))
    if not ours.client_secret.is_set:
        text = f"{ours.client_secret} is not set in this shell: the gateway is not asked"
        return [*lacks, Line(Health.WARN, SUBJECT, text, "labrelay abdm preflight, where it is set")]
    return [*lacks, *of_gateway(ours, await preflight.at_gateway(name, ours))]


def lacking(name: str, ours: AbdmDestination, channels: Mapping[str, ChannelConfig]) -> Iterator[Line]:
    """What the site's files lack.

    Args:
        name: of the destination.
    """
    bring = [
        channel
        for channel, one in channels.items()
        if one.enabled and any(name in (route.to or ()) for route in one.routes)
    ]
    served = {ours.facility_of(channel) for channel in bring}
    for facility in ours.facilities:
        if facility not in served:
            advice = f"a route with `mapping: abdm-report` and `to: {name}` in a channel of this laboratory"
            yield Line(Health.WARN, SUBJECT, f"{facility}: no channel brings its reports", advice)
    if ours.sms is None:
        text = "no SMS service: patients who search for their reports from their app find none"
        yield Line(Health.WARN, SUBJECT, text, f"`sms:` of the destination {name} (docs/abdm.md)")


def of_gateway(ours: AbdmDestination, faults: list[AbdmFault]) -> Iterator[Line]:
    """The faults of the preflight, and the laboratories that have none."""
    for one in faults:
        health = Health.FAIL if one.level is Level.PROBLEM else Health.WARN
        yield Line(health, SUBJECT, f"{one.facility}{': ' * bool(one.facility)}{one.text}", str(one.remedy))
    if any(one.code in preflight.HIDES for one in faults):
        return  # of the laboratories nothing is known
    named = {one.facility for one in faults}
    for facility in ours.facilities:
        if facility not in named:
            yield Line(Health.OK, SUBJECT, f"{facility}: the gateway has its HIP service")
    if "" not in named:
        yield Line(Health.OK, SUBJECT, "the gateway takes our calls, and callbacks can come in")
