"""A message without its patient, to be shown to others: HL7 v2 and E1394, for bug reports. Pure.

What is kept is named here, field by field, and only where the value is of the kind that the field is for; everything
else is replaced. So a name in a field that is for a date, a segment that nobody knows, a vendor's own field: none
survives.

    kept        delimiters, segments, empty fields and HL7's "", repetitions, components, line ends, set IDs, types;
                of the analyzer: codes, units, numbers, flags, ranges, states, its name and version
    replaced    numbers, names, addresses, phones ... by tokens: the same text gives the same token in one export, and
                texts of six or more digits become as many digits
    shifted     dates and times, all of one patient's by the same number of days, so that ages and intervals stay
    dropped     free text: `text` stands there instead, in NTE, C, and results that are no number and no known code
    told        bytes that are no text: a value that had some ends in one

Whoever has the key can try what became of a name, so a key is made for each export and thrown away with it.
"""

import re
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from hashlib import blake2b

KEY_BYTES = 32
TEXT = "text"
HEADERS = ("MSH", "FHS", "BHS", "H")
LEAST_SHIFT, MOST_SHIFT = 30, 3000  # days, into the past
_TOKEN = "ABCDEFGHJKMNPQRSTVWXYZ0123456789"  # noqa: S105 - letters of what replaces a value
_TOKEN_LENGTH = 9
_KEPT_DIGITS = 6

Kind = str

_CODE = re.compile(r"[0-9A-Za-z%#*.?+(/_-][0-9A-Za-z .%/_+()\[\]{}:<>=,#*?'^&-]{0,59}")
_NUMBER = re.compile(r"[<>=~ ]{0,3}[+-]?[0-9]{1,9}(?:[.,][0-9]{1,9})?(?:[eE][+-]?[0-9]{1,2})?")  # shorter than phones
_SMALL = re.compile(r"[0-9]{1,3}")
_SUB_ID = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){0,3}|[0-9A-Za-z]{1,3}")
_BOUND, _LONG_BOUND = r"-?[0-9]{1,6}(?:[.,][0-9]{1,4})?", r"-?[0-9]{1,9}(?:[.,][0-9]{1,6})?"
_RANGE = re.compile(rf" *(?:[<>]=?)? *{_BOUND} *| *{_LONG_BOUND} *(?:-|to|TO|\.\.) *{_LONG_BOUND} *")
_UNIT = re.compile(r"[0-9A-Za-z%*.{}\[\]^_ -]{0,12}/[0-9A-Za-z%*.{}\[\]^_ -]{1,12}|%[0-9A-Za-z. ]{0,6}|UCUM|ISO\+")
_FLAG = re.compile(r"[A-Za-z<>*!+?-]{1,3}")
_TYPE = re.compile(r"[A-Z][A-Z0-9_]{1,6}")
_VERSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z.-]{0,11}")
_DATE = re.compile(
    r"((?:19|20)[0-9]{2})(0[1-9]|1[0-2])(0[1-9]|[12][0-9]|3[01])"
    r"((?:[01][0-9]|2[0-3])(?:[0-5][0-9](?:[0-5][0-9](?:\.[0-9]{1,4})?)?)?)?([+-][0-9]{4})?"
)
_DAY, _MONTH, _YEAR = "(?:0[1-9]|[12][0-9]|3[01])", "(?:0[1-9]|1[0-2])", "(?:19|20)[0-9]{2}"
_OTHER_DATE = re.compile(f"(?:{_DAY}{_MONTH}|{_MONTH}{_DAY}){_YEAR}")  # not as the standards write it

# Words that results come in, beside the codes of the tables: what an analyzer says, and nobody is called.
_WORDS = frozenset(
    """positive negative pos neg reactive non-reactive nonreactive detected not-detected equivocal indeterminate
    borderline normal abnormal trace present absent invalid valid error none clear turbid cloudy hazy yellow straw amber
    red brown colorless few many moderate rare small medium large low high + ++ +++ ++++ - +/- 1+ 2+ 3+ 4+ nil done
    failed passed pass fail s i r > < >= <= <> = / :""".split()  # noqa: SIM905 - a list of so many words is read better so
)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_OF: dict[str, frozenset[str]] = {  # tables of HL7 v2 and E1394, of which the letters are kept
    "sex": _words("M F O U A N m f u"),
    "class": _words("E I O P R B C N U"),
    "control": _words(
        "NW OK UA CA OC CR UC DC OD DR UD HD OH HR UH RL OE OR UR RP RQ UM PR PA RO UN SC SN SR SS XO XX NA"
    ),
    "status": _words("A CA CM DC ER HD IP RP SC O I S P C R F X Y Z N D U W B Q V T"),
    "section": _words("AU BG BLB CUS CTH CT CH CP EC EN HM ICU IMM LAB MB MCB MYC OTH RX PHY SR TX URN VR"),
    "action": _words("A G L O P R S C N X Q D"),
    "source": _words("L P O I"),
    "note": _words("G T P N I"),
    "value": _words("NM SN ST TX FT CE CWE CNE CF DT TM TS DTM ED RP IS ID SI XPN XCN CX EI NA"),
}

