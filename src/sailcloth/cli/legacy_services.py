"""`sailctl register`, `deregister`, `x add-to-mesh` and `x remove-from-mesh`, as istioctl had them up to 1.8.

Sidecars come and go by the pods' label, so that the webhook injects them as any other. Must not inject by itself.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import cluster_objects, dumps, output
from .cluster_options import Kubeconfig, Namespace
from .workload import pairs

if TYPE_CHECKING:
    from sailcloth.kube import Resource

Object = dict[str, Any]
_PORT = re.compile(r"(?:(?P<name>[a-z][-a-z0-9]*):)?(?P<number>\d{1,5})")
_INJECT = "sidecar.istio.io/inject"
_PREFIX = "mesh-expansion-"
Labels = Annotated[str, typer.Option("-l", "--labels", help="Labels: a=b,c=d.")]
Annotations = Annotated[str, typer.Option("-a", "--annotations", help="Annotations: a=b,c=d.")]
Account = Annotated[str, typer.Option("-s", "--serviceaccount", help="Service account of the endpoint.")]
Ports = Annotated[list[str], typer.Argument(help="NAME:PORT or PORT …; the name says the protocol.")]


def ports_of(texts: list[str]) -> list[Object]:
    """`http:8080` as ports; a number alone is `http`. A wrong one ends the command."""
    out = []
    for text in texts:
        match = _PORT.fullmatch(text)
        if match is None or not 0 < int(match["number"]) < 65_536:
            output.fail(f"{text!r} is no port; write NAME:PORT, such as http:8080", output.USAGE)
        out.append({"name": match["name"] or "http", "port": int(match["number"]), "protocol": "TCP"})
    return out


def _pairs(option: str, text: str) -> dict[str, str]:
    try:
        return pairs(text)
    except ValueError as error:
        output.fail(f"{option}: {error}", output.USAGE)


def _addresses(texts: list[str]) -> list[str]:
    import ipaddress

    for text in texts:
        try:
            ipaddress.ip_address(text)
        except ValueError:
            output.fail(f"{text!r} is no IP address", output.USAGE)
    return texts


# -- register -----------------------------------------------------------------------------------


def register_service(
    service: Annotated[str, typer.Argument(help="Name of the Service.")],
    address: Annotated[str, typer.Argument(help="IP address of the endpoint.")],
    ports: Ports,
    labels: Labels = "",
    annotations: Annotations = "",
    account: Account = "default",
    namespace: Namespace = "",
    kubeconfig: Kubeconfig = "",
) -> None:
    """Add an address to a Service without selector, which is made if there is none. Today: a WorkloadEntry."""
    wanted = ports_of(ports)
    metadata = {
        "labels": _pairs("--labels", labels),
        "annotations": {**_pairs("--annotations", annotations), "alpha.istio.io/kubernetes-serviceaccounts": account},
    }
    dumps.run(_register(service, _addresses([address])[0], wanted, metadata, namespace, kubeconfig))


async def _register(
    service: str, address: str, ports: list[Object], metadata: Object, namespace: str, kubeconfig: str
) -> None:
    from sailcloth.kube.resources import ENDPOINTS, SERVICES

    from .cluster import client

    async with client(kubeconfig) as api:
        namespace = namespace or api.endpoint.namespace
        meta = {"name": service, "namespace": namespace, **metadata}
        present = await cluster_objects.existing(api, SERVICES, service, namespace)
        if present is None:
            spec = {"ports": [{**p, "targetPort": p["port"]} for p in ports]}
            await api.create(SERVICES, {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": spec})
            print(f"created service {service}.{namespace}")
        elif present["spec"].get("selector"):
            raise ValueError(f"service {service}.{namespace} has a selector, so its endpoints are its pods'")
        endpoints = await cluster_objects.existing(api, ENDPOINTS, service, namespace)
        subsets = with_address((endpoints or {}).get("subsets") or [], address, ports)
        body = {"apiVersion": "v1", "kind": "Endpoints", "metadata": meta, "subsets": subsets}
        if endpoints is None:
            await api.create(ENDPOINTS, body)
        else:
            await api.replace(ENDPOINTS, {**endpoints, "subsets": subsets})
    print(f"registered {address} with {service}.{namespace}")


def with_address(subsets: list[Object], address: str, ports: list[Object]) -> list[Object]:
    """The subsets of an Endpoints object with one more address, beside those with the same ports."""

    def same(subset: Object) -> bool:
        return {(p.get("name"), p["port"]) for p in subset.get("ports") or ()} == {
            (p["name"], p["port"]) for p in ports
        }

    others = without_address(subsets, address)
    for index, subset in enumerate(others):
        if same(subset):
            addresses = [*(subset.get("addresses") or ()), {"ip": address}]
            return [*others[:index], {**subset, "addresses": addresses}, *others[index + 1 :]]
    return [*others, {"addresses": [{"ip": address}], "ports": ports}]


def without_address(subsets: list[Object], address: str) -> list[Object]:
    """The subsets without an address; those that have no other go."""
    left = [{**s, "addresses": [a for a in s.get("addresses") or () if a["ip"] != address]} for s in subsets]
    return [s for s in left if s["addresses"] or s.get("notReadyAddresses")]


def deregister_service(
    service: Annotated[str, typer.Argument(help="Name of the Service.")],
    address: Annotated[str, typer.Argument(help="IP address of the endpoint.")],
    namespace: Namespace = "",
    kubeconfig: Kubeconfig = "",
) -> None:
    """Take an address from a Service without selector."""
    dumps.run(_deregister(service, _addresses([address])[0], namespace, kubeconfig))


async def _deregister(service: str, address: str, namespace: str, kubeconfig: str) -> None:
    from sailcloth.kube.resources import ENDPOINTS

    from .cluster import client

    async with client(kubeconfig) as api:
        namespace = namespace or api.endpoint.namespace
        endpoints = await api.get(ENDPOINTS, service, namespace)
        subsets = endpoints.get("subsets") or []
        left = without_address(subsets, address)
        if left == subsets:
            raise ValueError(f"{address} is no endpoint of service {service}.{namespace}")
        await api.replace(ENDPOINTS, {**endpoints, "subsets": left})
    print(f"deregistered {address} from {service}.{namespace}")


# -- add-to-mesh and remove-from-mesh -----------------------------------------------------------

Name = Annotated[str, typer.Argument(help="NAME[.NAMESPACE]")]


def add_service(name: Name, namespace: Namespace = "", kubeconfig: Kubeconfig = "") -> None:
    """Restart the deployments behind a Service with a sidecar. Today: a label on the namespace or the pods."""
    _label("service", name, "true", namespace, kubeconfig)


def add_deployment(name: Name, namespace: Namespace = "", kubeconfig: Kubeconfig = "") -> None:
    """Restart a deployment with a sidecar. Today: a label on the namespace or the pods."""
    _label("deployment", name, "true", namespace, kubeconfig)


def remove_service(name: Name, namespace: Namespace = "", kubeconfig: Kubeconfig = "") -> None:
    """Restart the deployments behind a Service without a sidecar."""
    _label("service", name, "false", namespace, kubeconfig)


def remove_deployment(name: Name, namespace: Namespace = "", kubeconfig: Kubeconfig = "") -> None:
    """Restart a deployment without a sidecar."""
    _label("deployment", name, "false", namespace, kubeconfig)


def _label(kind: str, name: str, value: str, namespace: str, kubeconfig: str) -> None:
    dumps.run(_labelled(kind, name, value, namespace, kubeconfig))


async def _labelled(kind: str, text: str, value: str, namespace: str, kubeconfig: str) -> None:
    from sailcloth.kube.resources import DEPLOYMENTS, SERVICES

    from .cluster import client

    name, _, own = text.partition(".")
    async with client(kubeconfig) as api:
        namespace = own or namespace or api.endpoint.namespace
        if kind == "deployment":
            found = [await api.get(DEPLOYMENTS, name, namespace)]
        else:
            selector = (await api.get(SERVICES, name, namespace))["spec"].get("selector") or {}
            everyone, _ = await api.list(DEPLOYMENTS, namespace)
            found = [d for d in everyone if selector and selector.items() <= _template_labels(d).items()]
            if not found:
                raise ValueError(f"no deployment has pods of service {name}.{namespace}")
        for deployment in found:
            own_name = deployment["metadata"]["name"]
            labels = {"spec": {"template": {"metadata": {"labels": {_INJECT: value}}}}}
            await api.patch(DEPLOYMENTS, own_name, namespace, labels)
            done = "restarts with a sidecar" if value == "true" else "restarts without a sidecar"
            print(f"deployment {own_name}.{namespace} {done}.")


def _template_labels(deployment: Object) -> dict[str, str]:
    return deployment["spec"]["template"]["metadata"].get("labels") or {}


def add_external(
    name: Annotated[str, typer.Argument(help="Name of the service.")],
    addresses: Annotated[str, typer.Argument(help="IP addresses of machines: 10.0.0.1,10.0.0.2.")],
    ports: Ports,
    labels: Labels = "",
    annotations: Annotations = "",
    account: Account = "default",
    namespace: Namespace = "",
    kubeconfig: Kubeconfig = "",
) -> None:
    """Make machines outside a service of the mesh: WorkloadEntries, and a Service that selects them."""
    made = (_addresses(addresses.split(",")), ports_of(ports), _pairs("--labels", labels))
    dumps.run(_external(name, *made, _pairs("--annotations", annotations), account, namespace, kubeconfig))


async def _external(
    name: str,
    addresses: list[str],
    ports: list[Object],
    labels: dict[str, str],
    annotations: dict[str, str],
    account: str,
    namespace: str,
    kubeconfig: str,
) -> None:
    from sailcloth.kube.resources import SERVICES

    from .cluster import client

    async with client(kubeconfig) as api:
        namespace = namespace or api.endpoint.namespace
        service, entries = external(name, addresses, ports, labels, annotations, account, namespace)
        if await cluster_objects.existing(api, SERVICES, name, namespace) is not None:
            raise ValueError(f"service {name}.{namespace} exists already; choose another name")
        for entry in entries:
            await api.create(_entries(), entry)
        await api.create(SERVICES, service)
    print(f"created Service {name}.{namespace} and {len(entries)} WorkloadEntries {_PREFIX}{name}-N.{namespace}")


def external(
    name: str,
    addresses: list[str],
    ports: list[Object],
    labels: dict[str, str],
    annotations: dict[str, str],
    account: str,
    namespace: str,
) -> tuple[Object, list[Object]]:
    """The Service of machines outside, which selects their WorkloadEntries, and these."""
    selector = {"app": name}
    meta = {"namespace": namespace, "labels": {**selector, **labels}, "annotations": annotations}
    entries = [
        {
            "apiVersion": "networking.istio.io/v1",
            "kind": "WorkloadEntry",
            "metadata": {"name": f"{_PREFIX}{name}-{index}", **meta},
            "spec": {"address": address, "labels": {**labels, **selector}, "serviceAccount": account},
        }
        for index, address in enumerate(addresses)
    ]
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, **meta},
        "spec": {"selector": selector, "ports": [{**p, "targetPort": p["port"]} for p in ports]},
    }
    return service, entries


def remove_external(
    name: Annotated[str, typer.Argument(help="Name of the service.")],
    namespace: Namespace = "",
    kubeconfig: Kubeconfig = "",
) -> None:
    """Remove what `add-to-mesh external-service` made."""
    dumps.run(_remove_external(name, namespace, kubeconfig))


async def _remove_external(name: str, namespace: str, kubeconfig: str) -> None:
    from sailcloth.kube.resources import SERVICES

    from .cluster import client

    async with client(kubeconfig) as api:
        namespace = namespace or api.endpoint.namespace
        entries, _ = await api.list(_entries(), namespace)
        names = [e["metadata"]["name"] for e in entries if e["metadata"]["name"].rpartition("-")[0] == _PREFIX + name]
        if not names:
            raise ValueError(f"there is no WorkloadEntry {_PREFIX}{name}-N.{namespace}")
        for each in names:
            await api.delete(_entries(), each, namespace)
        await api.delete(SERVICES, name, namespace)
    print(f"removed Service {name}.{namespace} and {len(names)} WorkloadEntries")


def _entries() -> Resource:
    from sailcloth.kube import Resource

    return Resource("networking.istio.io", "v1", "workloadentries", "WorkloadEntry")
