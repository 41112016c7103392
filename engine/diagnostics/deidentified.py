"""Remove the patient from a message, so that others may see it: HL7 v2 and E1394, for bug reports. Pure.

Kept fields are listed in `deidentified.txt`, one by one, and a value is kept only if it has the kind that the field is
for. Everything else is replaced. So a name in a field for dates, an unknown segment and a vendor's own field are all
replaced.

    kept        delimiters, segments, empty fields and HL7's "", repetitions, components, line ends, set IDs, types,
                numbers, ranges of numbers; of the analyzer what a code table has, or the message of another patient at
                such a place (`engine.diagnostics.deidentified`): codes, their texts, units, flags, its name and
                version
    replaced    all else, codes that no other patient has included, by tokens: the same text gives the same token in one
                export, and texts of six or more digits become as many digits
    shifted     dates and times, all of one patient's by the same number of days; times of day to the quarter of a day
    cut         dates of birth, and others of more than a year before, to the year; 90 years and more are one
    dropped     free text: replaced by `text`, in NTE, C, and results that are no number and no known code
    reported    bytes that are no text: a value that had some ends in one

With the key, a person could find the token of a known name, so a key is made for each export and thrown away with it.

Find the codes of an export that belong to an analyzer, not to a patient: several patients' messages have them. Pure.

Senders write names into fields for codes: of a test, an instrument, a facility. A value there in one patient's messages
only may be that patient's name. A part of any patient's name in the export is never taken for a code.
"""

import re
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from hashlib import blake2b

from engine.model.errors import UnknownFormatError
from engine.model.tables import table_lines

KEY_BYTES = 32
TEXT = "text"
HEADERS = ("MSH", "FHS", "BHS", "H")
LEAST_SHIFT, MOST_SHIFT = 30, 3000  # days, into the past
OLDEST = 90  # years of age from which on all are one
LONG_AGO = 366  # days before the message: older dates are cut to their year
QUARTER = 6  # hours
_TOKEN = "ABCDEFGHJKMNPQRSTVWXYZ0123456789"  # noqa: S105 - letters of what replaces a value
_TOKEN_LENGTH = 9
_KEPT_DIGITS = 6

Kind = str

CODE = re.compile(r"[0-9A-Za-z%#*.?+(/_-][0-9A-Za-z .%/_+()\[\]{}:<>=,#*?'^&-]{0,59}")
_NUMBER = re.compile(r"[<>=~ ]{0,3}[+-]?[0-9]{1,9}(?:[.,][0-9]{1,9})?(?:[eE][+-]?[0-9]{1,2})?")  # shorter than phones
_SMALL = re.compile(r"[0-9]{1,3}")
_SUB_ID = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){0,3}|[A-Za-z]")
_BOUND, _LONG_BOUND = r"-?[0-9]{1,6}(?:[.,][0-9]{1,4})?", r"-?[0-9]{1,9}(?:[.,][0-9]{1,6})?"
_RANGE = re.compile(rf" *(?:[<>]=?)? *{_BOUND} *| *{_LONG_BOUND} *(?:-|to|TO|\.\.) *{_LONG_BOUND} *")
_UNIT = re.compile(
    r"%|(?:10[*^][0-9]{1,2}|[kmunpfd]?(?:g|L|l|mol|IU|U|Eq|kat|m))/(?:[kmunpfd]?(?:g|L|l|mol)|min|h|d)|UCUM"
)
_FLAG = re.compile(r"[<>*!+?-]{1,3}")
_VERSION = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){0,3}|LIS2-A2?|E1394-97|[PTDQ]")
_TYPE = re.compile(
    "(?:ACK|ADT|ESU|INR|INU|MDM|OML|ORL|ORM|ORR|ORU|OUL|QBP|QRY|RSP|SSU|TCR|TCU)(?:_[A-Z][0-9]{2})?|[A-Z][0-9]{2}"
)
_CHARSET = re.compile(  # table 0211, and other names that senders write
    r"ASCII|8859/[0-9]{1,2}|UNICODE(?: UTF-(?:8|16|32))?|UTF-?8|(?:ISO IR|CP|WINDOWS-)[0-9]{2,4}|GB 18030-2000|"
    r"KS X 1001|CNS 11643-1992|BIG-5"
)
_SYSTEMS = frozenset({"ISO+", "L", "LN", "SCT", "UCUM"})  # of table 0396, those that come with results
_DATE = re.compile(
    r"((?:19|20)[0-9]{2})(0[1-9]|1[0-2])(0[1-9]|[12][0-9]|3[01])"
    r"((?:[01][0-9]|2[0-3])(?:[0-5][0-9](?:[0-5][0-9](?:\.[0-9]{1,4})?)?)?)?([+-][0-9]{4})?"
)
_DAY, _MONTH, _YEAR = "(?:0[1-9]|[12][0-9]|3[01])", "(?:0[1-9]|1[0-2])", "(?:19|20)[0-9]{2}"
_YEAR_ALONE = re.compile(r"((?:19|20)[0-9]{2})(?:0[1-9]|1[0-2])?")
_OTHER_DATE = re.compile(f"(?:{_DAY}{_MONTH}|{_MONTH}{_DAY}){_YEAR}")  # not as the standards write it

