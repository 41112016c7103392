"""What is above a chart: the verdict on the newest run, whether results wait for it, and the tests beside this one."""

from collections.abc import Sequence
from typing import Any

from engine.features.quality_control.rows import reading
from engine.features.quality_control.rows.reading import PointView
from engine.model.texts.phrases import N_, PageText
from engine.store.queries.reader import Reader
from engine.web.pages.words import Words, shown

SIGNS: dict[str, tuple[str, str, PageText]] = {
    "accept": ("ok", "ok", "accepted"),
    "warn": ("attention", "attention", "warning"),
    "reject": ("problem", "problem", "rejected"),
}
UNJUDGED: tuple[str, str, PageText] = ("attention", "attention", "not evaluated")
N_(("accepted", "warning", "rejected", "not evaluated"))


def head(reader: Reader, path: str, test: tuple[str, str, str], points: Sequence[PointView], words: Words) -> Any:
    """``test``: channel, module and test; ``points`` of it, oldest first."""
    channel, module, name = test
    tests = reading.list_tests(reader, channel)
    names = [(one.module, one.test) for one in tests]
    at = names.index((module, name)) if (module, name) in names else -1
    newest = points[-1]
    level, icon, word = SIGNS.get(newest.verdict, UNJUDGED)
    beside = []
    for place, text, rel in ((at - 1, "Before: {test}", "prev"), (at + 1, "Next: {test}", "next")):
        if at >= 0 and 0 <= place < len(tests):
            other = tests[place]
            said = words.say(text, test=shown(f"{other.test} ({other.module})" if other.module else other.test))
            beside.append((said, words.href(path, channel=channel, test=other.test, module=other.module), rel))
    return {
        "sign": (level, icon, words.say(word)),
        "since": words.time(newest.measured_us),
        "waits": _waits(reader, channel, name, points, words),
        "beside": beside,
    }


def _waits(reader: Reader, channel: str, test: str, points: Sequence[PointView], words: Words) -> str:
    """Why results of the test wait; empty: they do not."""
    closed = [one for one in reading.list_failures(reader) if (one.channel, one.test) == (channel, test)]
    failure = next((one for one in closed if not one.until_us), None)
    if failure is None:
        return ""
    fired = [
        f"{words.say(one.why) if one.why else one.rules} ({shown(one.level)})"
        for one in points
        if one.run == failure.run and one.rules
    ]
    return words.say(
        "{rules}: results of this test wait since {time}; {n} went out before.",
        rules=", ".join(fired) or f"{words.say('Run')} {failure.run}",
        time=words.time(failure.from_us),
        n=failure.looks,
    )


N_(("Before: {test}", "Next: {test}"))
