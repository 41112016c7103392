"""Messages with many results: their entries are kept as JSON, and the document is the same, in little memory."""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from engine.mapping.fhir import entries
from engine.mapping.message.read_cache import KEPT_ASIDE, ReadCaches
from engine.model.packing import unpack
from tests.support.mapping_texts import HEAD, HL7, Workshop, apply, context, parse
from tests.support.shipped import program

Write = Callable[[list[entries.Entry], Sequence[int]], None]
MOST_GROWTH = 110  # MiB; 65 were measured, and 178 where every entry is an object until the end
STEPS = """
  - each: PATIENT_RESULT
    do:
      - create: Composition
        key: =MSH-10
        body:
          status: final
          type: =concept('http://loinc.org', '11502-2')
          date: =message_time()
          author: =ref(lab)
          title: Report
      - each: ORDER_OBSERVATION
        do:
          - each: OBSERVATION
            do:
              - create: Observation
                as: results
                key: =[OBR-3.1 | '-', OBX-3.1]
                body:
                  meta: {source: 'urn:x'}
                  status: =lookup('0085', OBX-11)
                  code: =cwe(OBX-3)
                  valueQuantity: =quantity(decimal(OBX-5), absent, OBX-6)
                  note:
                    - text: =concat(OBX-8, setting('mark'))
              - create: Specimen
                key: =[OBR-3.1 | '-', OBX-3.1]
                body:
                  identifier:
                    - system: urn:t
                      value: =OBX-3.1
                      type: {text: Tube, coding: [{system: 'urn:t', code: T}]}
                  note:
                    - text: =OBX-6
          - create: DiagnosticReport
            as: report
            key: =OBR-3.1 | '-'
            body:
              status: final
              code: =cwe(OBR-4)
              result: =ref(results)
      - each: ORDER_OBSERVATION
        do:
          - each: OBSERVATION
            do:
              - create: Specimen
                when: =not (OBX-3.1 in ['T7', 'T20'])
                key: =[OBR-3.1 | '-', OBX-3.1]
                body:
                  identifier:
                    - system: urn:t
                      value: =OBX-3.1
                      type: {text: Tube, coding: [{system: 'urn:t', code: T}]}
                  note:
                    - text: =concat('again ', OBX-5)
"""
LAB = """
  - create: Organization
    as: lab
    key: =MSH-4
    request: create_if_none
    body:
      name: =MSH-4
"""
PATIENTS = """\
steps:
  - each: PATIENT_RESULT
    do:
      - create: Patient
        key: =identifier('urn:p', PID-3.1)
        request: create_if_none
        body:
          name: =xpn(PID-5)
      - each: ORDER_OBSERVATION
        do:
          - each: OBSERVATION
            do:
              - drop: not asked for
"""
PROFILES = "profiles: {Observation: 'urn:p:observation'}\n"


MARK = {"mark": "!"}
MESSAGE = HL7[: HL7.index("OBX")].replace("\n", "\r") + "".join(
    f"OBX|{n}|NM|T{n}^Test {n}^L||{n}.{n:02d}0|mmol/L||N|||F\r" for n in range(1, 41)
)


@pytest.mark.parametrize("profiles", ["", PROFILES])
@pytest.mark.parametrize("bundle", ["transaction", "collection", "message", "document"])
def test_the_document_is_that_of_the_objects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bundle: str, profiles: str
) -> None:
    """Also where a resource that was written gets more elements, and with digits as they were sent."""
    program = Workshop(tmp_path).load(f"{HEAD}bundle: {bundle}\n{profiles}steps:{LAB}{STEPS}")
    whole = apply(program, MESSAGE, MARK).mapped.documents[0]
    assert whole.body.count(b"again 9.090") == 1
    assert whole.body.count(b'"text":"Tube"') == 40
    written = _count(monkeypatch)
    (kept,) = apply(
        program, MESSAGE, MARK
    ).mapped.documents  # an explained message keeps its objects: both are compared
    assert kept == whole
    assert len(written) > 15  # those that were opened, again
    (packed,) = program.apply(parse(MESSAGE), context(packs=True, settings=MARK)).documents
    assert packed.packed
    assert unpack(packed.body) == whole.body
    assert packed.entries == whole.entries


