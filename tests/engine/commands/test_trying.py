"""A trial: what the page is told of a message and a mapping, whatever either is like."""

import asyncio
import os
import sys
import tempfile
from pathlib import Path
from typing import Any, Protocol

import pytest

from engine.commands.shared import trying
from engine.commands.shared.trying import ENDED, SiteTrials, bytes_of
from tests.support.mapping_texts import ASTM, HL7, Workshop
from tests.support.sites import make_site
from tests.support.waiting import until

LIBRARY = "mapping-library: lib\nformat: labrelay-mapping/1\nfragments: {named: {takes: [x], body: {family: =x}}}\n"
MAPPING = """\
mapping: small
format: labrelay-mapping/1
from: hl7v2/ORU_R01
to: fhir/R4
import: [lib]
steps:
  - each: PATIENT_RESULT
    do:
      - create: Patient
        key: =PID-3.1
        body:
          name:
            $use: named
            $with: {x: "=PID-5.1"}
      - each: ORDER_OBSERVATION
        do:
          - each: OBSERVATION
            create: Observation
            key: =[OBX-3.1, OBX-4 | '-']
            body: {status: final, code: "=cwe(OBX-3)", valueString: "=OBX-5"}
"""


class Try(Protocol):
    def __call__(self, mapping: str = ..., message: str = ..., **more: str) -> dict[str, Any]: ...


@pytest.fixture
def site(tmp_path: Path) -> Path:
    folder = make_site(tmp_path / "site")
    workshop = Workshop(folder / "mappings")
    workshop.write("small.yaml", MAPPING)
    workshop.write("lib.yaml", LIBRARY)
    return folder


@pytest.fixture
def tried(site: Path, tmp_path: Path) -> Try:
    def once(mapping: str = "small", message: str = HL7, **more: str) -> dict[str, Any]:
        given = {"channel": "", "text": "", "charset": "utf-8"} | more
        with tempfile.TemporaryDirectory(dir=tmp_path) as scratch:
            return trying.tried(site=str(site), scratch=scratch, mapping=mapping, message=message, **given)

    return once


def test_a_message_is_mapped_and_every_line_with_a_value_is_explained(tried: Try) -> None:
    made = tried()
    assert {problem["severity"] for problem in made["problems"]} == {"warning"}, "keys may be absent"
    assert made["mapping"]["name"] == "small"
    assert "PID-8" in made["unread"]
    pointers = {pointer for _, _, pointer in made["lines"] if pointer}
    assert pointers == {leaf["pointer"] for leaf in made["leaves"]}
    (family,) = [leaf for leaf in made["leaves"] if leaf["rule"] == "lib.yaml:3"]
    assert family["sources"] == ("PID[1]-5.1",)


def test_a_mapping_that_says_another_than_the_facts_is_warned_of(tried: Try, site: Path) -> None:
    assert "FACTS_DIFFER" not in [one["code"] for one in tried()["issues"]]
    (site / "mappings/small.yaml").write_text(MAPPING.replace("status: final", "status: amended"))
    found = [one["place"] for one in tried()["issues"] if one["code"] == "FACTS_DIFFER"]
    assert found == ["OBX[1]", "OBX[2]"]


def test_an_edited_text_takes_the_place_of_the_file_with_its_libraries(tried: Try, site: Path) -> None:
    before = tried()["mapping"]["hash"]
    made = tried(text=MAPPING.replace("status: final", "status: preliminary"))
    assert '"status": "preliminary",' in [text for _, text, _ in made["lines"]]
    assert made["mapping"]["hash"] != before
    assert "lib.yaml:3" in [leaf["rule"] for leaf in made["leaves"]]
    assert (site / "mappings" / "small.yaml").read_text(encoding="utf-8") == MAPPING


def test_problems_have_their_place(tried: Try, site: Path) -> None:
    (error,) = [
        one for one in tried(text=MAPPING.replace("valueString", "valueStrin"))["problems"] if one["line"] == 20
    ]
    assert (error["severity"], error["file"]) == ("error", "small.yaml")
    assert "did you mean valueString?" in error["text"]
    (site / "mappings" / "lib.yaml").write_text(LIBRARY.replace("family", "famly"), encoding="utf-8")
    made = tried()
    (problem,) = made["problems"]
    assert (problem["severity"], problem["file"], problem["line"]) == ("error", "lib.yaml", 3)
    assert "lines" not in made