# Words of results, besides the codes of the tables: words that an analyzer uses, and that are no person's name.
_WORDS = frozenset(
    """positive negative pos neg reactive non-reactive nonreactive detected not-detected equivocal indeterminate
    borderline normal abnormal trace present absent invalid valid error none clear turbid cloudy hazy yellow straw amber
    red brown colorless few many moderate rare small medium large low high + ++ +++ ++++ - +/- 1+ 2+ 3+ 4+ nil done
    failed passed pass fail s i r > < >= <= <> = / :""".split()  # noqa: SIM905 - a list of so many words is read better so
)


def _table() -> tuple[dict[str, dict[str, dict[int, Kind]]], dict[str, frozenset[str]]]:
    """The kinds of fields by format and segment, and the letters of a kind: `deidentified.txt`."""
    places: dict[str, dict[str, dict[int, Kind]]] = {"hl7v2": {}, "astm": {}}
    letters: dict[str, frozenset[str]] = {}
    for line in table_lines(__file__, "deidentified.txt"):
        of, name, *kept = line.split()
        if of == "letters":
            letters[name] = frozenset(kept)
        elif of == "known":
            places["hl7v2"] |= {segment: {} for segment in (name, *kept)}
        else:
            fields = (one.split(":") for one in kept)
            places[of][name] = {int(number): kind for number, kind in fields}
    return places, letters


_PLACES, _OF = _table()


@dataclass(slots=True)
class Deidentifier:
    """One export.

    Attributes:
        key: random, for this export alone.
        known: codes that tables have, in lower case; their texts are kept where a code belongs.
        shared: values in fields for codes in messages of several patients; they are kept, too.
    """

    key: bytes = field(repr=False)
    known: Container[str] = frozenset()
    shared: Container[str] = frozenset()
    _tokens: dict[str, str] = field(default_factory=dict, repr=False)

    def apply(self, payload: bytes, received: date) -> tuple[bytes, int]:
        """The message without its patient, and by how many days its dates are shifted.

        Args:
            received: the day on which the message came.

        Raises:
            UnknownFormatError: neither HL7 v2 nor E1394.
        """
        lines, cut = cut_up(payload)
        days = self._shift(lines, cut)
        moved = _Dates(received, days, _births(lines, cut))
        done = [line if number % 2 else self._line(line, cut, moved) for number, line in enumerate(lines)]
        return "".join(done).encode("latin-1"), days

    def token(self, text: str) -> str:
        """The token of a text in this export."""
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

    def _shift(self, lines: list[str], cut: "Delimiters") -> int:
        """The days for this message: the same for all messages of its (first) patient."""
        patient = patient_of(lines, cut)
        digest = blake2b(patient.encode("utf-8", "surrogatepass"), key=self.key, digest_size=8, person=b"days").digest()
        return -(LEAST_SHIFT + int.from_bytes(digest, "big") % (MOST_SHIFT - LEAST_SHIFT))

    # -- lines and fields ----------------------------------------------------------------------------------------

    def _line(self, line: str, cut: "Delimiters", moved: "_Dates") -> str:
        fields = line.split(cut.field)
        name = fields[0]
        places = cut.places.get(name.strip())
        if not line.strip():
            return line
        if places is None:
            if len(fields) == 1 or not re.fullmatch(r"[A-Z][A-Z0-9]{0,2}", name.strip()):
                return TEXT + _odd(line)  # a line of its own, or the rest of a field that was broken up
            fields[0] = name if self._is_code(name.strip()) else "ZZZ" if cut.is_hl7 else "Z"
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
            fields[at] = self._field(fields[at], kind, cut, moved)
        return cut.field.join(fields)

    def _field(self, value: str, kind: Kind, cut: "Delimiters", moved: "_Dates") -> str:
        if not value.strip() or value == '""':
            return value
        if kind == "text":
            return TEXT + _odd(value)
        whole = _WHOLE.get(kind)
        if whole is not None and whole.fullmatch(value.strip()):  # 10^3/uL, whatever ^ is in this message
            return value
        parts = re.split(f"({cut.inner})", value)
        return "".join(part if number % 2 else self._value(part, kind, moved) for number, part in enumerate(parts))

    def _is_code(self, text: str) -> bool:
        """Whether a table has it, or the message of another patient."""
        return text.lower() in self.known or text in self.shared

    def _value(self, value: str, kind: Kind, moved: "_Dates") -> str:
        bare = value.strip()
        if not bare or bare == '""':
            return value
        # Also in the place of a number: some analyzers send a birth date as a result.
        if (date_shown := moved.shown(bare, birth=kind == "birth")) and not (kind == "code" and self._is_code(bare)):
            return value.replace(bare, date_shown)
        if kind == "result" and _OTHER_DATE.fullmatch(bare):
            return TEXT
        if kind == "result":
            keep = _NUMBER.fullmatch(bare) is not None or bare.lower() in _WORDS or bare.lower() in self.known
        elif kind == "range":
            keep = _RANGE.fullmatch(bare) is not None or bare.lower() in _WORDS or self._is_code(bare)
        else:
            pattern = PATTERNS.get(kind)
            keep = (pattern is not None and pattern.fullmatch(bare) is not None) or bare in _OF.get(kind, ())
            keep = keep or (kind in OF_ANALYZER and (bare in _SYSTEMS or self._is_code(bare)))
        if keep:
            return value
        return TEXT + _odd(value) if kind == "result" else self.token(bare) + _odd(value)


