"""What features run while the site runs: one `Service` each, asked at every moment of the site's life."""

from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from engine.config.load import Site
from engine.feature import Hook
from engine.model.journal.records import Recorded
from engine.model.message import Delivery, Stored
from engine.model.packing import UnpackingDestination
from engine.model.ports import PollMemory
from engine.model.texts.reasons import ReasonCode
from engine.monitoring.snapshot.site import Notice
from engine.receiving.channel_parts import OrderAnswers, QuestionDesk
from engine.runtime.build import BuiltChannel

if TYPE_CHECKING:
    from engine.runtime.app import App
    from engine.runtime.pages import Seen

Loop = Callable[[], Coroutine[Any, Any, None]]
Today = Mapping[tuple[str, str], Mapping[str, int]]


class Witness(Protocol):
    """Sees the steps of each message, on its path: it waits for nothing, and never raises."""

    def stored(self, stored: Stored) -> None: ...
    def answered(self, channel: str, message_ids: Sequence[int]) -> None: ...
    def asked(self, stored: Stored) -> None: ...
    def mapped(self, stored: Stored, recorded: Recorded) -> None: ...
    def begun(self, delivery: Delivery) -> Delivery: ...
    def postponed(self, delivery: Delivery, reason: ReasonCode) -> None: ...
    def ended(self, delivery: Delivery, reason: ReasonCode | None) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Desks:
    """Who speaks with the peer of a channel.

    Attributes:
        questions: None: its analyzer gets no orders.
        answers: None: it brings no orders, or they are not answered.
        polled: what it has taken of a server that it polls.
    """

    questions: QuestionDesk | None = None
    answers: OrderAnswers | None = None
    polled: PollMemory | None = None


class Service:
    """What a feature runs; a moment in which it has no part passes.

    Attributes:
        witness: None: it sees no message.
    """

    witness: Witness | None = None

    async def prepare(self, site: Site) -> None:
        """Before the first message under a configuration, at the start and at a reload."""

    def configured(self, site: Site) -> None:
        """A configuration comes into force."""

    def later(self, site: Site) -> Sequence[str]:
        """The keys of a new configuration that take effect at the next start, each in a sentence."""
        return ()

    def made(self, name: str, destination: UnpackingDestination) -> None:
        """A destination that this process delivers to."""

    async def start(self) -> None:
        """Before anything is delivered."""

    async def greeting(self, site: Site) -> str:
        """The link that a person at the terminal is shown once the site runs; empty: none."""
        return ""

    def leave(self) -> None:
        """The site begins to stop."""

    async def stop(self) -> None:
        """After the last delivery; where `start` was reached."""

    def desks(self, built: BuiltChannel, current: Callable[[], BuiltChannel]) -> Desks:
        """Those of a new source.

        Args:
            current: its channel, as the configuration in force has it.
        """
        return Desks()

    def loops(self) -> Mapping[str, Loop]:
        """What runs until it is cancelled, by the names of the tasks."""
        return {}

    def replaced(self) -> None:
        """Sources and workers of a new configuration are there."""

    def shown(self, site: Site) -> Mapping[str, object]:
        """Its parts of a snapshot, by the names that they have in JSON."""
        return {}

    def unmapped(self) -> int:
        """Codes without a row in their table. Raises `StoreError`."""
        return 0

    def notes(self, site: Site, today: Today) -> Iterable[Notice]:
        """Notes for the snapshot. Raises `StoreError`.

        Args:
            today: (channel, destination or nothing) -> name of a counter -> how many today.
        """
        return ()

    def of_pages(self, seen: "Seen | None") -> Mapping[str, Any]:
        """What the frame of the pages has of it, by the names of the frame's arguments; None: for the whole site."""
        return {}


SERVICES: Hook[Callable[["App"], Service]] = Hook("service")


def services(app: "App") -> dict[str, Service]:
    """Those of all features, by feature."""
    return {name: make(app) for name, make in SERVICES.by_feature().items()}
