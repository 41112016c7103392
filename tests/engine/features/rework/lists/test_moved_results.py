"""Result lines of an edited message that are under another patient or specimen: what a person must be shown of them."""

import pytest

from engine.features.rework.lists.edited import Moved, results_moved

HEAD, END = {"hl7": "MSH|^~\\&|XN", "astm": "H|\\^&|||XN"}, {"hl7": (), "astm": ("L|1|N",)}
LINES = {
    "hl7": {
        "P7": "PID|1||7^^^H",
        "P8": "PID|2||8^^^H",
        "O1": "OBR|1|S1",
        "O2": "OBR|2|S2",
        "SPM": "SPM|1|T9",
        "K": "OBX|1|NM|K||6.9|mmol/L",
        "K2": "OBX|2|NM|K||6.9|mmol/L",
        "K4": "OBX|1|NM|K||4.1|mmol/L",
        "NA": "OBX|1|NM|NA||140|mmol/L",
        "KX": "OBX|1|NM|KX||6.9|mmol/L",
    },
    "astm": {
        "P7": "P|1||7^^^H",
        "P8": "P|2||8^^^H",
        "O1": "O|1|S1||^^^K",
        "O2": "O|2|S2||^^^K",
        "K": "R|1|^^^K|6.9|mmol/L",
        "K2": "R|2|^^^K|6.9|mmol/L",
        "K4": "R|1|^^^K|4.1|mmol/L",
        "NA": "R|1|^^^NA|140|mmol/L",
        "KX": "R|1|^^^KX|6.9|mmol/L",
    },
}
TWO = "P7 O1 K P8 O2 NA"
ONE, OTHER, BARE = "7 1", "8 2", ""  # patient 7 and its order, patient 8 and its order, neither

# before, after, (line, its owner before, its owner now, whether another one is alike)
EXPECTED: dict[str, tuple[str, str, list[tuple[str, str | None, str | None, bool]]]] = {
    "nothing": (TWO, TWO, []),
    "to the next patient": (TWO, "P7 O1 P8 O2 NA K", [("K", ONE, OTHER, False)]),
    "with another set ID": (TWO, "P7 O1 P8 O2 NA K2", [("K2", ONE, OTHER, False)]),
    "and edited": (TWO, "P7 O1 P8 O2 NA K4", [("K4", ONE, OTHER, False)]),
    "above its patient": (TWO, "K P7 O1 P8 O2 NA", [("K", ONE, BARE, False)]),
    "its patient is moved below": ("P7 O1 K", "K P7 O1", [("K", ONE, BARE, False)]),
    "both": (TWO, "P7 O1 NA P8 O2 K", [("K", ONE, OTHER, False), ("NA", OTHER, ONE, False)]),
    "the same code of both": ("P7 O1 K P8 O2 K4", "P7 O1 K4 P8 O2 K",
        [("K", ONE, OTHER, False), ("K4", OTHER, ONE, False)]),
    "gone": (TWO, "P7 O1 P8 O2 NA", [("K", ONE, None, False)]),
    "new": (TWO, "P7 O1 K P8 O2 NA K4", [("K4", None, OTHER, False)]),
    "in another order": ("P7 O1 K NA", "P7 O1 NA K", []),
    "edited in place": (TWO, TWO.replace("K", "K4"), []),
    "its code is edited": (TWO, TWO.replace("K", "KX"), []),
    "one of two that are the same": ("P7 O1 K K2 P8 O2 NA", "P7 O1 K P8 O2 NA K2", [("K2", ONE, OTHER, True)]),
    "to a patient with the same": ("P7 O1 K P8 O2 K2", "P7 O1 P8 O2 K2 K", [("K", ONE, OTHER, True)]),
    "one of two that are the same is gone": ("P7 O1 K P8 O2 K", "P7 O1 P8 O2 K", [("K", ONE, None, True)]),
    "the same of both, exchanged": ("P7 O1 K P8 O2 K2", "P7 O1 K2 P8 O2 K", []),
}  # fmt: skip


def text(form: str, names: str) -> bytes:
    lines = [HEAD[form], *(LINES[form][name] for name in names.split()), *END[form]]
    return "".join(f"{line}\r" for line in lines).encode()


def owner(form: str, of: str | None) -> str | None:
    patient, order = ("PID", "OBR") if form == "hl7" else ("P", "O")
    return {
        ONE: f"{patient}[1] 7^^^H, {order}[1] S1", OTHER: f"{patient}[2] 8^^^H, {order}[2] S2", BARE: "", None: None
    }[of]  # fmt: skip


@pytest.mark.parametrize("form", LINES)
@pytest.mark.parametrize("name", EXPECTED)
def test_results_under_another_owner(form: str, name: str) -> None:
    before, after, expected = EXPECTED[name]
    found = results_moved(text(form, before), text(form, after), "utf-8")
    lines = LINES[form]
    assert sorted(found, key=lambda one: one.line) == sorted(
        (Moved(lines[line], owner(form, old), owner(form, new), doubt) for line, old, new, doubt in expected),
        key=lambda one: one.line,
    )


def test_two_codes_that_are_edited_and_moved_are_in_doubt() -> None:
    before, after = text("hl7", "P7 O1 K K4 P8 O2 NA"), text("hl7", "P7 O1 P8 O2 NA K K4")
    after = after.replace(b"6.9", b"7.9").replace(b"4.1", b"5.1")
    assert [(one.old, one.new, one.in_doubt) for one in results_moved(before, after, "utf-8")] == [
        (owner("hl7", ONE), owner("hl7", OTHER), True)
    ] * 2


def test_a_specimen_is_an_owner() -> None:
    before, after = text("hl7", "P7 O1 K SPM NA"), text("hl7", "P7 O1 SPM K NA")
    (one,) = results_moved(before, after, "utf-8")
    assert (one.old, one.new) == ("PID[1] 7^^^H, OBR[1] S1", "PID[1] 7^^^H, OBR[1] S1, SPM[1] T9")


def test_the_first_order_of_a_patient_is_not_that_of_the_patient_before() -> None:
    (one,) = results_moved(text("astm", TWO), text("astm", "P7 O1 P8 K O2 NA"), "utf-8")
    assert one.new == "P[2] 8^^^H"


def test_of_another_format_nothing_is_known() -> None:
    assert results_moved(b"{}", b"[]", "utf-8") == []
