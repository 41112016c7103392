"""How long the journal keeps its rows, and where its copies go: ``retention:`` and ``backup:`` of a site."""

from pydantic import Field, model_validator

from engine.config.reading.values import Duration, FilePath, Flag, Model, Size, Text, Whole
from engine.model.texts.units import duration_text

DAY_S = 86_400.0
YEAR_S = 366 * DAY_S  # never shorter than a year of the calendar
LEAST_S = 91 * DAY_S  # what LabRelay itself still asks: numbers of orders and patients are remembered for 90 days


class RetentionConfig(Model):
    """How long the journal keeps finished messages. Open, held, dead or incomplete ones stay until a person has decided
    about them, whatever these keys say. An age counts from the last event of a message.
    """

    delivered: Duration = Field(default=5 * YEAR_S, ge=LEAST_S)
    """Messages that were delivered (or that a newer result has overtaken), with their documents, deliveries and
    frames. Default: five years."""

    filtered: Duration = Field(default=5 * YEAR_S, ge=LEAST_S)
    """Messages that a filter took, repeats, messages read by a tee."""

    dismissed: Duration = Field(default=5 * YEAR_S, ge=LEAST_S)
    """Messages that a person has dismissed, or rejected results of."""

    incomplete: Duration = 30 * DAY_S
    """The content of incomplete messages that a person has dismissed. They are no results, so it may be any time;
    `limits: incomplete` bounds them before."""

    audit: Duration = Field(default=6 * YEAR_S, ge=LEAST_S)
    """The audit trail. Default: six years; not shorter than any of the others."""

    minimum: Duration | None = Field(default=None, ge=LEAST_S)
    """The time that the law demands: nothing younger is deleted, neither for `size` nor when a patient's data are
    erased (unless a person forces that, with a reason). By default the shortest of the ages above."""

    size: Size | None = Field(default=None, ge=64 * 1024 * 1024)
    """The size that the journal may have on the disk. Beyond it the oldest finished messages are deleted before
    their time, down to `minimum`, which is then required; the page says so."""

    @model_validator(mode="after")
    def _agrees(self) -> "RetentionConfig":
        ages = {"delivered": self.delivered, "filtered": self.filtered, "dismissed": self.dismissed}
        for name, age in ages.items():
            if age > self.audit:
                raise ValueError(
                    f"{name}: {duration_text(age)} is longer than audit: {duration_text(self.audit)}; acts "
                    "about a message must be known for as long as the message is"
                )
            if self.minimum is not None and age < self.minimum:
                raise ValueError(
                    f"{name}: {duration_text(age)} is shorter than minimum: {duration_text(self.minimum)}; give a "
                    "longer age, or another minimum"
                )
        if self.size is not None and self.minimum is None:
            raise ValueError("size: needs minimum: as well, the age below which nothing goes, as minimum: 366d")
        return self

    @property
    def least(self) -> float:
        """The age in seconds below which nothing is deleted except by force; used by erasure."""
        if self.minimum is not None:
            return self.minimum
        return min(self.delivered, self.filtered, self.dismissed)


class BackupConfig(Model):
    """Copies of the journal and the configuration in a second folder. Without `folder` there are none, and the page is
    red, unless `without` gives a reason."""

    folder: FilePath | None = None
    """Folder for the copies, best on another disk or a mounted share; relative to the site's folder. It must be
    there: LabRelay does not make it, for a share that is not mounted would look like an empty one."""

    without: Text | None = None
    """The reason why LabRelay makes no copies, as `the whole machine is copied each night`; the page is then not
    red."""

    every: Duration = Field(default=DAY_S, ge=600.0)
    """Time between full copies; each is read back and checked by its chain."""

    rows: Duration = Field(default=300.0, ge=10.0, le=DAY_S)
    """Time between pieces: new rows of the journal, written to the folder between full copies. A loss of the disk
    can lose the data received within this time."""

    keep: Whole = Field(default=7, ge=1, le=1000)
    """Full copies to keep, with their pieces."""

    key: Flag = False
    """`true`: the key goes with the copies, so anyone with the folder can read every result. By default it does not:
    keep a copy of it elsewhere, for without it no copy can be read."""

    drill: Duration | None = Field(default=30 * DAY_S, ge=3600.0)
    """Time between drills: a copy is restored into a scratch folder, checked and removed again."""

    scratch: FilePath | None = None
    """Folder for drills; needs room for the journal. By default the folder of the copies."""

    @model_validator(mode="after")
    def _one_of_them(self) -> "BackupConfig":
        if self.folder is not None and self.without is not None:
            raise ValueError("folder and without contradict each other; give one")
        return self
