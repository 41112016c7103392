"""What must come of a message, as `NN-name.expected.json` holds it: a document with its digits as they were sent.

Tests that compare such files write them anew where LABRELAY_UPDATE_SAMPLES is set; then look at the difference.
"""

import json
import os
import re
from typing import Any

from engine.model.message import Mapped
from engine.model.routes import Processed

UPDATE = bool(os.environ.get("LABRELAY_UPDATE_SAMPLES"))
MARK = "\ue000"  # a private character: stands before the text of a number until it is written


def outcome_text(verdict: Processed, mapped: Mapped | None) -> str:
    """The Bundle, or the verdict with its counts where there is none.

    Without the Provenance, which names the hash of the mapping and would change with every comment in it.
    """
    if verdict.documents:
        shaped: Any = json.loads(verdict.documents[0][0].body, parse_float=_marked, parse_int=_marked)
        shaped["entry"] = [one for one in shaped["entry"] if one["resource"]["resourceType"] != "Provenance"]
    else:
        assert verdict.reason is not None
        shaped = {"state": verdict.state, "reason": verdict.reason.value, "counts": mapped.counts if mapped else {}}
    text = json.dumps(shaped, indent=1, ensure_ascii=False)
    return re.sub(f'"{MARK}([^"]*)"', r"\1", text) + "\n"


def _marked(number: str) -> str:
    return MARK + number
