"""The ``orders:`` block of a channel: the analyzer asks, and its questions are answered from the worklist."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, Field

from engine.config.values import CertificateNames, Duration, Flag, Model, Name, NotEmpty, Text, Whole, Words

if TYPE_CHECKING:
    from engine.config.source import AnySource

DEADLINE_S = 8.0  # the shortest time that an analyzer is known to wait over ASTM is 10 s


def _each_once(codes: dict[str, str]) -> dict[str, str]:
    """Read backwards, a code of the analyzer must say one test: its result would close another test's order."""
    tests: dict[str, str] = {}
    for test, code in codes.items():
        if (other := tests.setdefault(code, test)) != test:
            raise ValueError(f"{other} and {test} have one code of the analyzer, '{code}'; take one of them out")
    return codes


Codes = Annotated[
    dict[Text, Text],
    NotEmpty,
    AfterValidator(_each_once),
    Words("block of `code of the LIS: code of the analyzer`"),
]


class OrdersConfig(Model):
    """Makes the channel of an analyzer two-way: its questions are answered from the worklist
    ([questions](questions.md)). It needs ASTM with an ACK for each frame."""

    answer: Literal["query"] = "query"
    """`query`: the analyzer asks for the orders of a tube, and gets them."""

    download: Literal["on_order", "on_connect", "batch"] | None = None
    """When waiting orders go to the analyzer unasked: `on_order`, as soon as the line is free; `on_connect`, when the
    analyzer connects; `batch`, when it connects and then each `download_every`. Without it an analyzer gets only what
    it asks for."""

    download_every: Duration = Field(default=600.0, ge=5.0, le=86_400.0)
    """With `download: batch`: the time between two batches."""

    codes: Codes = Field(default_factory=dict)
    """The tests that this analyzer runs, each with the code that it knows it by: `{TSH: "10", FT4: "40"}`, the code of
    the laboratory system (LIS) first. A test that is not here is never offered to this analyzer.
    Without it the LIS orders in LOINC, and the table that maps the channel's results is read backwards."""

    preferred: CertificateNames | None = None
    """Without `codes`: where the table has two codes for one LOINC code, the one that is ordered."""

    group: Name | None = None
    """Name of the group of analyzers that this one is of. An order for the group may be run by each of them; it is
    offered to the one that asks first."""

    demographics: Flag = False
    """`true`: the patient's number, name, birth date and sex go to the analyzer, too. By default none of them does."""

    all_limit: Whole = Field(default=200, ge=1, le=1000)
    """The most orders that an answer holds to a question for all of them; the most urgent ones first."""

    deadline: Duration = Field(default=DEADLINE_S, ge=0.5, le=60.0)
    """How long after its question an answer may still begin. Later than that nothing is sent, and the analyzer asks
    again."""

    q13_a: Literal["query", "cancel", "barcode-only"] | None = None
    """ASTM alone: the meaning of `A` in Q-13 of this analyzer. `query`: it asks, as with `O`. `cancel`: it takes its
    question back. `barcode-only`: it asks where Q-3 names a tube, and takes its question back where it names none. An
    analyzer that ends with `L|1|T` beside it takes its question back in any case. Without the key as its maker does."""

    none_end: Literal["I", "F", "N"] | None = None
    """ASTM alone: the code in the L record of an answer without orders, where the analyzer needs another one than its
    maker's usual: for a GeneXpert `I` or `F`."""

    @property
    def habits(self) -> dict[str, str]:
        """What this analyzer does in another way than its dialect says."""
        return {name: said for name in ("q13_a", "none_end") if (said := getattr(self, name)) is not None}

    @property
    def groups(self) -> tuple[str, ...]:
        return () if self.group is None else (self.group,)

    @property
    def tests(self) -> dict[str, str]:
        """The analyzer's code -> the LIS's."""
        return {code: test for test, code in self.codes.items()}


def why_one_way(source: "AnySource") -> str:
    """Why no question can be answered on this source; empty where one can."""
    if hasattr(source, "tee"):
        return "a tee answers nothing"
    if source.transport in ("folder", "http"):
        return f"a source of kind {source.transport} has no line to the analyzer"
    if source.link != "e1381" or source.format != "astm":
        return "questions are answered over ASTM E1381 alone; name the kind (astm, astm-serial)"
    if source.framing != "e1381":
        return f"framing: {source.framing} has no ENQ, and without it nothing can be sent to the analyzer"
    if source.acks != "frame":
        return f"acks: {source.acks} answers no frames, and an analyzer on such a line takes none"
    return ""