PATTERNS: Mapping[Kind, re.Pattern[str]] = {
    "small": _SMALL,
    "unit": _UNIT,
    "charset": _CHARSET,
    "sub": _SUB_ID,
    "flag": _FLAG,
    "type": _TYPE,
    "version": _VERSION,
    "number": _NUMBER,
}


_WHOLE: Mapping[Kind, re.Pattern[str]] = {"unit": _UNIT, "range": _RANGE}
# Kinds of field about the analyzer, not the patient: values there in several patients' messages are kept.
OF_ANALYZER = frozenset({"code", "known", "unit", "flag", "type", "version", "sub"})


@dataclass(frozen=True, slots=True)
class _Dates:
    """How the dates of one message are shown.

    Attributes:
        received: the day on which it came. days: by which its dates are shifted.
        births: days of birth in it, as ``YYYYMMDD``.
    """

    received: date
    days: int
    births: frozenset[str]

    def shown(self, text: str, *, birth: bool) -> str:
        """A date or time as it is shown, in its original length; the empty text where it is none.

        A date that is cut to its year becomes the year's first day, if it had a day.
        """
        if birth and (year := _YEAR_ALONE.fullmatch(text)) is not None:
            shown = self.shown(f"{year[1]}0701", birth=True)[:4]
            return shown + ("01" if len(text) > len(shown) else "")
        found = _DATE.fullmatch(text)
        if found is None:
            return ""
        try:
            day = date(int(found[1]), int(found[2]), int(found[3]))
            moved, now = day + timedelta(days=self.days), self.received + timedelta(days=self.days)
        except (ValueError, OverflowError):
            return ""
        time = found[4] or ""
        if birth or text[:8] in self.births or (self.received - day).days > LONG_AGO:
            return f"{max(moved.year, now.year - OLDEST):04}0101{re.sub('[0-9]', '0', time)}{found[5] or ''}"
        if time:
            time = f"{int(time[:2]) // QUARTER * QUARTER:02}{re.sub('[0-9]', '0', time[2:])}"
        return f"{moved:%Y%m%d}{time}{found[5] or ''}"


@dataclass(frozen=True, slots=True)
class Delimiters:
    """How one message is cut.

    Attributes:
        inner: a pattern of everything that cuts a field into values.
    """

    field: str
    component: str
    inner: str
    is_hl7: bool

    @property
    def places(self) -> dict[str, dict[int, Kind]]:
        return _PLACES["hl7v2" if self.is_hl7 else "astm"]

    @classmethod
    def of(cls, text: str, start: int) -> "Delimiters":
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
        return cls(separator, component, f"[{re.escape(cutting or '^')}]", is_hl7)


