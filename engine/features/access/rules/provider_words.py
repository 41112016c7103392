"""Why a log-in at the identity provider was refused, as the person reads it; the log has the reason."""

from engine.model.errors import NOT_PROVEN
from engine.model.phrases import R_

WRONG = NOT_PROVEN
DENIED = R_("the identity provider did not let you in")
LATE = R_("this log-in was begun too long ago, or in another browser; log in again")
UNREACHABLE = R_("the identity provider cannot be reached; try again, or log in with a password of this page")
NO_ROLE = R_("your groups at the identity provider have no role here; ask the person who administers LabRelay")
NOT_ALLOWED = R_("this account of the identity provider may not log in here")
NOT_ANEW = R_("the identity provider did not ask you to prove anew who you are; log in again")
NO_TIME = R_(
    "the identity provider does not say when you proved who you are (auth_time); ask the person who administers"
    " LabRelay to look at single_sign_on of access: oidc"
)
TEXTS = (WRONG, DENIED, LATE, UNREACHABLE, NO_ROLE, NOT_ALLOWED, NOT_ANEW, NO_TIME)
