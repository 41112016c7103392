"""Retention: what is let go has ended and is old enough, whatever the policy; all else stays, and `verify` can tell.

The judgement is made twice: by the store, and here from the script that made the journal.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from engine.features.todo import rows as todo
from engine.model.errors import IntegrityError, LossError, StoreError
from engine.model.journal.records import Target
from engine.model.message import Report
from engine.model.outcome import Outcome
from engine.model.process.clock import Clock, ManualClock, SystemClock
from engine.model.texts.reasons import ReasonCode
from engine.store.core.growth import used_bytes
from engine.store.core.writing.batch import Batch
from engine.store.integrity import row_check, verify
from engine.store.journal import Journal
from engine.store.lifecycle import erasure, retention
from engine.store.lifecycle.retention import Policy, RetentionWalk
from engine.store.operations import append, audit, bulk, dedup, pauses, pruning, record_outcome
from engine.store.operations.outbox import attempts, decisions
from engine.store.queries.acts import acts_page, open_acts
from engine.store.queries.lanes import list_channels, list_lanes
from engine.store.queries.messages import trace_of
from engine.store.queries.reader import stored_document, stored_payload
from engine.store.recovery import compact
from engine.store.recovery.salvage import saving
from tests.support.examples import examples
from tests.support.journals import opened, received, routed, running
from tests.support.waiting import until

DAY_US = 86_400_000_000
CHANNELS = ("chem", "haem")
# How a message ends, and what that is for retention; None: it has not ended, and stays whatever its age.
ENDS = {
    "delivered": "delivered",
    "superseded": "delivered",
    "no document": "delivered",
    "framed": "delivered",
    "two lanes": "delivered",
    "filtered": "filtered",
    "repeat": "filtered",
    "dismissed": "dismissed",
    "rejected": "dismissed",
    "dismissed delivery": "dismissed",
    "stored": None,
    "dead": None,
    "incomplete": None,
    "waiting": None,
    "sending": None,
    "held": None,
    "dead delivery": None,
    "one of two dead": None,
    "paused lane": None,
}
POLICY = Policy(
    delivered_us=400 * DAY_US,
    filtered_us=100 * DAY_US,
    dismissed_us=200 * DAY_US,
    audit_us=500 * DAY_US,
    least_us=100 * DAY_US,
)


@dataclass
class Made:
    """One message of the script.

    Attributes:
        rows: its row of the journal, and those of its frames.
        at_us: when the last thing happened to it.
    """

    end: str
    rows: list[int]
    at_us: int


class Site:
    """A journal whose past is written by a script."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = ManualClock()
        self.journal = opened(folder, clock=self.clock)
        self.made: list[Made] = []
        self.acts: list[tuple[int, int]] = []  # row, time
        self._number = 0

    def do(self, operation: Callable[..., Any], **arguments: Any) -> Any:
        return self.journal.run_alone(partial(operation, **arguments))

    def wait(self, days: float) -> None:
        self.clock.advance(days * 86_400.0)

    def message(self, end: str, channel: str = "chem") -> Made:
        """Receive a message, and let it end that way."""
        self._number += 1
        payload = b"MSH|%d" % self._number
        if end == "repeat":
            self.message("delivered", channel)
            payload = b"MSH|%d" % (self._number,)
        one = received(payload, channel=channel, control_id=f"C{self._number}", at_us=self.clock.now_us(), lost=True)
        made = Made(end, [], self.clock.now_us())
        self.made.append(made)
        if end == "incomplete":
            made.rows.append(self.do(append.store_incomplete, received=one, reason=ReasonCode.INCOMPLETE).id)
            return made
        session = 0
        if end == "framed":
            session = self.journal.new_session()
            for raw in (b"1", b"2"):
                frame = {"channel": channel, "session": session, "raw": raw, "received_us": made.at_us}
                made.rows.append(self.do(append.store_frame, **frame))
        stored = self.do(append.store_message, received=one, repeat_window_s=30 * 86_400.0, session=session)
        made.rows.append(stored.id)
        if end not in ("stored", "repeat"):
            self._map(stored.id, end)
        return made

    def _map(self, number: int, end: str) -> None:
        state = {"filtered": "filtered", "dead": "dead", "dismissed": "dead"}.get(end, "mapped")
        to = {
            "two lanes": ("fhir", "archive"), "one of two dead": ("fhir", "archive"), "paused lane": ("paused",),
        }.get(end, ("fhir",))  # fmt: skip
        report = Report(key=b"%016d" % number, patient=b"p%015d" % number)
        routes = [routed(b"{}", *to, claimed=end == "sending", reports=(report,))] if state == "mapped" else []
        outcome = Outcome(state, ReasonCode.MAPPING_FAULT if state == "dead" else None)
        if end == "no document":
            routes = []
        self.do(record_outcome.record, message_id=number, outcome=outcome, routes=routes)
        execute = self._execute
        ids = [row[0] for row in execute("SELECT id FROM delivery WHERE message_id = ? ORDER BY id", (number,))]
        settle = partial(self.do, attempts.settle, delivered_us=self.clock.now_us())
        bury = partial(self.do, attempts.bury, reason=ReasonCode.REFUSED, detail="no", answer=b"")
        match end:
            case "delivered" | "framed" | "two lanes":
                for delivery in ids:
                    settle(delivery_id=delivery)
            case "superseded":
                self.do(decisions.supersede, delivery_ids=ids)
            case "dismissed":
                self.do(record_outcome.dismiss, message_ids=[number], detail="seen")
            case "rejected":
                self.do(decisions.hold, delivery_ids=ids, cause=ReasonCode.HELD_BY_RULE)
                self.do(decisions.reject, delivery_id=ids[0])
            case "dismissed delivery":
                bury(delivery_id=ids[0])
                self.do(decisions.dismiss, delivery_ids=ids, detail="seen")
            case "held":
                self.do(decisions.hold, delivery_ids=ids, cause=ReasonCode.HELD_BY_RULE)
            case "dead delivery":
                bury(delivery_id=ids[0])
            case "one of two dead":
                settle(delivery_id=ids[0])
                bury(delivery_id=ids[1])
            case "paused lane":
                settle(delivery_id=ids[0])
                lane = Target(channel=self._channel(number), destination="paused")
                self.do(pauses.pause, target=lane, actor="anna", reason="moving")

    def _channel(self, number: int) -> str:
        return str(self._execute("SELECT channel FROM journal WHERE id = ?", (number,)).fetchone()[0])

    def _execute(self, *arguments: Any) -> Any:
        def run(batch: Batch) -> Any:
            return batch.execute(*arguments)

        return self.journal.run_alone(run)

    def act(self) -> None:
        self.acts.append((self.do(audit.note, actor="anna", verb="look", what={}), self.clock.now_us()))

    def walk(self, policy: Policy, limit: int = retention.STEP_ROWS) -> RetentionWalk:
        """A whole walk of retention, step by step; since the last one every day has passed by itself."""
        self._execute("DELETE FROM meta WHERE name = 'retention_clock'")
        run: RetentionWalk = self.do(retention.start, policy=policy)
        for _ in range(10_000):
            run = self.do(retention.step, policy=policy, run=run, limit=limit)
            if run.finished:
                return run
        raise AssertionError("it does not come to an end")

    def rows(self) -> set[int]:
        return {row[0] for row in self._execute("SELECT id FROM journal")}

    def close(self) -> None:
        self.journal.close()

    def reopened(self) -> Journal:
        self.close()
        self.journal = opened(self.folder, clock=self.clock)
        return self.journal

    def findings(self) -> list[str]:
        """What `labrelay verify --deep` says."""
        return [str(found) for found in verify.run(self.folder, deep=True)]