def _start(text: str) -> int | None:
    """Where the header begins; None where the text does not begin with one, but for signs that are none."""
    found = re.match(r"[\x00-\x20]*(?:\xef\xbb\xbf)?((?:MSH|FHS|BHS)(?=[^\w\s])|H(?=[^\w\s]))", text)
    return found.start(1) if found else None


def cut_up(payload: bytes) -> tuple[list[str], Delimiters]:
    """The lines of a message, each followed by what ended it, and how they are cut.

    Raises:
        UnknownFormatError: neither HL7 v2 nor E1394.
    """
    text = payload.decode("latin-1")
    start = _start(text)
    if start is None:
        raise UnknownFormatError("neither HL7 v2 nor ASTM E1394: the places of patient data in it are not known")
    return re.split(r"([\r\n\x0b\x1c]+)", text), Delimiters.of(text, start)


def patient_of(lines: list[str], cut: Delimiters) -> str:
    """The (first) patient of a message, in upper case: a number, else a name; empty without either."""
    for line in lines[::2]:
        fields = line.split(cut.field)
        places = {"PID": (3, 2, 4, 5), "P": (2, 3, 4, 5)}.get(fields[0].strip(), ())
        texts = (re.split(cut.inner, fields[at])[0] for at in places if at < len(fields))
        if patient := next((text.strip().upper() for text in texts if text.strip()), ""):
            return patient
    return ""


def _births(lines: list[str], cut: Delimiters) -> frozenset[str]:
    """Days of birth of a message, wherever it says them as such."""
    found: set[str] = set()
    for line in lines[::2]:
        fields = line.split(cut.field)
        for at, kind in cut.places.get(fields[0].strip(), {}).items():
            if kind == "birth" and at - (not cut.is_hl7) < len(fields):
                bare = fields[at - (not cut.is_hl7)].strip()
                found.update([bare[:8]] if _DATE.fullmatch(bare) else [])
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


MOST = 200_000  # different texts that are remembered; those beyond it are in no other message, as far as is known
_NAMES = {"PID": (5, 6, 9), "NK1": (2,), "MRG": (7,), "P": (5, 6)}
_SEGMENT = re.compile(r"[A-Z][A-Z0-9]{0,2}")
_WORD = re.compile(r"[^\W\d_]{2,}")


@dataclass(slots=True)
class Survey:
    """Looks at every message of an export once, before it is made."""

    _first: dict[str, str] = field(default_factory=dict, repr=False)  # text -> the patient that it came with first
    _several: set[str] = field(default_factory=set, repr=False)
    _names: set[str] = field(default_factory=set, repr=False)

    def look(self, payload: bytes) -> None:
        """Raises UnknownFormatError: neither HL7 v2 nor E1394."""
        lines, cut = cut_up(payload)
        patient = patient_of(lines, cut)
        for line in lines[::2]:
            fields = line.split(cut.field)
            name = fields[0].strip()
            for at in _NAMES.get(name, ()):
                if at < len(fields):
                    self._names.update(word.casefold() for word in _WORD.findall(fields[at]))
            if patient:
                for text in _codes(name, fields, cut):
                    self._came(text, patient)

    @property
    def shared(self) -> frozenset[str]:
        """Values in fields for codes that several patients' messages have, and that are no name."""
        return frozenset(text for text in self._several if not self._is_name(text))

    def _came(self, text: str, patient: str) -> None:
        first = self._first.get(text)
        if first is None and len(self._first) < MOST:
            self._first[text] = patient
        elif first is not None and first != patient:
            self._several.add(text)

    def _is_name(self, text: str) -> bool:
        return any(word.casefold() in self._names for word in _WORD.findall(text))


def _codes(name: str, fields: list[str], cut: Delimiters) -> list[str]:
    """The texts of a line in fields for codes; the name of an unknown segment is one."""
    places = cut.places.get(name)
    if places is None:
        return [name] if len(fields) > 1 and _SEGMENT.fullmatch(name) else []
    header = name in ("MSH", "FHS", "BHS", "H")
    found = []
    for at in range(1, len(fields)):
        number = at + 1 if header or not cut.is_hl7 else at
        if places.get(number) in OF_ANALYZER:
            found += [part.strip() for part in re.split(cut.inner, fields[at]) if CODE.fullmatch(part.strip())]
            found += [fields[at].strip()] if places.get(number) == "unit" else []
    return found
