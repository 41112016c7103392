"""The to-do list: situations and their entries as a person expects them, and what is kept of an entry over its life."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import click
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.__main__ import labrelay as root
from engine.features.abdm.rows.reading import RefusedCallbacks, Undecided
from engine.features.abdm.rules.account import AbdmFault, AbdmSnapshot
from engine.features.alerts.rows.reading import CriticalValue, FailingSink
from engine.features.events.rows import FailingWebhook
from engine.features.orders.rows.order_questions import OrderTrouble
from engine.features.todo.rules import FORGET_AFTER_US, SET_UP_BACKUP, causes, changes, listed
from engine.model.process.clock import from_us
from engine.model.site.todo import Mark, Snooze, TodoState
from engine.model.texts.phrases import Phrase
from engine.model.texts.reasons import ReasonCode
from engine.monitoring.snapshot.channels import LaneSnapshot, LastError, TeeSnapshot
from engine.monitoring.snapshot.site import (
    NO_BACKUP,
    About,
    BackupSnapshot,
    JournalSnapshot,
    Notice,
    SiteSnapshot,
    notices,
)
from engine.monitoring.snapshot.states import ChannelState, DestinationState, Level, Paused
from engine.monitoring.todo import Entry, Way
from engine.store.operations.dead_letters import Group
from engine.store.queries.tallies import ChannelGaps
from tests.support.examples import examples
from tests.support.status_sites import NOW, ago, quiet_site, troubled_site
from tests.support.todo_entries import entries

LETTER_US = 1_772_000_000_000_000
RED, AMBER = Level.PROBLEM, Level.ATTENTION


def site(**changed: Any) -> SiteSnapshot:
    """A site in order, and what differs."""
    return replace(quiet_site(), backup=BackupSnapshot(folder="/mnt/backup"), **changed)


def of_account(account: AbdmSnapshot) -> SiteSnapshot:
    return site(of_features={"abdm": account})


def channel(**changed: Any) -> SiteSnapshot:
    return site(channels=(replace(quiet_site().channels[0], **changed),))


def lane(**changed: Any) -> SiteSnapshot:
    return channel(lanes=(LaneSnapshot(destination="lab-fhir", **changed),))


def destination(**changed: Any) -> SiteSnapshot:
    return site(destinations=(replace(quiet_site().destinations[0], **changed),))


def group(reason: str, cause: str = "", count: int = 1, channels: Sequence[str] = ("chemistry",)) -> Group:
    return Group(reason, cause, "", count, LETTER_US, LETTER_US + 5, set(channels), example=17)


ASHA = Paused(by="asha", since=ago(60), reason="new firmware")
# Situation -> its entries: key, level, words, next step, count, since.
SITUATIONS: dict[str, tuple[SiteSnapshot, list[tuple[Any, ...]]]] = {
    "all is well": (site(), []),
    "an analyzer is silent": (
        channel(state=ChannelState.SILENT, last_message_at=ago(7200), last_message_age_s=7200.0),
        [("silent/chemistry", RED, "chemistry silent 2 h", "labrelay messages line chemistry", 1, ago(7200))],
    ),
    "messages that nothing shows to be repeats": (
        channel(today_same_bytes=2),
        [
            (
                "same-bytes/chemistry",
                AMBER,
                "chemistry: messages with the bytes of an earlier one, and nothing says whether they are repeats: 2"
                " today. They were delivered",
                "labrelay messages list --channel chemistry",
                2,
                None,
            )
        ],
    ),
    "messages wait to be mapped, not for long": (channel(stored_waiting=9, stored_age_s=60.0), []),
    "messages wait to be mapped": (
        channel(stored_waiting=9, stored_age_s=180.0),
        [
            (
                "late/chemistry",
                AMBER,
                "chemistry: not mapped yet: 9, the oldest for 3 min",
                "labrelay messages list --channel chemistry --state stored",
                9,
                ago(180),
            )
        ],
    ),
    "an analyzer is unplugged": (
        channel(state=ChannelState.WAITING),
        [("not-connected/chemistry", AMBER, "chemistry not connected", "labrelay doctor", 1, None)],
    ),
    "a port cannot be opened": (
        channel(state=ChannelState.FAULTED, fault="address already in use"),
        [("down/chemistry", RED, "chemistry down: address already in use", "labrelay doctor", 1, None)],
    ),
    "a channel takes nothing": (
        channel(state=ChannelState.REFUSING),
        [("not-taking/chemistry", RED, "chemistry not taking messages", "labrelay doctor", 1, None)],
    ),
    "the disk is full": (
        replace(
            channel(state=ChannelState.REFUSING),
            alarms=(Notice("The disk is full", About.DISK),),
            journal=JournalSnapshot(integrity="rows are missing"),
            disk_free_bytes=0,
        ),
        [
            ("disk", RED, "The disk is full", "labrelay journal stats", 1, None),
            ("journal", RED, "The journal is damaged: rows are missing", "labrelay verify", 1, None),
        ],
    ),
    "the journal is damaged": (
        site(journal=JournalSnapshot(integrity="rows are missing")),
        [("journal", RED, "The journal is damaged: rows are missing", "labrelay verify", 1, None)],
    ),
    "a person has paused a channel": (
        channel(state=ChannelState.PAUSED, paused=ASHA),
        [
            (
                "paused/chemistry", AMBER, "chemistry paused by asha",
                "labrelay resume channel chemistry --reason TEXT", 1, ago(60),
            )
        ],
    ),
    "a person has paused a lane": (
        lane(paused=ASHA, waiting=3),
        [
            (
                "paused/chemistry/lab-fhir", AMBER, "chemistry/lab-fhir paused by asha",
                "labrelay resume lane chemistry/lab-fhir --reason TEXT", 3, ago(60),
            )
        ],
    ),
    "a person has paused a destination": (
        destination(state=DestinationState.PAUSED, paused=ASHA),
        [
            (
                "paused-destination/lab-fhir", AMBER, "lab-fhir paused by asha",
                "labrelay resume destination lab-fhir --reason TEXT", 1, ago(60),
            )
        ],
    ),
    "a destination is away": (
        destination(state=DestinationState.BREAKER_OPEN, waiting=40, oldest_age_s=1204.0),
        [("away/lab-fhir", RED, "lab-fhir not reachable, 40 waiting", "labrelay check --online", 40, ago(1204))],
    ),
    "a destination is away, and it is known why and whom to call": (
        destination(
            state=DestinationState.BREAKER_OPEN,
            waiting=40,
            contact="help desk, 022 5550 1234",
            last_error=LastError(code=ReasonCode.NO_ANSWER, at=NOW, away="host name unknown"),
        ),
        [
            (
                "away/lab-fhir", RED,
                "lab-fhir not reachable: host name unknown, 40 waiting. Call help desk, 022 5550 1234",
                "labrelay check --online", 40, None,
            )
        ],
    ),
    "a destination is tried again": (
        destination(state=DestinationState.PROBING),
        [("away/lab-fhir", AMBER, "lab-fhir trying again", "labrelay check --online", 1, None)],
    ),
    "a destination is away as expected": (destination(state=DestinationState.EXPECTED, waiting=4), []),
    "results are held": (
        lane(held=2, held_age_s=600.0),
        [
            (
                "held/chemistry/lab-fhir", AMBER, "chemistry: Held back: 2, the oldest for 10 min",
                "labrelay held list --channel chemistry --destination lab-fhir", 2, ago(600),
            )
        ],
    ),
    "results are held for too long": (
        lane(held=1, held_age_s=90_000.0),
        [
            (
                "held/chemistry/lab-fhir", RED, "chemistry: Held back: 1, the oldest for 1 d 1 h",
                "labrelay held list --channel chemistry --destination lab-fhir", 1, ago(90_000),
            )
        ],
    ),
    "a critical result is held": (
        lane(held=2, held_critical=1),
        [
            (
                "held/chemistry/lab-fhir", RED, "chemistry: Critical results held back: 1",
                "labrelay held list --channel chemistry --destination lab-fhir", 1, None,
            )
        ],
    ),
    "records wait in a topic, not for long": (channel(unread=9), []),
    "records wait in a topic": (
        channel(unread=9, unread_age_s=360.0),
        [("behind/chemistry", AMBER, "chemistry: records wait in the topic: 9, for 6 min", "labrelay status", 9, None)],
    ),
    "records are lost in a topic": (
        channel(unread=0, lost=3),
        [
            (
                "gap/chemistry", RED, "chemistry: records that the topic deleted before they were read: 3",
                "labrelay status", 3, None,
            )
        ],
    ),
    "a tee loses messages": (
        channel(tee=TeeSnapshot(not_kept=2)),
        [
            (
                "tee/chemistry", RED, "chemistry tee: 2 messages not kept",
                "labrelay messages list --channel chemistry", 2, None,
            )
        ],
    ),
    "files could not be taken": (
        channel(notice="files that could not be taken: 1"),
        [
            (
                "notice/chemistry", AMBER, "chemistry: files that could not be taken: 1", "labrelay status", 1, None,
            )
        ],
    ),
    "the disk runs full": (
        site(disk_days_left=21),
        [("disk", AMBER, "Disk full in 21 days", "labrelay journal stats", 1, None)],
    ),
    "the disk runs full, and the journal grows": (
        site(disk_days_left=3, notes=(Notice("The journal grows", About.DISK),)),
        [("disk", RED, "Disk full in 3 days", "labrelay journal stats", 1, None)],
    ),
    "the clock was moved": (
        site(notes=(Notice("the clock was moved", About.CLOCK),)),
        [("clock", AMBER, "the clock was moved", "timedatectl", 1, None)],
    ),
    "several sentences about one part": (
        site(
            alarms=(Notice("The last backup failed", About.BACKUP),),
            notes=(Notice("on the same disk", About.BACKUP), Notice("confirm the sheet", About.KEY)),
        ),
        [
            ("backup", RED, "The last backup failed", "labrelay backup list", 2, None),
            ("key", AMBER, "confirm the sheet", "labrelay key status", 1, None),
        ],
    ),
    "there is no backup": (
        replace(site(), backup=BackupSnapshot(missing=True)),
        [("backup", RED, str(NO_BACKUP), SET_UP_BACKUP, 1, None)],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SITUATIONS)
def test_a_situation_has_its_entries(name: str) -> None:
    snapshot, expected = SITUATIONS[name]
    found = entries(snapshot, [], [], str.lower)
    assert [(one.key, one.level, str(one.phrase), one.step, one.count, one.since) for one in found] == expected


def test_dead_letters_are_one_entry_for_each_cause() -> None:
    letters = [
        group("REFUSED", "HTTP 422: no reference", 11),
        replace(group("REFUSED", "HTTP 422: no reference"), destination="other", retrying=3),
        replace(group("REFUSED", "HTTP 400", 0), retrying=3),  # all under way again
        group("REFUSED", "HTTP 413", 1, ["chemistry", "urinalysis"]),
        group("UNREADABLE"),
    ]
    found = entries(site(), letters, [], lambda cause: f"<{len(cause)}>")
    assert {(one.key, str(one.phrase), one.step, one.count, one.subject, one.cause) for one in found} == {
        ("dead/REFUSED/<22>", "chemistry: Dead letters: 12", "labrelay dlq show 17", 12, "chemistry",
         "HTTP 422: no reference"),
        ("dead/REFUSED/<8>", "Dead letters: 1", "labrelay dlq show 17", 1, "", "HTTP 413"),
        ("dead/UNREADABLE", "chemistry: Dead letters: 1", "labrelay dlq show 17", 1, "chemistry", ""),
    }  # fmt: skip
    assert {(one.level, one.since) for one in found} == {(AMBER, from_us(LETTER_US))}


def test_unmapped_codes_are_one_entry_for_each_channel() -> None:
    found = entries(site(), [], [ChannelGaps("chemistry", 5, LETTER_US)], str)
    assert [(one.key, str(one.phrase), one.step, one.count, one.since, one.subject) for one in found] == [
        ("unmapped/chemistry", "chemistry: Codes without a mapping: 5", "labrelay gaps --channel chemistry -o table",
         5, from_us(LETTER_US), "chemistry"),
    ]  # fmt: skip


# Kind of trouble -> level, words with a count of 2; each leads to its list, and its command has the same orders.
ORDERS = {
    "refused": (RED, "Orders that an analyzer refused: 2"),
    "unsent": (RED, "Orders that did not reach the analyzer: 2"),
    "after_all": (AMBER, "Orders that were given up, and measured all the same: 2"),
    "held": (AMBER, "Orders that are held back: 2"),
    "late": (AMBER, "Orders without a result for longer than usual: 2"),
    "urgent": (AMBER, "Urgent orders that no analyzer has: 2"),
}
TROUBLES = [OrderTrouble(kind, 2, LETTER_US) for kind in ORDERS] + [OrderTrouble("questions", 3)]


def to_orders(tab: str) -> Way:
    return Way("Look at the orders: {n}", "/orders", {"tab": tab})


def test_orders_that_wait_for_a_person_are_one_entry_for_each_list() -> None:
    found = entries(site(), [], [], str, TROUBLES)
    assert [(one.key, one.level, str(one.phrase), one.step, one.way) for one in found] == [
        *(
            (f"orders-{kind}", level, words, f"labrelay orders list --tab {kind}", to_orders(kind))
            for kind, (level, words) in ORDERS.items()
        ),
        (
            "orders-questions",
            AMBER,
            "Questions of analyzers without an answer: 3",
            "labrelay orders log --unanswered",
            Way("Look at the questions: {n}", "/questions", {"tab": "questions"}),
        ),
    ]
    assert [(one.count, one.since) for one in found] == [(2, from_us(LETTER_US))] * 6 + [(3, None)]


CALLBACKS = [
    RefusedCallbacks("/v3/consent/request/hip/notify", ("fault", "unreadable"), 2, LETTER_US),
    RefusedCallbacks("/v3/hip/patient/share", ("not-json",), 1, LETTER_US),
]


def test_callbacks_that_could_not_be_used_are_one_entry_for_each_path() -> None:
    found = entries(site(), [], [], str, (), CALLBACKS)
    assert [(one.key, one.level, str(one.phrase), one.count, one.since) for one in found] == [
        (
            "abdm-callbacks/v3/consent/request/hip/notify",
            RED,
            "Notices of consents that could not be used: 2 (/v3/consent/request/hip/notify: fault, unreadable). One may"
            " be a revocation.",
            2,
            from_us(LETTER_US),
        ),
        (
            "abdm-callbacks/v3/hip/patient/share",
            AMBER,
            "Callbacks of ABDM that could not be used: 1 (/v3/hip/patient/share: not-json)",
            1,
            from_us(LETTER_US),
        ),
    ]


UNDECIDED = [
    Undecided(what, n, LETTER_US)
    for n, what in enumerate(
        (
            *("failed", "moved", "other_name", "same_number", "suspended", "damaged", "blocked", "not-notified"),
            *("ABDM-1092", "bad_signature", "other_patient", "doubtful", "leaving", "unshared"),
        ),
        1,
    )
]


def test_each_kind_of_decision_on_abdm_is_one_entry() -> None:
    found = entries(site(), [], [], str, (), (), UNDECIDED)
    assert [(one.key, one.level, one.count, one.since) for one in found] == [
        ("abdm-patients-leaving", RED, 13, from_us(LETTER_US)),
        ("abdm-reports-moved", RED, 2, from_us(LETTER_US)),
        ("abdm-transfers-damaged", RED, 6, from_us(LETTER_US)),
        ("abdm-consents-bad_signature", AMBER, 10, from_us(LETTER_US)),
        ("abdm-consents-doubtful", AMBER, 12, from_us(LETTER_US)),
        ("abdm-consents-other_patient", AMBER, 11, from_us(LETTER_US)),
        ("abdm-consents-suspended", AMBER, 5, from_us(LETTER_US)),
        ("abdm-reports-ABDM-1092", AMBER, 9, from_us(LETTER_US)),
        ("abdm-reports-blocked", AMBER, 7, from_us(LETTER_US)),
        ("abdm-reports-failed", AMBER, 1, from_us(LETTER_US)),
        ("abdm-reports-not-notified", AMBER, 8, from_us(LETTER_US)),
        ("abdm-reports-other_name", AMBER, 3, from_us(LETTER_US)),
        ("abdm-reports-same_number", AMBER, 4, from_us(LETTER_US)),
        ("abdm-shares-unshared", AMBER, 14, from_us(LETTER_US)),
    ]
    assert {one.kind for one in found if one.way is None} == {"abdm-transfers-damaged", "abdm-shares-unshared"}, (
        "a command alone is its next step"
    )
    ways = {one.kind: (one.way.path, dict(one.way.filters)) for one in found if one.way is not None}
    assert ways["abdm-reports-not-notified"] == ("/abdm/contexts", {"reason": "not-notified"})
    assert ways["abdm-reports-failed"] == ("/abdm/contexts", {"state": "failed"})
    assert ways["abdm-patients-leaving"] == ("/abdm/contexts", {"reason": "leaving"})
    assert ways["abdm-consents-doubtful"] == ("/abdm/consents", {"reason": "doubtful"})
    assert [str(one.phrase).partition(".")[0] for one in found] == [
        "Patients who have left ABDM by a notice of which the gateway has not taken our answer: 13",
        "Reports that a correction took away from a patient at ABDM: 2",
        "Requests for records (ABDM) that ended because a row of the journal cannot be opened: 6",
        "Consents whose signature no key of ABDM proves, under which nothing goes out: 10",
        "Consents of which the gateway has not taken our answer, under which nothing goes out: 12",
        "Consents of an ABHA address that is not known as the report's, under which nothing goes out: 11",
        "Consents under which nothing goes out, since they may have been revoked: 5",
        "Reports of patients of whom ABDM gave a link token that is not here, as after a restore: 9",
        "Reports of patients whom ABDM blocks for a day, for name, gender or year of birth did not fit: 7",
        "Reports that ABDM has not linked with their patient: 1",
        "Linked reports of which the patient's app does not know the newest version: 8",
        "Reports with the ABHA of a patient of another name, which ABDM does not get: 3",
        "Reports of two patients with one number, which ABDM does not get: 4",
        "Profiles of patients at a counter that do not count, for the gateway has not taken our answer: 14",
    ]


STOLEN = AbdmFault(code="url-other", text=Phrase("it is stolen"), remedy=Phrase("take it back"), since=ago(900))
MISSING = replace(STOLEN, code="facility-missing", facility="IN1", level=AMBER)


def test_each_fault_of_the_account_at_abdm_is_one_entry_with_its_remedy() -> None:
    account = AbdmSnapshot(destination="abdm", looked_at=NOW, faults=(STOLEN, MISSING))
    found = entries(of_account(account), [], [], str)
    assert [(one.key, one.level, str(one.phrase), one.step, one.since) for one in found] == [
        ("abdm-account/url-other", RED, "ABDM: it is stolen. Remedy: take it back.", "labrelay abdm preflight",
         ago(900)),
        ("abdm-account/facility-missing/IN1", AMBER, "ABDM, IN1: it is stolen. Remedy: take it back.",
         "labrelay abdm preflight", ago(900)),
    ]  # fmt: skip
    assert entries(of_account(AbdmSnapshot(destination="abdm", looked_at=NOW)), [], [], str) == []


def test_what_the_journal_does_not_give_is_on_the_list_by_its_count() -> None:
    found = entries(site(dead_total=3, incomplete_total=1, unmapped_total=5), None, None, str)
    assert [(one.key, str(one.phrase), one.count) for one in found] == [
        ("dead", "Dead letters: 4", 4),
        ("unmapped", "Codes without a mapping: 5", 1),
    ]


def test_the_worst_comes_first_and_of_equal_ones_the_oldest_and_no_key_twice() -> None:
    found = entries(troubled_site(), [group("NO_ROUTE")], [ChannelGaps("chemistry", 1, 1)], str)
    assert found == sorted(found, key=lambda one: (one.level.rank, one.since or NOW))
    assert len({one.key for one in found}) == len(found) > 8
    assert found[0].level is RED


def test_each_finding_that_the_page_shows_has_an_entry() -> None:
    """What is red or amber on the page is never missing from the list."""
    for snapshot in [troubled_site(), *(snapshot for snapshot, _ in SITUATIONS.values())]:
        found = entries(snapshot, [], [], str)
        shown = [finding for finding in snapshot.findings() if finding.level is not Level.OK]
        if shown and not snapshot.dead_total + snapshot.incomplete_total + snapshot.unmapped_total:
            assert found[0].level is shown[0].level
        assert {finding.subject for finding in shown if finding.subject} <= {one.subject for one in found}


def test_each_next_step_is_a_command_that_there_is() -> None:
    every = site(notes=tuple(Notice("x", about) for about in About))
    account = of_account(AbdmSnapshot(destination="abdm", faults=(STOLEN,)))
    shown = [snapshot for snapshot, _ in SITUATIONS.values()]
    letters, gaps = [group("REFUSED")], [ChannelGaps("chemistry", 1, 1)]
    steps = {
        one.step
        for snapshot in (every, account, *shown)
        for one in entries(snapshot, letters, gaps, str, TROUBLES, CALLBACKS, UNDECIDED)
    }
    assert {one.key for one in entries(every, [], [], str)} == set(About)
    for step in steps - {SET_UP_BACKUP, "timedatectl", "journalctl -u labrelay"}:
        name, *words = step.split()
        assert name == "labrelay", step
        command: click.Command = root
        while isinstance(command, click.Group):
            found = command.get_command(click.Context(command), words.pop(0))
            assert found is not None, step
            command = found
        taken = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words if word.startswith("-")} <= taken, step


def test_empty_sentences_are_no_notices() -> None:
    assert [str(one) for one in notices(About.PAGE, ["", "a", ""])] == ["a"]


# -- what is kept, against a model -----------------------------------------------------------------------------------

HOUR_US = 3_600_000_000
KEYS = ("silent/a", "dead/REFUSED", "away/b")


@dataclass
class Kept:
    """The model: what a person who looks at one entry remembers of it."""

    taken: str = ""
    note: str = ""
    until_us: int = 0
    was_rank: int = 0
    was_count: int = 0
    gone_us: int = 0  # 0: it is there


@dataclass
class Life:
    """The list under test and its model, under the same events."""

    now_us: int = 1_000 * HOUR_US
    there: dict[str, Entry] = field(default_factory=dict)
    states: dict[str, TodoState] = field(default_factory=dict)
    model: dict[str, Kept] = field(default_factory=dict)

    def look(self) -> None:
        """What the daemon does every minute."""
        found = changes(self.there, self.states, self.now_us)
        for key in found.gone:
            self.states[key] = replace(self.states[key], gone_us=self.now_us)
        for key in found.back:
            self.states[key] = replace(self.states[key], gone_us=0)
        for key in found.forgotten:
            del self.states[key]

    def appears(self, key: str, level: Level, count: int) -> None:
        self.there[key] = Entry(key=key, level=level, phrase=Phrase(key), step="", count=count)
        if (kept := self.model.get(key)) is not None and kept.gone_us:
            if self.now_us - kept.gone_us >= FORGET_AFTER_US:
                del self.model[key]
            else:
                kept.gone_us = 0

    def vanishes(self, key: str) -> None:
        if self.there.pop(key, None) is not None and key in self.model:
            self.model[key].gone_us = self.now_us

    def says(self, key: str, what: str) -> None:
        entry = self.there.get(key)
        if entry is None:
            return
        state = self.states.get(key, TodoState(key=key))
        kept = self.model.setdefault(key, Kept())
        mark = Mark(by="asha", at_us=self.now_us, text=f"{what} {self.now_us}")
        if what == "take":
            self.states[key] = replace(state, taken=mark)
            kept.taken = mark.text
        elif what == "note":
            self.states[key] = replace(state, note=mark)
            kept.note = mark.text
        elif what == "drop":
            self.states.pop(key, None)
            del self.model[key]
        else:
            until_us = self.now_us + 10 * HOUR_US
            rank, count = entry.level.rank, entry.count
            snooze = Snooze(by="asha", at_us=self.now_us, until_us=until_us, rank=rank, count=count)
            self.states[key] = replace(state, snooze=snooze)
            kept.until_us, kept.was_rank, kept.was_count = until_us, rank, count

    def check(self) -> None:
        shown = {todo.entry.key: todo for todo in listed(list(self.there.values()), self.states, self.now_us)}
        assert set(shown) == set(self.there), "no entry is lost, whatever was said about it"
        for key, todo in shown.items():
            kept = self.model.get(key, Kept())
            assert (todo.state.taken.text if todo.state.taken else "") == kept.taken
            assert (todo.state.note.text if todo.state.note else "") == kept.note
            worse = todo.entry.level.rank < kept.was_rank or todo.entry.count >= 2 * kept.was_count
            assert todo.is_snoozed is (self.now_us < kept.until_us and not worse)
        order = [todo.is_snoozed for todo in shown.values()]
        assert order == sorted(order), "work first"


events = st.one_of(
    st.tuples(st.just("appears"), st.sampled_from(KEYS), st.sampled_from([RED, AMBER]), st.integers(1, 5)),
    st.tuples(st.just("vanishes"), st.sampled_from(KEYS)),
    st.tuples(st.just("says"), st.sampled_from(KEYS), st.sampled_from(["take", "note", "snooze", "drop"])),
    st.tuples(st.just("passes"), st.sampled_from([60_000_000, HOUR_US, 11 * HOUR_US, 25 * HOUR_US])),
)


@settings(max_examples=examples(300), deadline=None)
@given(st.lists(events, max_size=25))
def test_an_entry_keeps_what_was_said_while_its_cause_lasts_or_flaps(history: list[tuple[Any, ...]]) -> None:
    life = Life()
    for name, *details in history:
        if name == "passes":
            life.now_us += details[0]
        else:
            getattr(life, name)(*details)
        life.look()
        life.check()


def test_a_snoozed_entry_comes_back_in_time_and_when_it_is_worse() -> None:
    snooze = Snooze(by="asha", at_us=0, until_us=HOUR_US, rank=AMBER.rank, count=10)
    states = {"k": TodoState(key="k", snooze=snooze)}

    def is_snoozed(now_us: int, level: Level, count: int) -> bool:
        (todo,) = listed([Entry(key="k", level=level, phrase=Phrase(""), step="", count=count)], states, now_us)
        return todo.is_snoozed

    assert is_snoozed(HOUR_US - 1, AMBER, 19)
    assert not is_snoozed(HOUR_US, AMBER, 10)
    assert not is_snoozed(0, RED, 10)
    assert not is_snoozed(0, AMBER, 20)
    assert not is_snoozed(-HOUR_US, AMBER, 10), "the clock was an hour ahead, or a year"

    snooze = replace(snooze, rank=RED.rank)
    for critical in (False, True):
        late = entries(lane(held=2, held_age_s=90_000.0, held_critical=int(critical)), [], [], str)
        states = {late[0].key: TodoState(key=late[0].key, snooze=snooze)}
        (todo,) = listed(late, states, 0)
        assert todo.is_snoozed is not critical, "old results are put off; then a critical one is among them"


def test_a_full_disk_is_first_before_older_problems() -> None:
    full = replace(troubled_site(), alarms=(Notice("The disk is full", About.DISK),))
    found = entries(full, [], [], str, criticals=[CriticalValue(message=1, channel="chemistry", seen_us=1)])
    assert (found[0].key, found[0].level) == ("disk", RED)
    assert [one.key for one in found if one.first] == ["disk"]


def test_an_entry_that_was_gone_for_long_is_new() -> None:
    states = {"k": TodoState(key="k", taken=Mark(by="asha", at_us=0), gone_us=1)}
    entry = Entry(key="k", level=RED, phrase=Phrase(""), step="")
    (todo,) = listed([entry], states, FORGET_AFTER_US)
    assert todo.state.taken is not None
    (todo,) = listed([entry], states, FORGET_AFTER_US + 1)
    assert todo.state.taken is None
    assert changes({"k"}, states, FORGET_AFTER_US + 1).forgotten == ["k"]


def test_webhooks_that_fail_are_entries() -> None:
    found = entries(
        site(), [], [], str, webhooks=[FailingWebhook("erp", LETTER_US), FailingWebhook("lis", LETTER_US, 4)]
    )
    assert [(one.key, one.level, str(one.phrase), one.step, one.count) for one in found] == [
        ("webhook/erp", RED, "Events do not reach erp", "journalctl -u labrelay", 1),
        ("webhook/lis", RED, "Events do not reach lis", "journalctl -u labrelay", 4),
    ]


def test_critical_values_and_sinks_that_fail_are_entries() -> None:
    values = [CriticalValue(17, "chemistry", LETTER_US)]
    sinks = [FailingSink("mail", LETTER_US, 3)]
    found = entries(site(), [], [], str, criticals=values, sinks=sinks)
    assert [(one.key, one.level, str(one.phrase), one.step, one.count) for one in found] == [
        (
            "critical/17",
            RED,
            "chemistry: message 17 has a critical value",
            "labrelay alert acknowledge critical/17",
            1,
        ),
        ("alert-sink/mail", RED, "Alerts do not reach mail", "labrelay alert sent", 3),
    ]


# critical value in message, held there, taken by a person; what is held critical; taken -> the entries of the page,
# each with the kinds in it and where its button leads
ONE_BUTTON: dict[str, tuple[bool, bool, int, bool, list[tuple[list[str], str]]]] = {
    "held": (True, False, 1, False, [(["held", "critical"], "/held")]),
    "sent": (False, False, 1, False, [(["held"], "/held"), (["critical"], "/alerts")]),
    "nothing is held": (False, False, 0, False, [(["critical"], "/alerts")]),
    "held, and its alert is taken": (True, True, 1, False, [(["held"], "/held"), (["critical"], "/held/17")]),
    "held, and the decision is taken": (True, False, 1, True, [(["held"], "/held"), (["critical"], "/held/17")]),
}


@pytest.mark.parametrize(("waits", "taken", "held", "decides", "expected"), ONE_BUTTON.values(), ids=ONE_BUTTON)
def test_a_critical_value_that_is_held_has_one_button(
    waits: bool, taken: bool, held: int, decides: bool, expected: list[tuple[list[str], str]]
) -> None:
    values = [CriticalValue(17, "chemistry", LETTER_US, held=waits)]
    found = entries(lane(held=held, held_age_s=60.0, held_critical=held), [], [], str, criticals=values)
    mark = Mark(by="asha", at_us=0)
    states = {one.key: TodoState(key=one.key, taken=mark)
              for one in found if (taken and one.kind == "critical") or (decides and one.kind == "held")}  # fmt: skip
    groups = causes(listed(found, states, 0))
    assert sorted(([todo.entry.kind for todo in group], _leads(group[0].entry)) for group in groups) == sorted(expected)


def _leads(entry: Entry) -> str:
    return "/held" if entry.kind == "held" else entry.way.path if entry.way else ""
