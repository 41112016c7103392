"""Scan and share, against the simulator: a token for each patient, and a message for the laboratory system."""

from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from adapters.codecs.hl7v2 import message as hl7
from engine.features.abdm.flows.leaving import STATUS
from engine.features.abdm.flows.reports import SHARE
from engine.features.abdm.rows import callbacks, patients
from engine.features.abdm.rows.reading import undecided
from engine.features.abdm.rows.shares import Listener, announce, has_shares, tokens
from engine.model.message import FormatOptions
from engine.store.core.writing.batch import Batch
from engine.store.core.writing.operation import Priority, operation
from engine.store.integrity.verify import run as verify
from engine.store.lifecycle import erasure
from engine.store.queries.reader import stored_message
from tests.support.abdm_reports import write_site
from tests.support.abdm_site import FACILITY, SECRET, AbdmSite, abdm_site, person, report
from tests.support.ports import quiet_ports
from tests.support.running import channel, running_app
from tests.support.waiting import until
from workbench.abdm import AbdmSandbox, Faults, Settings
from workbench.abdm.app import Share
from workbench.abdm.people import PEOPLE


def given(site: AbdmSite) -> list[tuple[str, int]]:
    """Counter and token of each row, in their order."""
    return site.ours.rows("abdm_share ORDER BY number", "counter, token")


async def scan(site: AbdmSite, who: int = 0, counter: str = "1", **other: Any) -> None:
    before = len(site.ours.rows("abdm_call WHERE name = 'on-share' AND state = 'done'"))
    args = {"patient": PEOPLE[who].address, "facility": FACILITY, "counter": counter, **other}
    await site.ask("/app/share", args)
    await until(lambda: len(site.ours.rows("abdm_call WHERE name = 'on-share' AND state = 'done'")) > before)


async def test_each_patient_has_a_token_of_his_counter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with abdm_site(tmp_path, monkeypatch) as site:
        for who, counter in ((0, "1"), (1, "1"), (2, "A2"), (3, "1"), (0, "A2")):
            await scan(site, who, counter)
        await site.is_clean()
        assert given(site) == [("1", 1), ("1", 2), ("A2", 1), ("1", 3), ("A2", 2)]
        assert site.ours.rows("abdm_patient ORDER BY number", "state") == [("known",)] * 4
        (day,) = {day for (day,) in site.ours.rows("abdm_share", "day")}
        shown = tokens(site.ours.journal, day, 3)
        assert [(view.counter, view.token, view.name) for view in shown] == [
            ("A2", 2, "M*** I***"),
            ("1", 3, "K*** D***"),
            ("A2", 1, "A*** R***"),
        ]
        assert tokens(site.ours.journal, "2020-01-01", 3) == []
    assert verify(tmp_path, deep=True) == []


async def test_a_scan_while_a_token_is_in_force_has_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with abdm_site(tmp_path, monkeypatch) as site:
        await scan(site)
        await scan(site, 1)
        await scan(site)
        await site.is_clean()
        assert given(site) == [("1", 1), ("1", 2)]
        assert site.ours.rows("abdm_callback ORDER BY number", "state, reason") == [
            ("folded", ""),
            ("folded", ""),
            ("folded", "same-token"),
        ]


async def test_after_its_time_a_scan_has_the_next_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with abdm_site(tmp_path, monkeypatch) as site:
        await scan(site)
        await site.ours.journal.run(over)
        await site.ask("/clear", {})
        await site.ask("/bridge", {"url": site.ours.url})
        await scan(site)
        assert given(site) == [("1", 1), ("1", 2)]


@operation(priority=Priority.SETTLE)
def over(batch: Batch) -> None:
    """The time of all tokens is over."""
    batch.execute("UPDATE abdm_share SET until_us = ?", (batch.now_us,))


@operation(priority=Priority.SETTLE)
def yesterday(batch: Batch) -> None:
    batch.execute("UPDATE abdm_share SET day = '2026-03-01', until_us = ?", (batch.now_us,))


async def test_a_new_day_begins_with_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with abdm_site(tmp_path, monkeypatch) as site:
        for who in range(2):
            await scan(site, who)
        await site.ours.journal.run(yesterday)
        await scan(site, 2)
        assert given(site) == [("1", 1), ("1", 2), ("1", 1)]


@pytest.mark.parametrize("intent", ["RECORD_SHARE", "PAYMENT_SHARE"])
async def test_another_intent_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, intent: str) -> None:
    async with abdm_site(tmp_path, monkeypatch) as site:
        await scan(site, intent=intent)
        await site.is_clean()
        assert given(site) == []
        assert site.ours.rows("abdm_patient") == []
        shown = await site.ask(f"/app/{PEOPLE[0].address}")
        assert "ABDM-1149" in orjson.dumps(shown).decode()


