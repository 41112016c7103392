"""The resources, acts and problems of the API."""

from collections.abc import Iterator

from engine.actions.verbs import of_api
from engine.commands.topics.tables import code, rows
from engine.web.api import reads
from engine.web.api.lists import QUESTIONS, resources
from engine.web.api.problems import KINDS


def markdown() -> str:
    return "\n".join(
        (
            *("# Reference of the API", "", "## Resources", "", *api_resources(), ""),
            *(
                "## Verbs of acts",
                "",
                "`POST /api/v1/acts/VERB`, with the arguments as a JSON object.",
                "",
                *api_acts(),
                "",
            ),
            *("## Kinds of problems", "", "`type` of a problem is `urn:labrelay:problem:KIND`.", "", *problems()),
        )
    )


def problems() -> Iterator[str]:
    return rows("kind | status | ", ((code(name), str(kind.status), kind.title) for name, kind in KINDS.items()))


def api_resources() -> Iterator[str]:
    found = (
        (
            code(f"{'POST' if one.of_post else 'GET'} {one.path}"),
            one.what,
            ", ".join(code(name) for name in reads.model_of(one.read).model_fields if name not in one.path),
        )
        for one in resources()
    )
    asked = ((code(f"GET {one.path}"), one.what, "") for one in QUESTIONS)
    yield from rows("below `/api/v1` | | arguments", (*found, *asked))


def api_acts() -> Iterator[str]:
    found = (
        (code(name), act.api, ", ".join(sorted(act.needs)), ", ".join(map(code, act.arguments.model_fields)))
        for name, act in of_api().items()
    )
    yield from rows("verb | | needs | arguments", found)
