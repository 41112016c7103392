"""A field of a view is in every form that shows the thing: what is left out is named here."""

from collections.abc import Iterator
from typing import Any

from engine.commands.shared import exporting
from engine.views import message_in_full
from engine.views.messages import ATTEMPT, DELIVERY, MESSAGE
from engine.views.view import View


def names(view: View[Any]) -> set[str]:
    return {field.name for field in view.fields if field.name}


def test_an_export_has_the_fields_of_the_views() -> None:
    # Its deliveries are rows of their own; who sent it is content; its flags are columns, each of its own.
    assert {*exporting.MESSAGE} == names(MESSAGE) - {"delivery", "peer", "flags"} | {"same_id_other_bytes"}
    assert {*exporting.DELIVERY} == names(DELIVERY) - {"document", "detail"} | {"message"}
    assert {*exporting.ATTEMPT} == names(ATTEMPT) - {"detail"} | {"delivery"}
    assert {"peer", "detail"} <= {*exporting.MESSAGE_CONTENTS, *exporting.NOTES}


class Asked(dict[str, Any]):
    """Keeps the names that were asked for."""

    def __init__(self, values: dict[str, Any]) -> None:
        super().__init__(values)
        self.names: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        self.names.add(name)
        return super().__getitem__(name)

    def __iter__(self) -> Iterator[str]:
        return iter(list(self.keys()))


def test_a_message_as_text_has_the_fields_of_the_views() -> None:
    message = Asked(dict.fromkeys(names(MESSAGE), "x"))
    delivery = Asked({**dict.fromkeys(names(DELIVERY), "x"), "state": "held", "settled": "", "attempts": []})
    trace = Asked(
        {
            **dict.fromkeys(names(message_in_full.TRACE), "x"),
            "message": message,
            "deliveries": [delivery],
            "issues": [],
            "decided": [],
            "documents": [],
            "acts": [],
        }
    )
    assert list(message_in_full.lines_of(trace))
    assert names(MESSAGE) - message.names == {"delivery"}  # its deliveries have lines of their own
    # `messages show -o json` has them, for programs: a document's number, its key, the length of `attempts`.
    assert names(DELIVERY) - delivery.names == {"document", "key", "failed_attempts"}
    assert names(message_in_full.TRACE) - trace.names == {"session"}  # a number of the journal's own