def shared(*, intent: Any = "PROFILE_SHARE", meta: Any = None, **profile: Any) -> dict[str, Any]:
    said = {"hipId": FACILITY, "context": "1", "hprId": "", "latitude": "1", "longitude": "1"}
    patient = PEOPLE[0].profile() | profile
    return {"intent": intent, "metaData": said | (meta or {}), "profile": {"patient": patient}}


async def hears(site: AbdmSite, body: Any, request_id: str = "r-1") -> tuple[str, str]:
    await site.ours.journal.run(callbacks.store, SHARE, FACILITY, request_id, orjson.dumps(body), 0)
    site.ours.dispatcher.stored()
    select = f"abdm_callback WHERE request_id = '{request_id}' AND state <> 'stored'"
    await until(lambda: site.ours.rows(select))
    found: tuple[str, str] = site.ours.rows(select, "state, reason")[0]
    return found


BODIES: dict[str, tuple[Any, str, int]] = {  # body, reason, tokens
    "as it should be": (shared(), "", 1),
    "no number": (shared(abhaNumber=None), "", 1),
    "a number whose check digit does not fit": (shared(abhaNumber="91100000000017"), "", 1),
    "a number with dashes": (shared(abhaNumber="91-1000-0000-0016"), "", 1),
    "numbers in place of texts": (shared(yearOfBirth=1986, monthOfBirth=3, dayOfBirth=14), "", 1),
    "no day of birth": (shared(dayOfBirth=None, monthOfBirth=""), "", 1),
    "no mobile": (shared(phoneNumber=None), "", 1),
    "no address of a street": (shared(address=None), "", 1),
    "no ABHA address": (shared(abhaAddress=None), "no-address", 0),
    "an address of production": (shared(abhaAddress="meera.iyer@abdm"), "other-environment", 0),
    "no name": (shared(name=" "), "no-name", 0),
    "a name without end": (shared(name="A" * 300), "no-name", 0),
    "no gender": (shared(gender="X"), "no-gender", 0),
    "no year": (shared(yearOfBirth="86"), "no-birth-year", 0),
    "a year of long ago": (shared(yearOfBirth="1786"), "no-birth-year", 0),
    "no profile": ({"intent": "PROFILE_SHARE", "metaData": {"context": "1"}}, "no-profile", 0),
    "a counter of other signs": (shared(meta={"context": "../1"}), "no-counter", 0),
    "a counter without end": (shared(meta={"context": "1" * 21}), "no-counter", 0),
    "no counter": (shared(meta={"context": None}), "no-counter", 0),
    "of another facility": (shared(meta={"hipId": "IN0000000002"}), "other-facility", 0),
    "no intent": (shared(intent=None), "intent", 0),
    "empty": ({}, "intent", 0),
}


@pytest.mark.parametrize("name", BODIES)
async def test_a_profile_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    body, reason, count = BODIES[name]
    async with abdm_site(tmp_path, monkeypatch) as site:
        site.ours.takes_answers()
        assert await hears(site, body) == ("folded", reason)
        await until(lambda: site.ours.rows("abdm_call WHERE name = 'on-share' AND state = 'done'"))
        assert len(given(site)) == count
        assert len(site.ours.rows("abdm_patient")) == count
        assert len(site.ours.rows("abdm_call WHERE name = 'on-share'")) == 1
        if count:
            said = await site.ours.journal.run(read, 1)
            assert said.verified
            assert said.number == (
                "" if name in ("no number", "a number whose check digit does not fit") else "91100000000016"
            )


@operation(priority=Priority.SETTLE)
def read(batch: Batch, number: int) -> Any:
    found = patients.by_number(batch, number)
    return found.person if found is not None else None


@pytest.mark.parametrize("kind", ["duplicate", "late", "late-token", "expired", "other-facility", "alg-none"])
async def test_a_scan_of_any_habit_counts_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    async with abdm_site(tmp_path, monkeypatch, Faults(callbacks={"share": [kind]}, late_s=0.2)) as site:
        await scan(site)
        await site.is_clean()
        assert given(site) == [("1", 1)]


async def test_a_repeat_under_another_request_id_has_the_same_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with abdm_site(tmp_path, monkeypatch, Faults(calls={"on-share": ["503"] * 1000})) as site:
        assert await hears(site, shared(), "r-1") == ("folded", "")
        assert await hears(site, shared(), "r-2") == ("folded", "same-token")
        assert given(site) == [("1", 1)]


async def test_what_a_report_said_of_him_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with abdm_site(tmp_path, monkeypatch) as site:
        await site.ours.is_told(await site.ours.offer(report(), person()))
        await scan(site)
        said = await site.ours.journal.run(read, 1)
        assert (said.patient, said.verified) == ("PID-0", True)


