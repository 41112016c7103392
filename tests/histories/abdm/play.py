"""A history on LabRelay's parts beside the simulator: acts by choice, each noted in the model; a look at the end.

What the acts of those are who keep the machine and its journal is in `keeping`, and what is looked at in `looking`.
"""

import json
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from engine.features.abdm.config.destination import AbdmDestination
from engine.features.abdm.flows import later, reports
from engine.features.abdm.flows.leaving import STATUS
from engine.features.abdm.rows.patients import Person
from engine.model.errors import RefusedError
from tests.histories.abdm import keeping, looking
from tests.histories.abdm.choices import Act, Choices, NothingThereError
from tests.histories.abdm.messages import document, message
from tests.histories.abdm.model import Abha, Issue, Model
from tests.support.abdm_finding import codes, with_sms
from tests.support.abdm_records import kept
from tests.support.abdm_site import FACILITY, AbdmSite, Ours, abdm_site
from tests.support.clocks import MovedClock
from tests.support.copies import Place
from tests.support.waiting import until
from workbench.abdm.people import PEOPLE

Key = tuple[str, str, date, int]
WEST = "IN0000000002"
FACILITIES = {FACILITY: "Made-up Laboratory", WEST: "Made-up West"}
DAYS = (date(2026, 3, 1), date(2026, 3, 2), date(2026, 3, 20))
ACCESSIONS = ("A-1", "A-2", "A-3")
CALLS = ("503", "429-after", "503-after", "html-502", "lost", "reset", "401", None, None)
# None has a late token: the time of a request is counted from that of its token.
CALLBACKS = ("duplicate", "repeat", "early", "late", "reordered", "no-prefix", "not-json", None, None)
STEADY = ("duplicate", "late", "late-token", "no-prefix", "expired", None)  # of those that an act waits for
RESULTS = ("on-generate-token", "on-link", "on-context-notify")
PUSHES = ("503", "429-after", "503-after", "html", "lost", "reset", None, None)
AWAITED = {reports.SHARE: "share", STATUS: "status-notify"}


def config(url: str) -> AbdmDestination:
    """Two laboratories; what is lost is looked for soon."""
    names = {"name": "Made-up Laboratory", "channels": "chem"}, {"name": "Made-up West", "channels": "west"}
    return with_sms(url, facilities=dict(zip(FACILITIES, names, strict=True)), answer_within="2s")