def test_what_is_wrong_with_a_mapping_is_told_with_a_bad_message_too(tried: Try) -> None:
    made = tried(message="no message at all", text="mapping: [\n")
    assert [problem["severity"] for problem in made["problems"]] == ["error"]


@pytest.mark.parametrize(
    ("message", "channel", "reason", "place"),
    [
        ("what is this", "", "UNREADABLE", ""),
        (HL7.replace("COL^", "^"), "", "NO_IDENTITY", "OBX[2]"),
        (HL7.replace("|P|2.5", "|T|2.5"), "haematology", "NOT_PRODUCTION", "MSH-11"),
    ],
)
def test_a_dead_message_says_why_and_where(tried: Try, message: str, channel: str, reason: str, place: str) -> None:
    made = tried(message=message, channel=channel)
    assert (made["dead"]["reason"], made["dead"]["place"]) == (reason, place)
    assert made["dead"]["text"]
    assert "Doe" not in str(made["dead"])


def test_the_first_of_several_messages_is_tried_without_its_frame(tried: Try) -> None:
    framed = f"\x0b{HL7}\x1c\r\x0b{HL7.replace('14.8', '9.1')}\x1c\r"
    shown = [text for _, text, _ in tried(message=framed)["lines"]]
    assert shown == [text for _, text, _ in tried()["lines"]]


@pytest.mark.parametrize(
    ("mapping", "message", "source", "line"),
    [
        ("astm-to-hl7", ASTM, "R[1]-4", "5  8.13"),
        ("astm-to-csv", ASTM, "R[1]-4", "value  8.13"),
        ("hl7-to-json", HL7, "OBX[1]-5", ""),
    ],
)
def test_documents_that_are_no_fhir_are_explained_line_by_line_too(
    tried: Try, mapping: str, message: str, source: str, line: str
) -> None:
    made = tried(mapping, message)
    assert "dead" not in made
    shown = {pointer for _, _, pointer in made["lines"] if pointer}
    assert shown
    assert shown <= {leaf["pointer"] for leaf in made["leaves"]}
    assert [leaf for leaf in made["leaves"] if any(one.startswith(source) for one in leaf["sources"])]
    if line:
        assert line in [text for _, text, _ in made["lines"]]


def test_a_document_too_large_is_shown_and_not_explained(tried: Try, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trying, "MAX_EXPLAINED_BYTES", 100)
    made = tried()
    assert made["leaves"] == []
    assert made["lines"]


def test_a_text_has_the_bytes_of_its_character_set_where_it_can() -> None:
    assert bytes_of("Größe", "cp1252") == b"Gr\xf6\xdfe"
    assert bytes_of("Größe ش", "cp1252") == "Größe ش".encode()


async def test_a_process_that_ends_without_an_answer_costs_its_trial_alone(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = SiteTrials(site, within_s=60.0)
    with monkeypatch.context() as patched:
        patched.setattr(trying, "MODULE", "engine.commands.shared.no_such_module")
        assert await one("", "small", "", HL7, "utf-8") == {"trouble": ENDED}
    assert (await one("", "small", "", HL7, "utf-8"))["mapping"]["name"] == "small"


async def test_an_answer_out_of_bounds_is_not_read(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trying, "MAX_ANSWER_BYTES", 10)
    assert await SiteTrials(site, within_s=60.0)("", "small", "", HL7, "utf-8") == {"trouble": ENDED}


PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-P", "-m", sys.argv[1]], stdin=int(sys.argv[2]), stdout=subprocess.DEVNULL)
print(child.pid, flush=True)
child.wait()
"""


async def test_a_trial_ends_with_the_daemon_however_that_ends() -> None:
    """Its pipe stays open, as for one that maps and reads nothing."""
    reads, writes = os.pipe()
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-c", PARENT, trying.MODULE, str(reads), stdout=asyncio.subprocess.PIPE, pass_fds=[reads]
    )
    assert parent.stdout is not None
    child = int(await parent.stdout.readline())
    mine = os.getpriority(os.PRIO_PROCESS, 0)
    await until(lambda: os.getpriority(os.PRIO_PROCESS, child) > mine)  # it is set up
    parent.kill()
    await parent.wait()
    await until(lambda: has_ended(child))
    os.close(reads)
    os.close(writes)


def has_ended(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z"
