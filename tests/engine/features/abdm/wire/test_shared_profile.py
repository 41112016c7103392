"""A shared profile as a message: each field at its place, no delimiter of a text taken for one of the message."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.codecs.hl7v2 import message as hl7
from engine.features.abdm.rules.shares import Profile, Shared, mobile, read
from engine.features.abdm.wire import shared_profile
from engine.model.message import FormatOptions
from tests.support.abdm_site import FACILITY

AT = "20260301101500+0530"
HIM: dict[str, Any] = {"address": "meera.iyer@sbx", "name": "Meera Iyer", "gender": "F", "born": "19860314"}


def made(settings: dict[str, Any] | None = None, **profile: Any) -> bytes:
    one = Shared(
        number=17, facility=FACILITY, counter="A2", day="2026-03-01", token=4, at_us=1, profile=Profile(**HIM | profile)
    )
    return shared_profile.message(one, at=AT, settings=settings or {})


def test_the_least_that_a_profile_has() -> None:
    assert made().decode().split("\r") == [
        f"MSH|^~\\&|LABRELAY|{FACILITY}|||{AT}||ADT^A04^ADT_A01|T17|P|2.5.1||||||UNICODE UTF-8",
        f"EVN|A04|{AT}||||{AT}|{FACILITY}",
        "PID|1||meera.iyer@sbx^^^ABDM^ABHA||Meera Iyer||19860314|F",
        f"PV1|1|O|A2{'|' * 16}4{'|' * 25}{AT}",
        "",
    ]


@pytest.mark.parametrize(("gender", "sex"), [("M", "M"), ("F", "F"), ("U", "U"), ("O", "O"), ("T", "O"), ("D", "O")])
def test_sexes_of_table_0001(gender: str, sex: str) -> None:
    assert f"|19860314|{sex}\r" in made(gender=gender).decode()


def test_settings_of_the_channel_fill_the_header() -> None:
    settings = {"sending_facility": "LAB", "receiving_application": "HIS", "hl7_version": "2.4"}
    assert made(settings).startswith(f"MSH|^~\\&|LABRELAY|LAB|HIS||{AT}||ADT^A04^ADT_A01|T17|P|2.4|".encode())


@given(st.text(max_size=40), st.text(max_size=40))
def test_any_text_stays_in_its_field(name: str, line: str) -> None:
    profile = read({"abhaAddress": "a.b@sbx", "name": f"A{name}", "gender": "M", "yearOfBirth": "1986",
                    "address": {"line": line, "pincode": "411001"}}, "sbx")  # fmt: skip
    assert isinstance(profile, Profile)
    shared = Shared(number=1, facility=FACILITY, counter="1", day="2026-03-01", token=1, at_us=1, profile=profile)
    payload = shared_profile.message(shared, at=AT, settings={})
    assert hl7.parse(payload, FormatOptions()) is not None
    assert payload.count(b"\r") == 4
    (pid,) = [one for one in payload.decode().split("\r") if one.startswith("PID")]
    assert len(pid.split("|")) == 12
    assert pid.split("|")[7:9] == ["1986", "M"]


@pytest.mark.parametrize(
    ("text", "digits"),
    [
        ("9000000001", "9000000001"), ("+91-9000000001", "9000000001"), ("09000000001", "9000000001"),
        ("91 90000 00001", "9000000001"), ("5000000001", ""), ("900000000", ""), ("", ""),
        ("9000000001 / 9000000002", ""), ("449000000001", ""), ("\u0669000000001", ""),
    ],
)  # fmt: skip
def test_mobiles_of_india(text: str, digits: str) -> None:
    assert mobile(text) == digits
