"""What is wrong with a mapping is found when it is loaded, with file, line, column and a way out."""

import textwrap
from pathlib import Path

import pytest

from engine.mapping import load
from engine.model.errors import ConfigError
from tests.support.mapping_texts import HEAD, Workshop

LINES = HEAD.count("\n") + 1  # `steps:` stands here


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    made = Workshop(tmp_path)
    made.write(
        "parts.yaml",
        """\
        mapping-library: parts
        format: labrelay-mapping/1
        fragments:
          person:
            takes: [name, unused]
            body:
              name: =xpn(name)
          loop_a:
            takes: []
            steps:
              - $use: loop_b
          loop_b:
            takes: []
            steps:
              - $use: loop_a
          device:
            takes: [id]
            steps:
              - create: Device
                key: =id
                body:
                  serialNumber: =id
        """,
    )
    return made


def found(workshop: Workshop, steps: str, head: str = "") -> list[str]:
    """Errors, then warnings, without the file's name, lines counted from the first step."""
    text = f"{HEAD}{head}steps:\n" + textwrap.dedent(steps).lstrip("\n")
    shift = LINES + head.count("\n")
    try:
        lines = workshop.load(text).problems
    except ConfigError as error:
        lines = error.problems
    made = []
    for line in lines:
        file, number, column, rest = line.split(":", 3)
        made.append(f"{int(number) - shift}:{column}:{rest}" if file == "m.yaml" else line)
    return made


PATIENT = """
- each: PATIENT_RESULT
  do:
    - create: Patient
      as: patient
      when: =PID-3
      key: =PID-3.1
      body:
        {}
"""


@pytest.mark.parametrize(
    ("element", "finding"),
    [
        ("gendre: male", "8:9: Patient has no element gendre; did you mean gender?"),
        ("gender: mal", "8:17: Patient.gender is never 'mal'; did you mean male?"),
        ("gender: =lookup('0085', PID-8)", "8:17: Patient.gender cannot be amended, cancelled"),
        ("gender: =cwe(PID-8)", "8:18: Patient.gender is a code, and this is CodeableConcept"),
        ("active: yes", "8:17: Patient.active is true or false, not 'yes'"),
        ("birthDate: 1980-4-12", "8:20: Patient.birthDate is a date; '1980-4-12' is none"),
        ("birthDate: =PID-7", "8:21: Patient.birthDate is a date, and this is text; date() makes one"),
        ("birthDate: =datetime(PID-7)", "8:21: Patient.birthDate is a date, and this is dateTime"),
        ("name: =PID-5", "8:16: Patient.name is a HumanName, and this is field; xpn() makes one"),
        ("name: Doe", "8:15: Patient.name is a HumanName, not a text; xpn() makes one"),
        ("gender: {value: male}", "8:17: Patient.gender is a code, not an object"),
        ("gender: [male]", "8:17: Patient.gender takes one value; remove the list"),
        ("name: [[x]]", "8:16: a list inside a list is not FHIR"),
        ("name: {family: Doe, famly: x}", "8:29: HumanName has no element famly; did you mean family?"),
        ("gender: PID-8", "8:17: 'PID-8' looks like an expression and is a literal; put = in front"),
        ("gender: lookup(x)", "8:17: 'lookup(x)' looks like an expression"),
        ("id: x", "8:9: id is given by LabRelay"),
        ("multipleBirthInteger: 1.5", "8:31: Patient.multipleBirthInteger is a integer; '1.5' is none"),
        ("gender: =lookup('0001', PID-88)", "8:33: PID has 40 fields, there is no PID-88"),
        ("gender: =lookup('001', PID-8)", "8:25: no table is called 001"),
        ("gender: =lokup('0001', PID-8)", "8:18: no function is called lokup; did you mean lookup?"),
        ("name: =xpn(nam)", "8:20: nothing is called nam here"),
        ("name: =xpn('x')", "8:20: name of xpn() takes field; this is text; it takes the field as it was sent"),
        ("name: =xpn()", "8:16: name is missing; xpn(name: field) -> HumanName"),
        ("name: =xpn(PID-5, PID-5)", "8:27: too many arguments; xpn(name: field) -> HumanName"),
        ("telecom: =xtn(PID-13, PID-5)", "8:31: use of xtn() takes literal: a text in quotes"),
        ("name: =xpn(PID-5) ++ cx(PID-3)", "8:27: ++ joins values of one kind; here are HumanName and Identifier"),
        ("name: =xpn(PID-5) | cx(PID-3)", "8:27: one side is HumanName, the other Identifier"),
        ("name: =OBX-5", "8:16: OBX is inside a group; go there with each: PATIENT_RESULT"),
        ("name: =PIX-5", "8:16: no segment is called PIX"),
        ("name: =PID-5 = 1", "8:22: one = compares nothing; write =="),
        ("name:", "8:14: a value is missing"),
        ("$cas: []", "8:9: '$cas' means nothing here; did you mean $case?"),
        ("$use: persn", "8:15: no fragment is called persn; did you mean person?"),
        ("$use: device", "8:15: fragment device makes resources; use it as a step"),
        ("$with: {name: x}", "8:9: $with: belongs to a $use:"),
        ("link: [{type: seealso}]", "8:16: Patient.link needs other; FHIR requires it"),
        ("managingOrganization: =ref(patiend)", "8:36: no step before this one made patiend"),
        ("managingOrganization: =patient", "8:32: nothing is called patient here"),
    ],
)
def test_elements(workshop: Workshop, element: str, finding: str) -> None:
    lines = found(workshop, PATIENT.format(element), "import: [parts]\n")
    assert any(line.startswith(finding) for line in lines), lines