@dataclass
class History:
    """Attributes:
    contexts: number of a care context -> the report that it is of.
    allowed: transaction -> what may come under it: all that might be shown at any moment since it was asked for.
    linked_by_code: searches that the app has shown as linked are noted in the model once.
    kept, papers: by number of message and document.
    gone: of patients who were erased. silent: those of whom nothing was said since.
    wrong: what was wrong with a page or call when it began.
    is_time_sure: we know the gateway's time. on_the_way: callbacks.
    """

    site: AbdmSite
    place: Place
    choices: Choices
    clock: MovedClock
    gateway_clock: MovedClock
    model: Model = field(default_factory=Model)
    issues: dict[int, Issue] = field(default_factory=dict)
    contexts: dict[int, Key] = field(default_factory=dict)
    allowed: dict[str, set[Issue]] = field(default_factory=dict)
    asked: dict[str, tuple[int, str]] = field(default_factory=dict)
    searches: dict[str, tuple[int, str]] = field(default_factory=dict)
    linked_by_code: set[str] = field(default_factory=set)
    consents: list[str] = field(default_factory=list)
    copy: Any = None
    kept: dict[int, Issue] = field(default_factory=dict)
    papers: dict[int, Issue] = field(default_factory=dict)
    gone: set[Issue] = field(default_factory=set)
    silent: set[int] = field(default_factory=set)
    wrong: list[str] = field(default_factory=list)
    is_time_sure: bool = True
    on_the_way: int = 0
    told: list[str] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)
    restored: int = 0

    @property
    def ours(self) -> Ours:
        return self.site.ours

    @property
    def state(self) -> Any:
        return self.site.sandbox.state

    async def play(self, steps: int, *, restores: bool, leaps: bool) -> None:
        acts: dict[str, tuple[int, Callable[[], Awaitable[Any]]]] = {
            "report": (34, self.report),
            "again": (4, self.again),
            "share": (5, self.share),
            "search": (5, self.search),
            "choose": (5, self.choose),
            "type": (6, self.type_code),
            "clerk": (7, self.clerk),
            "withdraw": (2, self.withdraw),
            "leave": (2, self.leave),
            "grant": (10, self.grant),
            "end": (4, self.end),
            "pull": (12, self.pull),
            "faults": (7, self.faults),
            "quiet": (5, self.quiet),
            "restart": (3, partial(keeping.restart, self)),
            "erase": (3, partial(keeping.erase, self)),
            "prune": (3, partial(keeping.prune, self)),
            "copy": (2 * restores, partial(keeping.take_copy, self)),
            "restore": (1 * restores, partial(keeping.restore, self)),
            "leap": (3 * leaps, partial(keeping.leap, self)),
            "pass": (3 * leaps, partial(keeping.pass_time, self)),
        }
        names, weights = list(acts), [weight for weight, _ in acts.values()]
        for _ in range(steps):
            name = self.choices.begin(names, weights)
            try:
                said = await acts[name][1]()
            except NothingThereError:
                said = "nothing is there"
            self.done[name] += 1
            self.told.append(f"{len(self.told)} {self.choices.acts[-1]}: {said}")
            self.note()
        await looking.look(self)

    def note(self) -> None:
        """What has become of searches; and what may come now under the requests that are open."""
        for transaction, (who, facility) in self.searches.items():
            found = self.state.discoveries.get(transaction)
            if found is not None and found.state == "linked" and transaction not in self.linked_by_code:
                self.linked_by_code.add(transaction)
                self._linked_by_code(found, who, facility)
        for transaction, (who, facility) in self.asked.items():
            if self.state.transfers[transaction].state not in ("done", "refused"):
                self.allowed[transaction] |= self.model.may(who, facility)

    def _linked_by_code(self, found: Any, who: int, facility: str) -> None:
        chosen = {reference for _, reference in found.chosen}
        for number, reference, state in self.ours.rows("abdm_context", "number, reference, state"):
            if reference in chosen and number in self.contexts and state == "linked":
                assert self.contexts[number][3] == who, f"{reference} was linked by another person"
                self.model.linked(self.contexts[number])

    # -- the laboratory --------------------------------------------------------------------------------------------

    async def report(self) -> Any:
        draw = self.choices
        facility, accession = draw.one_of(FACILITIES), draw.one_of(ACCESSIONS)
        day = DAYS[draw.one_of(range(len(DAYS)))]
        issues = self.issues.values()
        there = [one.who for one in issues if (one.facility, one.accession, one.day) == (facility, accession, day)]
        who = draw.one_of(sorted(set(there)) if there and draw.chance(0.75) else range(len(PEOPLE)))
        abha = draw.one_of(list(Abha), (60, 10, 2, 21, 4, 2, 4))
        issue = Issue(
            len(self.issues) + 1,
            facility,
            accession,
            day,
            who,
            abha,
            None if draw.chance(0.1) else draw.one_of(range(90)),
            corrects=draw.chance(0.25),
            other=draw.one_of(one for one in range(len(PEOPLE)) if one != who) if abha is Abha.OTHER else -1,
        )
        self.issues[issue.value] = issue
        return await self.arrive(issue)

    async def again(self) -> Any:
        """A message that was sent before."""
        return await self.arrive(self.issues[self.choices.one_of(self.issues)])

    async def arrive(self, issue: Issue) -> Any:
        journal, body = self.ours.journal, document(issue)
        self.speaks(issue.who, issue.other)
        message_id, document_id = await kept(journal, body, message(issue))
        self.kept[message_id] = self.papers[document_id] = issue
        self.gone.discard(issue)
        channel = "chem" if issue.facility == FACILITY else "west"
        came = reports.Arrival(facility=issue.facility, channel=channel, message_id=message_id, document_id=document_id)
        number = await journal.run(reports.keep, self.site.config, came, reports.read(body))
        self.ours.dispatcher.changed()
        self.model.arrive(issue)
        ((newest,),) = self.ours.rows(f"abdm_context WHERE number = {number}", "document_id")
        if newest == document_id:
            before = self.contexts.setdefault(number, issue.key)
            assert before == issue.key, "one context, two reports"
        return number, issue

    def newest(self, key: Key, select: str = "state <> ''") -> tuple[int, str] | None:
        """Number and reason of the newest context of a report, where it is such a one."""
        found = self.ours.rows(f"abdm_context WHERE {select} ORDER BY number DESC", "number, reason")
        return next(((number, reason) for number, reason in found if self.contexts.get(number) == key), None)

    def key(self, select: str) -> Key:
        """A report that has such a context now."""
        value = self.choices.one_of(self.issues, if_=lambda n: self.newest(self.issues[n].key, select) is not None)
        return self.issues[value].key

    async def clerk(self) -> Any:
        """A person looks at a report, and links it with the patient whose it is."""
        select = "state IN ('waiting', 'failed', 'dropped')"
        key = self.key(select)
        found = self.newest(key, select)
        assert found is not None
        number, reason = found
        one = PEOPLE[key[3]]
        if self.state.statuses.get(one.address, "ACTIVE") != "ACTIVE":
            return "has left"
        typed = Person(address=one.address, number=one.number or "", name=one.name, gender=one.gender, year=one.year)
        if (key[3], key[0]) in self.model.left:
            self.forget_tokens(key[3])
        self.speaks(key[3])
        try:
            made = await self.ours.journal.run(
                later.link, self.site.config, number, typed, who="asha", confirmed=True, readmit=True, reason="card"
            )
        except RefusedError as error:
            return number, reason, str(error)
        assert reason not in ("counted", "erased", "retention"), f"a report that is {reason} was linked"
        self.ours.dispatcher.changed()
        self.contexts[made] = key
        self.model.linked(key)
        return number, reason, key, made

    async def withdraw(self) -> Any:
        key = self.key("state <> ''")
        found = self.newest(key)
        assert found is not None
        number, _ = found
        try:
            await self.ours.journal.run(later.withdraw, number, "a mistake", who="asha")
        except RefusedError as error:
            return number, str(error)
        self.ours.dispatcher.changed()
        if self.is_current(number, key):
            self.model.withdrawn(key)
        return number, key

    def is_current(self, number: int, key: Key) -> bool:
        return number == max(one for one, its in self.contexts.items() if its == key)

    # -- patients --------------------------------------------------------------------------------------------------

    async def share(self) -> Any:
        who, facility = self.choices.one_of(range(len(PEOPLE))), self.choices.one_of(FACILITIES)
        address = PEOPLE[who].address
        self.speaks(who)
        if (who, facility) in self.model.left:
            self.forget_tokens(who)
            if self.state.statuses.get(address, "ACTIVE") != "ACTIVE":
                await self.awaited(STATUS, partial(self.site.ask, "/app/status", _status(address, "ACTIVE")))
        said = {"patient": address, "facility": facility, "counter": str(len(self.told))}
        await self.awaited(reports.SHARE, partial(self.site.ask, "/app/share", said))
        self.model.came_back(who, facility)
        return who, facility

    async def leave(self) -> Any:
        who = self.choices.one_of(range(len(PEOPLE)), if_=lambda n: self._is_linked(PEOPLE[n].address))
        self.speaks(who)
        await self.awaited(STATUS, partial(self.site.ask, "/app/status", _status(PEOPLE[who].address, "DEACTIVATED")))
        self.model.leave(who, tuple(FACILITIES))
        return who

    def _is_linked(self, address: str) -> bool:
        is_active = self.state.statuses.get(address, "ACTIVE") == "ACTIVE"
        return is_active and any(owner == address for owner, _, _ in self.state.linked)

    def speaks(self, *people: int) -> None:
        """The laboratory, or a patient himself, names him once more; so may we."""
        for who in people:
            self.silent.discard(who)

    async def awaited(self, path: str, act: Callable[[], Awaitable[Any]]) -> None:
        """An act of a patient, once it was folded here."""
        name = AWAITED[path]
        kind = self.choices.one_of(STEADY)
        await self.site.fail(callbacks={name: [kind] if kind else []})
        select = f"abdm_callback WHERE path = '{path}' AND state <> 'stored'"
        before = len(self.ours.rows(select))
        said = await act()
        count = len(said["facilities"]) if name == "status-notify" else 1
        await until(lambda: len(self.ours.rows(select)) >= before + count)

    def forget_tokens(self, who: int) -> None:
        """The network keeps no token of one who has left; the simulator does."""
        for facility in FACILITIES:
            self.state.drop_token(facility, PEOPLE[who].address)

    async def search(self) -> Any:
        people = ((who, facility) for who in range(len(PEOPLE)) for facility in FACILITIES)
        who, facility = self.choices.one_of(people, if_=lambda one: one not in self.model.left)
        self.speaks(who)
        said = {"patient": PEOPLE[who].address, "facility": facility}
        transaction = (await self.site.ask("/app/discover", said))["transactionId"]
        self.searches[transaction] = who, facility
        return who, facility

    async def choose(self) -> Any:
        transaction = self._search("found")
        await self.site.ask("/app/init", {"transactionId": transaction})
        return self.searches[transaction]

    async def type_code(self) -> Any:
        transaction = self._search("otp-sent")
        sent = [code for mobile, code in codes(self.site) if mobile == PEOPLE[self.searches[transaction][0]].mobile]
        if not sent:
            return None
        code = sent[-1 if self.choices.chance(0.85) else self.choices.one_of(range(8)) % len(sent)]
        await self.site.ask("/app/confirm", {"transactionId": transaction, "otp": code})
        return self.searches[transaction]

    def _search(self, state: str) -> str:
        """One that stands there now."""
        all_of_them = list(self.searches)
        n = self.choices.one_of(range(len(all_of_them)), if_=lambda n: self._stands(all_of_them[n], state))
        return all_of_them[n]

    def _stands(self, transaction: str, state: str) -> bool:
        found = self.state.discoveries.get(transaction)
        return found is not None and found.state == state

    # -- consents and records --------------------------------------------------------------------------------------

    async def grant(self) -> Any:
        draw = self.choices
        people = ((who, facility) for who in range(len(PEOPLE)) for facility in FACILITIES)
        who, facility = draw.one_of(people, if_=lambda one: self._may_grant(PEOPLE[one[0]].address, one[1]))
        address = PEOPLE[who].address
        mine = [reference for owner, place, reference in self.state.linked if (owner, place) == (address, facility)]
        now = self.gateway_clock.now()
        said: dict[str, Any] = {"patient": address, "facility": facility, "begin": "2026-01-01T00:00:00.000Z"}
        said["end"] = now.isoformat() if now > datetime(2026, 4, 1, tzinfo=UTC) else "2026-12-31T00:00:00.000Z"
        if draw.chance(0.2):
            said["references"] = mine[: draw.one_of((1, 2, 3))]
        if draw.chance(0.25):
            said["eraseAt"] = (now + timedelta(seconds=draw.one_of((0.5, 2.0, 300.0, 1800.0)))).isoformat()
        if draw.chance(0.15):
            said["frequency"] = {"unit": "HOUR", "value": 1, "repeats": 1}
        self.consents.append((await self.site.ask("/app/grant", said))["consentId"])
        return address, facility

    def _may_grant(self, address: str, facility: str) -> bool:
        is_active = self.state.statuses.get(address, "ACTIVE") == "ACTIVE"
        return is_active and any(one[:2] == (address, facility) for one in self.state.linked)

    async def end(self) -> Any:
        consent = self.consents[self.choices.one_of(range(len(self.consents)))]
        act = self.choices.one_of(("revoke", "expire"))
        await self.site.ask(f"/app/{act}", {"consentId": consent, "withDetail": self.choices.chance(0.3)})
        return act

    async def pull(self, consent: str = "") -> Any:
        if not consent:
            count = len(self.consents)
            first = max(count - 4, 0) if self.choices.chance(0.8) else 0
            consent = self.consents[self.choices.one_of(range(first, count))]
        granted = self.state.consents[consent]
        who = next(n for n, one in enumerate(PEOPLE) if one.address == granted.person.address)
        transaction: str = (await self.site.ask("/app/pull", {"consentId": consent}))["transactionId"]
        self.asked[transaction] = who, granted.facility
        self.allowed[transaction] = self.model.may(who, granted.facility)
        return transaction

    # -- the machine -----------------------------------------------------------------------------------------------

    async def faults(self) -> Any:
        draw = self.choices
        calls = {"*": [draw.one_of(CALLS) for _ in range(draw.one_of(range(1, 7)))]}
        results = {name: ["dropped"] for name in RESULTS if draw.chance(0.1)}
        scripts = {"*": [draw.one_of(CALLBACKS) for _ in range(draw.one_of(range(1, 7)))]} | results
        pushes = [draw.one_of(PUSHES) for _ in range(draw.one_of(range(6)))]
        await self.site.fail(calls=calls, callbacks=scripts, pushes=pushes, late_s=0.2)
        return calls, scripts, pushes

    async def calm(self) -> None:
        await self.site.fail(calls={}, callbacks={}, pushes=[], reader="up")

    async def quiet(self) -> None:
        await self.calm()
        await self.settled()

    async def settled(self) -> None:
        """Nothing is to be done any more, here or there."""
        tasks = self.site.sandbox._callbacks._tasks
        open_ones = "abdm_transfer WHERE state NOT IN ('ended', 'refused')"
        while True:
            await until(lambda: not tasks)
            await self.ours.is_quiet()
            await until(lambda: not self.ours.rows(open_ones))
            await self.ours.is_quiet()
            if not tasks:
                return

    def rows(self) -> list[str]:
        """How the contexts stand, where a history is told."""
        found = self.ours.rows("abdm_context", "number, facility, patient, state, reason, version, notified")
        calls = self.ours.rows("abdm_call WHERE state <> 'done'", "number, name, subject, state, status, code")
        return [*(f"{row} {self.contexts.get(row[0])}" for row in found), *map(str, calls)]


