"""Who belongs to whom: every segment lands in its group, whatever order the sender chose."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.codecs.hl7v2.binding import (
    GRAMMARS,
    MAX_DEPTH,
    MAX_WARNINGS,
    GroupGrammar,
    bind,
    structure_for,
    structure_without_event,
)
from engine.model.message import Group, Segment


def bound(structure: str, names: str, *, specimen_obx: bool = False) -> tuple[str, list[str]]:
    """The tree in brackets and the warnings for a message of these segments; each is shown with its position."""
    root, issues = bind(structure, segments_of(names.split()), specimen_obx=specimen_obx)
    return shown(root), [f"{issue.code} {issue.place}" for issue in issues]


def segments_of(names: list[str]) -> list[Segment]:
    seen: dict[str, int] = {}
    segments = []
    for position, name in enumerate(names, 1):
        seen[name] = seen.get(name, 0) + 1
        segments.append(Segment(name, [name], position, seen[name]))
    return segments


def shown(group: Group) -> str:
    parts = [
        (segment.position, f"{name}{segment.ordinal}") for name, named in group.segments.items() for segment in named
    ]
    for groups in group.groups.values():
        parts += [(first_position(inner), shown(inner)) for inner in groups]
    return f"{group.name}({' '.join(text for _, text in sorted(parts))})"


def depth(grammar: GroupGrammar) -> int:
    return 1 + max(map(depth, grammar.groups), default=0)


def first_position(group: Group) -> int:
    own = [segment.position for named in group.segments.values() for segment in named]
    return min([*own, *(first_position(inner) for groups in group.groups.values() for inner in groups)])


NAMES = ["PID", "PV1", "NTE", "ORC", "OBR", "OBX", "SPM", "SAC", "INV", "TCD", "TQ1", "FT1", "MRG", "ZZZ", "XXX", "DSC"]

ORU = [
    (
        "MSH PID NTE PV1 ORC OBR NTE TQ1 OBX NTE NTE OBX SPM OBX DSC",
        "ORU_R01(MSH1 PATIENT_RESULT(PID1 NTE1 PV11 ORDER_OBSERVATION(ORC1 OBR1 NTE2 TQ11 OBSERVATION(OBX1 NTE3 NTE4)"
        " OBSERVATION(OBX2) SPECIMEN(SPM1 SPECIMEN_OBSERVATION(OBX3)))) DSC1)",
    ),
    (  # each OBR starts a group; one ORC before several OBR belongs to the first only
        "MSH PID ORC OBR OBX OBR OBX OBR",
        "ORU_R01(MSH1 PATIENT_RESULT(PID1 ORDER_OBSERVATION(ORC1 OBR1 OBSERVATION(OBX1))"
        " ORDER_OBSERVATION(OBR2 OBSERVATION(OBX2)) ORDER_OBSERVATION(OBR3)))",
    ),
    (  # no PID
        "MSH OBR OBX NTE",
        "ORU_R01(MSH1 PATIENT_RESULT(ORDER_OBSERVATION(OBR1 OBSERVATION(OBX1 NTE1))))",
    ),
    (  # several PID
        "MSH PID OBR OBX PID OBR OBX",
        "ORU_R01(MSH1 PATIENT_RESULT(PID1 ORDER_OBSERVATION(OBR1 OBSERVATION(OBX1)))"
        " PATIENT_RESULT(PID2 ORDER_OBSERVATION(OBR2 OBSERVATION(OBX2))))",
    ),
    (  # specimen last, with its note
        "MSH PID ORC OBR TQ1 OBX OBX SPM NTE",
        "ORU_R01(MSH1 PATIENT_RESULT(PID1 ORDER_OBSERVATION(ORC1 OBR1 TQ11 OBSERVATION(OBX1) OBSERVATION(OBX2)"
        " SPECIMEN(SPM1 NTE1))))",
    ),
    (  # specimen before the results
        "MSH PID OBR SPM OBX NTE OBX OBR SPM OBX",
        "ORU_R01(MSH1 PATIENT_RESULT(PID1 ORDER_OBSERVATION(OBR1 SPECIMEN(SPM1) OBSERVATION(OBX1 NTE1)"
        " OBSERVATION(OBX2)) ORDER_OBSERVATION(OBR2 SPECIMEN(SPM2) OBSERVATION(OBX3))))",
    ),
    (  # specimen even before its OBR, and two specimens
        "MSH PID ORC SPM OBR OBX SPM OBX",
        "ORU_R01(MSH1 PATIENT_RESULT(PID1 ORDER_OBSERVATION(ORC1 SPECIMEN(SPM1) OBR1 OBSERVATION(OBX1) SPECIMEN(SPM2)"
        " OBSERVATION(OBX2))))",
    ),
    (  # a note between ORC and OBR keeps them together
        "MSH PID ORC NTE OBR OBX",
        "ORU_R01(MSH1 PATIENT_RESULT(PID1 ORDER_OBSERVATION(ORC1 NTE1 OBR1 OBSERVATION(OBX1))))",
    ),
    (  # Z segments and charges stay where they are
        "MSH ZMS PID ZPI OBR ZOB OBX ZOX FT1 NTE ZFT",
        "ORU_R01(MSH1 ZMS1 PATIENT_RESULT(PID1 ZPI1 ORDER_OBSERVATION(OBR1 ZOB1 OBSERVATION(OBX1 ZOX1) FT11 NTE1"
        " ZFT1)))",
    ),
]


@pytest.mark.parametrize(("names", "tree"), ORU)
def test_results(names: str, tree: str) -> None:
    assert bound("ORU_R01", names) == (tree, [])


def test_every_obx_after_spm_is_about_the_specimen_where_the_channel_says_so() -> None:
    tree, warnings = bound("ORU_R01", "MSH PID OBR SPM OBX NTE OBR OBX", specimen_obx=True)
    assert tree == (
        "ORU_R01(MSH1 PATIENT_RESULT(PID1 ORDER_OBSERVATION(OBR1 SPECIMEN(SPM1 SPECIMEN_OBSERVATION(OBX1 NTE1)))"
        " ORDER_OBSERVATION(OBR2 OBSERVATION(OBX2))))"
    )
    assert warnings == []


@pytest.mark.parametrize(
    ("names", "tree", "warnings"),
    [
        (  # a result without OBR
            "MSH PID OBX OBX OBR OBX",
            "ORU_R01(MSH1 PATIENT_RESULT(PID1 ORDER_OBSERVATION(OBSERVATION(OBX1) OBSERVATION(OBX2))"
            " ORDER_OBSERVATION(OBR1 OBSERVATION(OBX3))))",
            ["MISPLACED_SEGMENT OBX[1]"],
        ),
        (  # each specimen before its order, with a container or without, and two specimens of one order
            "MSH PID SPM OBR OBX SPM SAC ORC OBR OBX OBX SPM SPM OBR OBX",
            "ORU_R01(MSH1 PATIENT_RESULT(PID1 ORDER_OBSERVATION(SPECIMEN(SPM1) OBR1 OBSERVATION(OBX1))"
            " ORDER_OBSERVATION(SPECIMEN(SPM2 SAC1) ORC1 OBR2 OBSERVATION(OBX2) OBSERVATION(OBX3))"
            " ORDER_OBSERVATION(SPECIMEN(SPM3) SPECIMEN(SPM4) OBR3 OBSERVATION(OBX4))))",
            ["MISPLACED_SEGMENT SPM[1]", "MISPLACED_SEGMENT SPM[2]", "MISPLACED_SEGMENT SPM[3]"],
        ),
        (  # each container before its order, or behind it where a specimen is before
            "MSH PID SAC OBR OBX SAC OBR OBX PID SPM OBR SAC OBX SPM OBR SAC OBX",
            "ORU_R01(MSH1 PATIENT_RESULT(PID1 ORDER_OBSERVATION(SPECIMEN(SAC1) OBR1 OBSERVATION(OBX1))"
            " ORDER_OBSERVATION(SPECIMEN(SAC2) OBR2 OBSERVATION(OBX2)))"
            " PATIENT_RESULT(PID2 ORDER_OBSERVATION(SPECIMEN(SPM1 SAC3) OBR3 OBSERVATION(OBX3))"
            " ORDER_OBSERVATION(SPECIMEN(SPM2 SAC4) OBR4 OBSERVATION(OBX4))))",
            [f"MISPLACED_SEGMENT {name}" for name in ("SAC[1]", "SAC[2]", "SPM[1]", "SPM[2]")],
        ),
        (  # a visit in the middle does not tear the order
            "MSH PID OBR OBX PV1 OBX",
            "ORU_R01(MSH1 PATIENT_RESULT(PID1 ORDER_OBSERVATION(OBR1 OBSERVATION(OBX1) OBSERVATION(OBX2)) PV11))",
            ["MISPLACED_SEGMENT PV1[1]"],
        ),
        (  # timing after a result still belongs to the order
            "MSH OBR OBX TQ1",
            "ORU_R01(MSH1 PATIENT_RESULT(ORDER_OBSERVATION(OBR1 OBSERVATION(OBX1) TQ11)))",
            ["MISPLACED_SEGMENT TQ1[1]"],
        ),
        (  # an order without OBR, and the same of a structure with containers: told once an order
            "MSH PID ORC OBX OBX ORC OBR OBX",
            "ORU_R01(MSH1 PATIENT_RESULT(PID1 ORDER_OBSERVATION(ORC1 OBSERVATION(OBX1) OBSERVATION(OBX2))"
            " ORDER_OBSERVATION(ORC2 OBR1 OBSERVATION(OBX3))))",
            ["MISPLACED_SEGMENT OBX[1]"],
        ),
        (  # a segment that the structure does not know: kept, one warning
            "MSH PID OBR OBX RXA RXA",
            "ORU_R01(MSH1 PATIENT_RESULT(PID1 ORDER_OBSERVATION(OBR1 OBSERVATION(OBX1 RXA1 RXA2))))",
            ["UNEXPECTED_SEGMENT RXA[1]"],
        ),
    ],
)
def test_what_is_out_of_place_is_kept_with_a_warning(names: str, tree: str, warnings: list[str]) -> None:
    assert bound("ORU_R01", names) == (tree, warnings)


def test_warnings_of_one_message_have_an_end() -> None:
    _, warnings = bound("ORU_R01", "MSH PID OBR OBX " + "PV1 OBX " * 500)
    assert len(warnings) == MAX_WARNINGS + 1
    assert warnings[0] == "MISPLACED_SEGMENT PV1[1]"
    assert warnings[-1] == "MISPLACED_SEGMENT "


def test_a_container_of_a_visit_begins_the_next_order() -> None:
    """Behind its OBR it is out of place: its results are not given to the order before it, and that is told."""
    tree, warnings = bound("OUL_R21", "MSH PID OBR SAC OBX")
    assert tree == "OUL_R21(MSH1 PATIENT(PID1 ORDER(OBR1) ORDER(SAC1 RESULT(OBX1))))"
    assert warnings == ["MISPLACED_SEGMENT OBX[1]"]


def test_a_container_without_its_specimen_begins_the_next_one() -> None:
    tree, warnings = bound("OUL_R22", "MSH PID SAC SAC OBR OBX SAC OBR OBX")
    assert tree == (
        "OUL_R22(MSH1 PATIENT(PID1 SPECIMEN(CONTAINER(SAC1) CONTAINER(SAC2) ORDER(OBR1 RESULT(OBX1)))"
        " SPECIMEN(CONTAINER(SAC3) ORDER(OBR2 RESULT(OBX2)))))"
    )
    assert warnings == [f"MISPLACED_SEGMENT {name}" for name in ("SAC[1]", "OBR[1]", "SAC[3]", "OBR[2]")]


@pytest.mark.parametrize(
    ("structure", "names", "tree"),
    [
        (  # ORC and OBR in either order; SID of the container, SID of the result
            "OUL_R21",
            "MSH PID PV1 SAC SID ORC OBR NTE OBX TCD SID NTE OBX SAC OBR ORC OBX CTI",
            "OUL_R21(MSH1 PATIENT(PID1 PV11 ORDER(SAC1 SID1 ORC1 OBR1 NTE1 RESULT(OBX1 TCD1 SID2 NTE2) RESULT(OBX2))"
            " ORDER(SAC2 OBR2 ORC2 RESULT(OBX3) CTI1)))",
        ),
        (  # a specimen, which the structure does not have
            "OUL_R21",
            "MSH SPM SAC OBR OBX SPM OBR OBX",
            "OUL_R21(MSH1 PATIENT(ORDER(SPM1 SAC1 OBR1 RESULT(OBX1)) ORDER(SPM2 OBR2 RESULT(OBX2))))",
        ),
        (
            "OUL_R22",
            "MSH PID SPM OBX SAC INV OBR ORC TQ1 OBX TCD INV OBX NTE OBR OBX SPM OBR OBX",
            "OUL_R22(MSH1 PATIENT(PID1 SPECIMEN(SPM1 SPECIMEN_OBSERVATION(OBX1) CONTAINER(SAC1 INV1)"
            " ORDER(OBR1 ORC1 TQ11 RESULT(OBX2 TCD1 INV2) RESULT(OBX3 NTE1)) ORDER(OBR2 RESULT(OBX4)))"
            " SPECIMEN(SPM2 ORDER(OBR3 RESULT(OBX5)))))",
        ),
        (  # ORC before OBR, against the standard
            "OUL_R22",
            "MSH SPM ORC OBR OBX ORC OBR OBX",
            "OUL_R22(MSH1 PATIENT(SPECIMEN(SPM1 ORDER(ORC1 OBR1 RESULT(OBX1)) ORDER(ORC2 OBR2 RESULT(OBX2)))))",
        ),
        (
            "OUL_R23",
            "MSH PID SPM SAC OBR OBX SAC OBR OBX",
            "OUL_R23(MSH1 PATIENT(PID1 SPECIMEN(SPM1 CONTAINER(SAC1 ORDER(OBR1 RESULT(OBX1)))"
            " CONTAINER(SAC2 ORDER(OBR2 RESULT(OBX2))))))",
        ),
        (
            "OUL_R24",
            "MSH PID OBR ORC SPM SAC OBX TCD OBR OBX SPM OBX",
            "OUL_R24(MSH1 PATIENT(PID1 ORDER(OBR1 ORC1 SPECIMEN(SPM1 CONTAINER(SAC1)) RESULT(OBX1 TCD1))"
            " ORDER(OBR2 RESULT(OBX2) SPECIMEN(SPM2 SPECIMEN_OBSERVATION(OBX3)))))",
        ),
        (  # a container without its specimen, before the results
            "OUL_R24",
            "MSH PID OBR SAC OBX OBX",
            "OUL_R24(MSH1 PATIENT(PID1 ORDER(OBR1 SPECIMEN(CONTAINER(SAC1)) RESULT(OBX1) RESULT(OBX2))))",
        ),
        (
            "ORM_O01",
            "MSH PID PV1 ORC OBR NTE OBX ORC OBR PID ORC OBR",
            "ORM_O01(MSH1 PATIENT(PID1 PV11 ORDER(ORC1 OBR1 NTE1 OBSERVATION(OBX1)) ORDER(ORC2 OBR2))"
            " PATIENT(PID2 ORDER(ORC3 OBR3)))",
        ),
        (  # old results have their own patient and orders, and never become new ones
            "OML_O21",
            "MSH PID ORC TQ1 OBR OBX SPM SPM PID ORC OBR OBX",
            "OML_O21(MSH1 PATIENT(PID1 ORDER(ORC1 TQ11 OBR1 OBSERVATION(OBX1) SPECIMEN(SPM1) SPECIMEN(SPM2)"
            " PRIOR_RESULT(PID2 ORDER_PRIOR(ORC2 OBR2 OBSERVATION_PRIOR(OBX2))))))",
        ),
        (
            "OML_O33",
            "MSH PID SPM SAC ORC OBR ORC OBR SPM ORC OBR",
            "OML_O33(MSH1 PATIENT(PID1 SPECIMEN(SPM1 CONTAINER(SAC1) ORDER(ORC1 OBR1) ORDER(ORC2 OBR2))"
            " SPECIMEN(SPM2 ORDER(ORC3 OBR3))))",
        ),
        (  # every container has its own orders
            "OML_O35",
            "MSH PID SPM OBX SAC ORC OBR OBX SAC ORC OBR TCD DG1",
            "OML_O35(MSH1 PATIENT(PID1 SPECIMEN(SPM1 SPECIMEN_OBSERVATION(OBX1)"
            " CONTAINER(SAC1 ORDER(ORC1 OBR1 OBSERVATION(OBX2))) CONTAINER(SAC2 ORDER(ORC2 OBR2 TCD1 DG11)))))",
        ),
        (
            "ORM_O01",
            "MSH PID ORC OBR SPM SAC SPM",
            "ORM_O01(MSH1 PATIENT(PID1 ORDER(ORC1 OBR1 SPECIMEN(SPM1 CONTAINER(SAC1)) SPECIMEN(SPM2))))",
        ),
        (
            "ORR_O02",
            "MSH MSA ERR PID SPM SAC ORC OBR ORC",
            "ORR_O02(MSH1 MSA1 ERR1 PATIENT(PID1 SPM1 SAC1 ORDER(ORC1 OBR1) ORDER(ORC2)))",
        ),
        (  # what is said of the specimen stands in no order
            "ORR_O02",
            "MSH MSA PID SPM OBX NTE SAC ORC OBR SPM OBX ORC OBR",
            "ORR_O02(MSH1 MSA1 PATIENT(PID1 SPM1 OBSERVATION(OBX1 NTE1) SAC1 ORDER(ORC1 OBR1 SPM2) OBSERVATION(OBX2)"
            " ORDER(ORC2 OBR2)))",
        ),
        (
            "ADT_A01",
            "MSH EVN PID PV1 OBX AL1 AL1 DG1 IN1",
            "ADT_A01(MSH1 EVN1 PATIENT(PID1 PV11 OBSERVATION(OBX1) AL11 AL12 DG11 IN11))",
        ),
        (
            "MDM_T02",
            "MSH EVN PID PV1 ORC OBR NTE TXA OBX OBX",
            "MDM_T02(MSH1 EVN1 PATIENT(PID1 PV11 COMMON_ORDER(ORC1 OBR1 NTE1) TXA1"
            " OBSERVATION(OBX1) OBSERVATION(OBX2)))",
        ),
        (
            "ADT_A39",
            "MSH EVN PID MRG PID PD1 MRG PV1",
            "ADT_A39(MSH1 EVN1 PATIENT(PID1 MRG1) PATIENT(PID2 PD11 MRG2 PV11))",
        ),
        ("QBP_Q11", "MSH QPD RCP", "QBP_Q11(MSH1 QPD1 RCP1)"),  # no grammar: no groups
    ],
)
def test_other_structures(structure: str, names: str, tree: str) -> None:
    assert bound(structure, names) == (tree, [])


@given(
    st.sampled_from([*GRAMMARS, "QBP_Q11"]),
    st.lists(st.sampled_from(NAMES), max_size=30),
    st.booleans(),
)
def test_every_segment_is_in_the_tree_exactly_once(structure: str, names: list[str], specimen_obx: bool) -> None:
    segments = segments_of(["MSH", *names])
    root, _ = bind(structure, segments, specimen_obx=specimen_obx)
    found: list[Segment] = []

    def collect(group: Group) -> None:
        for named in group.segments.values():
            positions = [segment.position for segment in named]
            assert positions == sorted(positions)
            found.extend(named)
        for groups in group.groups.values():
            assert groups
            starts = [first_position(inner) for inner in groups]
            assert starts == sorted(starts)
            for inner in groups:
                collect(inner)

    collect(root)
    assert sorted(segment.position for segment in found) == [segment.position for segment in segments]
    if structure == "ORU_R01":
        for patient in root.groups.get("PATIENT_RESULT", []):
            assert len(patient.segments.get("PID", [])) <= 1
            for order in patient.groups.get("ORDER_OBSERVATION", []):
                assert len(order.segments.get("OBR", [])) <= 1
                for observation in order.groups.get("OBSERVATION", []):
                    assert len(observation.segments["OBX"]) == 1


@pytest.mark.parametrize(
    ("message_type", "structure"),
    [
        ("ORU^R01", "ORU_R01"),
        ("ORU^R01^ORU_R01", "ORU_R01"),
        ("ORU^R32^ORU_R30", "ORU_R01"),
        ("ORU^R30", "ORU_R01"),
        ("ORU^R40", "ORU_R01"),
        ("ORU^R01^9.3-DEF", "ORU_R01"),
        ("XYZ^Z01^OUL_R22", "OUL_R22"),
        ("ORU", "ORU"),
        ("ADT^A08", "ADT_A01"),
        ("ADT^A03^ADT_A03", "ADT_A01"),
        ("ADT^A11^ADT_A09", "ADT_A01"),
        ("ADT^A40", "ADT_A39"),
        ("OML^O35", "OML_O35"),
        ("ORL^O34^ORL_O42", "ORR_O02"),
        ("MDM^T06^MDM_T02", "MDM_T02"),
        ("QBP^Q11^QBP_Q11", "QBP_Q11"),
        ("ACK", "ACK"),
        ("", ""),
    ],
)
def test_structure_of_a_message_type(message_type: str, structure: str) -> None:
    assert structure_for(message_type) == structure


@pytest.mark.parametrize(
    ("kind", "names", "structure"),
    [
        ("ORU", "MSH PID OBR OBX", "ORU_R01"),
        ("ORM", "MSH PID ORC OBR", "ORM_O01"),
        ("ORR", "MSH MSA ORC", "ORR_O02"),
        ("ORL", "MSH MSA ORC", "ORR_O02"),
        ("MDM", "MSH PID TXA OBX", "MDM_T02"),
        ("OUL", "MSH PID SPM SAC OBR OBX", "OUL_R22"),
        ("OUL", "MSH PID ORC OBR SPM OBX", "OUL_R24"),
        ("OUL", "MSH PID SAC OBR OBX", "OUL_R21"),
        ("OUL", "MSH PID OBR OBX", "OUL_R21"),
        ("OML", "MSH PID SPM ORC OBR", "OML_O33"),
        ("OML", "MSH PID ORC OBR SPM", "OML_O21"),
        ("ADT", "MSH PID", ""),  # what happened, nobody says
        ("ADT", "MSH EVN PID", ""),
        ("QRY", "MSH QRD", ""),
        ("", "MSH PID OBR OBX", ""),
    ],
)
def test_structure_of_a_type_without_its_event(kind: str, names: str, structure: str) -> None:
    assert structure_without_event(kind, segments_of(names.split())) == structure


@pytest.mark.parametrize(("event", "structure"), [("A08", "ADT_A01"), ("a40 ", "ADT_A39"), ("A99", ""), ("", "")])
def test_the_event_of_an_old_admission_is_that_of_evn(event: str, structure: str) -> None:
    segments = [*segments_of(["MSH", "PID"]), Segment("EVN", ["EVN", event], 3, 1)]
    assert structure_without_event("ADT", segments) == structure


def test_grammars_answer_where_a_segment_stands() -> None:
    root = GRAMMARS["ORU_R01"]
    observation = root.find("OBSERVATION")
    assert observation is not None
    assert observation.segments == {"OBX", "NTE", "PRT"}
    assert root.find("NO_SUCH") is None
    for grammar in GRAMMARS.values():
        names = [group.name for group in grammar.walk()]
        assert len(names) == len(set(names))  # `each: NAME` is never ambiguous
        assert depth(grammar) <= MAX_DEPTH
