"""The keys of this feature in the site's files.

What speaks to India's network of health records: the gateway's client, its answers, times, consents. Loaded when it is
first asked for.
"""

ABDM = {
    "gateway": "engine.features.abdm.client.gateway",
    "pushes": "engine.features.abdm.client.pushes",
    "rules": "engine.features.abdm.wire.profile_rules",
    "texts": "adapters.clients.http.templated",
    "verdicts": "engine.features.abdm.wire.verdicts",
    "consents": "engine.features.abdm.wire.consents",
    "documents": "engine.features.abdm.wire.documents",
    "times": "engine.features.abdm.wire.times",
    "shared_profile": "engine.features.abdm.wire.shared_profile",
}
