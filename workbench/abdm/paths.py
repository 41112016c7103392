"""The callbacks of the gateway: their names here, their paths under the bridge URL, the answers that they want."""

PATHS = {
    "on-generate-token": "/api/v3/hip/token/on-generate-token",
    "on-link": "/api/v3/link/on_carecontext",
    "on-context-notify": "/api/v3/links/context/on-notify",
    "on-sms-notify": "/api/v3/patients/sms/on-notify",
    "discover": "/api/v3/hip/patient/care-context/discover",
    "init": "/api/v3/hip/link/care-context/init",
    "confirm": "/api/v3/hip/link/care-context/confirm",
    "consent-notify": "/api/v3/consent/request/hip/notify",
    "data-request": "/api/v3/hip/health-information/request",
    "share": "/api/v3/hip/patient/share",
    "status-notify": "/api/v3/patients/status/notify",
}
WANTS_ANSWER = frozenset({"discover", "init", "confirm", "consent-notify", "data-request", "share", "status-notify"})
ONLY_202 = frozenset({"discover", "init", "confirm", "data-request"})
