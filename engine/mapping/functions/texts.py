"""Texts: joining, cutting, comparing; and notes made of them."""

from typing import Any

from engine.mapping.functions.registry import function
from engine.mapping.message.message_context import MessageContext
from engine.model.message import Segment


@function("concat(parts: text...) -> text", pure=True)
def concat(*parts: str) -> str:
    """The parts one after the other; absent if one of them is."""
    return "".join(parts)


@function("join(values: whole[], separator: literal?) -> text", pure=True)
def join(values: list[str], separator: str | None = None) -> str | None:
    """All values that are there, whole as they were sent, with a separator between them (a new line if not given)."""
    return ("\n" if separator is None else separator).join(filter(None, values)) or None


@function("whole(value: whole) -> text", pure=True)
def whole(text: str) -> str | None:
    """A field as it was sent, with the delimiters that the sender forgot to escape (`10^3/uL`)."""
    return text.strip() or None


@function("value_text(value: field[], type: text?) -> text", steady=True)
def value_text(run: MessageContext, repetitions: list[str], kind: str | None = None) -> str | None:
    """A value (OBX-5) in words, a line each repetition: the only component that says something (`NOT DETECTED^`,
    `^31.3`), else all of them with the delimiters that were sent, of type SN without (`5+`, `>=1:320`). Delimiters
    alone say nothing."""
    lines = [line for raw in repetitions if (line := _in_words(run, raw, kind)) is not None]
    return "\n".join(lines) or None


def _in_words(run: MessageContext, raw: str, kind: str | None) -> str | None:
    if run.C not in raw:
        return run.whole(raw)
    said = [part for part in raw.split(run.C) if run.present(part) is not None]
    if len(said) == 1:
        return run.whole(said[0].strip())
    if kind == "SN":
        return "".join(part for one in said if (part := run.text(one)) is not None) or None
    return run.whole(raw) if said else None


@function("comments_behind(segments: segment[]) -> text")
def comments_behind(run: MessageContext, segments: list[Segment]) -> str | None:
    """The comments on these segments: NTE-3 of all NTE directly after one of them, as lines."""
    lines, everything = list[str](), run.parsed.segments
    for one in segments:
        at = one.position  # of the next one
        while at < len(everything) and (segment := everything[at]).name == "NTE":
            at += 1
            lines += [words for part in run.get(segment, 3).split(run.R) if (words := run.whole(part))]
    return "\n".join(lines) or None


@function("beyond_first(value: field) -> text", steady=True, of_components=True)
def beyond_first(run: MessageContext, raw: str) -> str | None:
    """The whole field, where it has more than its first component (`^0^CODE`); else absent."""
    if run.C not in raw or run.present(raw.partition(run.C)[2].strip(run.C)) is None:
        return None
    return run.whole(raw.strip())


@function("upper(value: text) -> text!", pure=True)
def upper(text: str) -> str:
    """In capitals."""
    return text.upper()


@function("lower(value: text) -> text!", pure=True)
def lower(text: str) -> str:
    """In small letters."""
    return text.lower()


@function("before(value: text, mark: literal) -> text", pure=True)
def before(text: str, mark: str) -> str | None:
    """The text before the first `mark`; the whole text if there is none."""
    return text.partition(mark)[0].strip() or None


@function("after(value: text, mark: literal) -> text", pure=True)
def after(text: str, mark: str) -> str | None:
    """The text after the first `mark`; absent if there is none."""
    return text.partition(mark)[2].strip() or None


@function("replace(value: text, old: literal, new: literal) -> text", pure=True)
def replace(text: str, old: str, new: str) -> str | None:
    """Every `old` in the text replaced by `new`."""
    return text.replace(old, new).strip() or None if old else text


@function("left(value: text, count: literal) -> text", pure=True)
def left(text: str, count: str) -> str | None:
    """The first `count` characters."""
    return text[: int(count)].strip() or None if count.isdigit() else text


@function("starts_with(value: text, start: text) -> flag!", pure=True)
def starts_with(text: str, start: str) -> bool:
    """Whether the text begins with `start`."""
    return text.startswith(start)


@function("contains(value: text, part: text) -> flag!", pure=True)
def contains(text: str, part: str) -> bool:
    """Whether the text contains `part`."""
    return part in text


@function("annotation(text: text) -> Annotation", pure=True)
def annotation(text: str) -> dict[str, Any]:
    """A note with this text."""
    return {"text": text}
