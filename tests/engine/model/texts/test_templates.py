"""Bodies of requests with values in them."""

from engine.model.texts.templates import filled


def test_values_are_written_as_the_form_of_a_body_wants() -> None:
    values = {"mobile": "9000000001", "code": "012345", "facility": 'A "B" & {code}'}
    assert filled('{"t": "{code} {facility}", "x": {}}', "json", values) == (
        '{"t": "012345 A \\"B\\" & {code}", "x": {}}'
    )
    assert filled("to=91{mobile}&t={facility}", "form", values) == "to=919000000001&t=A+%22B%22+%26+%7Bcode%7D"
    assert filled("{code} {other}", "text", values) == "012345 {other}"