@pytest.fixture
def site(tmp_path: Path) -> Any:
    made = Site(tmp_path / "var")
    yield made
    made.close()


AGES = st.sampled_from([0.0, 1.0, 40.0, 95.0, 150.0])
STEPS = st.lists(
    st.tuples(st.sampled_from(sorted(ENDS)), st.sampled_from(CHANNELS), AGES, st.booleans()), min_size=1, max_size=18
)
DAYS = st.integers(91, 600)


@settings(
    max_examples=examples(30),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
)
@given(script=STEPS, days=st.tuples(DAYS, DAYS, DAYS), more=st.integers(0, 300), limit=st.sampled_from([1, 3, 64]),
       size=st.sampled_from([None, None, 1]), walks=st.integers(1, 2))  # fmt: skip
def test_only_what_has_ended_and_is_old_enough_goes(
    script: list[tuple[str, str, float, bool]],
    days: tuple[int, int, int],
    more: int,
    limit: int,
    size: int | None,
    walks: int,
) -> None:
    policy = Policy(
        delivered_us=days[0] * DAY_US,
        filtered_us=days[1] * DAY_US,
        dismissed_us=days[2] * DAY_US,
        audit_us=(max(days) + more) * DAY_US,
        least_us=min(days) * DAY_US,
        size=size,  # a single byte: always too much, so that all goes that is older than the minimum
    )
    ages = {"delivered": policy.delivered_us, "filtered": policy.filtered_us, "dismissed": policy.dismissed_us}
    with TemporaryDirectory() as folder:
        site = Site(Path(folder) / "var")
        for end, channel, wait, act in script:
            site.message(end, channel)
            if act:
                site.act()
            site.wait(wait)
        site.message("stored")  # the newest row stays in any case
        for _ in range(walks):
            site.walk(policy, limit)
        now_us, left = site.clock.now_us(), site.rows()
        newest = _newest_owners(site)
        for made in site.made:
            kind = ENDS[made.end]
            age_us = now_us - made.at_us
            least = min(ages[kind], policy.least_us) if kind and size else ages[kind] if kind else 0
            goes = kind is not None and age_us > least and not newest.intersection(made.rows)
            assert left.isdisjoint(made.rows) if goes else left.issuperset(made.rows), (made, age_us / DAY_US)
            if not goes:
                _is_whole(site, made)
        for row, at_us in site.acts:
            assert (row in left) == (now_us - at_us <= policy.audit_us), row
        assert site.findings() == []
        after = site.reopened()
        assert after.damage == []
        assert site.message("delivered").rows[0] == max(left) + 1
        assert site.findings() == []
        site.close()


