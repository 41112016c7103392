"""All that the simulator knows, in memory, with a limit for each thing that can grow."""

from collections import Counter, deque
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from engine.model.process.clock import Clock, SystemClock
from workbench.abdm.people import PEOPLE, Person
from workbench.errors import GatewayRefusalError

MOST_VIOLATIONS = 1_000  # kept; the number of all is counted
MOST_LOGGED = 20_000  # calls, and callbacks
MOST_REQUEST_IDS = 500_000  # remembered; the oldest is forgotten
MOST_OPEN = 50_000  # callbacks that wait for their answer, consents, transfers, discoveries: of each
MOST_PEOPLE = 10_000
MOST_CONTEXTS = 100_000
MOST_NOTICES = 1_000  # of one person
MOST_SESSIONS = 1_000
TOKEN_CODES = frozenset({"ABDM-1026", "ABDM-1038", "ABDM-1062", "ABDM-1063"})  # a link token that is of no use
MOST_DOCUMENT_BYTES = 256 * 1024 * 1024  # kept; of the oldest documents the content is dropped


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How the simulator is set up.

    Attributes:
        client, secret: of the laboratory's account.
        environment: X-CM-ID.
        facilities: id -> name, of the facilities under the account.
        window_s: for a transfer, from its request.
        repeat_after_s: the gateway sends a callback again that nothing took. NHA's sandbox: some 16 minutes.
        repeats: how often it does.
        answer_within_s: for each callback.
        revoke_grace_s: a page may arrive that much later than a revocation was taken: it was on its way.
        pull_after_s: after a notice the patient's app asks for the records by itself; None: it does not.
        hosts: where callbacks may go, beside loopback.
        session_status: of the answer to a session call: 200 and 202 both occur.
    """

    client: str = "SBX_000001"
    secret: str = "made-up-secret"  # noqa: S105  # opens nothing but the simulator
    environment: str = "sbx"
    facilities: dict[str, str] = field(default_factory=lambda: {"IN0000000001": "Made-up Laboratory"})
    window_s: float = 20 * 60
    repeat_after_s: float = 16 * 60
    repeats: int = 1
    answer_within_s: float = 30
    revoke_grace_s: float = 0.2
    pull_after_s: float | None = None
    hosts: frozenset[str] = frozenset()
    session_status: int = 202


@dataclass(frozen=True)
class Violation:
    """A fault of the laboratory's program.

    Attributes:
        rule: its name, as ``header-timestamp``.
        where: the call or callback.
    """

    rule: str
    where: str
    detail: str
    request_id: str = ""


@dataclass
class Asked:
    """A callback that wants an answer.

    Attributes:
        subject: the transaction, consent or address that it is about.
        wanted: whether its missing answer is shown by ``GET /pending``.
        answers: how many came.
        unsure: the laboratory cannot know that its answer came: its call had no answer.
    """

    callback: str
    facility: str
    subject: str
    answers: int = 0
    wanted: bool = True
    unsure: bool = False


@dataclass
class CareContext:
    """A record that a laboratory has linked."""

    facility: str
    patient: str
    reference: str
    display: str
    hi_type: str


@dataclass
class LinkToken:
    """``delivered``: the laboratory took the callback, so it has the token. ``unsure``: as of `Asked`."""

    token: str
    delivered: bool = False
    dropped: bool = False
    unsure: bool = False


@dataclass
class Discovery:
    """User-initiated linking, from the patient's search to its end. ``offered``: patient and context -> display."""

    transaction: str
    person: Person
    facility: str
    state: str = "asked"
    offered: dict[tuple[str, str], str] = field(default_factory=dict)
    chosen: tuple[tuple[str, str], ...] = ()
    link_reference: str = ""
    typed: str = ""
    error: dict[str, Any] | None = None


@dataclass
class Consent:
    """Attributes:
    ended_at: when the laboratory took the notice of its end.
    acknowledged: the states that it has answered to.
    """

    id: str
    person: Person
    facility: str
    contexts: tuple[tuple[str, str], ...]
    artefact: dict[str, Any]
    begin: datetime
    end: datetime
    erase_at: datetime
    frequency: tuple[timedelta, int] | None = None
    state: str = "GRANTED"
    ended_at: datetime | None = None
    acknowledged: list[str] = field(default_factory=list)
    served: list[datetime] = field(default_factory=list)


@dataclass
class Transfer:
    """A request for records, and what came for it.

    Attributes:
        begin, end: of the reports that are asked for.
        must_refuse: why the laboratory has to refuse it, and the code that this has; empty: it need not.
        pages: page number -> digest of its bytes.
        arrived: contexts whose page was opened.
        unheard: those of them whose answer was lost: the laboratory cannot know that they arrived.
        first_at: when the first page was opened.
        state: asked, acknowledged, refused, done.
    """

    id: str
    consent: Consent
    seed: bytes = field(repr=False)
    nonce: bytes = field(repr=False)
    asked_at: datetime
    begin: datetime
    end: datetime
    must_refuse: tuple[str, str] = ("", "")
    state: str = "asked"
    pages: dict[int, bytes] = field(default_factory=dict)
    page_count: int = 0
    repeats: int = 0
    arrived: dict[str, str] = field(default_factory=dict)
    unheard: set[str] = field(default_factory=set)
    first_at: datetime | None = None
    error: dict[str, Any] | None = None
    outcome: dict[str, Any] | None = None
    unsure: bool = False