@pytest.mark.parametrize(
    ("steps", "finding"),
    [
        (
            "- create: Patiend\n  key: =MSH-4\n  body: {active: true}\n",
            "1:11: Patiend is no resource that is written; did you mean Patient?",
        ),
        ("- create: Patient\n  body: {active: true}\n", "1:11: Patient needs key:"),
        ("- create: Patient\n  key: =MSH-4\n", "1:3: a create: needs body:"),
        ("- create: Patient\n  keys: x\n", "2:3: a step has no key 'keys'; did you mean key?"),
        ("- each: PATIENT\n  do: []\n", "1:9: ORU_R01 has no group PATIENT; did you mean PATIENT_RESULT?"),
        (
            "- each: OBSERVATION\n  do: []\n",
            "1:9: OBSERVATION is inside PATIENT_RESULT; put each: PATIENT_RESULT around it",
        ),
        ("- when: MSH-4\n  drop: x\n", "1:9: a condition is an expression; write it with = in front"),
        ("- drop: x\n  dead: BAD_VALUE\n", "1:3: one step does one thing, and this one says drop and dead"),
        ("- as: x\n", "1:3: a step needs one of create, do"),
        ("- dead: BAD\n", "1:9: no reason is called BAD"),
        ("- where: =MSH-4\n  drop: x\n", "1:3: where: belongs to an each:"),
        ("- drop: x\n  as: y\n", "2:7: as: names what the step makes, and it makes no resource"),
        ("- drop: x\n  let: {If: =MSH-4}\n", "2:9: 'If' is no name"),
        ("- do: []\n", "1:3: do: belongs to an each:, or to a when:"),
        ("- $use: loop_a\n", "parts.yaml:15:15: fragment loop_a uses itself"),
        ("- $use: person\n", "1:9: fragment person is a body; use it inside a body:"),
        ("- $use: device\n  $with: {idd: =MSH-4}\n", "2:11: device does not take idd; did you mean id?"),
        (
            "- create: Patient\n  key: =MSH-4\n  request: updat\n  body: {active: true}\n",
            "3:12: request is one of create_if_none, update, update_by_identifier, create, none, not 'updat'",
        ),
        (
            "- create: Observation\n  key: =MSH-4\n  body: {status: final}\n",
            "3:9: Observation needs code; FHIR requires it",
        ),
        (
            "- create: Observation\n  key: =MSH-4\n  body:\n    status: final\n    code: =text_concept('x')\n"
            "    valueString: a\n    valueBoolean: true\n",
            "7:5: valueString is there already, and there can be one value[x] only; use $case:",
        ),
        (
            "- create: Observation\n  key: =MSH-4\n  body:\n    status: final\n    code: =text_concept('x')\n"
            "    $case:\n      - else: x\n        valueString: a\n      - when: =MSH-4\n        valueBoolean: true\n",
            "9:9: this branch is never reached; put it before else:",
        ),
        (
            "- create: Observation\n  key: =MSH-4\n  body:\n    status: final\n    code: =text_concept('x')\n"
            "    $case:\n      - =OBX-5\n      - else: true\n        valueString: a\n",
            "7:9: a branch is a map with when: or else: and elements",
        ),
        (
            "- create: Patient\n  key: =cx(MSH-4)\n  body: {active: =MSH-4}\n",
            "3:19: Patient.active is a true or false, and this is text",
        ),
        (
            "- create: Patient\n  key: =MSH-4 > 1\n  body: {active: true}\n",
            "2:8: a key is a text, an Identifier or a list",
        ),
    ],
)
def test_steps(workshop: Workshop, steps: str, finding: str) -> None:
    lines = found(workshop, steps, "import: [parts]\n")
    assert any(line.startswith(finding) for line in lines), lines