@pytest.mark.parametrize("word", ["take", "annotate", "snooze"])
def test_what_people_said_on_the_to_do_list_is_kept_until_it_is_dropped(site: Site, word: str) -> None:
    said: dict[str, Any] = {"take": {}, "annotate": {"text": "x"}}.get(
        word, {"reason": "x", "until_us": 1, "rank": 1, "count": 1}
    )
    kept = site.do(getattr(todo, word), key="silent/a", actor="anna", **said)
    dropped = site.do(getattr(todo, word), key="silent/b", actor="anna", **said)
    site.do(todo.drop, key="silent/b", actor="anna")
    site.wait(600)
    site.message("stored")  # the newest row stays in any case
    site.walk(POLICY)
    assert kept in site.rows()
    assert dropped not in site.rows()


def _newest_owners(site: Site) -> set[int]:
    """The messages from whose numbers the next ones count on."""
    return {
        row[0]
        for table in ("document", "delivery")
        for row in site._execute(f"SELECT message_id FROM {table} ORDER BY id DESC LIMIT 1").fetchall()
    }


def _is_whole(site: Site, made: Made) -> None:
    """Everything that belongs to a message that stays is still there, and can be read."""
    number = made.rows[-1]
    trace = trace_of(site.journal, number)
    assert trace is not None
    assert stored_payload(site.journal, number).startswith(b"MSH|")
    assert len(trace.frames) == (2 if made.end == "framed" else 0)
    states = [one.state for one in trace.deliveries]
    assert (trace.message.state != "mapped") or len(states) == {
        "no document": 0, "two lanes": 2, "one of two dead": 2
    }.get(made.end, 1)  # fmt: skip
    for document in trace.documents:
        assert stored_document(site.journal, document.id) == b"{}"


