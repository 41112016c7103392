"""Find out how a receiver of HL7 v2 acknowledges: a query without a patient, and advice on `ack:`. Pure.

    NMQ^N01   application management query (HL7 v2.5, 14.3.1), as training (MSH-11 is T), without MSH-15 and MSH-16

A receiver that does not know the query refuses it, in the mode in which it answers messages. Its codes show that mode:
C. in a commit acknowledgement, A. in that of the application (HL7 v2.5, 2.9.3; table 0008).
"""

from collections.abc import Sequence
from datetime import datetime

from engine.model.errors import RefusedDeliveryError
from engine.model.reasons import ReasonCode

SILENT = "it is there, and did not answer a query (NMQ^N01): how it acknowledges is not known"


def query(control_id: str, now: datetime) -> bytes:
    """The message. ``now``: aware."""
    at = f"{now:%Y%m%d%H%M%S%z}"
    return (
        f"MSH|^~\\&|LABRELAY||||{at}||NMQ^N01|{control_id}|T|2.5\rQRD|{at}|R|I|{control_id}|||1^RD|ALL|OTH|ALL\r"
    ).encode()


def advice(ack: str, codes: Sequence[str]) -> str | None:
    """Advice for a person about a receiver that answered ``codes``, in this order; None where the setting fits.

    Raises:
        RefusedDeliveryError: with this setting nothing would ever count as delivered.
    """
    if not codes:
        return SILENT
    modes = {code[:1] for code in codes}
    said = " and then ".join(codes)
    if ack == "both" and "C" not in modes:
        raise RefusedDeliveryError(ReasonCode.WRONG_ACK, f"it answers {said}, and no CA: set `ack: application`")
    if ack == "commit" and modes == {"A", "C"}:
        return f"it answers {said}: with `ack: application` a message counts as delivered once it was processed"
    if ack != "commit" and "A" not in modes:
        return f"it answers a query with {said} alone: if it answers results so, `ack: {ack}` delivers none"
    return None
