"""A trial: what the page is told of a message and a mapping, whatever either is like."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.commands.shared.mapping_options import ChannelMapper
from engine.devtools.playground import trial
from engine.devtools.playground.files import Folders
from engine.devtools.playground.trial import Bench, Maps
from engine.model.message import MapContext
from tests.support.mapping_texts import ASTM, HL7, RECEIVED, Workshop

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


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    workshop = Workshop(tmp_path / "mappings")
    workshop.write("small.yaml", MAPPING)
    workshop.write("lib.yaml", LIBRARY)
    return workshop.folder


@pytest.fixture
def bench(folder: Path, tmp_path: Path) -> Iterator[Bench]:
    def make(mapping: str, first: tuple[Path, ...]) -> Maps:
        return ChannelMapper((*first, folder), mapping, context=MapContext(channel="c"), received=RECEIVED)

    scratch = tmp_path / "scratch"
    scratch.mkdir()
    bench = Bench(make, Folders((folder,)), scratch)
    yield bench
    bench.close()


def leaf(made: dict[str, Any], path: str) -> dict[str, Any]:
    (found,) = [leaf for leaf in made["leaves"] if leaf["path"] == path]
    return dict(found)


def test_a_message_is_mapped_and_every_line_with_a_value_is_explained(bench: Bench) -> None:
    made = bench.run("small", {}, HL7, "utf-8")
    assert {problem["severity"] for problem in made["problems"]} == {"warning"}, "keys may be absent"
    assert made["mapping"]["name"] == "small"
    assert set(made["mapping"]["files"]) == {"small.yaml", "lib.yaml"}
    assert made["counts"] == {"results_in": 2, "observations": 2}
    assert "PID-8" in made["unread"]
    pointers = {pointer for _, _, pointer in made["lines"] if pointer}
    assert pointers == {leaf["pointer"] for leaf in made["leaves"]}
    family = leaf(made, "Patient[1].name[0].family")
    assert family["rule"] == "lib.yaml:3"
    assert family["sources"] == ("PID[1]-5.1",)
    assert ("PID[1]-5" in [name for _, _, name in made["fields"]]) is True
    assert "value" not in family


def test_edited_files_count_as_soon_as_they_are_edited_and_leave_nothing_behind(bench: Bench, folder: Path) -> None:
    before = bench.run("small", {}, HL7, "utf-8")["mapping"]["hash"]
    edited = LIBRARY.replace("family: =x", "family: =x, use: official")
    made = bench.run("small", {"lib.yaml": edited, "no-such.yaml": "x", "../x.yaml": "x"}, HL7, "utf-8")
    assert leaf(made, "Patient[1].name[0].use")["origin"] == "literal"
    assert made["mapping"]["hash"] != before
    assert (folder / "lib.yaml").read_text(encoding="utf-8") == LIBRARY
    bench.close()
    assert list(bench.scratch.iterdir()) == []
    assert not (bench.scratch.parent / "x.yaml").exists()


def test_an_edit_on_disk_counts_too(bench: Bench, folder: Path) -> None:
    bench.run("small", {}, HL7, "utf-8")
    (folder / "small.yaml").write_text(MAPPING.replace("status: final", "status: preliminary"), encoding="utf-8")
    made = bench.run("small", {}, HL7, "utf-8")
    assert [2, '"status": "preliminary",'] in [[depth - 2, text] for depth, text, _ in made["lines"]]


def test_a_mapping_named_by_its_file_is_edited_like_any_other(bench: Bench) -> None:
    made = bench.run("small.yaml", {}, HL7, "utf-8")
    assert made["counts"]["observations"] == 2
    made = bench.run("small.yaml", {"small.yaml": MAPPING.replace("valueString", "valueStrin")}, HL7, "utf-8")
    (error,) = [problem for problem in made["problems"] if problem["severity"] == "error"]
    made = bench.run("small.yaml", {"lib.yaml": LIBRARY.replace("family: =x", "text: =x")}, HL7, "utf-8")
    assert leaf(made, "Patient[1].name[0].text")["rule"] == "lib.yaml:3", "its library is edited as well"
    assert (error["file"], error["line"], "did you mean valueString?" in error["text"]) == ("small.yaml", 20, True)


def test_problems_have_their_place(bench: Bench) -> None:
    made = bench.run("small", {"lib.yaml": LIBRARY.replace("family", "famly")}, HL7, "utf-8")
    (problem,) = made["problems"]
    assert (problem["severity"], problem["file"], problem["line"]) == ("error", "lib.yaml", 3)
    assert "did you mean family?" in problem["text"]
    assert "lines" not in made


def test_what_is_wrong_with_a_mapping_is_told_without_a_message_and_with_a_bad_one(bench: Bench) -> None:
    for message in ("", "no message at all"):
        made = bench.run("small", {"small.yaml": "mapping: [\n"}, message, "utf-8")
        assert [problem["severity"] for problem in made["problems"]] == ["error"]


@pytest.mark.parametrize(
    ("message", "reason", "place"),
    [
        ("what is this", "UNREADABLE", ""),
        (HL7.replace("COL^Color^L", "^^"), "NO_IDENTITY", "OBX[2]"),
        (HL7.replace("|P|2.5", "|T|2.5"), "NOT_PRODUCTION", "MSH-11"),
    ],
)
def test_a_dead_message_says_why_and_where(bench: Bench, message: str, reason: str, place: str) -> None:
    made = bench.run("small", {}, message, "utf-8")
    assert (made["dead"]["reason"], made["dead"]["place"]) == (reason, place)
    assert made["dead"]["text"]
    assert "Doe" not in str(made["dead"])


def test_messages_of_a_file_come_without_their_frames(bench: Bench) -> None:
    framed = b"\x0b" + HL7.encode().replace(b"\n", b"\r") + b"\x1c\r" + b"\x0b" + HL7.encode() + b"\x1c\r"
    made = bench.messages(framed)
    assert [one["text"].strip() for one in made["messages"]] == [HL7.strip()] * 2
    pasted = bench.run("small", {}, framed.decode(), "utf-8")
    assert pasted["several"] == 2
    assert pasted["counts"]["observations"] == 2
    assert pasted["fields"][0][2] == "MSH[1]"


def test_too_large_a_message_is_refused(bench: Bench) -> None:
    assert bench.run("small", {}, "x" * 1_048_577, "utf-8")["dead"]["reason"] == "TOO_LARGE"


@pytest.mark.parametrize(
    ("mapping", "message", "path", "source", "line"),
    [
        ("astm-to-hl7", ASTM, "OBX[1].5", "R[1]-4", "5  8.13"),
        ("astm-to-csv", ASTM, "row[1].value", "R[1]-4", "value  8.13"),
        ("hl7-to-json", HL7, "", "OBX[1]-5", ""),
    ],
)
def test_documents_that_are_no_fhir_are_explained_line_by_line_too(
    tmp_path: Path, mapping: str, message: str, path: str, source: str, line: str
) -> None:
    folders = Folders((), tuple(CHECKOUT / name for name in ("mappings", "analyzers")))
    scratch = tmp_path / "scratch"
    scratch.mkdir()

    def make(name: str, first: tuple[Path, ...]) -> Maps:
        return ChannelMapper((*first, *folders.search), name, context=MapContext(channel="c"), received=RECEIVED)

    bench = Bench(make, folders, scratch)
    made = bench.run(mapping, {}, message, "utf-8")
    bench.close()
    assert "dead" not in made
    shown = {pointer for _, _, pointer in made["lines"] if pointer}
    assert shown
    assert shown <= {leaf["pointer"] for leaf in made["leaves"]}
    told = [leaf for leaf in made["leaves"] if any(one.startswith(source) for one in leaf["sources"])]
    assert path in [leaf["path"] for leaf in told] if path else told
    if line:
        assert line in [text for _, text, _ in made["lines"]]


CHECKOUT = Path(__file__).parents[4]


def test_a_document_too_large_is_shown_and_not_explained(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "MAX_EXPLAINED_BYTES", 100)
    made = bench.run("small", {}, HL7, "utf-8")
    assert (made["explained"], made["leaves"]) == (False, [])
    assert made["lines"]