def test_a_message_goes_with_all_that_belongs_to_it(site: Site) -> None:
    gone = site.message("framed")
    site.message("delivered")
    site.wait(401)
    site.message("delivered")

    run = site.walk(POLICY)

    assert (run.gone["messages"], run.gone["frames"]) == (2, 2)
    assert site.rows().isdisjoint(gone.rows)
    for table in ("document", "delivery", "message_state"):
        assert site._execute(f"SELECT count(*) FROM {table}").fetchone()[0] == 1
    assert site.findings() == []


def test_what_passed_on_a_line_goes_as_well(site: Site) -> None:
    def note(batch: Batch) -> None:
        batch.execute(
            "INSERT INTO line_trace (channel, session, began_us, size, content) VALUES ('chem', 1, ?, 1, x'00')",
            (batch.now_us,),
        )

    site.journal.run_alone(note)
    site.wait(401)
    site.journal.run_alone(note)
    site.walk(POLICY)
    assert site._execute("SELECT count(*) FROM line_trace").fetchone()[0] == 1


def test_each_run_is_one_act_with_its_counts(site: Site) -> None:
    for _ in range(5):
        site.message("delivered")
    site.wait(401)
    site.message("delivered")
    site.walk(POLICY, limit=2)

    end, begin = [act for act in acts_page(site.journal) if act.verb == retention.VERB or act.ended]
    assert (begin.verb, begin.actor, end.ended) == ("retention", "labrelay", begin.id)
    assert end.what["messages"] == 5
    site.walk(POLICY)
    assert len(acts_page(site.journal)) == 2  # where nothing goes, nothing is noted


