"""Signs approved certificate signing requests. `auth.certificate_signing` decides what may be signed."""

from __future__ import annotations

import base64

from sailcloth.local.apiserver.auth import certificate_signing
from sailcloth.local.apiserver.auth.pki import KeyPair
from sailcloth.local.apiserver.times import now
from sailcloth.local.apiserver.unstructured import Unstructured

from .context import ControllerContext


async def reconcile(cluster: ControllerContext, name: str, ca: KeyPair) -> None:
    """Issue the certificate of an approved request, or set the condition Failed."""
    request = cluster.store.get(certificate_signing.REQUESTS, "", name)
    if request is None or not certificate_signing.awaits_signature(request):
        return
    try:
        given: Unstructured = {"certificate": base64.b64encode(certificate_signing.issue(ca, request)).decode()}
    except ValueError as error:
        stamp = now()
        failed = {"type": "Failed", "status": "True", "reason": "SignerValidationFailure", "message": str(error)}
        failed |= {"lastUpdateTime": stamp, "lastTransitionTime": stamp}
        given = {"conditions": [*request["status"]["conditions"], failed]}

    def set_status(live: Unstructured) -> Unstructured:
        return {**live, "status": {**live["status"], **given}} if certificate_signing.awaits_signature(live) else live

    await cluster.update(certificate_signing.REQUESTS, "", name, set_status, sub="status")