def kind(seed: int) -> dict[str, bool]:
    """What the history of a seed has besides."""
    return {"restores": seed % 3 == 0, "leaps": seed % 2 == 0}


def _status(address: str, status: str) -> dict[str, str]:
    return {"patient": address, "status": status}


async def play(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    seed: str,
    steps: int,
    *,
    restores: bool,
    leaps: bool = False,
    told: Sequence[Act] | None = None,
) -> History:
    """A whole history.

    Args:
        told: its acts, in place of those that the seed gives.

    Raises:
        AssertionError: something is not as the model has it; with all that was done.
    """
    place = Place(folder)
    clock, gateway_clock = MovedClock(), MovedClock()
    settings: dict[str, Any] = {
        "repeat_after_s": 0.1, "repeats": 2000, "revoke_grace_s": 30.0, "facilities": FACILITIES,
        "clock": clock, "gateway_clock": gateway_clock,
    }  # fmt: skip
    async with abdm_site(place.data, monkeypatch, config=config, **settings) as site:
        history = History(site, place, Choices(seed, told), clock, gateway_clock)
        looking.watch(history, monkeypatch)
        try:
            await history.play(len(told) if told else steps, restores=restores, leaps=leaps)
        except BaseException as error:
            acts = f"acts {json.dumps(history.choices.acts)}"
            error.add_note("\n".join([f"history {seed}", *history.told, *history.rows(), *history.wrong, acts]))
            raise
        return history
