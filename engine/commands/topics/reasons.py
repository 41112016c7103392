"""The reason codes."""

from engine.commands.topics.tables import code, rows
from engine.model.texts.reasons import ReasonCode

INTRODUCTION = """\
# Reason codes

Why a message or a delivery is where it is. The code is stored with it, shown on the status page and by
`labrelay dlq show`, counted in the metrics, and matched by `labrelay dlq list --code CODE`. Codes are never renamed or
reused: rows of past years carry them. Messages that go on have other codes: `labrelay help warnings`.
"""


def markdown() -> str:
    found = ((code(reason.value), reason.help) for reason in ReasonCode)
    return "\n".join((INTRODUCTION, *rows("code | what happened, and what to do", found)))
