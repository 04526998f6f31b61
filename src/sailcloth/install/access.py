"""What the control plane may do in a cluster: the rules of its roles. As little as it needs, one line for each part that needs it.

The kinds are those of `api.kinds`, so a new one is not forgotten.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sailcloth.api import gateway_api
from sailcloth.api.kinds import CORE_KINDS, LEGACY_KINDS, MESH_KINDS, OPTIONAL_KINDS, Kind
from sailcloth.injector import webhook_config

from .template import Node, Revisioned

Rule = dict[str, Any]
_READ = ["get", "list", "watch"]
_WRITE_STATUS = ["patch"]
_ADMISSION = "admissionregistration.k8s.io"
# Written in every namespace: the mesh's roots and revocation lists.
BUNDLES = ["istio-ca-crl", "istio-ca-root-cert"]
LEASE = "sailcloth-leader"  # a name of its own, since Istio's may be there, too
MUTATING, VALIDATING = Revisioned(webhook_config.NAME), Revisioned("istio-validator", "-istio-system")


def rule(group: str, resources: Iterable[str], verbs: list[str], names: Sequence[Node] = ()) -> Rule:
    """One rule of a role."""
    limited = {"resourceNames": [*names]} if names else {}
    return {"apiGroups": [group], "resources": sorted(resources), **limited, "verbs": verbs}


def cluster_rules() -> list[Rule]:
    """Of the whole cluster."""
    kinds = [*CORE_KINDS, *MESH_KINDS, *LEGACY_KINDS, *OPTIONAL_KINDS]
    with_status = [k for k in (*MESH_KINDS, *LEGACY_KINDS) if k.conditions]
    read = [rule(group, (k.plural for k in of), _READ) for group, of in _by_group(kinds)]
    statuses = [rule(group, (f"{k.plural}/status" for k in of), _WRITE_STATUS) for group, of in _by_group(with_status)]
    return [
        *read,
        *statuses,
        rule(
            gateway_api.GROUP,
            (f"{k.plural}/status" for k in OPTIONAL_KINDS if k.name != "ReferenceGrant"),
            _WRITE_STATUS,
        ),
        rule(gateway_api.GROUP, ["gatewayclasses"], ["create"]),
        rule("networking.k8s.io", ["ingresses/status"], _WRITE_STATUS),
        # Which kinds there are.
        rule("apiextensions.k8s.io", ["customresourcedefinitions"], _READ),
        # Workloads that register themselves.
        rule("networking.istio.io", ["workloadentries"], ["create", "patch", "delete"]),
        rule("networking.istio.io", ["workloadentries/status"], _WRITE_STATUS),
        # A create cannot be limited to names.
        rule("", ["configmaps"], ["create"]),
        rule("", ["configmaps"], ["patch", "delete"], BUNDLES),
        rule("", ["events"], ["create"]),
        rule("authentication.k8s.io", ["tokenreviews"], ["create"]),
        rule("authorization.k8s.io", ["subjectaccessreviews"], ["create"]),
        rule(_ADMISSION, ["mutatingwebhookconfigurations", "validatingwebhookconfigurations"], ["create"]),
        rule(_ADMISSION, ["validatingwebhookconfigurations"], ["patch"], [VALIDATING]),
        # Roots go into the webhooks of revision tags too, whose names users choose.
        rule(_ADMISSION, ["mutatingwebhookconfigurations"], ["update"]),
        rule(_ADMISSION, ["mutatingwebhookconfigurations"], ["patch"], [MUTATING]),
    ]


def gateway_rules() -> list[Rule]:
    """Of the whole cluster, to run gateways of the Gateway API."""
    verbs, passing = ["get", "create", "patch"], ["get", "create", "patch", "delete"]
    return [
        rule("apps", ["deployments"], verbs),
        rule("", ["services", "serviceaccounts"], verbs),
        # Where the parameters of a Gateway ask for them.
        rule("autoscaling", ["horizontalpodautoscalers"], passing),
        rule("policy", ["poddisruptionbudgets"], passing),
    ]


def own_rules() -> list[Rule]:
    """In the control plane's namespace: its CA, and the Lease that says which replica writes."""
    return [
        rule("", ["secrets"], ["create"]),
        rule("", ["secrets"], ["update"], ["istio-ca-secret"]),
        rule("coordination.k8s.io", ["leases"], ["create"]),
        rule("coordination.k8s.io", ["leases"], ["get", "update"], [Revisioned(LEASE)]),
    ]


def _by_group(kinds: Iterable[Kind]) -> list[tuple[str, list[Kind]]]:
    groups: dict[str, list[Kind]] = {}
    for kind in kinds:
        groups.setdefault(kind.group, []).append(kind)
    return sorted(groups.items())