@dataclass
class Document:
    """``content``: as it was decrypted; empty once it was dropped for newer ones."""

    transaction: str
    consent: str
    address: str
    context: str
    content: bytes = field(repr=False)


class State:
    """Shared by the parts of one simulator."""

    def __init__(self, settings: Settings, clock: Clock | None = None) -> None:
        self.settings = settings
        self.clock = clock or SystemClock()
        self.bridge_url = ""
        self.base = ""  # our own address, once started
        self.reset()

    def reset(self) -> None:
        """Forget all that came; the made-up people, the bridge and the sessions stay."""
        self.violations: deque[Violation] = deque(maxlen=MOST_VIOLATIONS)
        self.counts: Counter[str] = Counter()
        self.calls: deque[dict[str, Any]] = deque(maxlen=MOST_LOGGED)
        self.sent: deque[dict[str, Any]] = deque(maxlen=MOST_LOGGED)
        self.request_ids: dict[str, None] = {}
        self.asked: dict[str, Asked] = {}
        self.people = {one.address: one for one in PEOPLE}
        self.statuses: dict[str, str] = {}
        self.linked: dict[tuple[str, str, str], CareContext] = {}  # address, facility, reference
        self.owners: dict[tuple[str, str], str] = {}  # facility, reference -> address
        self.tokens: dict[tuple[str, str], LinkToken] = {}  # facility, address
        self.mismatches: dict[tuple[str, str], list[str]] = {}
        self.discoveries: dict[str, Discovery] = {}
        self.consents: dict[str, Consent] = {}
        self.transfers: dict[str, Transfer] = {}
        self.notices: dict[str, deque[dict[str, Any]]] = {}
        self.shares: dict[tuple[str, str, str], dict[str, Any]] = {}  # address, facility, context
        self.texts: deque[dict[str, Any]] = deque(maxlen=MOST_NOTICES)
        self.documents: deque[Document] = deque(maxlen=MOST_LOGGED)
        self.document_bytes = 0
        self.page_keys: dict[str, bytes] = {}
        self.page_nonces: dict[str, bytes] = {}

    # -- time ------------------------------------------------------------------------------------------------------

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.clock.now_us() / 1_000_000, UTC)

    def now_s(self) -> int:
        return self.clock.now_us() // 1_000_000

    # -- what is noted ---------------------------------------------------------------------------------------------

    def violated(self, rule: str, where: str, detail: str = "", request_id: str = "") -> None:
        """A violation."""
        self.counts["violations"] += 1
        self.violations.append(Violation(rule, where, detail, request_id))

    def is_new(self, request_id: str) -> bool:
        """Whether a REQUEST-ID was not seen before; it is remembered."""
        if request_id in self.request_ids:
            return False
        self.request_ids[request_id] = None
        if len(self.request_ids) > MOST_REQUEST_IDS:
            del self.request_ids[next(iter(self.request_ids))]
        return True

    def notify(self, address: str, **said: Any) -> None:
        """Something that the patient's app shows."""
        self.notices.setdefault(address, deque(maxlen=MOST_NOTICES)).append(said)

    def person(self, address: str) -> Person:
        """
        Raises:
            GatewayRefusalError: there is none.
        """
        found = self.people.get(address)
        if found is None:
            raise GatewayRefusalError("ABDM-9999", "User not found")
        return found

    def link(self, made: dict[tuple[str, str, str], CareContext]) -> None:
        """Care contexts by address, facility and reference."""
        self.linked |= made
        self.owners |= {(facility, reference): address for address, facility, reference in made}

    def drop_token(self, facility: str, address: str) -> None:
        """A link token that the gateway has refused: another one may be asked for."""
        if (token := self.tokens.get((facility, address))) is not None:
            token.dropped = True

    def room(self, kept: dict[Any, Any], most: int = MOST_OPEN) -> None:
        """
        Raises:
            GatewayRefusalError: there is no room for one more.
        """
        if len(kept) >= most:
            raise GatewayRefusalError("ABDM-9999", f"the simulator keeps {most} of these; POST /clear", status=507)

    def keep(self, document: Document) -> None:
        self.documents.append(document)
        self.document_bytes += len(document.content)
        for old in self.documents:
            if self.document_bytes <= MOST_DOCUMENT_BYTES:
                break
            self.document_bytes -= len(old.content)
            old.content = b""

    # -- what is shown ---------------------------------------------------------------------------------------------

    def pending(self) -> list[dict[str, Any]]:
        """Callbacks whose answer has not come; transfers that were acknowledged and have no end."""
        waiting = [
            {"callback": one.callback, "facility": one.facility, "subject": one.subject, "requestId": request_id}
            for request_id, one in self.asked.items()
            if one.wanted and not one.answers
        ]
        transfers = [one.id for one in self.transfers.values() if one.state == "acknowledged"]
        return [*waiting, *({"callback": "health-information/notify", "subject": one} for one in transfers)]

    def noted(self) -> list[dict[str, Any]]:
        return [asdict(one) for one in self.violations]
