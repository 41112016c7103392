-- Patients whose number or address at India's network of health records is known, of each facility. The keyed hashes
-- find them; the sealed content decides.
CREATE TABLE abdm_patient (
    number     INTEGER PRIMARY KEY,
    facility   TEXT NOT NULL,               -- id at the gateway
    reference  TEXT NOT NULL UNIQUE,        -- as which the network knows the patient here: drawn by chance
    state      TEXT NOT NULL,               -- model/abdm.py
    notice     INTEGER NOT NULL,            -- leaving: abdm_callback.number of the first notice of it; else 0
    noticed    INTEGER NOT NULL,            -- abdm_callback.number of the newest notice of leaving; 0: there is none
    address    BLOB NOT NULL,               -- 16-byte keyed hashes, or empty
    abha       BLOB NOT NULL,
    mobile     BLOB NOT NULL,
    patient    BLOB NOT NULL,               -- of the laboratory's own number
    made_us    INTEGER NOT NULL,
    changed_us INTEGER NOT NULL,
    content    BLOB NOT NULL                -- sealed: address, number, name, gender, year of birth ...; or empty
);
CREATE INDEX abdm_patient_changed ON abdm_patient (changed_us);
CREATE UNIQUE INDEX abdm_patient_address ON abdm_patient (address, facility) WHERE address <> x'';
CREATE INDEX abdm_patient_abha ON abdm_patient (abha, facility) WHERE abha <> x'';
CREATE INDEX abdm_patient_mobile ON abdm_patient (mobile, facility) WHERE mobile <> x'';
CREATE INDEX abdm_patient_patient ON abdm_patient (patient, facility) WHERE patient <> x'';
CREATE INDEX abdm_patient_leaving ON abdm_patient (number) WHERE state = 'leaving';

-- Link tokens: with one the facility links records of the patient.
CREATE TABLE abdm_link_token (
    patient  INTEGER PRIMARY KEY,           -- abdm_patient.number
    state    TEXT NOT NULL,                 -- model/abdm.py
    until_us INTEGER NOT NULL,              -- end of its life, or of the block; 0: neither
    token    BLOB NOT NULL                  -- sealed; or empty
);
CREATE INDEX abdm_link_token_blocked ON abdm_link_token (until_us) WHERE state = 'blocked';

-- Care contexts: each report that was delivered here, in its newest version.
CREATE TABLE abdm_context (
    number      INTEGER PRIMARY KEY,
    facility    TEXT NOT NULL,
    reference   TEXT NOT NULL UNIQUE,       -- as which the network knows it: drawn by chance
    accession   BLOB NOT NULL,              -- 16-byte keyed hash of the document's identifier: its later issues find it
    tube        BLOB NOT NULL,              -- of channel and the laboratory's number, which other patients may have, too
    mobile      BLOB NOT NULL,              -- keyed hashes of what the report says of its patient, or empty
    abha        BLOB NOT NULL,
    patient     INTEGER NOT NULL,           -- abdm_patient.number; 0: waits for one
    state       TEXT NOT NULL,              -- model/abdm.py
    reason      TEXT NOT NULL,              -- why it waits or failed: a short constant; '' none
    message_id  INTEGER NOT NULL,           -- journal.id of the newest version; 0: made by hand
    document_id INTEGER NOT NULL,           -- document.id of it
    version     INTEGER NOT NULL,           -- from 1
    notified    INTEGER NOT NULL,           -- the version that the patient's app has heard of; 0 none
    issued_us   INTEGER NOT NULL,           -- of the report, for the dates of a consent
    made_us     INTEGER NOT NULL,
    changed_us  INTEGER NOT NULL,
    content     BLOB NOT NULL               -- sealed: what the app shows, the patient as the report has him, its issues
);
CREATE INDEX abdm_context_changed ON abdm_context (changed_us);
CREATE UNIQUE INDEX abdm_context_accession ON abdm_context (accession, facility) WHERE accession <> x'';
CREATE INDEX abdm_context_tube ON abdm_context (tube, facility) WHERE tube <> x'';
CREATE INDEX abdm_context_mobile ON abdm_context (mobile, facility) WHERE mobile <> x'';
CREATE INDEX abdm_context_abha ON abdm_context (abha, facility) WHERE abha <> x'';
CREATE INDEX abdm_context_patient ON abdm_context (patient, state);
CREATE INDEX abdm_context_doubt ON abdm_context (reason, number)
    WHERE reason IN ('moved', 'same_number', 'other_name', 'not-notified');
