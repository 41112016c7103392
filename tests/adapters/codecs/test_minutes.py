"""Times to the minute in headers of both protocols: what counts as one, and where it is looked for."""

import pytest

from adapters.codecs.astm import records as astm_records
from adapters.codecs.hl7v2 import message as hl7v2
from adapters.codecs.minutes import to_the_minute


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("202603010915", "202603010915"),
        ("20260301091530", "20260301091530"),
        ("20260301091530.125+0530", "20260301091530"),
        ("202603010915+0530", "202603010915"),
        ("20260301", ""),
        ("2026030109", ""),
        ("20260301000000", ""),
        ("202603010000", ""),
        ("2026030109153", ""),
        ("202603010915301", ""),
        ("2026-03-01T09:15", ""),
        ("", ""),
    ],
)
def test_a_time_is_given_to_the_minute_or_not_at_all(text: str, found: str) -> None:
    assert to_the_minute(text) == found


@pytest.mark.parametrize(
    ("msh7", "obr22", "obx14", "sent", "measured"),
    [
        ("202603010915", "202603010800", "202603010700", "202603010915", ""),
        ("20260301", "202603010800", "202603010700", "", "202603010800"),
        ("", "", "202603010700", "", "202603010700"),
        ("", "20260301", "20260301", "", ""),
    ],
)
def test_hl7(msh7: str, obr22: str, obx14: str, sent: str, measured: str) -> None:
    obr = "OBR|1" + "|" * 21 + obr22  # OBR-7, the time of collection, is none of them
    obr = obr.replace("OBR|1||||||", "OBR|1||||||202602280600", 1)
    obx = f"OBX|1|ST|HCG||NEG||||||F|||{obx14}"
    head = hl7v2.header(f"MSH|^~\\&|A|L|||{msh7}||ORU^R01|1|P|2.5\rPID|1||||||19800412\r{obr}\r{obx}\r".encode())
    assert (head.sent, head.measured) == (sent, measured)


@pytest.mark.parametrize(
    ("h14", "r12", "r13", "sent", "measured"),
    [
        ("20260301091500", "", "20260301080000", "20260301091500", ""),
        ("", "20260301075500", "20260301080000", "", "20260301080000"),
        ("20260301", "20260301075500", "", "", "20260301075500"),
        ("", "", "", "", ""),
    ],
)
def test_astm(h14: str, r12: str, r13: str, sent: str, measured: str) -> None:
    order = "O|1|||^^^HCG|||20260228060000"  # O-8, the time of collection, is none of them
    text = f"H|\\^&|||QUAL|||||||P|1|{h14}\rP|1\r{order}\rR|1|^^^HCG|NEG|||||F|||{r12}|{r13}\rL|1|N\r"
    head = astm_records.header(text.encode())
    assert (head.sent, head.measured) == (sent, measured)
