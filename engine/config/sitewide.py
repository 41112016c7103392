"""The file ``config/labrelay.yaml``: settings of the whole site, with how long the journal keeps its rows
(``retention:``), and where its copies go (``backup:``).
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field, model_validator

from engine.config.destinations.destination import DestinationConfig, destination_type
from engine.config.reading import values
from engine.config.reading.joining import joined_model
from engine.config.reading.values import Days, Duration, FilePath, Flag, Model, Name, Size, Text, Uri, Whole, Zone
from engine.config.reading.yaml_nodes import KeyPath
from engine.config.web import WebConfig
from engine.feature import Hook
from engine.model.journal.records import INCOMPLETE_BYTES
from engine.model.process.receive_memory import DEFAULT_BYTES
from engine.model.texts.units import duration_text

DAY_S = 86_400.0
YEAR_S = 366 * DAY_S  # never shorter than a year of the calendar
LEAST_S = 91 * DAY_S  # what LabRelay itself still asks: numbers of orders and patients are remembered for 90 days


class RetentionConfig(Model):
    """How long the journal keeps finished messages. Open, held, dead or incomplete ones stay until a person has decided
    about them, whatever these keys say. An age counts from the last event of a message.
    """

    delivered: Duration = Field(default=5 * YEAR_S, ge=LEAST_S)
    """Messages that were delivered (or that a newer result has overtaken), with their documents, deliveries and
    frames. Default: five years."""

    filtered: Duration = Field(default=5 * YEAR_S, ge=LEAST_S)
    """Messages that a filter took, repeats, messages read by a tee."""

    dismissed: Duration = Field(default=5 * YEAR_S, ge=LEAST_S)
    """Messages that a person has dismissed, or rejected results of."""

    incomplete: Duration = 30 * DAY_S
    """The content of incomplete messages that a person has dismissed. They are no results, so it may be any time;
    `limits: incomplete` bounds them before."""

    audit: Duration = Field(default=6 * YEAR_S, ge=LEAST_S)
    """The audit trail. Default: six years; not shorter than any of the others."""

    minimum: Duration | None = Field(default=None, ge=LEAST_S)
    """The time that the law demands: nothing younger is deleted, neither for `size` nor when a patient's data are
    erased (unless a person forces that, with a reason). By default the shortest of the ages above."""

    size: Size | None = Field(default=None, ge=64 * 1024 * 1024)
    """The size that the journal may have on the disk. Beyond it the oldest finished messages are deleted before
    their time, down to `minimum`, which is then required; the page says so."""

    @model_validator(mode="after")
    def _agrees(self) -> "RetentionConfig":
        ages = {"delivered": self.delivered, "filtered": self.filtered, "dismissed": self.dismissed}
        for name, age in ages.items():
            if age > self.audit:
                raise ValueError(
                    f"{name}: {duration_text(age)} is longer than audit: {duration_text(self.audit)}; acts "
                    "about a message must be known for as long as the message is"
                )
            if self.minimum is not None and age < self.minimum:
                raise ValueError(
                    f"{name}: {duration_text(age)} is shorter than minimum: {duration_text(self.minimum)}; give a "
                    "longer age, or another minimum"
                )
        if self.size is not None and self.minimum is None:
            raise ValueError("size: needs minimum: as well, the age below which nothing goes, as minimum: 366d")
        return self

    @property
    def least(self) -> float:
        """The age in seconds below which nothing is deleted except by force; used by erasure."""
        if self.minimum is not None:
            return self.minimum
        return min(self.delivered, self.filtered, self.dismissed)


class BackupConfig(Model):
    """Copies of the journal and the configuration in a second folder. Without `folder` there are none, and the page is
    red, unless `without` gives a reason."""

    folder: FilePath | None = None
    """Folder for the copies, best on another disk or a mounted share; relative to the site's folder. It must be
    there: LabRelay does not make it, for a share that is not mounted would look like an empty one."""

    without: Text | None = None
    """The reason why LabRelay makes no copies, as `the whole machine is copied each night`; the page is then not
    red."""

    every: Duration = Field(default=DAY_S, ge=600.0)
    """Time between full copies; each is read back and checked by its chain."""

    rows: Duration = Field(default=300.0, ge=10.0, le=DAY_S)
    """Time between pieces: new rows of the journal, written to the folder between full copies. A loss of the disk
    can lose the data received within this time."""

    keep: Whole = Field(default=7, ge=1, le=1000)
    """Full copies to keep, with their pieces."""

    key: Flag = False
    """`true`: the key goes with the copies, so anyone with the folder can read every result. By default it does not:
    keep a copy of it elsewhere, for without it no copy can be read."""

    drill: Duration | None = Field(default=30 * DAY_S, ge=3600.0)
    """Time between drills: a copy is restored into a scratch folder, checked and removed again."""

    scratch: FilePath | None = None
    """Folder for drills; needs room for the journal. By default the folder of the copies."""

    @model_validator(mode="after")
    def _one_of_them(self) -> "BackupConfig":
        if self.folder is not None and self.without is not None:
            raise ValueError("folder and without contradict each other; give one")
        return self


class SiteInfo(Model):
    """Which laboratory this is."""

    name: Text
    """Name shown on pages and in alerts."""

    timezone: Zone | None = None
    """IANA zone of the site, and of channels that give none, as `Asia/Kolkata`."""

    practice: Flag = False
    """`true`: a site to practise on, whose patients are invented. The page then asks for no backup and for no recovery
    sheet of the key."""

    units: dict[Name, Annotated[tuple[Name, ...], BeforeValidator(values.listed)]] = Field(default_factory=dict)
    """Parts of the site, as laboratories or wards, with the channels of each: `{east: [sysmex, cobas]}`. A user or
    token of a unit sees these alone; others see the whole site."""


class OfUnit(BaseModel, defer_build=True):
    """A place that alerts or events go to."""

    unit: Name | None = None
    """Unit of the site (`site.units`): only what is about its channels goes here. Unset: all."""

    _channels: tuple[str, ...] = ()

    @property
    def channels(self) -> tuple[str, ...] | None:
        """Those of its unit (`engine.config.load`); None: all."""
        return self._channels if self.unit else None


class LimitsConfig(Model):
    """Limits that all channels share."""

    receive_memory: Size = Field(default=DEFAULT_BYTES, ge=1024 * 1024)
    """Unfinished messages that all connections together may hold in memory; beyond it the connection that holds most
    is cut. At least the largest `max_message` of a channel counts."""

    incomplete: Size = Field(default=INCOMPLETE_BYTES, ge=1024 * 1024)
    """Bytes of incomplete messages that the journal keeps, of all channels together. Beyond it their content goes,
    of dismissed ones first, then of the oldest; that they came stays."""

    held_alarm: Duration = Field(default=86_400.0, gt=0)
    """Where a route holds results back (`hold`): one that was not released or rejected for so long is a problem on
    the page, and not only a notice."""


class SiteConfig(Model):  # the core's keys; `site_model` has all
    """The site."""

    site: SiteInfo
    """Which laboratory this is."""

    data: FilePath = Field(default=Path("var"), validate_default=True)
    """Folder for the journal and everything else that LabRelay writes; relative to the site's folder."""

    anchor: FilePath | None = None
    """Folder for the second anchor, best on another disk: it shows at a start that `data` was put back to an earlier
    state. Unset: a folder beside `data`, with its name and `-anchor`, where the service may write there."""

    web: WebConfig = Field(default_factory=WebConfig)
    """The status page."""

    destinations: dict[Name, DestinationConfig] = Field(default_factory=dict)
    """Where documents go, by name."""

    namespaces: dict[Text, Uri] = Field(default_factory=dict)
    """Assigner names as in HD.1 (MSH-3, PID-3.4 ...) and the identifier system for each."""

    patient_numbers: Literal["lasting", "counter"] | None = None
    """`lasting`: a patient number is one person's for good, as those of a hospital's register are. `counter`:
    numbers begin anew or are given again, as those that an analyzer counts; such a number is known with its order
    and day alone, and never goes out as a Patient's identifier. Without an answer all are counters, but those whose
    authority (PID-3.4) is in `namespaces`."""

    days_off: Days = ()
    """Days on which the laboratory is closed, as `[2026-01-26, 2026-08-15]`: no analyzer is called silent on them, and
    they teach no usual gap."""

    limits: LimitsConfig = Field(default_factory=LimitsConfig)
    """Limits that all channels share."""

    retention: RetentionConfig = Field(default_factory=RetentionConfig)
    """How long the journal keeps what has ended."""

    backup: BackupConfig = Field(default_factory=BackupConfig)
    """Copies of the journal and the configuration in a second folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server that the site's file names, and that is no destination.

    Attributes:
        owner: for people, as ``sink chat``.
        path: of its block.
        block: the model of that.
        place: its address: a URL, or host:port.
        in_clear: secrets that would go there without TLS: the key in the block that says so, and a sentence.
        asked: its name for people where `check --online` connects with it; empty: it does not.
    """

    owner: str
    path: tuple[str, ...]
    block: Any
    place: str
    in_clear: Iterable[tuple[KeyPath, str]] = ()
    asked: str = ""


KEYS: Hook[type[Model]] = Hook("keys")
SERVERS: Hook[Callable[[SiteConfig], Iterator[Server]]] = Hook("servers")


@cache
def site_model() -> type[SiteConfig]:
    """The model of the whole file, with the keys of all features."""
    by_name: Any = dict[Name, destination_type()]  # type: ignore[misc]  # for pydantic, no annotation
    return joined_model(SiteConfig, KEYS.each(), destinations=by_name)


def servers(config: SiteConfig) -> Iterator[Server]:
    """The servers that the keys of features name."""
    for found in SERVERS.each():
        yield from found(config)
