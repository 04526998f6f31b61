"""Signs the certificate requests that somebody approved. What may be signed is `apiserver.signing`'s to say."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from sailcloth.local.apiserver.auth import certificate_signing
from sailcloth.local.apiserver.auth.pki import Pair
from sailcloth.local.apiserver.times import now

if TYPE_CHECKING:
    from . import Cluster

Object = dict[str, Any]


async def reconcile(cluster: Cluster, name: str, ca: Pair) -> None:
    """Give an approved request its certificate, or say why it gets none."""
    request = cluster.store.get(certificate_signing.REQUESTS, "", name)
    if request is None or not certificate_signing.signable(request):
        return
    try:
        given: Object = {"certificate": base64.b64encode(certificate_signing.issue(ca, request)).decode()}
    except ValueError as error:
        stamp = now()
        failed = {"type": "Failed", "status": "True", "reason": "SignerValidationFailure", "message": str(error)}
        failed |= {"lastUpdateTime": stamp, "lastTransitionTime": stamp}
        given = {"conditions": [*request["status"]["conditions"], failed]}

    def say(live: Object) -> Object:
        return {**live, "status": {**live["status"], **given}} if certificate_signing.signable(live) else live

    await cluster.change(certificate_signing.REQUESTS, "", name, say, sub="status")
