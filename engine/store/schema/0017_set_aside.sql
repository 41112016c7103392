-- Corrections and withdrawals that a person has set aside (engine/acts/setting_aside.py): alarms until each is done.
CREATE INDEX delivery_set_aside ON delivery (message_id) WHERE state = 'dead' AND cause = 'CORRECTION_SET_ASIDE';
