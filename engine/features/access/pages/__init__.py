"""The pages on which people log in and change accounts.

log_in            log in and out, change the user of a shared computer, the set-up link, the wall screen
account           a user's own account
administration    users and tokens, for those who administer

`engine.features.access` decides; nothing here does. No page has a secret in its address but the two links that work
once.
"""
