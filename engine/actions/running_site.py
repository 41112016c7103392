"""The objects that the verbs of the control socket work on, and what they ask of a running daemon.

`Daemon` is the part of `engine.runtime.app.App` that they use.
"""

from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from engine.actions.pause_resume import Switches
from engine.actions.underway import Acts
from engine.model.errors import LabRelayError, UnreachableError

if TYPE_CHECKING:
    from engine.config.findings.changes import Change
    from engine.config.load import Site
    from engine.model.process.clock import Clock
    from engine.store.journal import Journal

ANSWER_S = 0.2  # who began a longer act asks again for its progress
WITHOUT_DAEMON_S = 86_400.0

Result = dict[str, Any]
C = TypeVar("C")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningSite:
    """The objects that the handlers work on.

    Attributes:
        data: the data folder.
        loaded: the configuration in force; asked for at each use, since a reload replaces it.
        running: the daemon; None where a command has taken its place: then all is queued at once, and waited for.
    """

    acts: Acts
    switches: Switches
    data: Path
    loaded: "Callable[[], Site]"
    running: "Daemon | None" = None
    _kept: dict[type, Any] = field(default_factory=dict)

    @property
    def journal(self) -> "Journal":
        return self.acts.journal

    @property
    def app(self) -> "Daemon":
        if self.running is None:
            raise UnreachableError("no daemon runs")
        return self.running

    def service(self, kind: type[C]) -> C:
        """What a feature runs in the daemon."""
        return self.app.service(kind)

    def kept(self, kind: type[C]) -> C:
        """The one object of a class that all callers of an act share."""
        one: C = self._kept.setdefault(kind, kind())
        return one

    @property
    def within_s(self) -> float:
        """How long an act may take before its caller is answered; s."""
        return WITHOUT_DAEMON_S if self.running is None else ANSWER_S


def known(channels: Mapping[str, C], name: str | None) -> C:
    """The channel of this name. Raises LabRelayError where there is none."""
    if name is None or name not in channels:
        raise LabRelayError(f"there is no channel {name}; known: {', '.join(channels)}")
    return channels[name]


class Shown(Protocol):
    """The site at one moment."""

    def without_notes(self) -> "Shown": ...
    def to_json(self) -> dict[str, Any]: ...


class Observer(Protocol):
    def snapshot(self) -> Shown: ...


class Taps(Protocol):
    """`engine.monitoring.taps.Taps`."""

    @property
    def stages(self) -> Sequence[str]: ...
    def follow(
        self, channel: str, stages: Collection[str], *, unmask: bool
    ) -> AsyncGenerator[dict[str, Any], None]: ...


class Built(Protocol):
    """A configuration, compiled."""

    @property
    def site(self) -> "Site": ...
    @property
    def channels(self) -> Mapping[str, object]: ...
    @property
    def doubts(self) -> Sequence[str]: ...


class Parts(Protocol):
    @property
    def built(self) -> Built: ...
    @property
    def taps(self) -> Taps: ...


class Copies(Protocol):
    """How the copies of the journal are."""

    @property
    def running(self) -> str: ...
    @property
    def fault(self) -> str: ...


class Keeper(Protocol):
    """`engine.runtime.upkeep.backup_scheduler.BackupScheduler`."""

    @property
    def is_busy(self) -> bool: ...
    def ask(self, what: str) -> None: ...
    async def go_on(self, actor: str, reason: str) -> None: ...
    def snapshot(self) -> Copies: ...


class Daemon(Protocol):
    @property
    def clock(self) -> "Clock": ...
    @property
    def journal(self) -> "Journal": ...
    @property
    def parts(self) -> Parts: ...
    @property
    def observer(self) -> Observer: ...
    @property
    def backup(self) -> Keeper: ...
    async def anew(self) -> "tuple[Built, Sequence[Change]]": ...
    async def reload(self) -> "Site": ...
    def service(self, kind: type[C]) -> C: ...
