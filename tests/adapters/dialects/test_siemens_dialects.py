"""The dialects of Clinitek and DCA Vantage: names that are numbers, and corrections that look like results."""

import pytest

from adapters.codecs.astm import records as astm_records
from adapters.codecs.hl7v2 import message as hl7v2
from adapters.dialects import siemens_clinitek, siemens_dca_vantage
from adapters.dialects.shared.fields import get
from engine.model.message import FormatOptions

OPTIONS = FormatOptions()


@pytest.mark.parametrize(
    ("ids", "name", "becomes"),
    [
        ("010820187", "010820187", ""),
        ("010820187", "010820187^", ""),
        ("010820187", "Rao", "Rao"),
        ("010820187", "010820187^Rao", "010820187^Rao"),
        ("010820187", "", ""),
        ("", "Rao", "Rao"),
    ],
)
def test_clinitek_a_name_that_is_the_number_is_no_name(ids: str, name: str, becomes: str) -> None:
    text = f"MSH|^~\\&|Clinitek Status||||202603020938||ORU^R01|1|P|2.4\rPID|1||{ids}||{name}\rOBR|1||143\rOBX|1|ST|GLU"
    read = siemens_clinitek.adapt(hl7v2.parse(text.encode(), OPTIONS))
    (patient,) = (one for one in read.segments if one.name == "PID")
    assert (get(patient, 3), get(patient, 5)) == (ids, becomes)


@pytest.mark.parametrize(
    ("comment", "becomes"),
    [
        ("1.000^0.0 mg/L", "user correction: slope 1.000, offset 0.0 mg/L"),
        ("1.050^-0.4 %^NGSP^126 mg/dL", "user correction: slope 1.050, offset -0.4 %, NGSP, 126 mg/dL"),
        ("1.000", "1.000"),
        ("clotted^sample", "clotted^sample"),
        ("", ""),
    ],
)
def test_dca_a_correction_says_what_it_is(comment: str, becomes: str) -> None:
    text = f"H|\\^&|||DCA VANTAGE^4\rP|1|7\rO|1||660^0090\rR|1|^^^Alb|63.7|mg/L\rC|1|I|{comment}|G\rL|1|N"
    read = siemens_dca_vantage.adapt(astm_records.parse(text.encode(), OPTIONS))
    (record,) = (one for one in read.segments if one.name == "C")
    assert get(record, 4) == becomes


def test_dca_the_comment_of_an_order_stays() -> None:
    text = "H|\\^&|||DCA VANTAGE^4\rP|1|7\rO|1||660^0090\rC|1|I|1.000^61^M|G\rR|1|^^^Alb|63.7|mg/L\rL|1|N"
    read = siemens_dca_vantage.adapt(astm_records.parse(text.encode(), OPTIONS))
    (record,) = (one for one in read.segments if one.name == "C")
    assert get(record, 4) == "1.000^61^M"
