"""The validating webhook: answers an AdmissionReview with all findings. Also its ValidatingWebhookConfiguration.

**If the webhook is down, writes are admitted** (`failurePolicy: Ignore`). Istio switches to `Fail` once its webhook is up. On
one machine, without replicas, that would block every change to the mesh, including repairs, while the process is down. It is
safe because objects are validated again when they are read (`config_updates.ConfigUpdates.change`): an invalid object does not
replace the previous version, and its status says so.

**Stored objects can always be updated and deleted.** An update that does not change the spec (such as a label) and any update
of an object with a deletionTimestamp (such as the removal of a finalizer) is admitted even if the object is invalid; its findings
become warnings. Status updates are not validated.
"""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable, Container, Iterable
from typing import Any

import orjson
from aiohttp import web

from sailcloth.api import validation
from sailcloth.api.meta import Finding
from sailcloth.api.revision import DEFAULT, LABEL, suffixed

from .revisions import Revisions

GROUPS = (
    "networking.istio.io",
    "security.istio.io",
    "telemetry.istio.io",
    "extensions.istio.io",
    "config.istio.io",
    "sailcloth.io",
)
PATH = "/validate"
_LONGEST_WARNING, _MOST_WARNINGS = 250, 16  # API servers truncate longer warnings, and drop those beyond 4 kB in sum


def review(request: dict[str, Any], revisions: Container[str] | None = None) -> dict[str, Any]:
    """The response to one AdmissionReview request. Validates only CREATE and UPDATE of objects, not of subresources. revisions: the names of
    those that there are; None: not known."""
    answer: dict[str, Any] = {"uid": request.get("uid", ""), "allowed": True}
    obj = request.get("object")
    if request.get("operation") not in ("CREATE", "UPDATE") or request.get("subResource") or not isinstance(obj, dict):
        return answer
    findings = validation.check(obj, str(request.get("namespace") or "default"))
    errors = [f for f in findings if f.severity == "Error"]
    warnings = [f for f in findings if f.severity != "Error"]
    if errors and _must_pass(obj, request.get("oldObject")):
        errors, warnings = [], list(findings)
    lines = [_line(f) for f in warnings]
    named = ((obj.get("metadata") or {}).get("labels") or {}).get(LABEL)
    if named and revisions is not None and named not in revisions:
        lines.insert(
            0,
            f"metadata.labels[{LABEL}]: no control plane has the revision or tag {named}: the object is in force nowhere",
        )
    if lines:
        answer["warnings"] = [line[:_LONGEST_WARNING] for line in lines[:_MOST_WARNINGS]]
    if errors:
        answer["allowed"] = False
        answer["status"] = _status(obj, errors)
    return answer


def _must_pass(obj: dict[str, Any], old: Any) -> bool:
    """Whether an update of an invalid object is admitted: it does not change the spec, or the object is being deleted."""
    if not isinstance(old, dict):
        return False
    if (obj.get("metadata") or {}).get("deletionTimestamp"):
        return True
    return obj.get("spec") == old.get("spec") and _marks(obj) == _marks(old)


def _marks(obj: dict[str, Any]) -> Any:
    """The annotations; some rules depend on them."""
    return (obj.get("metadata") or {}).get("annotations") or {}


def _line(finding: Finding) -> str:
    """A finding as one line without control characters, which HTTP headers cannot carry."""
    where = f"{finding.path}: " if finding.path else ""
    text = f"{where}{finding.text}." + (f" {finding.fix}" if finding.fix else "") + f" [{finding.code}]"
    return "".join(c if c.isprintable() else " " for c in text)


def _status(obj: dict[str, Any], errors: Iterable[Finding]) -> dict[str, Any]:
    """A Status with all findings in its message and one cause per field. Code and start of the message are Istio's."""
    findings = list(errors)
    key = findings[0].resource
    group = str(obj.get("apiVersion", "")).rpartition("/")[0]
    lines = [_line(f) for f in findings]
    text = lines[0] if len(lines) == 1 else "".join(f"\n* {line}" for line in lines)
    causes = [{"reason": "FieldValueInvalid", "message": f"{f.text}. {f.fix}", "field": f.path} for f in findings]
    return {
        "status": "Failure",
        "code": 400,
        "reason": "BadRequest",
        "message": f"configuration is invalid: {text}",
        "details": {"name": key.name, "group": group, "kind": key.kind, "causes": causes},
    }


def handler(
    judged: Callable[[bool], None] | None = None, revisions: Callable[[], Container[str]] | None = None
) -> Callable[[web.Request], Awaitable[web.Response]]:
    """An aiohttp handler for POST /validate. `judged` is told of each object whether it is valid."""

    async def validate_objects(request: web.Request) -> web.Response:
        try:
            body = orjson.loads(await request.read())
            admission_request = body["request"]
            answer = review(admission_request, revisions() if revisions is not None else None)
            admission_review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": answer}
            text = orjson.dumps(admission_review)
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            return web.Response(status=400, text="the body is not an AdmissionReview")
        if judged is not None:
            judged(bool(answer["allowed"]))
        return web.Response(body=text, content_type="application/json")

    return validate_objects


def configuration(
    ca_pem: bytes, revisions: Revisions, revision: str = "", namespace: str = "istio-system"
) -> dict[str, Any]:
    """The ValidatingWebhookConfiguration of a revision, with the CA that signs the webhook's certificate: for objects that name it, and if it is
    the default one, for those that name none, or one that does not exist."""
    rule = {
        "apiGroups": list(GROUPS),
        "apiVersions": ["*"],
        "operations": ["CREATE", "UPDATE"],
        "resources": ["*"],  # no subresources: that would be */*
        "scope": "*",
    }

    def webhook(name: str, **choice: Any) -> dict[str, Any]:
        return {
            "name": f"{name}.istio.io",
            "clientConfig": {
                "service": {"name": suffixed("istiod", revision), "namespace": namespace, "path": PATH, "port": 443},
                "caBundle": base64.b64encode(ca_pem).decode(),
            },
            "rules": [rule],
            "objectSelector": {"matchExpressions": [{"key": LABEL, **choice}]},
            "failurePolicy": "Ignore",
            "matchPolicy": "Equivalent",
            "sideEffects": "None",
            "timeoutSeconds": 5,
            "admissionReviewVersions": ["v1"],
        }

    hooks = [webhook("rev.validation", operator="In", values=sorted(revisions.names))]
    if revisions.is_default:
        hooks.append(webhook("validation", operator="NotIn", values=sorted(revisions.known)))
    name = suffixed("istio-validator", revision, f"-{namespace}")
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": name, "labels": {"app": "istiod", LABEL: revision or DEFAULT}},
        "webhooks": hooks,
    }