def test_control_characters_of_written_entries_are_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a message has a backslash before a letter, which looks like one."""
    program = Workshop(tmp_path).load(f"{HEAD}steps:{LAB}{STEPS}")
    for mark, code in (("a\bc", "CONTROL_CHARACTER"), ("C:\\bin", None)):
        whole = apply(program, MESSAGE, {"mark": mark}).mapped
        with monkeypatch.context() as early:
            _count(early)
            mapped = program.apply(parse(MESSAGE), context(packs=True, settings={"mark": mark}))
        (document,) = mapped.documents
        assert document.packed
        assert unpack(document.body) == whole.documents[0].body
        assert (b"\\ufffd" in whole.documents[0].body, b'\\b"' in whole.documents[0].body) == (code is not None, False)
        assert [one.code for one in mapped.issues] == [one.code for one in whole.issues]
        assert ("CONTROL_CHARACTER" in [one.code for one in mapped.issues]) == (code is not None)


@pytest.mark.parametrize("bundle", ["transaction", "collection"])
def test_entries_that_the_server_may_have_are_written_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bundle: str
) -> None:
    """A message of patients alone."""
    head, patients = f"{HEAD}bundle: {bundle}\n", "".join(f"PID|{n}||{n}||Doe^{n}\r" for n in range(1, 41))
    message = MESSAGE[: MESSAGE.index("PID")] + patients + MESSAGE[MESSAGE.index("OBR") :]
    program = Workshop(tmp_path).load(head + PATIENTS)
    (whole,) = program.apply(parse(message), context()).documents
    written = _count(monkeypatch)
    assert program.apply(parse(message), context()).documents == (whole,)
    assert len(written) > 4


def test_a_large_message_takes_little_memory(tmp_path: Path) -> None:
    """22,000 results in 1 MB, mapped as the process for large messages does: their objects alone are 108 MiB."""
    script = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[4])!r})
from pathlib import Path
from engine.model.process import allocator
from tests.support.mapping_texts import context, parse
from tests.support.shipped import program
def status(name):
    (line,) = [one for one in Path("/proc/self/status").read_text().splitlines() if one.startswith(name)]
    return int(line.split()[1]) // 1024
mapping = program("hl7-results")
lines = (f"OBX|{{n}}|NM|{{n * 7919 % 9999991}}^G^L||{{n % 9}}.{{n % 7}}|mmol/L|||||F\\r" for n in range(1, 22001))
head = "MSH|^~\\\\&|AN|LAB|LIS|H|20261126||ORU^R01|B1|P|2.5.1\\rPID|1||777||A^B\\rOBR|1||BF1|GLU^Glucose^L\\r"
mapping.apply(parse(head + next(lines)), context())  # compiles it
message = head + "".join(lines)
allocator.keep_large_apart()
allocator.trim()
before = status("VmRSS")
Path("/proc/self/clear_refs").write_text("5")
(document,) = mapping.apply(parse(message), context(packs=True)).documents
print(document.packed, document.entries, status("VmHWM") - before)
"""
    ran = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=240, cwd=tmp_path, env={**os.environ}
    )
    packed, count, grown = ran.stdout.split() or ran.stderr
    assert (packed, int(count) > 21_999) == ("True", True)
    assert int(grown) < MOST_GROWTH


def test_what_a_mapping_keeps_aside_is_little_and_stays_with_no_other() -> None:
    """The process for large messages maps each so: its values go with it."""
    mapping = replace(program("hl7-results"), _readings=ReadCaches())  # no other test's values
    obx = "OBX|{0}|NM|{0}^G^L||1.5|mmol/L|||||F\r"
    message = MESSAGE[: MESSAGE.index("OBX")] + "".join(obx.format(n) for n in range(1, 3000))
    aside = mapping.aside()
    assert aside.apply(parse(message), context()) == mapping.apply(parse(message), context())
    kept = [
        sum(map(len, cache.results.values())) for one in (aside, mapping) for cache in one._readings._known.values()
    ]
    assert kept[0] <= KEPT_ASIDE < kept[1]
    assert not mapping.aside()._readings._known


def _count(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Entries are written early and a few at a time; how many there were each time."""
    found: list[int] = []

    def write(all_of_them: list[entries.Entry], places: Sequence[int], whole: Write = entries.write) -> None:
        found.append(len(places))
        whole(all_of_them, places)

    monkeypatch.setattr(entries, "WRITTEN_FROM", 8)
    monkeypatch.setattr(entries, "WRITTEN_AT_ONCE", 3)
    monkeypatch.setattr(entries, "write", write)
    return found
