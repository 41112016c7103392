"""The file ``config/labrelay.yaml``: settings of the whole site."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from engine.config.destinations.destination import DestinationConfig, destination_type
from engine.config.keeping import BackupConfig, RetentionConfig
from engine.config.reading.joining import joined_model
from engine.config.reading.values import Days, Duration, FilePath, Flag, Model, Name, Size, Text, Uri, Whole, Zone
from engine.config.reading.yaml_nodes import KeyPath
from engine.config.web import WebConfig
from engine.feature import Hook
from engine.model.journal.records import INCOMPLETE_BYTES
from engine.model.process.receive_memory import DEFAULT_BYTES


class SiteInfo(Model):
    """Which laboratory this is."""

    name: Text
    """Name shown on pages and in alerts."""

    timezone: Zone | None = None
    """IANA zone of the site, and of channels that give none, as `Asia/Kolkata`."""

    practice: Flag = False
    """`true`: a site to practise on, whose patients are invented. The page then asks for no backup and for no recovery
    sheet of the key."""


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

    workers: Whole = Field(default=0, ge=0, le=1)
    """Processes beside the main one that map and deliver. `0`: it does all itself; `1`: higher rates on two cores or
    more, and answers to analyzers that never wait for a mapping."""


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
