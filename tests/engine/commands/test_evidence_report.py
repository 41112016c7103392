"""`labrelay test --evidence`: a record of what was tested, the same on every machine but for its time."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from engine.commands.shared.output import ExitCode
from tests.support.command_line import labrelay

MAPPING = """\
mapping: small
format: labrelay-mapping/1
from: hl7v2/ORU_R01
to: fhir/R4
policies: {unread_segment: ignore}
tables:
  codes: {csv: tables/codes.csv, key: [code, unit_in], on_missing: local}
steps:
  - each: PATIENT_RESULT
    do:
      - each: ORDER_OBSERVATION
        do:
          - each: OBSERVATION
            create: Observation
            key: =[OBR-3.1, OBX-3.1, OBX-4 | '-']
            body:
              status: final
              code: =coded(lookup('codes', OBX-3.1, OBX-6), cwe(OBX-3))
              valueString: =OBX-5
"""
TESTS = """\
- test: the code is <LOINC> & kept
  description: Hemoglobin
  mapping: small
  settings: {timezone: Asia/Kolkata}
  given: |
    MSH|^~\\&|XN|LAB|||20260301101530||ORU^R01|1|P|2.5
    PID|1||7^^^HOSP^MR||Doe^Jane
    OBR|1|O1|F1|CBC|||20260301091500
    OBX|1|ST|HGB^Hb^L||high|g/dL
  expect:
    counts: {Observation: 1}
    resources: [{find: Observation, has: {code: {coding: [{code: 718-7}]}, valueString: high}}]
    issues: []
- test: from a file
  mapping: small
  file: message.hl7
  expect:
    counts: {Observation: 2}
"""
MESSAGE = "MSH|^~\\&|XN|LAB|||20260301101530||ORU^R01|1|P|2.5\nPID|1||8||Canary^X\nOBR|1|O1|F1|CBC\n"


class Page(HTMLParser):
    """Its text, and every address that it would fetch."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.fetched: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.fetched += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return make(tmp_path / "here")


def make(folder: Path) -> Path:
    for name in ("config", "mappings/tables", "mappings/tests"):
        (folder / name).mkdir(parents=True)
    (folder / "config/labrelay.yaml").write_text("site: {name: City Lab, timezone: Asia/Kolkata}\n")
    (folder / "mappings/small.yaml").write_text(MAPPING)
    (folder / "mappings/tables/codes.csv").write_text("code,unit_in,loinc\nHGB,g/dL,718-7\n")
    (folder / "mappings/tests/hemoglobin.yaml").write_text(TESTS)
    (folder / "mappings/tests/message.hl7").write_text(MESSAGE + "OBX|1|ST|A||x\nOBX|2|ST|B||y\n")
    return folder


def report(site: Path, *, code: ExitCode = ExitCode.OK) -> str:
    file = site / "evidence.html"
    ran = labrelay("test", str(site / "mappings/tests"), "--evidence", str(file), site=site)
    assert ran.code == code, ran.out + ran.err
    return file.read_text(encoding="utf-8")


def without_time(text: str) -> str:
    changed, count = re.subn(r"<time>[\d :-]+UTC</time>", "<time/>", text)
    assert count == 1
    return changed


def test_it_says_what_was_tested_and_how_it_went(site: Path) -> None:
    page = Page(report(site))

    assert page.open == [], "every element is closed"
    assert page.fetched == [], "nothing comes from outside"
    assert "City Lab. LabRelay" in page.text
    assert "Result: all 2 tests passed." in page.text
    assert "Not as expected" not in page.text
    assert "= empty" not in page.text
    assert "1. the code is <LOINC> & kept: passed" in page.text
    assert "resources[0]: Observation with code.coding[0].code = 718-7; valueString = high" in page.text
    assert "counts.Observation = 1" in page.text
    assert "issues: none" in page.text
    assert "timezone = Asia/Kolkata" in page.text
    assert "rules of small ran in its tests" in page.text
    assert "message.hl7, SHA-256" in page.text


def test_files_and_messages_are_named_by_their_digests(site: Path) -> None:
    import hashlib

    text = report(site)
    for file in ("small.yaml", "tables/codes.csv", "tests/message.hl7"):
        assert hashlib.sha256((site / "mappings" / file).read_bytes()).hexdigest() in text, file


def test_texts_of_tests_are_in_it_and_nothing_of_other_files(site: Path) -> None:
    text = report(site)

    assert "Doe^Jane" in text, "the test's own text"
    assert "Canary" not in text, "a message that the test only names"
    assert str(site) not in text


def test_the_same_tests_give_the_same_record_elsewhere(site: Path, tmp_path: Path) -> None:
    other = make(tmp_path / "there")
    assert without_time(report(site)) == without_time(report(other))

    (other / "mappings/tables/codes.csv").write_text("code,unit_in,loinc\nHGB,g/dL,718-7\n# a word\n")
    assert without_time(report(site)) != without_time(report(other))


def test_a_failure_is_in_it(site: Path) -> None:
    path = site / "mappings/tests/hemoglobin.yaml"
    path.write_text(TESTS.replace("718-7", "718-8"))
    page = Page(report(site, code=ExitCode.FAILED))

    assert "Result: not passed: 1 of 2 tests passed." in page.text
    assert "expected 718-8, got 718-7" in page.text


def test_what_could_not_be_tested_is_no_pass(site: Path) -> None:
    (site / "mappings/tests/broken.yaml").write_text("test: x\nmapping: small\ngiven: x\n")
    page = Page(report(site, code=ExitCode.CONFIG))

    assert "Result: not passed" in page.text
    assert "a test that expects nothing cannot fail" in page.text


def test_writing_what_is_expected_is_no_evidence(site: Path) -> None:
    ran = labrelay("test", "--update", "--evidence", str(site / "x.html"), site=site)
    assert ran.code == ExitCode.USAGE


CHANNEL = """\
channel: xn
source: {kind: mllp, listen: "127.0.0.1:0"}
routes: [{mapping: small, to: archive}]
"""


def test_it_says_who_ran_it_and_whether_it_is_what_the_channels_use(site: Path) -> None:
    (site / "channels").mkdir()
    (site / "config/labrelay.yaml").write_text(
        "site: {name: City Lab, timezone: Asia/Kolkata}\ndestinations: {archive: {kind: file, folder: var/archive}}\n"
    )
    (site / "channels/xn.yaml").write_text(CHANNEL)
    (site / "channels/own.yaml").write_text(
        CHANNEL.replace("xn", "own") + "settings: {tables: {codes: [tables/mine.csv, tables/codes.csv]}}\n"
    )
    (site / "mappings/tables/mine.csv").write_text("code,unit_in,loinc\nWBC,10*3/uL,6690-2\n")
    file = site / "evidence.html"
    ran = labrelay("test", str(site / "mappings/tests"), "--evidence", str(file), "--by", "A. <Doe>", site=site)
    assert ran.code == ExitCode.OK, ran.err
    text = Page(file.read_text(encoding="utf-8")).text

    assert "UTC by A. <Doe>." in " ".join(text.split()).replace("UTC  by", "UTC by")
    assert "Tests run by A. <Doe>" in text
    rows = dict(re.findall(r"(own|xn) small [0-9a-f]{64} (none|\d+)", text))
    assert rows == {"own": "none", "xn": "2"}, "a table of its own makes another mapping of it"
    alone = labrelay("test", "--by", "x", site=site)
    assert alone.code == ExitCode.USAGE
