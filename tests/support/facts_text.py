"""Facts as golden files have them: a line for the message and for each person, order, sample and result, in JSON."""

import json
from collections.abc import Iterator
from typing import Any

from engine.model.content.facts import Facts, as_plain


def facts_text(facts: Facts) -> str:
    return "".join(f"{line}\n" for line in _lines(facts))


def _lines(facts: Facts) -> Iterator[str]:
    yield _line("message", facts._replace(people=()))
    for person in facts.people:
        yield _line(" person", person._replace(orders=()))
        for order in person.orders:
            yield _line("  order", order._replace(samples=(), results=()))
            for sample in order.samples:
                yield _line("   sample", sample)
            for result in order.results:
                yield _line("   result", result)


def _line(name: str, part: Any) -> str:
    return f"{name:<10}{json.dumps(as_plain(part), ensure_ascii=False)}"
