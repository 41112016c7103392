"""Accounts in the journal: operations of a writer's batch. Each change and its row of the audit trail are one
transaction; no row has a password, code, PIN, secret or link.

users       who may log in, and as what
sessions    log-ins, browsers, and their end
refusals    refused log-ins: how many in a row, and how long the next one has to wait
tokens      what programs ask with
"""
