"""What each analyzer that asks over ASTM says, and what it must be told, byte for byte: a table.

The makers' examples, captures and public drivers that the dialects name are the oracle. `{now}` is the time of the
answer.

``judge``: `ASTM` where an independent program reads what we say and writes what we hear
(`tests.validation.astm_package`); else the bytes of the maker's example alone, for the program has fixed delimiters
and knows no others.
"""

from dataclasses import dataclass, field
from typing import Any

NOW = "20261120101500"
ASTM = "astm 0.5"
BYTES = "the bytes of the maker's example"
CONTROL = "W7"


@dataclass(frozen=True, kw_only=True)
class Spoken:
    """One kind of analyzer. Records are without their CR.

    Attributes:
        maker: as `docs/conformance.md` names it. dialect: None: E1394 as it is.
        asks: for `tube`. tests: its codes. line: what else the order has.
        answer, none: what it gets. download, back: what it gets unasked, for a new test and for one taken back; empty:
            its maker has none.
        wire: the frames as they are printed, with their sums, where a source prints them.
        packed: it wants all records in one frame; else each has its own.
    """

    maker: str
    dialect: str | None
    judge: str = ASTM
    asks: tuple[str, ...]
    tube: str
    tests: tuple[str, ...]
    answer: tuple[str, ...]
    none: tuple[str, ...]
    download: tuple[str, ...]
    back: tuple[str, ...] = ()
    line: dict[str, Any] = field(default_factory=dict)
    wire: tuple[bytes, ...] = ()
    packed: bool = False
    fetch: tuple[str, ...] = ()


def message(records: tuple[str, ...]) -> bytes:
    return "".join(f"{record.replace('{now}', NOW)}\r" for record in records).encode()