# Of the fields that are not listed, each component becomes a token, or is shifted where it is a date.
_HL7: dict[str, dict[int, Kind]] = {
    "MSH": {3: "code", 5: "code", 7: "date", 9: "type", 11: "version", 12: "version", 15: "type", 16: "type",
            17: "type", 18: "code", 19: "code", 20: "code", 21: "code"},
    "PID": {1: "small", 7: "date", 8: "sex"},
    "PV1": {1: "small", 2: "class", 44: "date", 45: "date"},
    "NK1": {1: "small"},
    "IN1": {1: "small"},
    "ORC": {1: "control", 5: "status", 9: "date", 15: "date"},
    "OBR": {1: "small", 4: "known", 5: "action", 6: "date", 7: "date", 8: "date", 11: "action", 14: "date", 15: "known",
            22: "date", 24: "section", 25: "status", 27: "date"},
    "OBX": {1: "small", 2: "value", 3: "code", 4: "sub", 5: "result", 6: "unit", 7: "range", 8: "flag", 11: "status",
            12: "date", 14: "date", 17: "known", 18: "code", 19: "date"},
    "NTE": {1: "small", 2: "source", 3: "text", 4: "known"},
    "SPM": {1: "small", 4: "known", 8: "known", 11: "known", 17: "date", 18: "date"},
    "SAC": {},
    "INV": {1: "code", 2: "known", 3: "code", 4: "code", 8: "number", 9: "number", 11: "unit", 12: "date", 16: "code"},
    "TCD": {1: "code"},
    "TQ1": {1: "small", 7: "date", 8: "date", 9: "action"},
    "MSA": {1: "control"},
    "EVN": {1: "type", 2: "date"},
    "MRG": {}, "PV2": {}, "PD1": {}, "AL1": {}, "DG1": {}, "GT1": {}, "IN2": {}, "SFT": {}, "ERR": {}, "QRD": {},
    "QRF": {}, "QPD": {}, "RCP": {}, "TXA": {}, "SID": {}, "EQU": {}, "ECD": {}, "DSC": {}, "DSP": {}, "FHS": {},
    "BHS": {}, "FTS": {}, "BTS": {}, "ROL": {}, "CTD": {}, "CTI": {}, "BLG": {}, "FT1": {}, "ORG": {}, "PRT": {},
}  # fmt: skip
_ASTM: dict[str, dict[int, Kind]] = {
    "H": {5: "code", 12: "version", 13: "version", 14: "date"},
    "P": {2: "small", 8: "date", 9: "sex"},
    "C": {2: "small", 3: "source", 4: "text", 5: "note"},
    "O": {2: "small", 5: "known", 6: "action", 7: "date", 8: "date", 9: "date", 12: "action", 15: "date", 16: "known",
          23: "date", 26: "status"},
    "R": {2: "small", 3: "code", 4: "result", 5: "unit", 6: "range", 7: "flag", 8: "flag", 9: "status", 12: "date",
          13: "date", 14: "code"},
    "M": {2: "small"},
    "S": {2: "small"},
    "Q": {2: "small", 13: "status"},
    "L": {2: "small", 3: "flag"},
}  # fmt: skip


class UnknownFormatError(ValueError):
    """The bytes are neither HL7 v2 nor E1394: nobody can say where in them a patient stands."""