def test_a_clock_that_leaps_ahead_makes_nothing_old_at_once(site: Site) -> None:
    old = site.message("delivered")
    site.act()
    site.message("delivered")

    def walk() -> RetentionWalk:
        run: RetentionWalk = site.do(retention.start, policy=POLICY)
        while not run.finished:
            run = site.do(retention.step, policy=POLICY, run=run)
        return run

    assert walk().behind_us == 0
    site.wait(0.25)
    assert walk().behind_us == 0
    site.wait(3650)
    assert walk().behind_us == 3643 * DAY_US
    site.clock.advance(60.0)
    assert walk().behind_us // DAY_US == 3642  # also where the daemon starts again and again
    site.message("delivered")
    assert site.rows().issuperset(old.rows)
    assert site.rows().issuperset(row for row, _ in site.acts)
    surveyed = site.do(retention.survey, policy=POLICY, newest=site.journal.last_id)
    assert (surveyed.counts["messages"], surveyed.behind_us // DAY_US) == (0, 3642)

    for _ in range(53):  # two weeks of a clock that nobody has set right
        site.wait(0.25)
        walk()
    assert site.rows().issuperset(old.rows)
    site.wait(-3600)
    assert walk().behind_us == 0

    for _ in range(70):  # weeks of a clock that is right
        site.wait(7)
        assert walk().behind_us == 0
    assert site.rows().isdisjoint(old.rows)
    assert site.findings() == []


def test_nothing_goes_while_an_act_of_a_person_is_under_way(site: Site) -> None:
    old = site.message("delivered")
    site.wait(401)
    site.message("delivered")
    act = site.do(audit.begin, actor="anna", verb="replay", what={})
    run = site.do(retention.start, policy=POLICY)
    run = site.do(retention.step, policy=POLICY, run=run)
    assert not run.finished
    assert site.rows().issuperset(old.rows)

    site.do(audit.end, act=act, outcome={})
    site.walk(POLICY)

    assert site.rows().isdisjoint(old.rows)


def test_while_an_operation_waits_its_own_messages_stay_and_others_go(site: Site) -> None:
    """A replay may wait for weeks for a destination that is paused: the disk must not fill meanwhile."""
    done, left, other = (site.message("delivered") for _ in range(3))
    site.wait(401)
    site.message("delivered")
    number = site.do(
        bulk.begin,
        verb="replay",
        members=[bulk.Member(one.rows[0]) for one in (done, left)],
        last=site.journal.last_id,
        counted_us=site.clock.now_us(),
        actor="anna",
        what={},
    )
    assert site.do(retention.survey, policy=POLICY, newest=site.journal.last_id).kept["acted on"] == 2

    site.walk(POLICY)

    assert site.rows().issuperset({*done.rows, *left.rows})
    assert site.rows().isdisjoint(other.rows)
    assert site.findings() == []

    site.do(bulk.cancel, number=number, actor="anna")
    site.walk(POLICY)

    assert site.rows().isdisjoint({*done.rows, *left.rows})
    assert site.findings() == []


@pytest.mark.parametrize("harm", ["UPDATE operation_part SET members = x'00'", "DELETE FROM operation_part"])
def test_nothing_goes_while_the_messages_of_an_operation_are_not_known(site: Site, harm: str) -> None:
    old = site.message("delivered")
    site.wait(401)
    site.message("delivered")
    number = site.do(
        bulk.begin,
        verb="replay",
        members=[bulk.Member(old.rows[0])],
        last=site.journal.last_id,
        counted_us=site.clock.now_us(),
        actor="anna",
        what={},
    )
    site.do(lambda batch: batch.execute(harm))
    run = site.do(retention.start, policy=POLICY)
    run = site.do(retention.step, policy=POLICY, run=run)
    assert not run.finished
    assert site.rows().issuperset(old.rows)

    site.do(bulk.abandon, number=number, fault="letters")
    site.walk(POLICY)

    assert site.rows().isdisjoint(old.rows)


def test_what_was_erased_goes_in_its_time_and_then_its_record(site: Site) -> None:
    erased = site.message("framed")
    site.message("delivered")
    site.do(erasure.erase, messages=[erased.rows[-1]], numbers=["4711"], actor="anna", reason="asked", more={})
    (record,) = site._execute("SELECT DISTINCT record FROM erased").fetchone()
    assert site.findings() == []
    site.wait(401)
    site.message("delivered")
    site.walk(POLICY)
    assert site.rows().isdisjoint(erased.rows)
    assert record in site.rows()
    assert site._execute("SELECT count(*) FROM erased").fetchone()[0] == 0
    assert site.findings() == []

    site.wait(101)
    site.message("delivered")
    site.walk(POLICY)

    assert record not in site.rows()
    assert site.findings() == []


def test_what_the_memory_of_equal_bytes_still_names_stays(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dedup, "EQUAL_MEMORY_US", 700 * 86_400_000_000)
    one = received(b"MSH|long", control_id="L", at_us=site.clock.now_us())
    stored = site.do(append.store_message, received=one, repeat_window_s=86_400.0)
    site._map(stored.id, "delivered")
    site.wait(500)
    site.message("delivered")
    site.walk(POLICY)
    assert stored.id in site.rows()

    site.wait(250)
    site.message("delivered")
    site.walk(POLICY)

    assert stored.id not in site.rows()


def test_a_hole_without_a_record_is_loss_and_a_hole_with_one_is_not(site: Site) -> None:
    for _ in range(4):
        site.message("delivered")
    site.wait(401)
    site.message("delivered")
    site.walk(POLICY)
    assert site.findings() == []
    kept = site._execute("SELECT what, first, last, chain, record FROM pruned WHERE what = 'journal'").fetchone()

    def tamper(batch: Batch) -> None:
        batch.execute("UPDATE pruned SET last = last + 1 WHERE what = 'journal'")

    site.journal.run_alone(tamper)

    assert [text.split(":")[0] for text in site.findings()][:1] == [f"journal {kept[1]} to {kept[2] + 1}"]
    assert f"rows {kept[1]} to {kept[2]} are missing" in site.findings()


def test_a_record_that_is_old_enough_goes_and_a_newer_one_vouches(site: Site) -> None:
    site.message("delivered")
    site.message("dead")
    site.message("delivered")
    site.wait(401)
    site.message("delivered")
    site.walk(POLICY)
    first = {row[0] for row in site._execute("SELECT DISTINCT record FROM pruned")}
    site.wait(502)
    site.message("delivered")
    site.walk(POLICY)

    now = {row[0] for row in site._execute("SELECT DISTINCT record FROM pruned")}

    assert not now & first
    assert site.rows().isdisjoint(first)
    assert site.findings() == []


def test_ranges_that_never_join_are_handed_on_a_bounded_number_at_a_time(
    site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where every other message stays for ever. A row's token has room for some thousand ranges, and no more."""
    for module in (retention, pruning):
        monkeypatch.setattr(module, "RECORD_RANGES", 5)
    monkeypatch.setattr(retention, "STEP_ROWS", 4)
    for _ in range(30):
        site.message("no document")
        site.message("dead")
    for _ in range(4):  # each time all records are old enough, and new ones take over
        site.wait(502)
        site.message("dead")
        site.walk(POLICY)
        kept = site._execute("SELECT count(*) FROM pruned WHERE what = 'journal'").fetchone()
        assert kept[0] >= 30
        assert site._execute("SELECT max(length(token)) FROM journal WHERE kind = 4").fetchone()[0] <= 5 * 16
        assert site.findings() == []
    site.journal.close()
    saved = saving.run(site.folder, tmp_path / "saved", clock=site.clock, actor="anna", reason="bad sectors")
    assert saved.findings == []


def test_by_size_the_oldest_goes_first_and_only_as_much_as_needed(site: Site) -> None:
    for _ in range(60):
        one = received(
            b"x" + site._number.to_bytes(2) * 20_000, control_id=str(site._number), at_us=site.clock.now_us()
        )
        site._number += 1
        stored = site.do(
            append.store_message, received=replace(one, payload=_noise(site._number)), repeat_window_s=60.0
        )
        site._map(stored.id, "delivered")
        site.made.append(Made("delivered", [stored.id], site.clock.now_us()))
        site.wait(1)
    site.wait(110)
    used = used_bytes(site._execute)
    site.walk(replace(POLICY, size=used * 2 // 3), limit=4)

    left = site.rows()
    there = [made.rows[0] in left for made in site.made]
    assert there == sorted(there), "the oldest go first"
    assert 15 <= there.count(False) <= 35
    assert used_bytes(site._execute) <= used * 2 // 3
    assert site.findings() == []


def _noise(number: int) -> bytes:
    """Bytes that do not compress."""
    from hashlib import sha256

    return b"".join(sha256(b"%d %d" % (number, n)).digest() for n in range(1250))


def test_a_lane_and_a_channel_whose_messages_are_all_gone_count_on(site: Site) -> None:
    site.message("delivered", "haem")
    site.wait(401)
    site.message("delivered", "chem")
    site.walk(POLICY)
    site.reopened()
    site.message("delivered", "haem")

    views = {view.name: view for view in list_channels(site.journal)}
    assert views["haem"].last_seq == 2
    assert {(lane.channel, lane.last_seq) for lane in list_lanes(site.journal)} == {("haem", 2), ("chem", 1)}
    assert site.findings() == []


def test_a_row_that_is_lost_beside_what_was_let_go_is_named(site: Site) -> None:
    for _ in range(3):
        site.message("delivered")
    site.wait(401)
    last = [site.message("delivered") for _ in range(3)]
    site.walk(POLICY)
    lost = last[0].rows[0]

    def tamper(batch: Batch) -> None:
        batch.execute("DELETE FROM journal WHERE id = ?", (lost,))

    site.journal.run_alone(tamper)

    assert f"row {lost} is missing" in site.findings()


def test_an_old_anchor_that_names_a_row_which_was_let_go_is_no_loss(site: Site) -> None:
    site.message("delivered")
    site.close()
    old = (site.folder / "journal.anchor").read_bytes()
    site.reopened()
    site.wait(401)
    site.message("delivered")
    site.walk(POLICY)
    site.close()
    (site.folder / "journal.anchor").write_bytes(old)

    site.reopened()

    assert site.findings() == []


def test_without_the_record_the_same_anchor_is_an_alarm(site: Site) -> None:
    site.message("delivered")
    site.message("delivered")
    site.close()
    old = (site.folder / "journal.anchor").read_bytes()
    site.reopened()

    def tamper(batch: Batch) -> None:
        batch.execute("DELETE FROM journal WHERE id = 2")

    site.message("delivered")
    site.journal.run_alone(tamper)
    site.close()
    (site.folder / "journal.anchor").write_bytes(old)

    with pytest.raises((LossError, IntegrityError, StoreError), match="row 2"):
        opened(site.folder, clock=site.clock)
    opened(site.folder, clock=site.clock, accept_loss=True).close()
    site.journal = opened(site.folder, clock=site.clock)


def test_salvage_and_compaction_keep_apart_what_was_let_go_and_what_is_lost(site: Site, tmp_path: Path) -> None:
    for end in ("delivered", "dead", "two lanes", "framed", "filtered"):
        site.message(end)
    site.message("delivered", "haem")
    site.wait(401)
    last = [site.message("delivered") for _ in range(3)]
    site.walk(POLICY)
    lost = last[0].rows[0]
    site.close()
    compact.run(site.folder)
    assert site.findings() == []
    whole = saving.run(site.folder, tmp_path / "whole", clock=site.clock, actor="anna", reason="to look")
    site.reopened()

    def tamper(batch: Batch) -> None:
        batch.execute("DELETE FROM journal WHERE id = ?", (lost,))

    site.journal.run_alone(tamper)
    site.close()
    saved = saving.run(site.folder, tmp_path / "saved", clock=site.clock, actor="anna", reason="to look")

    assert (whole.missing, whole.again, whole.findings) == ([], [], [])
    assert [(one.first, one.last) for one in saved.missing] == [(lost, lost)]
    assert saved.findings == []
    site.journal = opened(tmp_path / "whole", clock=site.clock)
    assert {view.name: view.last_seq for view in list_channels(site.journal)} == {"chem": 8, "haem": 1}
    site.message("delivered", "haem")
    site.folder = tmp_path / "whole"
    assert site.findings() == []


def test_the_daemon_lets_go_between_batches_and_ends_its_act_when_it_stops(tmp_path: Path) -> None:
    site = Site(tmp_path / "var")
    old = [site.message("delivered") for _ in range(200)]
    site.wait(401)
    site.message("delivered")
    site.close()
    clock = SystemClock()

    async def run() -> None:
        async with running(tmp_path / "var", clock=_Later(site.clock, clock)) as journal:
            journal.upkeep.policy = POLICY
            journal.upkeep.walk_now()
            number = old[0].rows[0]
            await until(lambda: trace_of(journal, number) is None, within_s=60.0)

    asyncio.run(run())
    site.journal = opened(tmp_path / "var", clock=site.clock)
    assert open_acts(site.journal) == []
    assert [act.what.get("stopped") for act in acts_page(site.journal) if act.ended] in ([True], [None])
    assert site.findings() == []
    site.close()


class _Later:
    """The days of one clock, the seconds of another."""

    def __init__(self, days: Clock, seconds: Clock) -> None:
        self._days, self._seconds = days, seconds

    def now(self) -> datetime:
        return self._days.now()

    def now_us(self) -> int:
        return self._days.now_us()

    def monotonic(self) -> float:
        return self._seconds.monotonic()


def test_what_goes_while_the_journal_is_checked_is_no_loss(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(12):
        site.message("delivered")
    site.wait(401)
    site.message("dead")
    for _ in range(3):
        site.message("delivered")
    read = row_check.read_rows
    limits = iter([3, 64])  # while rows of the journal are read, and while documents are
    run: RetentionWalk = site.do(retention.start, policy=POLICY)

    def let_go() -> None:
        nonlocal run
        run = site.do(retention.step, policy=POLICY, run=run, limit=next(limits, 64))

    def slowly(*arguments: Any, **more: Any) -> Iterator[Any]:
        for number, row in enumerate(read(*arguments, **more)):
            yield row
            if number == 1:
                let_go()

    monkeypatch.setattr(row_check, "CHUNK_ROWS", 2)
    monkeypatch.setattr(row_check, "read_rows", slowly)
    assert site.findings() == []
    assert len(site.rows()) < 9


def test_a_month_that_begins_while_the_journal_is_checked_has_a_key(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.message("delivered")
    read, begun = row_check.read_rows, []

    def amid(*arguments: Any, **more: Any) -> Iterator[Any]:
        for row in read(*arguments, **more):
            if not begun:
                begun.append(row)
                site.wait(31)
                site.message("delivered")
            yield row

    monkeypatch.setattr(row_check, "read_rows", amid)
    assert verify.run(site.folder, deep=True) == []
    assert begun


@pytest.mark.parametrize("table", ["journal", "document"])
@pytest.mark.parametrize("before", [False, True], ids=["first", "another"])
def test_what_is_erased_while_the_journal_is_checked_is_no_damage(
    site: Site, monkeypatch: pytest.MonkeyPatch, table: str, before: bool
) -> None:
    """The check has read what is vouched for, and comes to the row after that."""
    first, second, _ = (site.message("delivered") for _ in range(3))

    def erase(one: Made) -> None:
        site.do(erasure.erase, messages=[one.rows[-1]], numbers=["4711"], actor="anna", reason="asked", more={})

    if before:
        erase(first)
    read, left = row_check.read_rows, [second]

    def amid(connection: sqlite3.Connection, *arguments: Any) -> Iterator[Any]:
        if ("document" in arguments) == (table == "document") and left:
            erase(left.pop())
        yield from read(connection, *arguments)

    monkeypatch.setattr(row_check, "read_rows", amid)
    assert [str(found) for found in verify.run(site.folder, deep=True)] == []
    assert not left


@pytest.mark.parametrize("table", ["journal", "document"])
def test_what_goes_between_being_read_and_being_checked_is_no_damage(
    site: Site, monkeypatch: pytest.MonkeyPatch, table: str
) -> None:
    """Some of it went before the check read it, and what stands next to it after: one range for both by then."""
    for _ in range(12):
        site.message("delivered")
    site.wait(401)
    for _ in range(3):
        site.message("delivered")
    read = row_check.read_rows
    run: RetentionWalk = site.do(retention.start, policy=POLICY)
    there: list[list[int]] = []

    def let_go() -> None:
        nonlocal run
        run = site.do(retention.step, policy=POLICY, run=run, limit=3)
        there.append([row[0] for row in site._execute(f"SELECT id FROM {table} ORDER BY id")])

    def slowly(connection: Any, first: int, last: int, columns: str = "", of: str = "journal") -> Iterator[Any]:
        more = (columns, of) if columns else ()
        if of == table:
            let_go()
        for number, row in enumerate(read(connection, first, last, *more)):
            if of == table and not number:
                let_go()
            yield row

    monkeypatch.setattr(row_check, "read_rows", slowly)
    assert site.findings() == []
    assert 1 < there[0][0] < there[1][0]
