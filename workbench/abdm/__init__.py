"""ABDM on loopback, to develop and test against: gateway, consent manager, a reader of records, a patient's app.

It is for laptops, demonstrations and tests; its people are made up, and it must never hold a real patient's data. It is
strict: where a laboratory's program forgets a header, sends a wrong body or more than was granted, it answers with
NHA's code, and notes a violation that a test can ask for.

    server     HTTP: the calls, pushes, and the addresses that a test uses
    calls      the calls of a laboratory's program: headers, log-in, bodies, faults at the door
    effects    what each call does, and which callback it leads to
    bodies     the bodies of the calls
    paths      callbacks: names and paths
    callbacks  signed callbacks, and their faults
    signing    tokens: the right ones, and those of an attacker
    app        the patient's app: discovery, scan and share, consents, requests for records
    reader     the reader of records (HIU): keys, pages, checks of each
    faults     what to do wrong, how often
    state      what all of them know; limits

Sources: NHA's OpenAPI documents V3 (2026-09-16), its pages on errors and flows, notes of integrators.
"""

from workbench.abdm.faults import Faults
from workbench.abdm.server import AbdmSandbox
from workbench.abdm.state import Settings

__all__ = ["AbdmSandbox", "Faults", "Settings"]
