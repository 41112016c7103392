"""What a person has refused, by content (rule 4).

In the evening an analyzer sends its memory: the same result, with a new number and time of the message. A person has
rejected it in the morning, after a failed control. It would go out, for its control has passed since.
"""

Content = tuple[str, ...]


def content_of(person: str, number: str, test: str, sub: str, organism: str, value: str, unit: str, at: str) -> Content:
    """What a no of a person is about. A number counts by its digits alone: ``5.50`` is ``5.5``."""
    return person, number, test, sub, organism, plain(value), unit, at


def plain(value: str) -> str:
    """A value as it is compared with another one."""
    text = value.strip()
    if "." in text and text.replace(".", "", 1).lstrip("+-").isdigit():
        return text.rstrip("0").rstrip(".")
    return text
