"""What the console answers about single objects, and what is sent to change them. Moments in seconds since the epoch."""

from __future__ import annotations

from typing import Any

import msgspec

from sailcloth.analysis.forms.object_forms import Form
from sailcloth.analysis.forms.traffic_rules import TrafficRules

from .schema import ConfigItem, parameter

Struct = msgspec.Struct


class Marker(Struct, frozen=True, rename="camel", kw_only=True):
    """Something wrong in a YAML text. `line`: from 1. `severity`: Error, Warning or Info."""

    line: int
    severity: str
    code: str
    path: str
    text: str
    fix: str = ""


class Reference(Struct, frozen=True, rename="camel", kw_only=True):
    """An object by name. `what`: how it refers, or is referred to. `exists`: whether it is there."""

    kind: str
    namespace: str
    name: str
    what: str
    exists: bool = True


class StatusCondition(Struct, frozen=True, rename="camel", kw_only=True):
    type: str
    status: str
    reason: str = ""
    message: str = ""
    since: str = ""


class ProxyAnswer(Struct, frozen=True, rename="camel", kw_only=True):
    """A proxy's answer to the last change of an object. `ms`: after the control plane had the change. `error`: why it refused."""

    proxy: str
    ms: float
    error: str = ""


class Delivery(Struct, frozen=True, rename="camel", kw_only=True):
    """How the last change of an object reached the proxies."""

    received: float
    computed_ms: float
    answers: list[ProxyAnswer] = []
    waiting: list[str] = []


class ConfigObject(Struct, frozen=True, rename="camel", kw_only=True):
    """`form`: the wizard that can edit it; empty if none, and `formProblem` says why not."""

    item: ConfigItem
    yaml: str
    markers: list[Marker]
    conditions: list[StatusCondition]
    references: list[Reference]
    delivery: Delivery | None = None
    may_update: bool = False
    may_delete: bool = False
    form: str = ""
    form_problem: str = ""


class RouteUse(Struct, frozen=True, rename="camel", kw_only=True):
    """A route of a rule and how many requests it got; null if that cannot be known. `shared`: an unnamed route has the same destination."""

    name: str
    destinations: list[str]
    requests: int | None
    shared: bool


class RuleUse(Struct, frozen=True, rename="camel", kw_only=True):
    """`looked`: among how many requests."""

    looked: int
    routes: list[RouteUse]


class Named(Struct, frozen=True, rename="camel", kw_only=True, forbid_unknown_fields=True):
    kind: str
    namespace: str
    name: str


class Change(Struct, frozen=True, rename="camel", kw_only=True, forbid_unknown_fields=True):
    """Documents to apply, in order, then objects to delete. A document with a `generation` replaces that generation only; one without
    is created. `dryRun`: check on the API server, and change nothing."""

    yaml: str = ""
    delete: list[Named] = []
    dry_run: bool = False


class Applied(Struct, frozen=True, rename="camel", kw_only=True):
    """`done`: what was changed, in words. `undo`: what would change it back. `yaml`: the objects as they are now. `stopped`: why the rest
    was not changed."""

    done: list[str]
    markers: list[Marker] = []
    yaml: str = ""
    undo: Change | None = None
    stopped: str = ""


class Version(Struct, frozen=True, rename="camel", kw_only=True):
    """A version of a service's workloads, and the labels that select it."""

    name: str
    labels: dict[str, str]


class TrafficForm(Struct, frozen=True, rename="camel", kw_only=True):
    """The routing of a service as a form. `problem`: what the form cannot say of the objects that there are."""

    namespace: str
    service: str
    rules: TrafficRules
    versions: list[Version]
    gateways: list[str]
    ports: list[int]
    objects: list[Named] = []
    problem: str = ""


class TrafficProposal(Struct, frozen=True, rename="camel", kw_only=True, forbid_unknown_fields=True):
    namespace: str
    service: str
    rules: TrafficRules


class ObjectForm(Struct, frozen=True, rename="camel", kw_only=True):
    """An object as a form's values."""

    form: Form
    values: dict[str, Any]
    problem: str = ""


class ObjectProposal(Struct, frozen=True, rename="camel", kw_only=True, forbid_unknown_fields=True):
    form: str
    namespace: str
    name: str
    values: dict[str, Any]


class Refused(Struct, frozen=True, rename="camel", kw_only=True):
    """Requests of one kind that policies would have refused. `source`: NAMESPACE/POD or an address."""

    source: str
    method: str
    path: str
    reason: str
    count: int


class Unresolved(Struct, frozen=True, rename="camel", kw_only=True):
    """Requests to an address that no service has. `cluster`: PassthroughCluster or BlackHoleCluster; `host`: as clients named it, or empty;
    `values`: of a ServiceEntry's form that would name it."""

    cluster: str
    host: str
    address: str
    port: int
    count: int
    sources: list[str]
    values: dict[str, Any]


class ObservedProposal(Struct, frozen=True, rename="camel", kw_only=True, forbid_unknown_fields=True):
    """A policy for a workload by what it was asked in the last hour."""

    namespace: str
    workload: str
    name: str


class Proposal(Struct, frozen=True, rename="camel", kw_only=True):
    """What a form would change. `before`: the objects as they are. `effects`: what it does, in sentences. `observed`: how many requests of
    the last hour a policy was tried on; `refused`: those that it would have refused."""

    change: Change
    before: str
    effects: list[str]
    markers: list[Marker]
    observed: int | None = None
    refused: list[Refused] = []


_OBJECT = tuple(parameter(name, f"The object's {name}.") for name in ("kind", "namespace", "name"))
PATHS: tuple[tuple[str, str, tuple[dict[str, Any], ...], Any], ...] = (
    ("/api/config/object", "An object of the mesh: YAML, findings, status, references.", _OBJECT, ConfigObject),
    (
        "/api/config/use",
        "Which routes of a VirtualService got requests, by the access logs that the user may read.",
        (*_OBJECT, parameter("window", "What is looked back on, such as 5m or 1h; at most a day.")),
        RuleUse,
    ),
    ("/api/config/schema", "The schema of a kind.", (parameter("kind", "The kind."),), dict[str, Any]),
    ("/api/forms", "The wizards of single objects.", (), list[Form]),
    ("/api/forms/object", "An object as a wizard's values.", _OBJECT, ObjectForm),
    ("/api/unresolved", "Where requests of the last hour went that no service has.", (), list[Unresolved]),
    (
        "/api/forms/traffic",
        "The routing of a service as a form.",
        (parameter("namespace", "Its namespace."), parameter("service", "Its name.")),
        TrafficForm,
    ),
)
POSTS: tuple[tuple[str, str, Any, Any], ...] = (
    ("/api/config/check", "What is wrong with a YAML text.", Change, list[Marker]),
    ("/api/config/apply", "Make a change, or try it.", Change, Applied),
    ("/api/forms/object", "What a wizard would change.", ObjectProposal, Proposal),
    ("/api/forms/traffic", "What the wizard of traffic would change.", TrafficProposal, Proposal),
    ("/api/forms/observed", "A policy that allows what was seen.", ObservedProposal, Proposal),
)
"""(path, what it does, type of the body, type of the answer)."""
