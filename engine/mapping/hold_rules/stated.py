"""Patient history supplied by a test or a command instead of the journal: an `engine.model.results.EarlierResults`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from engine.model.results import Result


@dataclass(frozen=True, slots=True)
class StatedHistory:
    """The patient history as stated.

    Attributes:
        values: code -> the patient's last value, in the unit of the result, whenever it was measured.
        controls: code -> whether a control of it failed.
    """

    values: Mapping[str, Decimal] = field(default_factory=dict)
    controls: Mapping[str, bool] = field(default_factory=dict)

    def value(self, result: Result, within_us: int) -> Decimal | None:
        return next((self.values[code] for _, code in result.codes if code in self.values), None)

    def control_failed(self, codes: tuple[str, ...], within_us: int) -> bool | None:
        judged = [self.controls[code] for code in codes if code in self.controls]
        return any(judged) if judged else None
