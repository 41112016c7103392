"""The parts of a message's type that may be shown: codes of HL7 v2's tables 0076 (types), 0003 (events), 0354
(structures), and local ones, which begin with Z (chapter 2, 2.11.5). Pure.

MSH-9 appears in lists, logs and answers. Other text that a sender puts there, even a name of three letters, is left
out.
"""

import re

_TABLE_0076 = """
ACK ADR ADT ARD BAR BPS BRP BRT BTS CCF CCI CCM CCQ CCU CNQ CQU CRM CSU DBC DBU DEL DEO DER DFT DOC DPR DRC
DSR EAC EAN EAR EDR EHC EQQ ERP ERQ ESR ESU INR INU LSR LSU MCF MDM MFD MFK MFN MFQ MFR NMD NMQ NMR OMB OMD
OMG OMI OML OMN OMP OMQ OMS OPL OPR OPU ORA ORB ORD ORF ORG ORI ORL ORM ORN ORP ORR ORS ORU ORX OSM OSQ OSR
OSU OUL PEX PGL PIN PMU PPG PPP PPR PPT PPV PRR PTR QBP QCK QCN QRY QSB QSX QVR RAR RAS RCI RCL RDE RDR RDS
RDY REF RER RGR RGV ROC ROD ROR RPA RPI RPL RPR RQA RQC RQI RQP RQQ RRA RRD RRE RRG RRI RSP RTB SCN SDN SDR
SIU SLN SLR SMD SPQ SQM SQR SRM SRR SSR SSU STC STI SUR TBR TCR TCU UDM VQQ VXQ VXR VXU VXX
"""
_TYPES = frozenset(_TABLE_0076.split())
_LOCAL_TYPE = re.compile(r"Z[A-Z0-9]{2}").fullmatch
# Table 0003: a letter and a number, and these.
_EVENT = re.compile(r"[ABCEIJKMNOPQRSTUVWXZ][0-9]{2}|CNQ|PC[1-9A-HJ-L]|R0R|RAR|RDR|RER|RGR|ROR").fullmatch


def type_code(text: str) -> str:
    """MSH-9.1, where it is a code of table 0076 or a local one; else empty."""
    return text if text in _TYPES or _LOCAL_TYPE(text) else ""


def event_code(text: str) -> str:
    """MSH-9.2, where it is a code of table 0003 or a local one; else empty."""
    return text if _EVENT(text) else ""


def structure_code(text: str) -> str:
    """MSH-9.3, where it is made of such codes, as those of table 0354 are; else empty."""
    kind, _, event = text.partition("_")
    known = type_code(kind) and (not event or event_code(event))
    return text if known else ""
