"""What an installation is asked for: a profile, files and `--set`, in the form of an IstioOperator's `spec`, and the releases of charts
that it means. What has no effect is told by its path.

Pure. Source: istio.md 3.1, and Istio's `operator/pkg/apis`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from sailcloth.api import addons
from sailcloth.api.revision import DEFAULT as DEFAULT_REVISION
from sailcloth.api.revision import suffixed

from . import values
from .chart import Chart, Release
from .charts import CHARTS
from .definitions import NAMESPACE
from .gateway_values import gateway_defaults, of_component, of_values
from .istiod import UNNAMED_ADDRESS
from .profiles import DEFAULT, PROFILES, Spec
from .render import Object, render
from .translate import K8S_OF_CNI, K8S_OF_PILOT, k8s_of_addon, translated
from .values import InvalidValues

API_VERSION, KIND = "install.istio.io/v1alpha1", "IstioOperator"
_FIELDS = ("profile", "hub", "tag", "namespace", "revision", "meshConfig", "components", "values")
_ISTIOD = ("global", "pilot", "meshConfig", "sidecarInjectorWebhook", "revision")
_ADDONS = ("telemetry", "console")
_GATEWAYS = ("ingressGateways", "egressGateways")
_ABSENT = {
    "ztunnel": "ambient mode is not there yet",
    "istiodRemote": "a control plane outside of the cluster is not there yet",
}
_MOST_ITEMS = 100
_STEP = re.compile(r"((?:[^.\[\]\\]|\\.)+)|\[(\d+)\]|(\.)")


@dataclass(frozen=True)
class Component:
    """One chart to install."""

    name: str  # Istio's name of it: Base, Pilot, IngressGateways, EgressGateways
    chart: Chart
    release: Release

    def objects(self) -> list[Object]:
        return render(self.chart, self.release)


@dataclass(frozen=True)
class Plan:
    """What is installed, in order."""

    components: tuple[Component, ...]
    asked: Spec  # without what the profile has
    spec: Spec
    warnings: list[str] = field(default_factory=list)

    @property
    def revision(self) -> str:
        """Of the control plane."""
        return revision_of(self.spec)


def revision_of(spec: Mapping[str, Any]) -> str:
    """The revision that a spec names, by its field or by the values."""
    return str(spec.get("revision") or _part(spec, "values").get("revision") or DEFAULT_REVISION)


def from_document(document: Any) -> Spec:
    """The spec in a file: an IstioOperator, or values of charts. Raises ValueError."""
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ValueError("is neither an IstioOperator nor values")
    if document.get("kind") == KIND:
        spec = document.get("spec") or {}
        namespace = (document.get("metadata") or {}).get("namespace")
        return {**({"namespace": namespace} if namespace else {}), **spec}
    if "kind" in document and "apiVersion" in document:
        raise ValueError(f"is a {document['kind']}; an {KIND} or values are wanted")
    return _placed(document)


def _placed(given: Mapping[str, Any]) -> Spec:
    """Names at the top that are no field of a spec are values."""
    spec = {k: v for k, v in given.items() if k in _FIELDS}
    own = {k: v for k, v in given.items() if k not in _FIELDS}
    return combined(spec, {"values": own}) if own else spec


def set_value(spec: Spec, text: str) -> Spec:
    """The spec with `PATH=VALUE`. Raises ValueError."""
    path, equals, value = text.partition("=")
    steps = list(_steps(path)) if equals else []
    if not steps or isinstance(steps[0], int):
        raise ValueError(f"--set {text}: must be of the form PATH=VALUE, such as values.global.hub=example.com/mesh")
    if steps[0] not in _FIELDS:
        steps.insert(0, "values")
    out = deepcopy(spec)
    at: Any = out
    for step, following in zip(steps, [*steps[1:], None], strict=True):
        fresh: Any = _parsed(value) if following is None else [] if isinstance(following, int) else {}
        if isinstance(step, int):
            if not isinstance(at, list) or step > _MOST_ITEMS:
                raise ValueError(f"--set {text}: there is no list with an item {step}")
            at += [{} for _ in range(len(at), step)]
            if step == len(at):
                at.append(fresh)
            elif following is None or not isinstance(at[step], (dict, list)):
                at[step] = fresh
        elif not isinstance(at, dict):
            raise ValueError(f"--set {text}: {step} cannot be set in a value that is no object")
        elif following is None or not isinstance(at.get(step), (dict, list)):
            at[step] = fresh
        at = at[step]
    return out


def _steps(path: str) -> Iterator[str | int]:
    end = 0
    for found in _STEP.finditer(path):
        if found.start() != end:
            raise ValueError(f"--set {path}: is no path")
        end = found.end()
        if found[1]:
            yield re.sub(r"\\(.)", r"\1", found[1])
        elif found[2]:
            yield int(found[2])
    if end != len(path):
        raise ValueError(f"--set {path}: is no path")


def _parsed(text: str) -> Any:
    if text in ("true", "false", "null"):
        return json.loads(text)
    if re.fullmatch(r"-?(0|[1-9]\d{0,15})", text):
        return int(text)
    if text.startswith(("[", '{"')):
        try:
            return json.loads(text)
        except ValueError:
            pass
    if text.startswith("{") and text.endswith("}"):
        return [_parsed(part) for part in text[1:-1].split(",") if part]
    return text


def combined(below: Spec, above: Mapping[str, Any]) -> Spec:
    """Both specs, the second first in precedence; gateways are the same by their names."""
    out = values.merge(below, above)
    for key in _GATEWAYS:
        first, second = (_part(s, "components").get(key) for s in (below, above))
        if isinstance(first, list) and isinstance(second, list):
            out["components"] = {**out["components"], key: _by_name(first, second)}
    return out


def _by_name(below: list[Any], above: list[Any]) -> list[Any]:
    out = {g.get("name", i): g for i, g in enumerate(below) if isinstance(g, dict)}
    for i, gateway in enumerate(above):
        if isinstance(gateway, dict):
            name = gateway.get("name", next((k for j, k in enumerate(out) if j == i), i))
            out[name] = values.merge(out.get(name, {}), gateway)
    return list(out.values())


def given(files: Iterable[Mapping[str, Any]], sets: Iterable[str] = ()) -> Spec:
    """What files and then `--set` ask for. Raises ValueError."""
    out: Spec = {}
    for spec in files:
        out = combined(out, spec)
    for text in sets:
        out = set_value(out, text)
    return out


def resolved(asked: Mapping[str, Any]) -> Spec:
    """The profile with what is asked for. Raises InvalidValues."""
    name = asked.get("profile") or DEFAULT
    if name not in PROFILES:
        raise InvalidValues([f"there is no profile {name!r}; use {', '.join(PROFILES)}"])
    return combined({"profile": name, **deepcopy(PROFILES[name][1])}, asked)


def complete(asked: Mapping[str, Any]) -> Spec:
    """The resolved spec with the defaults of all values."""
    spec = resolved(asked)
    every = {**values.defaults("base"), **values.defaults("istiod"), "cni": values.defaults("cni")["cni"]}
    every |= {key: values.defaults(key)[key] for key in _ADDONS if _adds(_part(spec, "components"), key)}
    return combined({"values": every}, spec)


def plan(asked: Spec) -> Plan:
    """What a spec means. Raises InvalidValues with all that is wrong."""
    spec = resolved(asked)
    maker = _Maker(spec)
    maker.charts()
    for component in maker.made:
        try:
            component.objects()
        except InvalidValues as error:
            maker.wrong += error.problems
    if maker.wrong:
        raise InvalidValues(list(dict.fromkeys(maker.wrong)))
    return Plan(tuple(maker.made), asked, spec, list(dict.fromkeys(maker.warnings)))


class _Maker:
    """Collects components, and what is wrong or without effect."""

    def __init__(self, spec: Spec) -> None:
        self.made: list[Component] = []
        self.wrong: list[str] = []
        self.warnings = [f"{key}: has no effect here" for key in spec if key not in _FIELDS]
        for key in ("meshConfig", "components", "values"):
            if not isinstance(spec.get(key, {}), Mapping):
                raise InvalidValues([f"{key}: must be an object"])
        self._spec, self._components, self._values = spec, _part(spec, "components"), _part(spec, "values")
        self._namespace, self._revision = str(spec.get("namespace") or NAMESPACE), revision_of(spec)
        self._addons = [key for key in _ADDONS if _adds(self._components, key)]

    def charts(self) -> None:
        """Make all components."""
        self._unknown()
        root = _part(self._values, "global")
        if _enabled(self._components, "base"):
            own = {"istioNamespace": root.get("istioNamespace", self._namespace)}
            of_base = {"base": self._values.get("base") or {}, "global": own}
            self._add("Base", "base", "istio-base", of_base, self._namespace, "values")
        cni = _part(self._components, "cni")
        if cni.get("enabled") is True:
            self._cni(cni, root)
        if _enabled(self._components, "pilot"):
            settings = _part(_part(self._components, "pilot"), "k8s")
            more, unknown = translated(settings, K8S_OF_PILOT, "components.pilot.k8s")
            self.warnings += unknown
            of_pilot = {k: self._values[k] for k in _ISTIOD if k in self._values}
            of_pilot = values.merge(values.merge(of_pilot, _of_spec(self._spec, self._namespace)), more)
            if cni.get("enabled") is True:
                of_pilot = values.merge({"pilot": {"cni": {"enabled": True}}}, of_pilot)
            self._discovery(_part(_part(of_pilot, "meshConfig"), "defaultConfig"))
            if "telemetry" in self._addons:
                of_pilot["meshConfig"] = with_tracing(_part(of_pilot, "meshConfig"))
            self._add("Pilot", "istiod", suffixed("istiod", self._revision), of_pilot, self._namespace, "values")
        for key in self._addons:
            self._addon(key, {**root, **_part(_of_spec(self._spec, self._namespace), "global")})
        for key in _GATEWAYS:
            for i, gateway in enumerate(self._components.get(key) or ()):
                if isinstance(gateway, Mapping) and gateway.get("enabled") is True:
                    self._gateway(key, f"components.{key}[{i}]", gateway, root)

    def _discovery(self, options: Mapping[str, Any]) -> None:
        """Leave out the address of the control plane without a name, in options that were taken over from it: sidecars would go there."""
        if self._revision != DEFAULT_REVISION and options.get("discoveryAddress") == UNNAMED_ADDRESS:
            assert isinstance(options, dict)
            del options["discoveryAddress"]
            self.warnings.append(
                "meshConfig.defaultConfig.discoveryAddress: is left out, since it is not the address of this revision"
            )

    def _cni(self, component: Mapping[str, Any], root: Mapping[str, Any]) -> None:
        settings, unknown = translated(_part(component, "k8s"), K8S_OF_CNI, "components.cni.k8s")
        self.warnings += unknown
        shared = {k: root[k] for k in ("hub", "tag", "imagePullPolicy", "imagePullSecrets") if k in root}
        shared |= {k: str(self._spec[k]) for k in ("hub", "tag") if self._spec.get(k)}
        own = values.merge({"cni": self._values.get("cni") or {}, "global": shared}, settings)
        self._add("Cni", "cni", "istio-cni", own, str(component.get("namespace") or self._namespace), "values")

    def _addon(self, key: str, root: Mapping[str, Any]) -> None:
        settings = _part(_part(self._components, key), "k8s")
        more, unknown = translated(settings, k8s_of_addon(key), f"components.{key}.k8s")
        self.warnings += unknown
        shared = {k: v for k, v in root.items() if k in values.defaults(key)["global"]}
        names = root.get("imagePullSecrets") or ()
        secrets = {"imagePullSecrets": [n if isinstance(n, Mapping) else {"name": n} for n in names]}
        own = values.merge({"global": shared, key: secrets}, {key: self._values.get(key) or {}})
        self._add(key.capitalize(), key, key, values.merge(own, more), self._namespace, "values")

    def _gateway(self, key: str, at: str, gateway: Mapping[str, Any], root: Mapping[str, Any]) -> None:
        name = str(gateway.get("name") or "")
        if not name:
            self.wrong.append(f"{at}.name: is missing")
            return
        own_values = _part(_part(self._values, "gateways"), name)
        below, unknown = of_values(own_values, f"values.gateways.{name}")
        above, more_unknown = of_component(gateway, at)
        self.warnings += [*unknown, *more_unknown]
        of_kind = gateway_defaults(key, name, root)
        if self._revision != DEFAULT_REVISION:
            of_kind["revision"] = self._revision
        own = values.merge(values.merge(of_kind, below), above)
        place = str(gateway.get("namespace") or self._namespace)
        self._add(key[0].upper() + key[1:], "gateway", name, own, place, at)

    def _add(self, name: str, chart: str, release: str, own: values.Values, place: str, at: str) -> None:
        own = values.fitted(values.defaults(chart), own)
        wrong, unknown = values.problems(CHARTS[chart], own, at)
        self.wrong += wrong
        self.warnings += unknown
        if not wrong:
            every = values.with_defaults(CHARTS[chart], own)
            self.made.append(Component(name, CHARTS[chart], Release(release, place, every)))

    def _unknown(self) -> None:
        """What no component reads."""
        for key, component in self._components.items():
            if key in _ABSENT and isinstance(component, Mapping) and component.get("enabled") is True:
                self.wrong.append(f"components.{key}.enabled: {_ABSENT[key]}")
            elif key not in ("base", "pilot", "cni", *_ADDONS, *_GATEWAYS, *_ABSENT):
                self.warnings.append(f"components.{key}: has no effect here")
        known = (*_ISTIOD, *self._addons, "base", "cni", "gateways", "defaultRevision")
        self.warnings += [f"values.{key}: has no effect here" for key in self._values if key not in known]
        names = set()
        for key in _GATEWAYS:
            if not isinstance(self._components.get(key, []), list):
                raise InvalidValues([f"components.{key}: must be a list"])
            names |= {g.get("name") for g in self._components.get(key) or () if isinstance(g, Mapping)}
        gateways = _part(self._values, "gateways")
        self.warnings += [f"values.gateways.{n}: there is no such gateway" for n in gateways if n not in names]


def with_tracing(options: Mapping[str, Any]) -> Mapping[str, Any]:
    """The mesh's options, with spans to the telemetry unless they say where they go."""
    return options if addons.TRACING.keys() & options.keys() else {**options, **addons.TRACING}


def _part(of: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """The object at a key; what is none is reported elsewhere."""
    part = of.get(key)
    return part if isinstance(part, Mapping) else {}


def _enabled(components: Mapping[str, Any], key: str) -> bool:
    component = components.get(key)
    return isinstance(component, Mapping) and component.get("enabled", True) is not False


def _adds(components: Mapping[str, Any], key: str) -> bool:
    """Whether an add-on is asked for; only the profile `demo` has them."""
    return _part(components, key).get("enabled") is True


def _of_spec(spec: Spec, namespace: str) -> values.Values:
    """Values that the fields of a spec stand for."""
    root = {k: str(spec[k]) for k in ("hub", "tag") if spec.get(k)}
    if namespace != NAMESPACE:
        root["istioNamespace"] = namespace
    return {
        **({"global": root} if root else {}),
        **({"meshConfig": spec["meshConfig"]} if spec.get("meshConfig") else {}),
        **({"revision": str(spec["revision"])} if spec.get("revision") else {}),
    }


def document(spec: Spec) -> Object:
    """The spec as an IstioOperator."""
    return {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": "installed-state"}, "spec": spec}
