"""Faults of the laboratory's account at ABDM, as the last looks at it found them."""

from dataclasses import dataclass
from datetime import datetime

from engine.model.texts.phrases import Phrase
from engine.monitoring.snapshot.site import Finding, SiteSnapshot
from engine.monitoring.snapshot.states import Level


@dataclass(frozen=True, slots=True, kw_only=True)
class AbdmFault:
    """One fault; docs/abdm.md lists them.

    Attributes:
        code: a constant, the same for the same fault.
        facility: empty: it concerns all of them.
        since: the first look that found it; None: found by one look alone.
    """

    code: str
    text: Phrase
    remedy: Phrase
    facility: str = ""
    level: Level = Level.PROBLEM
    since: datetime | None = None

    @property
    def words(self) -> Phrase:
        said = {"what": self.text, "remedy": self.remedy}
        if self.facility:
            return Phrase("ABDM, {facility}: {what}. Remedy: {remedy}.", {"facility": self.facility, **said})
        return Phrase("ABDM: {what}. Remedy: {remedy}.", said)


@dataclass(frozen=True, slots=True, kw_only=True)
class AbdmSnapshot:
    """The account as the watchdog sees it.

    Attributes:
        destination: name of the site's destination of kind ``abdm``.
        looked_at: None: not looked since the start.
    """

    destination: str
    looked_at: datetime | None = None
    faults: tuple[AbdmFault, ...] = ()

    def findings(self) -> list[Finding]:
        return [Finding(level=one.level, phrase=one.words) for one in self.faults]


def account_of(site: SiteSnapshot) -> AbdmSnapshot | None:
    """None: the site is not in the network."""
    found = site.of_features.get("abdm")
    return found if isinstance(found, AbdmSnapshot) else None