def names(*ids: tuple[str, str], born: str = "1986-03-14", gender: str = "female", **other: Any) -> dict[str, Any]:
    """The patient of a report, with these identifiers: type and value. Without a name it waits for one."""
    identifiers = [{"type": {"coding": [{"code": kind}]}, "value": text} for kind, text in ids]
    patient = {"identifier": identifiers, "gender": gender, "birthDate": born, **other}
    return {"content": {"display": "Lab report", "patient": patient}}


MEERA, NUMBER = ("ABHA", PEOPLE[0].address), ("HIN", "91100000000016")
PHONE = {"telecom": [{"system": "phone", "value": PEOPLE[0].mobile}]}
WAITING: dict[str, tuple[dict[str, Any], bool]] = {
    "his address": (names(MEERA), True),
    "his number": (names(NUMBER), True),
    "his number with dashes": (names(("HIN", "91-1000-0000-0016")), True),
    "both": (names(MEERA, NUMBER, ("MR", "PID-0")), True),
    "an address in capitals": (names(("ABHA", "Meera.Iyer@SBX")), True),
    "his mobile and name alone": (names(("MR", "PID-0"), **PHONE), False),
    "his number as one of the laboratory": (names(("MR", "91100000000016")), False),
    "the number of another": (names(MEERA, ("HIN", "91100000000024")), False),
    "the address of another": (names(("ABHA", "meera.k.iyer@sbx"), NUMBER), False),
    "another year": (names(MEERA, born="1961-03-14"), False),
    "another gender": (names(MEERA, gender="male"), False),
    "no name, no year and no gender": (names(MEERA, born="", gender="unknown"), False),
    "his name, no year and no gender": (
        names(MEERA, born="", gender="unknown", name=[{"text": "Meera Iyer"}]),
        True,
    ),
    "another name, no year and no gender": (
        names(MEERA, born="", gender="unknown", name=[{"text": "Anaya Rao"}]),
        False,
    ),
    "nothing": ({"content": {}}, False),
}


@pytest.mark.parametrize("name", WAITING)
async def test_a_report_that_waits_is_given_to_the_abha_that_it_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    more, is_his = WAITING[name]
    async with abdm_site(tmp_path, monkeypatch) as site:
        number = await site.ours.offer(report(**more), None)
        await scan(site)
        if is_his:
            await site.ours.is_told(number)
        await site.is_clean()
        assert site.ours.states() == ["linked" if is_his else "waiting"]


async def test_one_who_has_left_comes_back_by_a_scan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with abdm_site(tmp_path, monkeypatch) as site:
        await site.ours.is_told(await site.ours.offer(report(), person()))
        await site.ask("/app/status", {"patient": PEOPLE[0].address, "status": "DEACTIVATED"})
        await until(lambda: site.ours.states() == ["dropped"])
        waits = await site.ours.offer(report("A-2", message_id=2, **names(MEERA)), person())
        await site.ask("/app/status", {"patient": PEOPLE[0].address, "status": "ACTIVE"})
        site.sandbox.state.drop_token(FACILITY, PEOPLE[0].address)
        await scan(site)
        await site.ours.is_told(waits)
        assert site.ours.rows("abdm_context ORDER BY number", "state, reason") == [("dropped", "left"), ("linked", "")]


async def test_one_who_leaves_is_in_no_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with abdm_site(tmp_path, monkeypatch, Faults(calls={"on-share": ["503"] * 1000})) as site:
        await hears(site, shared())
        assert not has_shares(site.ours.journal), "the gateway has not taken our answer"
        site.ours.takes_answers("/status/on-notify")
        body = {"notification": {"abhaAddress": PEOPLE[0].address, "status": "DELETED"}}
        await site.ours.journal.run(callbacks.store, STATUS, FACILITY, "r-2", orjson.dumps(body), 0)
        site.ours.dispatcher.stored()
        await until(lambda: site.ours.rows("abdm_call WHERE name = 'on-share'", "state, code") == [("failed", "left")])
        assert site.ours.rows("abdm_share", "patient, content = x''") == [(0, 1)]
        assert not undecided(site.ours.journal)

        site.ours.takes_answers()
        await hears(site, shared(), "r-3")
        await until(lambda: has_shares(site.ours.journal))
        await site.ours.journal.run(callbacks.store, STATUS, FACILITY, "r-4", orjson.dumps(body), 0)
        site.ours.dispatcher.stored()
        await until(lambda: not has_shares(site.ours.journal))


