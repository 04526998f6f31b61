"""The parts of Kubernetes' built-in kinds that the mesh reads. Partial, so that decoding is cheap and changes of other parts
(status, resource limits, …) compare equal."""

from __future__ import annotations

from .meta import Object, Struct


class ServicePort(Struct):
    name: str = ""
    port: int = 0
    protocol: str = "TCP"
    app_protocol: str | None = None
    target_port: int | str | None = None
    node_port: int | None = None


class ServiceSpec(
    Struct,
    names={"cluster_ip": "clusterIP", "cluster_ips": "clusterIPs"},
):
    type: str = "ClusterIP"
    cluster_ip: str = ""
    cluster_ips: tuple[str, ...] = ()
    ports: tuple[ServicePort, ...] = ()
    selector: dict[str, str] = {}
    external_name: str = ""
    publish_not_ready_addresses: bool = False


class Service(Object):
    spec: ServiceSpec = ServiceSpec()


class TargetRef(Struct):
    kind: str = ""
    name: str = ""
    namespace: str = ""


class EndpointConditions(Struct):
    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class Endpoint(Struct):
    addresses: tuple[str, ...] = ()
    conditions: EndpointConditions = EndpointConditions()
    hostname: str | None = None
    node_name: str | None = None
    zone: str | None = None
    target_ref: TargetRef | None = None


class EndpointPort(Struct):
    name: str | None = None
    port: int | None = None
    protocol: str | None = None


class EndpointSlice(Object):
    address_type: str = "IPv4"
    endpoints: tuple[Endpoint, ...] = ()
    ports: tuple[EndpointPort, ...] | None = None


class ContainerPort(Struct):
    container_port: int = 0
    name: str = ""
    protocol: str = "TCP"


class Container(Struct):
    name: str = ""
    ports: tuple[ContainerPort, ...] = ()


class PodSpec(Struct):
    service_account_name: str = ""
    node_name: str = ""
    containers: tuple[Container, ...] = ()
    host_network: bool = False


class PodCondition(Struct):
    type: str = ""
    status: str = ""


class PodStatus(Struct, names={"pod_ip": "podIP"}):
    pod_ip: str = ""
    phase: str = ""
    conditions: tuple[PodCondition, ...] = ()

    @property
    def ready(self) -> bool:
        """Whether the condition Ready is True; a pod without the condition counts as ready."""
        return next((c.status == "True" for c in self.conditions if c.type == "Ready"), True)


class Pod(Object):
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()


class Namespace(Object):
    pass


class Node(Object):
    pass


class MutatingWebhookConfiguration(Object):
    pass


class ConfigMap(Object):
    data: dict[str, str] = {}


class Secret(Object):
    """Certificates and keys. Values are base64, as in JSON, and not in `repr`."""

    type: str = ""
    data: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"Secret({self.metadata.namespace}/{self.metadata.name}, {len(self.data)} values)"


class IngressPort(Struct):
    name: str = ""
    number: int = 0


class IngressService(Struct):
    name: str = ""
    port: IngressPort = IngressPort()


class IngressBackend(Struct):
    service: IngressService | None = None


class IngressPath(Struct):
    backend: IngressBackend = IngressBackend()
    path: str = ""
    path_type: str = ""


class IngressPaths(Struct):
    paths: tuple[IngressPath, ...] = ()


class IngressRule(Struct):
    host: str = ""
    http: IngressPaths | None = None


class IngressTls(Struct):
    hosts: tuple[str, ...] = ()
    secret_name: str = ""


class IngressSpec(Struct):
    ingress_class_name: str | None = None
    default_backend: IngressBackend | None = None
    rules: tuple[IngressRule, ...] = ()
    tls: tuple[IngressTls, ...] = ()


class Ingress(Object):
    spec: IngressSpec = IngressSpec()