CREATE INDEX abdm_context_failed ON abdm_context (reason, changed_us) WHERE state = 'failed';
CREATE INDEX abdm_context_message ON abdm_context (message_id);
CREATE INDEX abdm_context_list ON abdm_context (facility, state, reason);

-- Calls to the gateway. A call is here before its first byte goes out, and each attempt has a REQUEST-ID of its own:
-- the callback with the result may come before the answer, or after a crash.
CREATE TABLE abdm_call (
    number        INTEGER PRIMARY KEY,
    facility      TEXT NOT NULL,
    name          TEXT NOT NULL,            -- 'link' ...: engine/features/abdm
    subject       INTEGER NOT NULL,         -- number of the patient, context, consent or transfer that it is about
    state         TEXT NOT NULL,            -- model/abdm.py
    attempt       INTEGER NOT NULL,         -- that were made
    not_before_us INTEGER NOT NULL,         -- of the next one; accepted: when the callback is overdue
    accepted_us   INTEGER NOT NULL,         -- the first time that the gateway took it since the last callback; 0 none
    ends_us       INTEGER NOT NULL,         -- no attempt after this; 0: no end
    made_us       INTEGER NOT NULL,
    changed_us    INTEGER NOT NULL,
    status        INTEGER NOT NULL,         -- of HTTP, of the last answer; 0 none
    code          TEXT NOT NULL,            -- of the fault, as ABDM-1027; '' none
    content       BLOB NOT NULL,            -- sealed: the body, and numbers of the rows that it is about
    fault         BLOB NOT NULL             -- sealed: the gateway's words; or empty
);
CREATE INDEX abdm_call_changed ON abdm_call (changed_us);
CREATE INDEX abdm_call_due ON abdm_call (state, not_before_us) WHERE state IN ('waiting', 'accepted');
CREATE INDEX abdm_call_sending ON abdm_call (number) WHERE state = 'sending';
CREATE INDEX abdm_call_failed ON abdm_call (number) WHERE state = 'failed';
CREATE INDEX abdm_call_subject ON abdm_call (name, subject, number);
CREATE TABLE abdm_request (
    request_id TEXT PRIMARY KEY,            -- a UUID
    call       INTEGER NOT NULL,
    at_us      INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX abdm_request_call ON abdm_request (call);

-- Callbacks as they came, in the order in which they were committed. They are answered once they are here.
CREATE TABLE abdm_callback (
    number      INTEGER PRIMARY KEY,
    path        TEXT NOT NULL,              -- without /api
    facility    TEXT NOT NULL,
    request_id  TEXT NOT NULL,
    received_us INTEGER NOT NULL,
    late_s      INTEGER NOT NULL,           -- since the end of its token
    age_s       INTEGER NOT NULL,           -- since it was made, as it says itself; 0: it came at once, or does not say
    signed      INTEGER NOT NULL,           -- 1: a grant of a consent, whose signature was proven
    token       BLOB NOT NULL,              -- 16-byte keyed hash of the token that has proven it; or empty
    state       TEXT NOT NULL,              -- model/abdm.py
    reason      TEXT NOT NULL,              -- why nothing was done: a short constant; '' none
    changed_us  INTEGER NOT NULL,
    body        BLOB NOT NULL,              -- sealed: the bytes as received; or empty
    UNIQUE (request_id, path)
);
CREATE INDEX abdm_callback_changed ON abdm_callback (changed_us);
CREATE INDEX abdm_callback_stored ON abdm_callback (number) WHERE state = 'stored';
CREATE INDEX abdm_callback_refused ON abdm_callback (number) WHERE state = 'refused';
CREATE INDEX abdm_callback_facility ON abdm_callback (facility);
CREATE INDEX abdm_callback_token ON abdm_callback (token) WHERE token <> x'';

-- Consents of patients, as their artefacts have them.
CREATE TABLE abdm_consent (
    number     INTEGER PRIMARY KEY,
    consent_id TEXT NOT NULL UNIQUE COLLATE NOCASE, -- a UUID of the consent manager, in letters of either case
    facility   TEXT NOT NULL,
    patient    INTEGER NOT NULL,            -- abdm_patient.number; 0: none of ours
    state      TEXT NOT NULL,               -- model/consents.py
    reason     TEXT NOT NULL,
    signed     INTEGER NOT NULL,            -- 1: the signature of its grant was proven
    granted    INTEGER NOT NULL,            -- doubtful: abdm_callback.number of the first grant since then; else 0
    ends_us    INTEGER NOT NULL,            -- dataEraseAt; 0: unknown, as of one that was revoked before it came
    served     INTEGER NOT NULL,            -- requests for records that were taken
    made_us    INTEGER NOT NULL,
    changed_us INTEGER NOT NULL,
    content    BLOB NOT NULL                -- sealed: the artefact as it came, with its signature; or empty
);
CREATE INDEX abdm_consent_changed ON abdm_consent (changed_us);
CREATE INDEX abdm_consent_patient ON abdm_consent (patient);
CREATE INDEX abdm_consent_doubt ON abdm_consent (reason, changed_us)
    WHERE state = 'GRANTED' AND reason IN ('suspended', 'bad_signature', 'other_patient', 'doubtful');
CREATE INDEX abdm_consent_granted ON abdm_consent (ends_us) WHERE state = 'GRANTED';
CREATE INDEX abdm_consent_list ON abdm_consent (facility, state, reason);

-- Requests for records, and the encrypted pages of each. A page is here, sealed, before its first byte is sent.
CREATE TABLE abdm_transfer (
    number         INTEGER PRIMARY KEY,
    transaction_id TEXT NOT NULL UNIQUE,    -- a UUID of the consent manager
    consent        INTEGER NOT NULL,        -- abdm_consent.number; 0: unknown
    facility       TEXT NOT NULL,
    state          TEXT NOT NULL,           -- model/abdm.py
    reason         TEXT NOT NULL,
    pages          INTEGER NOT NULL,
    ends_us        INTEGER NOT NULL,        -- of its window
    made_us        INTEGER NOT NULL,
    changed_us     INTEGER NOT NULL,
    content        BLOB NOT NULL            -- sealed: the request, with the address and key of the reader; or empty
);
CREATE INDEX abdm_transfer_changed ON abdm_transfer (changed_us);
CREATE INDEX abdm_transfer_consent ON abdm_transfer (consent);
CREATE INDEX abdm_transfer_open ON abdm_transfer (number) WHERE state NOT IN ('ended', 'refused');
CREATE INDEX abdm_transfer_list ON abdm_transfer (facility, state, reason);
CREATE TABLE abdm_page (
    transfer      INTEGER NOT NULL,
    n             INTEGER NOT NULL,         -- from 1 without gaps
    context       INTEGER NOT NULL,         -- abdm_context.number
    document_id   INTEGER NOT NULL,
    state         TEXT NOT NULL,            -- model/abdm.py
    reason        TEXT NOT NULL,
    attempt       INTEGER NOT NULL,
    unsent        INTEGER NOT NULL,         -- of these attempts, those of which no byte went out
    not_before_us INTEGER NOT NULL,
    status        INTEGER NOT NULL,         -- of HTTP, of the last answer; 0 none
    changed_us    INTEGER NOT NULL,
    body          BLOB NOT NULL,            -- sealed: the bytes of the page, as each attempt sends them; or empty
    PRIMARY KEY (transfer, n)
) WITHOUT ROWID;
CREATE INDEX abdm_page_context ON abdm_page (context);

-- Tokens of patients who have shared their profile at a counter.
CREATE TABLE abdm_share (
    number     INTEGER PRIMARY KEY,
    facility   TEXT NOT NULL,
    counter    TEXT NOT NULL,               -- as the code on the wall names it
    day        TEXT NOT NULL,               -- '2026-03-01' in the site's zone
    token      INTEGER NOT NULL,            -- from 1 for each counter and day
    patient    INTEGER NOT NULL,            -- abdm_patient.number; 0: it does not count yet, he has left, or is erased
    until_us   INTEGER NOT NULL,            -- until then a scan has the same token
    made_us    INTEGER NOT NULL,
    changed_us INTEGER NOT NULL,
    content    BLOB NOT NULL                -- sealed: the profile, until its messages are made; then empty
);
CREATE INDEX abdm_share_changed ON abdm_share (changed_us);
CREATE UNIQUE INDEX abdm_share_token ON abdm_share (facility, counter, day, token);
CREATE INDEX abdm_share_patient ON abdm_share (patient);
CREATE INDEX abdm_share_new ON abdm_share (number) WHERE content <> x'';

-- Reports whose patients were invited by SMS; and patients who have left, who get none.
CREATE TABLE abdm_invitation (
    number     INTEGER PRIMARY KEY,
    context    INTEGER NOT NULL,            -- abdm_context.number; 0: of one who has left
    leaver     INTEGER NOT NULL,            -- abdm_patient.number of one who has left; else 0
    mobile     BLOB NOT NULL,               -- 16-byte keyed hashes, or empty
    patient    BLOB NOT NULL,               -- of the laboratory's own number
    state      TEXT NOT NULL,               -- store/operations/abdm/invitations.py
    code       TEXT NOT NULL,               -- of the gateway, where it sent none; '' none
    made_us    INTEGER NOT NULL,
    changed_us INTEGER NOT NULL
);
CREATE INDEX abdm_invitation_changed ON abdm_invitation (changed_us);
CREATE UNIQUE INDEX abdm_invitation_context ON abdm_invitation (context) WHERE context > 0;
CREATE INDEX abdm_invitation_mobile ON abdm_invitation (mobile, made_us) WHERE mobile <> x'';
CREATE INDEX abdm_invitation_leaver ON abdm_invitation (leaver) WHERE leaver > 0;
CREATE INDEX abdm_invitation_patient ON abdm_invitation (patient) WHERE patient <> x'';
-- Links that patients make: each search of an app with the care contexts that it was offered, and the codes by which the
-- patient shows that the mobile in the laboratory's file is his. Both go after a day.
CREATE TABLE abdm_offer (
    number         INTEGER PRIMARY KEY,
    transaction_id TEXT NOT NULL,
    facility       TEXT NOT NULL,
    asker          BLOB NOT NULL,           -- keyed hash of the ABHA address; or empty
    ends_us        INTEGER NOT NULL,
    made_us        INTEGER NOT NULL,
    changed_us     INTEGER NOT NULL,
    content        BLOB NOT NULL,           -- sealed: who asked, and the contexts that he was offered; or empty: none
    UNIQUE (transaction_id, facility)
);
CREATE INDEX abdm_offer_changed ON abdm_offer (changed_us);
CREATE INDEX abdm_offer_asker ON abdm_offer (asker, facility, made_us);
CREATE TABLE abdm_code (
    number        INTEGER PRIMARY KEY,
    offer         INTEGER NOT NULL,         -- abdm_offer.number
    reference     TEXT NOT NULL UNIQUE,     -- a UUID, by which the app names it
    facility      TEXT NOT NULL,
    request_id    TEXT NOT NULL,            -- of the callback that its sending answers
    mobile        BLOB NOT NULL,            -- keyed hash
    state         TEXT NOT NULL,            -- model/abdm_links.py
    reason        TEXT NOT NULL,            -- of the end: a short constant; '' none
    code          BLOB NOT NULL,            -- keyed hash
    typed         BLOB NOT NULL,            -- keyed hash of the last wrong one; or empty
    typed_us      INTEGER NOT NULL,
    wrong         INTEGER NOT NULL,         -- wrong ones
    attempt       INTEGER NOT NULL,         -- to send it
    not_before_us INTEGER NOT NULL,         -- of the next one
    ends_us       INTEGER NOT NULL,
    made_us       INTEGER NOT NULL,
    changed_us    INTEGER NOT NULL,
    content       BLOB NOT NULL,            -- sealed: the chosen contexts; or empty
    text          BLOB NOT NULL             -- sealed: code and mobile, until it was sent; or empty
);
CREATE INDEX abdm_code_changed ON abdm_code (changed_us);
CREATE INDEX abdm_code_offer ON abdm_code (offer);
CREATE INDEX abdm_code_mobile ON abdm_code (mobile, made_us);
CREATE INDEX abdm_code_due ON abdm_code (not_before_us) WHERE state IN ('waiting', 'sending');
