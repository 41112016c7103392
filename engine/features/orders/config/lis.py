"""The ``lis:`` block of a channel with ``role: orders``: how the orders of a laboratory system are taken."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from engine.config.mapping_settings import number_patterns
from engine.config.reading.values import Duration, Model, Names, NotEmpty, Text, Words, distinct, listed
from engine.config.sources.source import AnySource

DAY = 86_400.0
DEADLINE_S = 10.0

Texts = Annotated[
    tuple[Text, ...], BeforeValidator(listed), NotEmpty, AfterValidator(distinct), Words("text or list of texts")
]


class LisConfig(Model):
    """How the orders of a channel with `role: orders` are taken ([orders](questions.md)). Each key may be left out."""

    targets: Names | None = None
    """Channels, or groups of them, that may run the orders of this laboratory system (LIS); an order that names
    another one is rejected. By default each channel that has a code for the test."""

    codes: Annotated[dict[Text, Text], NotEmpty, Words("block of `code of the LIS: code of the worklist`")] | None = (
        None
    )
    """The LIS's own codes, each with the code that `orders: codes:` of the analyzers' channels has for it, as
    `{"1001": GLU}`. A test that is not here is then rejected. By default the codes are the same."""

    panels: Annotated[dict[Text, Texts], NotEmpty, Words("block of `code of a panel: [codes of its tests]`")] | None = (
        None
    )
    """Panels, each with the LIS's codes of its tests, as `{LIPID: [CHOL, HDL]}`. A panel that an analyzer has a code
    for goes to it as it is."""

    cancel: Literal["order", "specimen"] = "order"
    """What a cancel names: an `order` by its number; or `specimen`: without a number, all orders of its specimen."""

    expires: Duration = Field(default=7 * DAY, ge=60.0, le=366 * DAY)
    """How long an order waits for an analyzer that asks."""

    specimen_reuse: Duration = Field(default=30 * DAY, ge=0.0, le=366 * DAY)
    """How long after its result a specimen number may not be another patient's. Within this time the orders of both
    are held."""

    control_numbers: Annotated[Texts, AfterValidator(number_patterns)] | None = None
    """Specimen numbers of control materials, `*` for any text, as `["QC*"]`. An order for one is rejected."""

    deadline: Duration = Field(default=DEADLINE_S, ge=0.5, le=60.0)
    """How long the LIS may wait for its answer. Later than that it gets a commit accept (CA), where it asked for one;
    else the connection is closed, and it sends the order again."""


def why_no_orders(source: AnySource) -> str:
    """Why no orders can be taken from this source; empty where they can."""
    if hasattr(source, "tee"):
        return "a tee only listens, and the orders that pass are the other system's"
    if source.link not in ("mllp", "whole"):
        return "orders come over mllp or http, as files of a folder, or of a FHIR server; change the source"
    if source.format not in ("hl7v2", "json", "fhir"):
        return f"orders come as HL7, JSON or FHIR, and this source reads {source.format}; change the source"
    return ""