@dataclass(slots=True)
class Deidentifier:
    """One export.

    Attributes:
        key: random, for this export alone.
        known: codes that tables have, in lower case; their texts are kept where a code belongs.
    """

    key: bytes = field(repr=False)
    known: Container[str] = frozenset()
    _tokens: dict[str, str] = field(default_factory=dict, repr=False)

    def apply(self, payload: bytes) -> tuple[bytes, int]:
        """The message without its patient, and by how many days its dates are shifted.

        Raises:
            UnknownFormatError: neither HL7 v2 nor E1394.
        """
        text = payload.decode("latin-1")
        start = _start(text)
        if start is None:
            raise UnknownFormatError("neither HL7 v2 nor ASTM E1394: nobody can say where in it a patient stands")
        cut = _Delimiters.of(text, start)
        lines = re.split(r"([\r\n\x0b\x1c]+)", text)
        days = self._shift(lines, cut)
        codes = _codes_in(lines, cut)
        done = [line if number % 2 else self._line(line, cut, days, codes) for number, line in enumerate(lines)]
        return "".join(done).encode("latin-1"), days

    def shifted(self, text: str, days: int) -> str:
        """A date or time that many days on; the empty text where it is none."""
        found = _DATE.fullmatch(text)
        if found is None:
            return ""
        try:
            day = date(int(found[1]), int(found[2]), int(found[3])) + timedelta(days=days)
        except (ValueError, OverflowError):
            return ""
        return f"{day:%Y%m%d}{found[4] or ''}{found[5] or ''}"

    def token(self, text: str) -> str:
        """What stands for a text in this export."""
        found = self._tokens.get(text)
        if found is None:
            found = self._tokens[text] = self._made(text)
        return found

    def _made(self, text: str) -> str:
        digest = blake2b(text.strip().upper().encode("utf-8", "surrogatepass"), key=self.key, digest_size=64).digest()
        if len(text) >= _KEPT_DIGITS and text.isascii() and text.isdigit():
            made = "".join(str(byte % 10) for byte in digest[: min(len(text), 60)])
            return made if made != text else made[:-1] + str((int(made[-1]) + 1) % 10)
        return "T" + "".join(_TOKEN[byte % 32] for byte in digest[:_TOKEN_LENGTH])

    def _shift(self, lines: list[str], cut: "_Delimiters") -> int:
        """The days for this message: the same for all messages of its (first) patient."""
        patient = ""
        for line in lines[::2]:
            fields = line.split(cut.field)
            places = {"PID": (3, 2, 4), "P": (2, 3, 4)}.get(fields[0].strip(), ())
            texts = (re.split(cut.inner, fields[at])[0] for at in places if at < len(fields))
            patient = next((text.strip().upper() for text in texts if text.strip()), "")
            if patient:
                break
        digest = blake2b(patient.encode("utf-8", "surrogatepass"), key=self.key, digest_size=8, person=b"days").digest()
        return -(LEAST_SHIFT + int.from_bytes(digest, "big") % (MOST_SHIFT - LEAST_SHIFT))

    # -- lines and fields ----------------------------------------------------------------------------------------

    def _line(self, line: str, cut: "_Delimiters", days: int, codes: frozenset[str]) -> str:
        fields = line.split(cut.field)
        name = fields[0]
        places = cut.places.get(name.strip())
        if not line.strip():
            return line
        if places is None:
            if len(fields) == 1 or not re.fullmatch(r"[A-Z][A-Z0-9]{0,2}", name.strip()):
                return TEXT + _odd(line)  # a line of its own, or the rest of a field that was broken up
            fields[0] = name if cut.is_hl7 and name.startswith("Z") else "ZZZ" if cut.is_hl7 else "Z"
            places = {}
        header = name.strip() in HEADERS and re.search(r"\w", fields[1] if len(fields) > 1 else "") is None
        if name.strip() in HEADERS and not header:
            places = {}  # it declares no delimiters, so that it is none
        result_type = ""
        for at in range(1, len(fields)):
            if header and at == 1:
                continue
            number = at + 1 if header or not cut.is_hl7 else at
            kind = places.get(number, "")
            if name == "OBX" and number == 2:
                result_type = fields[at].strip()
            if kind == "result" and result_type == "ED":
                fields[at] = cut.component.join(["", "", "", "Base64", "dGV4dA=="])
                continue
            fields[at] = self._field(fields[at], kind, cut, days, codes)
        return cut.field.join(fields)

    def _field(self, value: str, kind: Kind, cut: "_Delimiters", days: int, codes: frozenset[str]) -> str:
        if not value.strip() or value == '""':
            return value
        if kind == "text":
            return TEXT + _odd(value)
        whole = _WHOLE.get(kind)
        if whole is not None and whole.fullmatch(value.strip()):  # 10^3/uL, whatever ^ is in this message
            return value
        parts = re.split(f"({cut.inner})", value)
        return "".join(
            part if number % 2 else self._value(part, kind, days, codes) for number, part in enumerate(parts)
        )

    def _value(self, value: str, kind: Kind, days: int, codes: frozenset[str]) -> str:
        bare = value.strip()
        if not bare or bare == '""':
            return value
        moved = self.shifted(bare, days)
        if moved and kind != "code":  # also where a number could stand: a birth date is a result of some analyzers
            return value.replace(bare, moved)
        if kind == "result" and _OTHER_DATE.fullmatch(bare):
            return TEXT
        if kind in _OF:
            keep = bare in _OF[kind]
        elif kind == "unit":
            keep = bool(_UNIT.fullmatch(bare) or _SMALL.fullmatch(bare)) or bare.lower() in self.known
        elif kind == "range":
            keep = _RANGE.fullmatch(bare) is not None or bare.lower() in _WORDS
        elif (pattern := _PATTERNS.get(kind)) is not None:
            keep = pattern.fullmatch(bare) is not None
        elif kind == "known":
            keep = bare in codes or bare.lower() in self.known
        elif kind == "result":
            keep = _NUMBER.fullmatch(bare) is not None or bare.lower() in _WORDS or bare.lower() in self.known
        else:
            keep = False
        if keep:
            return value
        if moved:
            return value.replace(bare, moved)
        return TEXT + _odd(value) if kind == "result" else self.token(bare) + _odd(value)


