"""Names for the components of a value of ASTM (R-4), as the setting ``r4`` of a channel or pack gives them."""

from functools import lru_cache

VALUE, CALL, LEFT_OUT = "value", "call", "-"


@lru_cache(maxsize=64)
def component_names(setting: str) -> tuple[str, ...]:
    """The names in their order (``call^value``); none where the setting is empty."""
    return tuple(name.strip() for name in setting.split("^")) if setting else ()
