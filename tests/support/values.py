"""Look for a value of a patient in a text that people read."""

import re


def mentions(text: str, value: str) -> bool:
    """Whether ``value`` is a word of its own in ``text``, and not a part of a time, a number or a hash."""
    return re.search(rf"(?<![\w.:-]){re.escape(value)}(?![\w:-]|\.\w)", text) is not None