_PATTERNS: Mapping[Kind, re.Pattern[str]] = {
    "code": _CODE,
    "small": _SMALL,
    "sub": _SUB_ID,
    "flag": _FLAG,
    "type": _TYPE,
    "version": _VERSION,
    "number": _NUMBER,
}


_WHOLE: Mapping[Kind, re.Pattern[str]] = {"unit": _UNIT, "range": _RANGE}


@dataclass(frozen=True, slots=True)
class _Delimiters:
    """How one message is cut.

    Attributes:
        declared: as the header declares them, after the field separator.
        inner: a pattern of everything that cuts a field into values.
    """

    field: str
    component: str
    declared: str
    inner: str
    is_hl7: bool

    @property
    def places(self) -> dict[str, dict[int, Kind]]:
        return _HL7 if self.is_hl7 else _ASTM

    @classmethod
    def of(cls, text: str, start: int) -> "_Delimiters":
        is_hl7 = text[start] != "H"
        at = start + (3 if is_hl7 else 1)
        separator = text[at : at + 1]
        found = re.match(r"[^\w\s]{0,5}", text[at + 1 : at + 6])
        declared = found[0].split(separator)[0] if found else ""
        usual = "^~\\&" if is_hl7 else "\\^&"
        marks = declared or usual
        escape = marks[2:3]  # of both: ^~\\& and \\^&
        cutting = "".join(sign for sign in dict.fromkeys(marks) if sign != escape)
        component = (marks[0:1] if is_hl7 else marks[1:2]) or "^"
        return cls(separator, component, declared, f"[{re.escape(cutting or '^')}]", is_hl7)


def _start(text: str) -> int | None:
    """Where the header begins; None where the text does not begin with one, but for signs that are none."""
    found = re.match(r"[\x00-\x20]*(?:\xef\xbb\xbf)?((?:MSH|FHS|BHS)(?=[^\w\s])|H(?=[^\w\s]))", text)
    return found.start(1) if found else None


def _codes_in(lines: list[str], cut: _Delimiters) -> frozenset[str]:
    """Codes of results in the message: the same ones in an order are no secret."""
    place = {"OBX": 3} if cut.is_hl7 else {"R": 2}
    found: set[str] = set()
    for line in lines[::2]:
        fields = line.split(cut.field)
        at = place.get(fields[0].strip())
        if at is not None and at < len(fields):
            found.update(part.strip() for part in re.split(cut.inner, fields[at]) if _CODE.fullmatch(part.strip()))
    return frozenset(found)


def _odd(value: str) -> str:
    """One sign for the oddest thing in a text: a control character, bytes that are no UTF-8, a letter beyond ASCII."""
    for sign in value:
        if sign < " " and sign != "\t":
            return sign
    if value.isascii():
        return ""
    try:
        value.encode("latin-1").decode("utf-8")
    except UnicodeDecodeError:
        return "\xff"
    return "\xc3\xa9"
