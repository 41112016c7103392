"""The bytes of a message, and what its statuses must become."""

from collections.abc import Callable
from dataclasses import replace

from tests.histories.history import Asking, Channel, Group, Ordering, Result, Send

StepOf = Callable[[str, Result], str]  # of a tube and a result, the number that the host gave to its order

HERE = "{h}"  # in a number: the history's own digits, so that histories side by side never share an order
UNIT = "mmol/L"
# In the place of a patient number, and none.
PLACEHOLDERS = (
    "?", "??", "*", "_", "#", "--", "X", "XXX", "N.A.", "NOID", "NO ID", "(none)", "UNKNOW", "Unknown Patient", "TEMP",
    "TEST", "0", "0000", "9999", "OPD", "WALKIN", "-", ".",
)  # fmt: skip

ISOLATE = "ORG"  # of test ORG:ECO; each isolate is a test of its own for the laboratory, and has one code in messages
GONE = "G"
FINAL = frozenset({"final", "amended", "corrected"})
AMENDED = frozenset({"amended", "corrected"})
# What OBX-11 (table 0085) and R-9 (E1394, 9.4.9) may stand as. A changed final is said to be amended or corrected.
STANDS_AS: dict[str, dict[str, frozenset[str]]] = {
    "hl7": {
        **dict.fromkeys("FUV", FINAL),
        **dict.fromkeys("AB", AMENDED),
        "C": frozenset({"corrected"}),
        **dict.fromkeys("DW", frozenset({"entered-in-error"})),
        **dict.fromkeys("PRS", frozenset({"preliminary"})),
        "I": frozenset({"registered"}),
        "X": frozenset({"cancelled"}),
        GONE: frozenset({"entered-in-error"}),
    },
    "astm": {
        **dict.fromkeys("FVRW", FINAL),
        "C": frozenset({"corrected"}),
        **dict.fromkeys("PS", frozenset({"preliminary"})),
        "I": frozenset({"registered"}),
        "X": frozenset({"cancelled"}),
        GONE: frozenset({"entered-in-error"}),
    },
}
_REPORT_ORDER = "IPSRXFACDW"  # of several results, the last of these is the report's


def is_number(value: str) -> bool:
    return value.replace(",", ".").replace(".", "", 1).isdigit()


def written(result: Result) -> str:
    """OBX-5: nothing with U, which makes what was sent before final without sending it again."""
    return "" if result.status == "U" else result.value


def told(group: Group) -> list[tuple[int, Result, str, str]]:
    """The results that a message tells: number, result, code, sub-id (of isolates: numbered anew in each message)."""
    found = []
    for index, result in enumerate((one for one in group.results if one.status != GONE), 1):
        code = result.test.partition(":")[0]
        found.append((index, result, code, str(index) if code == ISOLATE else ""))
    return found


def here(text: str, history: int) -> str:
    """A text with the history's own digits."""
    return text.replace(HERE, f"{history + 11:03d}")


def payload(send: Send, channel: Channel, history: int, step_of: StepOf | None = None) -> bytes:
    """The message, records ended by CR. ``step_of``: of an analyzer of IHE LAW."""
    if step_of is not None:
        return _bytes(oul(send, lambda tube, result: step_of(here(tube, history), result)), history)
    return _bytes(hl7(send) if channel.protocol == "hl7" else astm(send), history)


def _bytes(records: list[str], history: int) -> bytes:
    return b"".join(here(record, history).encode("ascii") + b"\r" for record in records)


def retimed(send: Send, time: Callable[[str], str]) -> Send:
    """The message with other times."""

    def of(stamp: str) -> str:
        return time(stamp) if stamp else ""

    groups = tuple(
        replace(
            group, at=of(group.at), results=tuple(replace(result, at=of(result.at)) for result in group.results)
        )
        for group in send.groups
    )  # fmt: skip
    return replace(send, at=of(send.at), groups=groups)


def ordering(order: Ordering, history: int) -> bytes:
    """ORM^O01; the number of the tube is in OBR-3."""
    records = [
        f"MSH|^~\\&|HIS{order.channel}|H|LR|LAB|20260302080000||ORM^O01|o{order.id}|P|2.3.1",
        f"PID|1||{order.number}",
    ]
    for at, line in enumerate(order.lines, 1):
        urgency = "S" if line.stat else "R"
        records += [f"ORC|{line.control}|{line.placer}", f"OBR|{at}|{line.placer}|{order.tube}|{line.test}|{urgency}"]
    return _bytes(records, history)


def asking(question: Asking, channel: Channel, history: int) -> bytes:
    """A question, as the analyzer asks it."""
    if channel.speaks:
        return _bytes(_asking_hl7(question, channel.speaks), history)
    asked = "\\".join(f"^{tube}" for tube in question.tubes) or "ALL"
    return _bytes(
        [f"H|\\^&|q{question.id}||AN{question.channel}^1||||||||LIS2-A2", f"Q|1|{asked}||ALL||||||||O", "L|1|N"],
        history,
    )