async def test_a_profile_counts_once_the_gateway_has_taken_our_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any party that has seen a token of the gateway can make one: the gateway refuses an answer to nothing."""
    async with abdm_site(tmp_path, monkeypatch) as site:
        waits = await site.ours.offer(report(**names(MEERA)), None)
        await hears(site, shared())
        await until(lambda: site.ours.rows("abdm_call WHERE name = 'on-share' AND state = 'failed'"))
        assert given(site) == [("1", 1)]
        assert site.ours.rows("abdm_patient") == []
        assert not has_shares(site.ours.journal)
        assert site.ours.states() == ["waiting"]
        assert [(one.what, one.count) for one in undecided(site.ours.journal)] == [("unshared", 1)]
        await scan(site)
        await site.ours.is_told(waits)
        assert has_shares(site.ours.journal)


async def test_an_erased_patient_is_in_no_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with abdm_site(tmp_path, monkeypatch, Faults(calls={"*": ["503"] * 1000})) as site:
        await site.ours.offer(report(), person())
        site.ours.takes_answers()
        await hears(site, shared())
        await until(lambda: has_shares(site.ours.journal))
        await site.ours.journal.run(erasure.erase, [], ["PID-0"], actor="a", reason="b", more={})
        assert site.ours.rows("abdm_share", "patient, content = x''") == [(0, 1)]
        assert site.ours.rows("abdm_patient", "state, content = x''") == [("dropped", 1)]


async def test_without_a_channel_nothing_of_the_profile_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with abdm_site(tmp_path, monkeypatch) as site:
        await scan(site)
        assert await site.ours.journal.run(announce, []) == []
        assert not has_shares(site.ours.journal)


async def test_a_message_that_cannot_be_written_is_a_dead_letter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with abdm_site(tmp_path, monkeypatch) as site:
        await scan(site)

        def write(shared: object) -> Any:
            raise ValueError("Meera Iyer")

        listener = Listener(channel="desk", facilities=(), write=write)
        assert await site.ours.journal.run(announce, [listener]) == []
        assert site.ours.rows("message_state", "state, reason") == [("dead", "NOT_WRITTEN")]


def fields(payload: bytes, segment: str) -> list[str]:
    (found,) = [one.split("|") for one in payload.decode().split("\r") if one.startswith(segment)]
    return found


def add_desk(site: Path) -> None:
    """A channel of shared profiles, whose messages become files."""
    desk = {"channel": "desk", **channel({"kind": "abdm-share"}, {"to": "out"})}
    (site / "channels" / "desk.yaml").write_text(yaml.safe_dump(desk), encoding="utf-8")
    file = site / "config" / "labrelay.yaml"
    config = yaml.safe_load(file.read_text(encoding="utf-8"))
    config["destinations"]["out"] = {"kind": "file", "folder": "var/out"}
    file.write_text(yaml.safe_dump(config), encoding="utf-8")


async def test_the_laboratory_system_hears_of_him(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SECRET, Settings().secret)
    sandbox = AbdmSandbox(settings=Settings(repeat_after_s=0.05, repeats=3))
    await sandbox.start()
    (port,) = quiet_ports(1)
    try:
        site = write_site(tmp_path, sandbox.url, port)
        add_desk(site)
        async with running_app(site) as app:
            sandbox.state.bridge_url = f"http://127.0.0.1:{port}/abdm"
            for who in (0, 3, 0):
                sandbox.app.share(Share(patient=PEOPLE[who].address, facility=FACILITY))
                await until(lambda: not app.journal.rows("SELECT 1 FROM abdm_callback WHERE state = 'stored'"))
            await until(lambda: app.journal.rows("SELECT count(*) FROM delivery WHERE state = 'delivered'") == [(2,)])
            ids = [i for (i,) in app.journal.rows("SELECT id FROM journal WHERE channel = 'desk' ORDER BY id")]
            first, second = (stored_message(app.journal, i).payload for i in ids)
            assert not app.journal.rows("SELECT 1 FROM abdm_share WHERE content <> x''")
    finally:
        await sandbox.stop()
    pid, visit = fields(first, "PID"), fields(first, "PV1")
    assert fields(first, "MSH")[3] == FACILITY
    assert pid[3] == "meera.iyer@sbx^^^ABDM^ABHA~91100000000016^^^ABDM^HIN"
    assert (pid[5], pid[7], pid[8]) == ("Meera Iyer", "19860314", "F")
    assert pid[11] == "1 Example Road^^Pune^Maharashtra^411001^IND^H"
    assert pid[13] == "9000000001^PRN^CP"
    assert (visit[3], visit[19]) == ("1", "1")
    assert datetime.strptime(visit[44], "%Y%m%d%H%M%S%z").utcoffset() is not None
    assert fields(second, "PID")[3] == "kabir.only@sbx^^^ABDM^ABHA"
    assert fields(second, "PV1")[19] == "2"
    for payload in (first, second):
        assert hl7.parse(payload, FormatOptions()) is not None
    assert verify(site / "var", deep=True) == []
