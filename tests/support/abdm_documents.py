"""Documents of ABDM as they go out, for tests that look at the bytes alone."""

from typing import Any

from engine.features.abdm.wire.documents import Prepared, going_out


def prepared(body: bytes, **given: Any) -> Prepared:
    """The bytes to encrypt; ``given``: as `going_out` has it."""
    return going_out(body, **given)[1]
