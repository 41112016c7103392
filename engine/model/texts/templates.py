"""Texts with ``{names}`` in them, as the body of a request to a service of others. Pure."""

import json
import re
from collections.abc import Callable, Mapping
from urllib.parse import quote_plus


def filled(template: str, form: str, values: Mapping[str, str]) -> str:
    """The body of a request: ``{name}`` in the template becomes its value, as the form wants it; other braces stay.

    Args:
        form: json, form or text.
    """
    written: Mapping[str, Callable[[str], str]] = {
        "json": lambda text: json.dumps(text)[1:-1],
        "form": quote_plus,
        "text": str,
    }
    made = "|".join(map(re.escape, values))
    return re.sub(f"{{({made})}}", lambda found: written[form](values[found[1]]), template)
