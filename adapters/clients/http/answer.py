"""The answer to an HTTP request."""

from collections.abc import Mapping
from dataclasses import field

from engine.model.values import value


@value()
class Answer:
    """An answer as it came.

    Attributes:
        body: without its content coding; at most `adapters.clients.http.exchange.MAX_ANSWER_BYTES`.
        whole: False where the answer was longer.
        headers: by their names in lower case.
    """

    status: int
    body: bytes
    whole: bool = True
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def retry_after(self) -> str:
        return self.headers.get("retry-after", "")

    @property
    def date(self) -> str:
        return self.headers.get("date", "")
