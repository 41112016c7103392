"""A client of LabRelay's API (docs/api.md), to be copied; it needs Python 3.11 and nothing else.

lab = LabRelay("https://gateway.lab.example:8580", token)
for message in lab.rows("messages", state="dead", since="24h"):
    print(message["id"], message["code"])
lab.act("retry", selection={"code": "REFUSED"})

Where the page's certificate is of an authority of your own, set SSL_CERT_FILE to its file.
"""

import json
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

TRIES = 3  # of a request whose answer was lost; an act is done once all the same


class ProblemError(Exception):
    """A request was not served; ``said`` has ``type``, ``status``, ``detail``, ``errors``, ``trace_id``."""

    def __init__(self, said: dict[str, Any]) -> None:
        super().__init__(f"{said['status']} {said['title']}: {said['detail']} (trace id {said['trace_id']})")
        self.said = said


class LabRelay:
    def __init__(self, url: str, token: str, timeout_s: float = 70.0) -> None:
        self.url, self.token, self.timeout_s = url.rstrip("/"), token, timeout_s

    def ask(self, path: str, body: dict[str, Any] | None = None, **headers: str) -> dict[str, Any]:
        """GET a resource, or POST ``body`` to it."""
        headers |= {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        for left in reversed(range(TRIES)):
            try:
                request = urllib.request.Request(self.url + path, data, headers)  # noqa: S310 - the caller's own address
                with urllib.request.urlopen(request, timeout=self.timeout_s) as answer:  # noqa: S310
                    return json.load(answer)
            except urllib.error.HTTPError as error:
                raise ProblemError(json.load(error)) from None
            except OSError:
                if not left:
                    raise
        raise AssertionError

    def rows(self, name: str, **filters: str | int) -> Iterator[dict[str, Any]]:
        """All rows of a list, page by page: ``messages``, ``dead-letters``, ``held``, ``acts``, ..."""
        path: str | None = f"/api/v1/{name}?{urlencode(filters)}"
        while path:
            page = self.ask(path)
            yield from page[name.rpartition("/")[2].replace("-", "_")]
            path = page.get("next")

    def act(self, verb: str, **arguments: Any) -> dict[str, Any]:
        """Give a verb, once. An act on a filter is counted first, and does what was counted."""
        selection = arguments.get("selection", {})
        if selection and "ids" not in selection:
            counted = self.ask(f"/api/v1/acts/{verb}", {**arguments, "dry_run": True})
            arguments["selection"] = selection | {
                name: counted[name] for name in ("last", "counted_us") if name in counted
            }
        return self.ask(f"/api/v1/acts/{verb}", arguments, **{"Idempotency-Key": str(uuid.uuid4())})