SPOKEN = (
    Spoken(
        maker="E1394 as it is",
        dialect=None,
        asks=(r"H|\^&|||MADE-UP|||||LIS||P|1", "Q|1|^S1||ALL||||||||O", "L|1|N"),
        tube="S1",
        tests=("GLU", "CRE"),
        answer=(
            r"H|\^&|W7||LIS|||||MADE-UP||P|1|{now}",
            "P|1",
            r"O|1|S1||^^^GLU\^^^CRE|R||||||N||||||||||||||Q",
            "L|1|F",
        ),
        none=(r"H|\^&|W7||LIS|||||MADE-UP||P|1|{now}", "L|1|I"),
        download=(
            r"H|\^&|W7||LabRelay|||||||P|1|{now}",
            "P|1",
            r"O|1|S1||^^^GLU\^^^CRE|R||||||N||||||||||||||O",
            "L|1|F",
        ),
        back=(
            r"H|\^&|W7||LabRelay|||||||P|1|{now}",
            "P|1",
            r"O|1|S1||^^^GLU\^^^CRE|R||||||C||||||||||||||O",
            "L|1|F",
        ),
        fetch=(r"H|\^&|W7||LabRelay|||||||P|1|{now}", "Q|1|^S1||ALL||||||||F", "L|1|F"),
    ),
    Spoken(
        maker="Sysmex X, XN",
        dialect="sysmex",
        asks=(
            r"H|\^&|||XE-2100^00-22^11001^^^^12345678||||||||E1394-97",
            "Q|1|2^1^     1234567890^B||||20011001153000",
            "L|1|N",
        ),
        tube="1234567890",
        tests=("WBC", "RBC"),
        line={"requested": "2001-08-07T10:10:00+02:00"},
        answer=(
            r"H|\^&|W7||LabRelay|||||XE-2100^00-22^11001^^^^12345678||P|E1394-97|{now}",
            "P|1",
            r"O|1|2^1^     1234567890^B||^^^^WBC\^^^^RBC||20010807101000|||||N||||||||||||||Q",
            "L|1|N",
        ),
        none=(
            r"H|\^&|W7||LabRelay|||||XE-2100^00-22^11001^^^^12345678||P|E1394-97|{now}",
            "P|1",
            "O|1|2^1^     1234567890^B||||{now}|||||N||||||||||||||Y",
            "L|1|N",
        ),
        download=(
            r"H|\^&|W7||LabRelay|||||||P|1|{now}",
            "P|1",
            r"O|1|^^            1234567890^C||^^^^WBC\^^^^RBC||20010807101000|||||N||||||||||||||O",
            "L|1|N",
        ),
    ),
    Spoken(
        maker="Roche cobas e 411",
        dialect="roche-cobas-e411",
        asks=(
            r"H|\^&|||cobas-e411^1|||||host|TSREQ^REAL|P|1",
            "Q|1|^^0000000387^587^0^2^^S1^SC||ALL||||||||A",
            "L|1|N",
        ),
        tube="0000000387",
        tests=("10", "40"),
        line={"specimen_type": "SER", "collected": "2026-11-20T10:15:00+01:00"},
        answer=(
            r"H|\^&|||host^1|||||cobas-e411|TSDWN^REPLY|P|1",
            "P|1",
            r"O|1|0000000387|587^0^2^^S1^SC|^^^10^1\^^^40^1|R||20261120101500||||A||||1||||||||||O",
            "L|1|N",
        ),
        none=(
            r"H|\^&|||host^1|||||cobas-e411|TSDWN^REPLY|P|1",
            "P|1",
            "O|1|0000000387|587^0^2^^S1^SC||R||||||A||||1||||||||||O",
            "L|1|N",
        ),
        download=(
            r"H|\^&|||LabRelay||||||TSDWN^BATCH|P|1",
            "P|1",
            r"O|1|0000000387||^^^10^1\^^^40^1|R||20261120101500||||A||||1||||||||||O",
            "L|1|N",
        ),
        packed=True,
        wire=(
            b"\x021H|\\^&|||host^1|||||cobas-e411|TSDWN^REPLY|P|1\rP|1\rO|1|0000000387|587^0^2^^S1^SC|"
            b"^^^10^1\\^^^40^1|R||20261120101500||||A||||1||||||||||O\rL|1|N\r\x0357\r\n",
        ),
    ),
    Spoken(
        maker="Roche cobas c 311",
        dialect="roche-cobas-c311",
        packed=True,
        asks=(
            r"H|\^&|||cobas-c311^1|||||host|TSREQ^REAL|P|1",
            "Q|1|^^000018                ^42^50001^3^^S2^SC||ALL||||||||O",
            "L|1|N",
        ),
        tube="000018",
        tests=("668", "690"),
        line={"priority": "stat"},
        answer=(
            r"H|\^&|||host^1|||||cobas-c311|TSDWN^REPLY|P|1",
            "P|1",
            r"O|1|000018                |42^50001^3^^S2^SC|^^^668^\^^^690^|S||||||A||||2||||||||||O",
            "L|1|N",
        ),
        none=(
            r"H|\^&|||host^1|||||cobas-c311|TSDWN^REPLY|P|1",
            "P|1",
            "O|1|000018                |42^50001^3^^S2^SC||R||||||A||||2||||||||||O",
            "L|1|N",
        ),
        download=(
            r"H|\^&|||LabRelay||||||TSDWN^BATCH|P|1",
            "P|1",
            r"O|1|000018||^^^668^\^^^690^|S||||||A||||||||||||||O",
            "L|1|N",
        ),
    ),
    Spoken(
        maker="Roche cobas c 501 (H7600)",
        dialect="roche-cobas-c311",
        packed=True,
        asks=(
            r"H|\^&|||H7600^1|||||host|TSREQ^REAL|P|1",
            "Q|1|^^        8202041050600 ^3^50002^002^^S1^SC||ALL||||||||O",
            "L|1|N",
        ),
        tube="8202041050600",
        tests=("717",),
        answer=(
            r"H|\^&|||host^1|||||H7600|TSDWN^REPLY|P|1",
            "P|1",
            "O|1|        8202041050600 |3^50002^002^^S1^SC|^^^717^|R||||||A||||1||||||||||O",
            "L|1|N",
        ),
        none=(
            r"H|\^&|||host^1|||||H7600|TSDWN^REPLY|P|1",
            "P|1",
            "O|1|        8202041050600 |3^50002^002^^S1^SC||R||||||A||||1||||||||||O",
            "L|1|N",
        ),
        download=(
            r"H|\^&|||LabRelay||||||TSDWN^BATCH|P|1",
            "P|1",
            "O|1|8202041050600||^^^717^|R||||||A||||||||||||||O",
            "L|1|N",
        ),
    ),
    Spoken(
        maker="Roche cobas c 111",
        dialect="roche-cobas-c111",
        packed=True,
        asks=(r"H|\^&|||c111^Roche^c111^4.2|||||host|TSREQ^REAL|P|1", "Q|1|^^S1||ALL", "L|1|N"),
        tube="S1",
        tests=("418",),
        answer=(
            r"H|\^&|||host^Roche^c111^4.2|||||c111|TSDWN^REAL|P|1",
            "P|1",
            "O|1|S1||^^^418^A|R||||||A||||||||||||||O",
            "L|1|N",
        ),
        none=(
            r"H|\^&|||host^Roche^c111^4.2|||||c111|TSDWN^REAL|P|1",
            "P|1",
            "O|1|S1|||R||||||A||||||||||||||O",
            "L|1|N",
        ),
        download=(
            r"H|\^&|||LabRelay||||||TSDWN^BATCH|P|1",
            "P|1",
            "O|1|S1||^^^418^A|R||||||A||||||||||||||O",
            "L|1|N",
        ),
        fetch=(r"H|\^&|||LabRelay||||||RSREQ^REAL|P|1", "Q|1|^S1||ALL||||||||F", "L|1|N"),
    ),
    Spoken(
        maker="Abbott Architect, AxSYM",
        dialect="abbott-architect-astm",
        asks=(r"H|\^&||||||||||P|1", "Q|1|^SID13||^^^ALL||||||||O", "L|1"),
        tube="SID13",
        tests=("16", "241"),
        answer=(
            r"H|\^&|W7||LabRelay|||||||P|1|{now}",
            "P|1",
            r"O|1|SID13||^^^16\^^^241|R||||||N||||||||||||||Q",
            "L|1",
        ),
        none=(r"H|\^&|W7||LabRelay|||||||P|1|{now}", "Q|1|^SID13||^^^ALL||||||||X", "L|1"),
        download=(
            r"H|\^&|W7||LabRelay|||||||P|1|{now}",
            "P|1",
            r"O|1|SID13||^^^16\^^^241|R||||||N||||||||||||||O",
            "L|1",
        ),
        back=(
            r"H|\^&|W7||LabRelay|||||||P|1|{now}",
            "P|1",
            r"O|1|SID13||^^^16\^^^241|R||||||C||||||||||||||O",
            "L|1",
        ),
    ),
    Spoken(
        maker="Beckman Coulter Access, DxI",
        dialect="beckman-access",
        asks=(
            r"H|\^&|||ACCESS^500001|||||LIS||P|1|20111231235959",
            "Q|1|^SPEC1234||ALL||||||||O",
            "L|1|F",
        ),
        tube="SPEC1234",
        tests=("Ferritin",),
        line={"specimen_type": "SER"},
        answer=(
            r"H|\^&|W7||LIS|||||ACCESS^500001||P|1|{now}",
            "P|1",
            "O|1|SPEC1234||^^^Ferritin|R||||||A||||Serum",
            "L|1|F",
        ),
        none=(r"H|\^&|W7||LIS|||||ACCESS^500001||P|1|{now}", "L|1|I"),
        download=(
            r"H|\^&|W7||LabRelay|||||||P|1|{now}",
            "P|1",
            "O|1|SPEC1234||^^^Ferritin|R||||||A||||Serum||||||||||O",
            "L|1|F",
        ),
    ),
    Spoken(
        maker="Erba EM, XL",
        dialect="erba-em",
        judge=BYTES,
        asks=("H|`^&||||||||||P|E 1394-97|20181207121804", "Q|1|^0000000406|||S|||||||O", "L|1|N"),
        tube="0000000406",
        tests=("GLU", "UREA"),
        line={"specimen_type": "SERUM"},
        answer=(
            "H|`^&|W7||LabRelay|||||||P|E 1394-97|{now}",
            "P|1",
            "O|1|0000000406||^^^GLU`^^^UREA|R||||||A||||SERUM",
            "L|1|F",
        ),
        none=("H|`^&|W7||LabRelay|||||||P|E 1394-97|{now}", "L|1|I"),
        download=(
            "H|`^&|W7||LabRelay|||||||P|1|{now}",
            "P|1",
            "O|1|0000000406||^^^GLU`^^^UREA|R||||||A||||SERUM||||||||||O",
            "L|1|F",
        ),
        packed=True,
    ),
    Spoken(
        maker="Horiba Pentra 400",
        dialect="horiba-pentra-400",
        asks=(
            r"H|\^&|||abxpentra400^1|||||host|TSREQ^REAL|P|1",
            "Q|1|^^12345^1^2^3^^S1^SC||ALL||||||||O",
            "L|1|N",
        ),
        tube="12345",
        tests=("GLU",),
        line={"specimen_type": "SER"},
        answer=(
            r"H|\^&|||host^1|||||abxpentra400|TSDWN^REPLY|P|1",
            "P|1",
            "O|1|12345|1^2^3^^S1^SC|^^^GLU^|R||||||A||||1||||||||||O",
            "L|1|N",
        ),
        none=(
            r"H|\^&|||host^1|||||abxpentra400|TSDWN^REPLY|P|1",
            "P|1",
            "O|1|12345|1^2^3^^S1^SC||R||||||A||||1||||||||||O",
            "L|1|N",
        ),
        download=(
            r"H|\^&|||LabRelay||||||TSDWN^BATCH|P|1",
            "P|1",
            "O|1|12345||^^^GLU^|R||||||A||||1||||||||||O",
            "L|1|N",
        ),
    ),
    Spoken(
        maker="Cepheid GeneXpert",
        dialect="cepheid-genexpert",
        judge=BYTES,
        asks=("H|@^\\|||GeneXpert^4.7|||||LIS||P|1394-97|20250715120000", "Q|1|^T1||||||||||O", "L|1|F"),
        tube="T1",
        tests=("HIVVL", "HBV"),
        line={"priority": "stat", "requested": "2026-11-19T08:00:00Z"},
        answer=(
            "H|@^\\|W7||LIS|||||GeneXpert^4.7||P|1394-97|{now}",
            "P|1",
            "O|1|T1||^^^HIVVL|S|20261119080000|||||A||||ORH||||||||||Q",
            "O|2|T1||^^^HBV|S|20261119080000|||||A||||ORH||||||||||Q",
            "L|1|F",
        ),
        none=("H|@^\\|W7||LIS|||||GeneXpert^4.7||P|1394-97|{now}", "L|1|I"),
        download=(
            "H|@^\\|W7||LabRelay|||||||P|1|{now}",
            "P|1",
            "O|1|T1||^^^HIVVL|S|20261119080000|||||A||||ORH||||||||||O",
            "O|2|T1||^^^HBV|S|20261119080000|||||A||||ORH||||||||||O",
            "L|1|F",
        ),
    ),
    Spoken(
        maker="Cepheid GeneXpert, which asks for all",
        dialect="cepheid-genexpert",
        asks=(r"H|\^&|||GeneXpert^4.7||||||Q|1394-97|20250715120000", "Q|1|ALL", "L|1|F"),
        tube="T1",
        tests=("MTB",),
        line={"requested": "2026-11-19T08:00:00Z"},
        answer=(
            r"H|\^&|W7||LabRelay|||||GeneXpert^4.7||1394-97|20250715120000|{now}",
            "P|1",
            "O|1|T1||^^^MTB|R|20261119080000|||||A||||ORH||||||||||Q",
            "L|1|F",
        ),
        none=(r"H|\^&|W7||LabRelay|||||GeneXpert^4.7||1394-97|20250715120000|{now}", "L|1|I"),
        download=(),
    ),
    Spoken(
        maker="Mindray BS, CL",
        dialect="mindray-bs-astm",
        asks=(r"H|\^&|||Mindray^^|||||||RQ|1394-97|20230927130401", "Q|9|^20231012||||||||||O", "L|1|N"),
        tube="20231012",
        tests=("GLU", "ALT"),
        answer=(
            r"H|\^&|W7||LabRelay|||||Mindray^^||SA|1394-97|{now}",
            "P|1",
            r"O|1|1^^|20231012|1^GLU^^\2^ALT^^|R||||||N||||||||||||||Q",
            "L|1|N",
        ),
        none=(r"H|\^&|W7||LabRelay|||||Mindray^^||QA|1394-97|{now}", "L|1|I"),
        download=(
            r"H|\^&|W7||LabRelay|||||||SA|1|{now}",
            "P|1",
            r"O|1|1^^|20231012|1^GLU^^\2^ALT^^|R||||||N||||||||||||||O",
            "L|1|N",
        ),
    ),
)