def _asking_hl7(question: Asking, speaks: str) -> list[str]:
    """For one tube, or for all."""
    name, (tube, *_) = f"q{question.id}", question.tubes or ("",)
    if speaks == "mindray-bs":
        return [
            f"MSH|^~\\&|Mindray|BS-200E|||20260302080000||QRY^Q02|{name}|P|2.3.1||||||ASCII|||",
            f"QRD|20260302080000|R|D|{question.id}|||RD|{tube}|OTH|||T|",
            "QRF|BS-200E|20200101000000|20991231000000|||RCT|COR|ALL||",
        ]
    if speaks == "genexpert":
        kind, asks = ("Z03", f"HOST QUERY|{name}||{tube}") if tube else ("Z01", f"REQUEST TEST ORDERS|{name}|ALL")
        return [f"MSH|^~\\&|GX||LIS||20260302080000||QBP^{kind}^QBP_{kind}|{name}|P|2.5", f"QPD|{kind}^{asks}", "RCP|I"]
    asks = f"WOS^Work Order Step^IHE_LABTF|{name}|{tube}" if tube else f"WOS_ALL^All Steps^IHE_LABTF|{name}"
    head = _law_head("QBP^Q11^QBP_Q11", name, "20260302080000", "LAB-27")
    return [head, f"QPD|{asks}", "RCP|I||R"]


def _law_head(kind: str, control: str, at: str, transaction: str) -> str:
    return f"MSH|^~\\&|AN|LAB|LR|H|{at}||{kind}|{control}|P|2.5.1|||NE|AL||UNICODE UTF-8|||{transaction}^IHE"


def oul(send: Send, step_of: StepOf) -> list[str]:
    """OUL^R22 (LAB-29): each result with its work step."""
    records = [_law_head("OUL^R22^OUL_R22", send.control, send.at, "LAB-29")]
    for group, new_patient in _patients(send):
        if new_patient:
            records.append(f"PID|1||{group.number}||{group.name}||{group.birth}|{group.sex}")
        records += [f"SPM|1|{group.order}||SER|||||||P^^HL70369", f"SAC|||{group.order}"]
        for index, result, code, _ in told(group):
            final = result.status in "FC"
            records += [
                f"OBR|{index}|{step_of(group.order, result)}||{code}|||{group.at}",
                f"ORC|SC||||{'CM' if final else 'IP'}",
                f"OBX|1|NM|{code}||{written(result)}|{UNIT}|||||{result.status}|||{result.at}",
            ]
    return records


def hl7(send: Send) -> list[str]:
    records = [f"MSH|^~\\&|AN{send.channel}|LAB|LIS|H|{send.at}||ORU^R01|{send.control}|P|2.5.1"]
    for group, new_patient in _patients(send):
        if new_patient:
            records.append(f"PID|1||{group.number}||{group.name}||{group.birth}|{group.sex}")
        issued = max(result.at for result in group.results)
        status = _report_status(group)
        records.append(
            f"OBR|{group.set}||{group.order}|{group.code}|||{group.at}" + "|" * 15 + f"{issued}||LAB|{status}"
        )
        for index, result, code, sub in told(group):
            kind, unit = ("NM", UNIT) if is_number(result.value) else ("ST", "")
            records.append(
                f"OBX|{index}|{kind}|{code}|{sub}|{written(result)}|{unit}|||||{result.status}|||{result.at}".rstrip(
                    "|"
                )
            )
    return records


def astm(send: Send) -> list[str]:
    records = [f"H|\\^&|{send.control}||AN{send.channel}^1||||||||LIS2-A2|{send.at}"]
    patients = 0
    for group, new_patient in _patients(send):
        if new_patient:
            patients += 1
            text = f"P|{patients}||{group.number}||{group.name}||{group.birth}|{group.sex}".rstrip("|")
            records.append(text)
        tests = "^^^CULTURE" if any(code == ISOLATE for _, _, code, _ in told(group)) else _tests(group)
        records.append(f"O|{group.set}|{group.order}||{tests}|R||{group.at}" + "|" * 18 + _astm_report(group))
        for index, result, code, _ in told(group):
            unit = UNIT if is_number(result.value) else ""
            records.append(f"R|{index}|^^^{code}|{result.value}|{unit}||||{result.status}||||{result.at}".rstrip("|"))
    return [*records, "L|1|N"]


def _tests(group: Group) -> str:
    return "\\".join(f"^^^{result.test}" for result in group.results)


def _patients(send: Send) -> list[tuple[Group, bool]]:
    before = -1
    found = []
    for group in send.groups:
        person = group.results[0].person
        found.append((group, person != before))
        before = person
    return found


def _report_status(group: Group) -> str:
    said = max((result.status for _, result, _, _ in told(group)), key=_REPORT_ORDER.find, default="F")
    return {"D": "C", "W": "C", "S": "P", "U": "F", "V": "F", "A": "C", "B": "C"}.get(said, said)


def _astm_report(group: Group) -> str:
    return {"P": "P", "C": "C", "X": "X"}.get(_report_status(group), "F")