@pytest.mark.parametrize(
    ("head", "finding"),
    [
        ("mapping: m\n", "m.yaml:1:1: format: is missing; write format: labrelay-mapping/1"),
        ("mapping: m\nformat: x\n", "m.yaml:2:9: 'x' is not read by this LabRelay"),
        ("mapping: m\nformat: labrelay-mapping/1\n", "m.yaml:1:1: from: is missing"),
        (HEAD.replace("ORU_R01", "ORU_R99"), "m.yaml:3:7: no structure is called ORU_R99; did you mean ORU_R01?"),
        (HEAD.replace("hl7v2/", "hl7/"), "m.yaml:3:7: 'hl7/ORU_R01' is no structure"),
        (HEAD.replace("R4", "R5"), "m.yaml:4:5: 'fhir/R5' is not written"),
        (HEAD + "bundle: batch\n", "m.yaml:5:9: a bundle is one of transaction, message, document, collection"),
        (HEAD + "import: [nothing]\n", "m.yaml:5:10: there is no library nothing"),
        (HEAD + "stepz: []\n", "m.yaml:5:1: a mapping has no key 'stepz'; did you mean steps?"),
        (
            HEAD + "tables: {t: {csv: t.csv, key: [code]}}\n",
            "m.yaml:5:19: there is no file t.csv in the mappings folders",
        ),
        (HEAD + "tables: {t: {csv: ../t.csv, key: [code]}}\n", "m.yaml:5:19: there is no file ../t.csv"),
        (HEAD + "tables: {t: {key: [code]}}\n", "m.yaml:5:13: table t needs csv:"),
        (HEAD + "tables: {t: {csv: t.csv}}\n", "m.yaml:5:13: table t needs key:"),
        (
            HEAD + "policies: {on_mising: dead}\n",
            "m.yaml:5:12: no policy is called 'on_mising'; did you mean on_missing?",
        ),
        (HEAD + "policies: {bad_value: drop}\n", "m.yaml:5:23: bad_value is one of warn, dead, not 'drop'"),
        (HEAD, "m.yaml:1:1: steps: is missing"),
    ],
)
def test_heads(workshop: Workshop, head: str, finding: str) -> None:
    assert any(line.startswith(finding) for line in workshop.problems(head)), workshop.problems(head)


@pytest.mark.parametrize(
    ("condition", "finding"),
    [
        ("PID[1]-3.99", "PID-3 (CX) has 12 components, there is no PID[1]-3.99"),
        ("PID[1]-3[*].99", "PID-3 (CX) has 12 components, there is no PID[1]-3[*].99"),
        ("PID[1]-3.4.9", "PID-3.4 (HD) has 3 subcomponents, there is no PID[1]-3.4.9"),
        ("OBR[1]-4.23", "OBR-4 (CE, CWE) has 22 components, there is no OBR[1]-4.23"),
    ],
)
def test_a_component_beyond_its_type_is_a_warning(workshop: Workshop, condition: str, finding: str) -> None:
    (line,) = workshop.load(HEAD + f"steps:\n  - warn: x\n    when: ={condition}\n").problems
    assert finding in line


