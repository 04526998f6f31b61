"""The console's answers about single objects of the mesh: as YAML, as forms, and their changes.

An object is shown to whoever may read its namespace; it is changed with the user's own token. Must not decide what a form can say
(`analysis.forms`), or write (`edit`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
from aiohttp import web

from sailcloth.analysis.forms import effects, object_forms, traffic_rules
from sailcloth.analysis.forms.paths import CannotSay
from sailcloth.api import crd
from sailcloth.api.kinds import MESH_KINDS
from sailcloth.api.meta import Key
from sailcloth.kube import ApiError, Client
from sailcloth.mesh import mesh_config

from . import answers, assemble, edit, observed, references, rule_use
from . import schema_edit as schema
from .access import Access, Question, User
from .answers import Forbidden, Missing
from .assemble import Scope
from .edit import BadChange
from .findings import Found
from .inventory import Inventory, Object
from .sources import MESH, AccessLogs, Cluster, ControlPlane, Unavailable

_DAY_S = 86_400
_REFUSALS = {
    401: "Log in again.",
    403: "Ask for the right, or log in with another account.",
    404: "Reload the page.",
    409: "Reload the object, and try again.",
    422: "Correct it, and try again.",
}


class ConfigPages:
    """scope: what a request may see. user: who sends it. act_as: a client for a bearer token. view_only: whether nothing may be changed."""

    def __init__(
        self,
        access: Access,
        control_plane: ControlPlane,
        inventory: Callable[[], Inventory],
        scope: Callable[[web.Request], Awaitable[Scope]],
        user: Callable[[web.Request], User],
        act_as: Callable[[str], Client] | None,
        cluster: Cluster,
        logs: AccessLogs | None,
        findings: Callable[[Scope], Awaitable[Found]],
    ) -> None:
        self._findings = findings
        self._access, self._plane, self._inventory, self._cluster, self._logs = (
            access,
            control_plane,
            inventory,
            cluster,
            logs,
        )
        self._scope, self._user, self._act_as = scope, user, act_as

    def routes(self, app: web.Application) -> None:
        """Add the paths."""
        app.router.add_get("/api/config/object", self._object)
        app.router.add_get("/api/config/schema", self._schema)
        app.router.add_get("/api/config/use", self._use)
        app.router.add_post("/api/config/check", self._check)
        app.router.add_post("/api/config/apply", self._apply)
        app.router.add_get("/api/forms", self._forms)
        app.router.add_get("/api/forms/traffic", self._traffic)
        app.router.add_post("/api/forms/traffic", self._propose_traffic)
        app.router.add_get("/api/forms/object", self._form)
        app.router.add_post("/api/forms/object", self._propose_object)
        app.router.add_post("/api/forms/observed", self._propose_observed)
        app.router.add_get("/api/unresolved", self._unresolved)

    @property
    def view_only(self) -> bool:
        """Whether nothing may be changed."""
        return self._act_as is None

    # -- objects --------------------------------------------------------------------------------

    async def _object(self, request: web.Request) -> web.Response:
        named = schema.Named(**{name: request.query.get(name, "") for name in ("kind", "namespace", "name")})
        scope = await self._scope(request)
        obj = self._find(named, scope)
        refs = references.of(obj, self._inventory())
        text = edit.to_yaml([obj])
        _, markers = edit.check(text)
        found = await self._findings(scope)
        own = found.get(Key(named.kind, named.namespace, named.name), ())
        known = {(m.path, m.text) for m in markers}
        markers += [m for m in edit.markers(text, own) if (m.path, m.text) not in known]
        form, problem = "", ""
        try:
            read = object_forms.read(obj)
            form = read[0] if read else "traffic" if named.kind in ("VirtualService", "DestinationRule") else ""
            if form == "traffic":
                is_routes = named.kind == "VirtualService"
                traffic_rules.read(obj if is_routes else None, None if is_routes else obj, "")
        except CannotSay as error:
            problem = str(error)
        may = {verb: await self._may(request, verb, named) for verb in ("update", "delete")}
        status = obj.get("status") or {}
        answer = schema.ConfigObject(
            item=assemble.config_item(obj, found),
            yaml=text,
            markers=markers,
            conditions=[_condition(c) for c in status.get("conditions") or () if isinstance(c, dict)],
            references=[r for r in refs if r.namespace in scope.readable],
            delivery=await self._delivery(named),
            may_update=may["update"],
            may_delete=may["delete"],
            form=form,
            form_problem=problem,
        )
        return answers.answer(answer)

    async def _use(self, request: web.Request) -> web.Response:
        """Which routes of a VirtualService got requests of namespaces whose logs the user may read."""
        names = {name: request.query.get(name, "") for name in ("namespace", "name")}
        scope, window = await self._scope(request), request.query.get("window", "1h")
        if not 1 <= answers.seconds(window) <= _DAY_S:
            raise answers.BadQuery("window: use a time of at most a day, such as 5m or 1h")
        rule = self._find(schema.Named(kind="VirtualService", **names), scope)
        rows = await self._logs.sent(window) if self._logs is not None else []
        return answers.answer(rule_use.of(rule, rows, await self._logged(request, scope.readable)))

    async def _logged(self, request: web.Request, namespaces: frozenset[str]) -> frozenset[str]:
        """Those of the namespaces whose logs the user may read."""
        user = self._user(request)
        may = [n for n in namespaces if await self._access.may(user, Question("get", "pods/log", namespace=n))]
        return frozenset(may)

    def _find(self, named: schema.Named, scope: Scope) -> Object:
        obj: Object | None = self._current(named)
        if obj is None or named.namespace not in scope.readable:
            raise Missing(f"there is no {named.kind} {named.namespace}/{named.name}, or you may not read its namespace")
        return obj

    def _current(self, named: schema.Named) -> Any:
        return next((o for o in self._inventory().config if _is(o, named)), None)

    async def _delivery(self, named: schema.Named) -> schema.Delivery | None:
        row = await self._plane.last_change(named.kind, named.namespace, named.name)
        if row is None:
            return None
        slowest: dict[str, schema.ProxyAnswer] = {}
        for answer in row["answers"]:
            before = slowest.get(answer["proxy"])
            if before is None or answer["ms"] > before.ms or answer["error"]:
                slowest[answer["proxy"]] = schema.ProxyAnswer(
                    proxy=answer["proxy"], ms=answer["ms"], error=answer["error"] or ""
                )
        return schema.Delivery(
            received=row["received"],
            computed_ms=row["computedMs"],
            answers=sorted(slowest.values(), key=lambda a: (not a.error, -a.ms)),
            waiting=row["waiting"],
        )

    async def _may(self, request: web.Request, verb: str, named: schema.Named) -> bool:
        resource = MESH[named.kind]
        question = Question(verb, resource.plural, resource.group, named.namespace)
        return not self.view_only and await self._access.may(self._user(request), question)

    async def _schema(self, request: web.Request) -> web.Response:
        """The schema that the API server has for a kind, for completion."""
        name = request.query.get("kind", "")
        kind = next((k for k in MESH_KINDS if k.name == name and k.name in MESH), None)
        if kind is None:
            raise Missing(f"{name!r} is no kind of the mesh; use one of {', '.join(sorted(MESH))}")
        head = {"apiVersion": {"enum": [f"{kind.group}/{v}" for v in kind.versions]}, "kind": {"enum": [kind.name]}}
        labels = {"type": "object", "additionalProperties": {"type": "string"}}
        text = {"type": "string"}
        metadata = {
            "type": "object",
            "properties": {"name": text, "namespace": text, "labels": labels, "annotations": labels},
        }
        served = crd.schema(kind)
        spec = served["properties"]["spec"]
        return answers.answer({**served, "properties": {**head, "metadata": metadata, "spec": spec}})

    async def _check(self, request: web.Request) -> web.Response:
        _, markers = edit.check((await answers.body(request, schema.Change)).yaml)
        return answers.answer(markers)

    async def _apply(self, request: web.Request) -> web.Response:
        change = await answers.body(request, schema.Change)
        if self._act_as is None:
            raise Forbidden("this console is for viewing only")
        readable = (await self._scope(request)).readable
        async with self._act_as(await self._access.credential(self._user(request))) as client:
            return answers.answer(
                await edit.apply(client, change, lambda n: self._current(n) if n.namespace in readable else None)
            )

    # -- forms ----------------------------------------------------------------------------------

    async def _forms(self, request: web.Request) -> web.Response:
        return answers.answer(list(object_forms.FORMS.values()))

    async def _traffic(self, request: web.Request) -> web.Response:
        """The routing of a service, read from its objects or empty."""
        namespace, service = request.query.get("namespace", ""), request.query.get("service", "")
        scope = await self._scope(request)
        self._service(namespace, service, scope)
        virtual_service, destination_rule = self._rules(namespace, service)
        problem = ""
        try:
            rules = traffic_rules.read(virtual_service, destination_rule, service)
        except CannotSay as error:
            rules, problem = traffic_rules.TrafficRules(hosts=[service]), str(error)
        inventory = self._inventory()
        here = inventory.services[(namespace, service)]
        versions = {
            w.version: {"version": w.version}
            for w in inventory.workloads.values()
            if w.namespace == namespace and w.version and here.selector and here.selector.items() <= w.labels.items()
        }
        gateways = [
            o for o in inventory.config if o["kind"] == "Gateway" and o["metadata"]["namespace"] in scope.readable
        ]
        return answers.answer(
            schema.TrafficForm(
                namespace=namespace,
                service=service,
                rules=rules,
                versions=[schema.Version(name=name, labels=labels) for name, labels in sorted(versions.items())],
                gateways=sorted(f"{o['metadata']['namespace']}/{o['metadata']['name']}" for o in gateways),
                ports=list(here.ports),
                objects=[_named(o) for o in (virtual_service, destination_rule) if o],
                problem=problem,
            )
        )

    async def _propose_traffic(self, request: web.Request) -> web.Response:
        proposal = await answers.body(request, schema.TrafficProposal)
        self._service(proposal.namespace, proposal.service, await self._scope(request))
        before = self._rules(proposal.namespace, proposal.service)
        try:
            traffic_rules.read(*before, proposal.service)
        except CannotSay as error:
            raise BadChange(str(error)) from None
        objects, gone = traffic_rules.write(proposal.rules, *before, proposal.namespace, proposal.service)
        present = [obj for obj in before if obj is not None]
        return answers.answer(_proposal(objects, gone, present, effects.sentences(proposal.rules)))

    async def _form(self, request: web.Request) -> web.Response:
        """The form that can edit an object, with its values."""
        named = schema.Named(**{name: request.query.get(name, "") for name in ("kind", "namespace", "name")})
        obj = self._find(named, await self._scope(request))
        try:
            read = object_forms.read(obj)
        except CannotSay as error:
            form = next(f for f in object_forms.FORMS.values() if f.kind == named.kind)
            return answers.answer(schema.ObjectForm(form=form, values={}, problem=str(error)))
        if read is None:
            raise Missing(f"there is no wizard for a {named.kind}; use the editor")
        return answers.answer(schema.ObjectForm(form=object_forms.FORMS[read[0]], values=read[1]))

    async def _propose_object(self, request: web.Request) -> web.Response:
        proposal = await answers.body(request, schema.ObjectProposal)
        if proposal.form not in object_forms.FORMS:
            raise Missing(f"there is no wizard {proposal.form!r}")
        if not proposal.name or not proposal.namespace:
            raise BadChange("give a namespace and a name")
        kind = object_forms.FORMS[proposal.form].kind
        scope = await self._scope(request)
        if proposal.namespace not in scope.readable:
            raise Missing(f"there is no namespace {proposal.namespace!r}, or you may not read it")
        existing = self._current(schema.Named(kind=kind, namespace=proposal.namespace, name=proposal.name))
        spec = object_forms.write(proposal.form, proposal.values)
        metadata = existing["metadata"] if existing else {"name": proposal.name, "namespace": proposal.namespace}
        version = existing["apiVersion"] if existing else MESH[kind].api_version
        obj = {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}
        workloads = [r.name for r in references.named(obj, self._inventory()) if r.what == "applies to"]
        said = [f"It applies to {', '.join(sorted(workloads))}."] if workloads else []
        return answers.answer(_proposal([obj], [], [existing] if existing else [], said))

    async def _unresolved(self, request: web.Request) -> web.Response:
        """Where requests went that no service has, of namespaces whose logs the user may read."""
        scope = await self._scope(request)
        if self._logs is None:
            return answers.answer([])
        return answers.answer(observed.unresolved(await self._logs.sent(), await self._logged(request, scope.shown)))

    async def _propose_observed(self, request: web.Request) -> web.Response:
        """A policy for a workload by its access logs, which its user may read."""
        proposal = await answers.body(request, schema.ObservedProposal)
        scope, user, namespace = await self._scope(request), self._user(request), proposal.namespace
        workload = self._inventory().workloads.get((namespace, proposal.workload))
        if workload is None or namespace not in scope.readable:
            raise Missing(f"there is no workload {namespace}/{proposal.workload}, or you may not read its namespace")
        if not await self._access.may(user, Question("get", "pods/log", namespace=namespace)):
            raise Forbidden(f"you may not read the logs of {namespace}")
        if self._logs is None:
            raise Unavailable("there is no store of access logs")
        options = mesh_config.parse(await self._cluster.options())
        identities = observed.accounts(self._cluster.lists().get("pods", ()), options.trust_domain)
        seen = observed.requests(await self._logs.received(namespace, proposal.workload), identities)
        policy, notes = observed.suggest(proposal.name or f"{proposal.workload}-observed", workload, seen)
        named = schema.Named(kind=policy["kind"], namespace=namespace, name=policy["metadata"]["name"])
        existing = self._current(named)
        obj = {**policy, "metadata": existing["metadata"] if existing else policy["metadata"]}
        said = _proposal([obj], [], [existing] if existing else [], notes)
        found = observed.refused(obj, self._inventory().config, workload, seen, options)
        return answers.answer(msgspec.structs.replace(said, observed=len(seen), refused=found))

    def _service(self, namespace: str, service: str, scope: Scope) -> None:
        if namespace not in scope.readable or (namespace, service) not in self._inventory().services:
            raise Missing(f"there is no service {namespace}/{service}, or you may not read its namespace")

    def _rules(self, namespace: str, service: str) -> tuple[Any, Any]:
        """(VirtualService, DestinationRule) of a service in its namespace; None each if there is none."""
        found: dict[str, Any] = {}
        for obj in self._inventory().config:
            if obj["metadata"].get("namespace") != namespace or obj["kind"] not in (
                "VirtualService",
                "DestinationRule",
            ):
                continue
            spec = obj.get("spec") or {}
            hosts = spec.get("hosts") or [spec.get("host")]
            sends = [
                r.name for r in references.named(obj, self._inventory()) if r.kind == "Service" and r.what == "sends to"
            ]
            if any(str(h).partition(".")[0] == service for h in hosts) or (
                obj["kind"] == "VirtualService" and sends == [service]
            ):
                found.setdefault(obj["kind"], obj)
        return found.get("VirtualService"), found.get("DestinationRule")


def _proposal(
    objects: Sequence[Object], gone: Sequence[Object], present: Sequence[Object], said: list[str]
) -> schema.Proposal:
    """A proposal of what differs from what is there."""
    there = {_named(obj): obj for obj in present}
    changed = [obj for obj in objects if (before := there.get(_named(obj))) is None or before["spec"] != obj["spec"]]
    text = edit.to_yaml(changed)
    _, markers = edit.check(text)
    change = schema.Change(yaml=text, delete=[_named(obj) for obj in gone])
    replaced = [there[name] for name in map(_named, (*changed, *gone)) if name in there]
    return schema.Proposal(change=change, before=edit.to_yaml(replaced), effects=said, markers=markers)


def _condition(raw: dict[str, Any]) -> schema.StatusCondition:
    return schema.StatusCondition(
        type=str(raw.get("type", "")),
        status=str(raw.get("status", "")),
        reason=str(raw.get("reason") or ""),
        message=str(raw.get("message") or ""),
        since=str(raw.get("lastTransitionTime") or ""),
    )


def _is(obj: Object, named: schema.Named) -> bool:
    metadata = obj["metadata"]
    return (obj["kind"], metadata.get("namespace", ""), metadata["name"]) == (named.kind, named.namespace, named.name)


def _named(obj: Object) -> schema.Named:
    return schema.Named(kind=obj["kind"], namespace=obj["metadata"].get("namespace", ""), name=obj["metadata"]["name"])


def refusal(error: ApiError) -> tuple[int, str, str]:
    """(status, text, fix) of what the API server refuses a user."""
    if error.status in _REFUSALS:
        return error.status, error.message or error.reason, _REFUSALS[error.status]
    return 503, f"the API server does not answer: {error}", ""
