"""What the laboratory has to do with ABDM, India's network of health records. Operations of a writer's batch, and
functions that a flow calls within one (`engine.features.abdm`).

calls        calls to the gateway, journaled before they go out, and their ends
callbacks    what the gateway sends, verbatim, and the one place where it becomes state
patients     patients of the network, and their link tokens
contexts     care contexts: reports that the network may ask for
offers       links that patients make: what their apps were offered, and codes by SMS
consents     consents of patients
ended_consents  what goes of consents and transfers
transfers    requests for records, and their encrypted pages
shares       tokens of patients who have shared their profile; share_messages: the laboratory system hears of them
invitations  SMS to patients without ABHA: the one of each report
set_back     what was noted while the clock was ahead
leaving      what goes when a patient has left the network
forgetting   what goes, by its age, by retention and by an erasure
sealing      how the rows above hide what names a patient

A row that names a patient is sealed as all notes of the journal are; keyed hashes find it.
"""