@pytest.mark.parametrize("condition", ["OBX[1]-4.1.2", "OBR[1]-4.9", "PID[1]-3.4.3", "ZXX[1]-1.9", "OBX[1]-5.7"])
def test_parts_that_makers_and_later_versions_have_are_none(workshop: Workshop, condition: str) -> None:
    assert workshop.load(HEAD + f"steps:\n  - warn: x\n    when: ={condition}\n").problems == ()


def test_components_of_astm_are_the_makers(workshop: Workshop) -> None:
    head = HEAD.replace("hl7v2/ORU_R01", "astm/E1394")
    assert workshop.load(head + "steps:\n  - warn: x\n    when: =H-5.99\n").problems == ()


def test_warnings_do_not_keep_a_mapping_from_loading(workshop: Workshop) -> None:
    workshop.write("tables/t.csv", "code\nA\n")
    head = "import: [parts, labrelay/astm]\ntables:\n  t: {csv: tables/t.csv, key: [code]}\nlet:\n  nobody: =MSH-4\n"
    steps = """
- each: PATIENT_RESULT
  do:
    - create: Patient
      when: ='a' == 'b'
      key: =PID-3
      body: {active: true}
    - create: Patient
      key: =PID-3
      request: update
      body:
        active: true
        birthDate: =first(date(PID-7[*]))
        maritalStatus: =cwe(PID-16[*])
"""
    lines = found(workshop, steps, head)
    shown = "\n".join(lines)
    for wanted in (
        "4:13: this condition never holds; remove the step",
        "7:15: request: update overwrites what the server knows of a Patient",
        "8:12: this key can be absent, and the message is dead then",
        "13:9: Patient.maritalStatus takes one value and may get several",
        "nobody is never used; remove it",
        "table t is never looked up; remove it",
        "nothing of parts is used; remove the import",
        "labrelay/astm is of no use for a mapping from hl7v2",
    ):
        assert wanted in shown, shown


BRANCHES = """
- each: PATIENT_RESULT
  do:
    - each: ORDER_OBSERVATION
      do:
        - each: OBSERVATION
          create: Observation
          key: =[OBR-3.1 | '-', OBX-3.1 | '-', OBX-4 | '-']
          body:
            status: final
            code: =cwe(OBX-3)
            $case:
              - when: {}
                valueString: =OBX-5
              - when: {}
                valueString: =OBX-2
              - else: true
                valueBoolean: false
"""


@pytest.mark.parametrize(
    ("first", "second", "finding"),
    [
        ("=OBX-5", "=OBX-5", "14:17: this branch is never reached: line 17 has the same condition"),
        ("=OBX-2 in ['NM', 'SN']", "= OBX-2  in ['NM','SN']", "14:17: this branch is never reached: line 17 has"),
        ("=true", "=OBX-2", "14:17: this branch is never reached: the condition of line 17 always holds"),
        ("=OBX-5 and OBX-2 == 'NM'", "=OBX-5 and OBX-2 == 'SN'", ""),
        ("=OBX-5[1]", "=OBX-5[2]", ""),
        ("=OBX-2 == 'NM'", "=OBX-2 != 'NM'", ""),
        ("=count(OBX-5[*]) == 1", "=count(OBX-5[*]) == 2", ""),
    ],
)
def test_a_branch_that_another_hides_is_told(workshop: Workshop, first: str, second: str, finding: str) -> None:
    lines = [line for line in found(workshop, BRANCHES.format(first, second)) if "never reached" in line]
    assert len(lines) == bool(finding), lines
    if finding:
        assert lines[0].startswith(finding)


