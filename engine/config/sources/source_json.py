"""The part of a ``source:`` block for messages that are JSON: where their number and their kind are."""

import re
from typing import Annotated, Self

from pydantic import AfterValidator, model_validator
from pydantic_core import PydanticCustomError

from engine.config.reading.values import Model, Words

JSON_PATH = re.compile(r"\$(\.[A-Za-z_][A-Za-z0-9_]*|\[\d{1,6}\]|\['[^'\\]{1,200}'\])+")


def _json_path(text: str) -> str:
    if not JSON_PATH.fullmatch(text):
        raise ValueError("expected a path, as $.payload.id or $.items[0]['unit price']")
    return text


JsonPath = Annotated[str, AfterValidator(_json_path), Words("path")]


class JsonPart(Model):
    """How JSON is read."""

    control_id: JsonPath | None = None
    """With `format: json`: path of the number by which the sender knows the message, as `$.event.id`. It is the
    control id, by which a repeat is known."""

    message_type: JsonPath | None = None
    """With `format: json`: path of the kind of the message, as `$.event`. Name one that has a code and never a person:
    lists, logs, topics, events and webhooks have it. A text with seven digits is none."""

    @model_validator(mode="after")
    def _paths_fit(self) -> Self:
        if getattr(self, "format", "") != "json" and (self.control_id or self.message_type):
            raise PydanticCustomError("json", "control_id and message_type are for format: json; take them out")
        return self
