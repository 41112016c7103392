"""Which bytes of a notice its signature may be of."""

import pytest

from engine.features.abdm.wire.consents import forms

SENT = '{ "b" : "é\\u00e9", "a": {"d": [1, 2.5], "c": "x y"} }'
FORMS = [SENT, '{"b":"éé","a":{"d":[1,2.5],"c":"x y"}}', '{"a":{"c":"x y","d":[1,2.5]},"b":"éé"}']

# notice -> the texts that may be signed
NOTICES = {
    "an artefact": (f'{{"notification": {{"status": "GRANTED", "consentDetail" : {SENT} , "x": 1}}}}', FORMS),
    "without the outer object": (f' {{"signature": "s", "consentDetail":{SENT}}}', FORMS),
    "a member of this name elsewhere": (f'{{"x": {{"consentDetail": {{}}}}, "notification": {{"y": '
                                        f'{{"consentDetail": {{}}}}, "consentDetail": {SENT}}}}}', FORMS),
    "a text that looks like one": (f'{{"x": "\\"consentDetail\\": {{}}", "consentDetail": {SENT}}}', FORMS),
    "one form": ('{"consentDetail":{"a":1}}', ['{"a":1}']),
    "none": ('{"notification": {"status": "REVOKED"}}', []),
    "a list of one": ('{"consentDetail": [{"a": 1}]}', []),
    "a text": ('{"consentDetail": "x"}', []),
    "null": ('{"consentDetail": null}', []),
    "empty": ("{}", []),
    "a list": ('[{"consentDetail": {"a": 1}}]', []),
    "no JSON": ('{"consentDetail": {"a": 1}', []),
    "deep": ('{"consentDetail": ' + '{"a":' * 200_000, []),
    "half a character": ('{"consentDetail": {"a": "\\ud800"}}', []),
    "nothing": ("", []),
}  # fmt: skip


@pytest.mark.parametrize("name", NOTICES)
def test_what_may_be_signed(name: str) -> None:
    body, expected = NOTICES[name]
    assert forms(body.encode()) == [one.encode() for one in expected]


def test_bytes_that_are_no_text_have_no_form() -> None:
    assert forms(b'{"consentDetail": {"a": "\xff"}}') == []