@pytest.mark.parametrize("key", ["=[OBR-3.1 | '-']", "abc", "=MSH-10 | '-'"])
def test_a_key_that_is_the_same_in_every_round_is_told(workshop: Workshop, key: str) -> None:
    steps = BRANCHES.format("=OBX-5", "=OBX-2").replace("=[OBR-3.1 | '-', OBX-3.1 | '-', OBX-4 | '-']", key)
    assert any("the key is the same in every round of each: OBSERVATION" in line for line in found(workshop, steps))
    outer = steps.replace("- each: OBSERVATION\n          create", "- create").replace("OBX-", "OBX[1]-")
    told = [line for line in found(workshop, outer) if "the same in every round" in line]
    assert bool(told) == (key != "=[OBR-3.1 | '-']"), told


def test_an_observations_key_needs_the_sub_id(workshop: Workshop) -> None:
    lines = found(
        workshop,
        """
- each: PATIENT_RESULT
  do:
    - each: ORDER_OBSERVATION
      do:
        - each: OBSERVATION
          create: Observation
          key: =[OBR-3.1 | '-', OBX-3.1 | '-']
          body:
            status: final
            code: =cwe(OBX-3)
""",
    )
    assert any("the key lacks OBX-4" in line for line in lines)


def test_a_mapping_is_named_or_lies_in_a_file(workshop: Workshop) -> None:
    workshop.steps("- drop: all\n")
    assert load("m", [workshop.folder]).name == "m"
    assert load(workshop.folder / "m.yaml", []).name == "m"
    for name, says in (
        ("n", "known are m$"),
        ("../m", "no name of a mapping"),
        ("", "no name"),
        ("x.yaml", "no such file"),
    ):
        with pytest.raises(ConfigError, match=says.replace("?", r"\?")):
            load(name, [workshop.folder])


def test_a_sites_file_shadows_the_shipped_one(workshop: Workshop, tmp_path: Path) -> None:
    site = Workshop(tmp_path / "site")
    workshop.write(
        "base.yaml",
        f"{HEAD.replace('mapping: m', 'mapping: base')}import: [parts]\nsteps:\n- $use: device\n  $with: {{id: x}}\n",
    )
    before = load("base", [site.folder, workshop.folder])
    parts = (workshop.folder / "parts.yaml").read_text().replace("serialNumber", "lotNumber")
    site.write("parts.yaml", parts)
    after = load("base", [site.folder, workshop.folder])
    assert before.content_hash != after.content_hash
    assert after.content_hash == load("base", [site.folder, workshop.folder]).content_hash


def test_too_deep_or_too_large_is_said_and_not_a_crash(workshop: Workshop) -> None:
    deep = "".join(f"{'  ' * level}- when: =PID-{level % 30 + 1}\n{'  ' * level}  do:\n" for level in range(25))
    nested = HEAD + "steps:\n" + deep + "  " * 25 + "- drop: x\n"
    assert workshop.load(nested.replace("PID-", "MSH-").replace("MSH-26", "MSH-3").replace("MSH-27", "MSH-3"))
    once = "  f{0}:\n    takes: []\n    steps:\n      - when: =MSH-{1}\n        do: [{{$use: f{2}}}]\n"
    for depth in (101, 400):  # Python's own limits: levels of indentation, calls inside calls
        fragments = "".join(once.format(level, level % 20 + 3, level + 1) for level in range(depth))
        last = f"  f{depth}:\n    takes: []\n    steps:\n      - drop: x\n"
        workshop.write("deep.yaml", f"mapping-library: deep\nformat: labrelay-mapping/1\nfragments:\n{fragments}{last}")
        assert workshop.problems(HEAD + "import: [deep]\nsteps:\n  - $use: f0\n") == (
            "m.yaml:1:1: conditions, cases or loops are nested too deeply; make them flatter",
        )
    twice = "  {0}:\n    takes: []\n    steps:\n      - $use: {1}\n      - $use: {1}\n"
    fragments = "".join(twice.format(f"f{level}", f"f{level + 1}") for level in range(20))
    last = "  f20:\n    takes: []\n    steps:\n      - drop: x\n"
    workshop.write("big.yaml", f"mapping-library: big\nformat: labrelay-mapping/1\nfragments:\n{fragments}{last}")
    lines = workshop.problems(HEAD + "import: [big]\nsteps:\n  - $use: f0\n")
    assert "becomes too large" in lines[0]
