"""The validating webhook: AdmissionReview in, a verdict with all findings out, and the configuration that registers it.

**When nobody answers, writes go through** (`failurePolicy: Ignore`). Istio switches to `Fail` once its webhook is up; on a
single machine that would make the death of one process stop every change to the mesh, including the deletion of what is
wrong, and a control plane with no replica would be waited for by those who try to repair it. Nothing is lost by it, since
the same rules are applied a second time when objects are read (`process.ControlPlane.change`): an object that came in
unseen and is wrong does not take the place of what was in effect before, and its status says so.

**What is stored is never locked in.** An update that leaves the spec as it is, such as a label, and any update of an object
that is being deleted, such as the removal of a finalizer, passes even if the object breaks the rules; its findings are
then warnings. Writes of the status are not looked at.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Any

import orjson
from aiohttp import web

from sailcloth.api import validation
from sailcloth.api.meta import Finding

GROUPS = ("networking.istio.io", "security.istio.io", "telemetry.istio.io", "extensions.istio.io", "sailcloth.io")
PATH = "/validate"
_LONGEST_WARNING, _MOST_WARNINGS = 250, 16  # API servers cut what is longer, and drop what is more than 4 kB in sum


def review(request: dict[str, Any]) -> dict[str, Any]:
    """The answer to one AdmissionReview request. Only CREATE and UPDATE of whole objects are judged."""
    answer: dict[str, Any] = {"uid": request.get("uid", ""), "allowed": True}
    obj = request.get("object")
    if request.get("operation") not in ("CREATE", "UPDATE") or request.get("subResource") or not isinstance(obj, dict):
        return answer
    found = validation.check(obj, str(request.get("namespace") or "default"))
    errors = [f for f in found if f.severity == "Error"]
    notes = [f for f in found if f.severity != "Error"]
    if errors and _must_pass(obj, request.get("oldObject")):
        errors, notes = [], list(found)
    if notes:
        answer["warnings"] = [_line(f)[:_LONGEST_WARNING] for f in notes[:_MOST_WARNINGS]]
    if errors:
        answer["allowed"] = False
        answer["status"] = _status(obj, errors)
    return answer


def _must_pass(obj: dict[str, Any], old: Any) -> bool:
    """Whether the rules cannot be held against this update, whose object was stored before."""
    if not isinstance(old, dict):
        return False
    if (obj.get("metadata") or {}).get("deletionTimestamp"):
        return True
    return obj.get("spec") == old.get("spec") and _marks(obj) == _marks(old)


def _marks(obj: dict[str, Any]) -> Any:
    """The annotations, in which some rules have their subject."""
    return (obj.get("metadata") or {}).get("annotations") or {}


def _line(finding: Finding) -> str:
    """One line without control characters, which could not travel in a header."""
    where = f"{finding.path}: " if finding.path else ""
    text = f"{where}{finding.text}." + (f" {finding.fix}" if finding.fix else "") + f" [{finding.code}]"
    return "".join(c if c.isprintable() else " " for c in text)


def _status(obj: dict[str, Any], errors: Iterable[Finding]) -> dict[str, Any]:
    """A Status whose message says everything, with a cause for each field. Code and beginning are as Istio has them."""
    found = list(errors)
    key = found[0].resource
    group = str(obj.get("apiVersion", "")).rpartition("/")[0]
    lines = [_line(f) for f in found]
    text = lines[0] if len(lines) == 1 else "".join(f"\n* {line}" for line in lines)
    causes = [{"reason": "FieldValueInvalid", "message": f"{f.text}. {f.fix}", "field": f.path} for f in found]
    return {
        "status": "Failure",
        "code": 400,
        "reason": "BadRequest",
        "message": f"configuration is invalid: {text}",
        "details": {"name": key.name, "group": group, "kind": key.kind, "causes": causes},
    }


async def validate_objects(request: web.Request) -> web.Response:
    """An aiohttp handler for POST /validate."""
    try:
        body = orjson.loads(await request.read())
        asked = body["request"]
        answer = review(asked)
    except (ValueError, KeyError, TypeError, AttributeError):
        return web.Response(status=400, text="the body is not an AdmissionReview")
    made = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": answer}
    return web.Response(body=orjson.dumps(made), content_type="application/json")


def configuration(ca_pem: bytes, revision: str = "default", namespace: str = "istio-system") -> dict[str, Any]:
    """The ValidatingWebhookConfiguration, with the CA that signs the webhook's certificate."""
    rule = {
        "apiGroups": list(GROUPS),
        "apiVersions": ["*"],
        "operations": ["CREATE", "UPDATE"],
        "resources": ["*"],  # no subresources: that would be */*
        "scope": "*",
    }
    hook = {
        "name": "rev.validation.istio.io",
        "clientConfig": {
            "service": {"name": "istiod", "namespace": namespace, "path": PATH, "port": 443},
            "caBundle": base64.b64encode(ca_pem).decode(),
        },
        "rules": [rule],
        "failurePolicy": "Ignore",
        "matchPolicy": "Equivalent",
        "sideEffects": "None",
        "timeoutSeconds": 5,
        "admissionReviewVersions": ["v1"],
    }
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "istio-validator-istio-system", "labels": {"app": "istiod", "istio.io/rev": revision}},
        "webhooks": [hook],
    }
