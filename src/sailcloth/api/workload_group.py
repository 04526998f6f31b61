"""WorkloadGroup and ProxyConfig (networking.istio.io): templates for workloads that are not pods, and options of proxies."""

from __future__ import annotations

from typing import Annotated

from .meta import Constraint, ConstraintPort, D, Object, Selector, Struct
from .service_entry import ConstraintEndpoint, WorkloadEntrySpec


class HTTPHeader(Struct):
    """A header of a probe."""

    name: Annotated[str, D("Its name."), Constraint(pattern="^[-_A-Za-z0-9]+$")] = ""
    value: Annotated[str | None, D("Its value.")] = None


class HTTPProbe(Struct):
    """An HTTP request."""

    path: Annotated[str | None, D("Path of the request.")] = None
    port: Annotated[int, D("Port of the request."), ConstraintPort, Constraint(required=True)] = 0
    host: Annotated[str | None, D("Host of the request; default the workload.")] = None
    scheme: Annotated[
        str | None,
        D("HTTP or HTTPS."),
        Constraint(("self in ['', 'HTTP', 'HTTPS']", "scheme must be one of [HTTP, HTTPS]")),
    ] = None
    http_headers: Annotated[tuple[HTTPHeader, ...], D("Headers to send.")] = ()


class TCPProbe(Struct):
    """Opens a connection."""

    host: Annotated[str | None, D("Host to connect to; default the workload.")] = None
    port: Annotated[int, D("Port to connect to."), ConstraintPort, Constraint(required=True)] = 0


class ExecProbe(Struct):
    """Runs a command."""

    command: Annotated[tuple[str, ...], D("The command and its arguments."), Constraint(minItems=1)] = ()


class GRPCProbe(Struct):
    """Calls the gRPC health service."""

    port: Annotated[int | None, D("Port to call.")] = None
    service: Annotated[str | None, D("Service name in the health request.")] = None


class ReadinessProbe(Struct):
    """Checks whether a workload is ready."""

    initial_delay_seconds: Annotated[int | None, D("Time before the first probe."), Constraint(minimum=0)] = None
    timeout_seconds: Annotated[int | None, D("Timeout of a probe; default 1."), Constraint(minimum=0)] = None
    period_seconds: Annotated[int | None, D("Time between probes; default 10."), Constraint(minimum=0)] = None
    success_threshold: Annotated[int | None, D("Successes until ready; default 1."), Constraint(minimum=0)] = None
    failure_threshold: Annotated[int | None, D("Failures until not ready; default 3."), Constraint(minimum=0)] = None
    http_get: Annotated[HTTPProbe | None, D("Send an HTTP request.")] = None
    tcp_socket: Annotated[TCPProbe | None, D("Open a connection.")] = None
    exec: Annotated[ExecProbe | None, D("Run a command.")] = None
    grpc: Annotated[GRPCProbe | None, D("Call the gRPC health service.")] = None


class TemplateMetadata(Struct):
    """Metadata of the entries."""

    labels: Annotated[dict[str, str], D("Their labels.")] = {}
    annotations: Annotated[dict[str, str], D("Their annotations.")] = {}


class WorkloadGroupSpec(Struct):
    """The template of a group's WorkloadEntries."""

    template: Annotated[WorkloadEntrySpec, D("Spec of the entries, without their addresses."), ConstraintEndpoint]
    metadata: Annotated[TemplateMetadata | None, D("Labels and annotations of the entries.")] = None
    probe: Annotated[
        ReadinessProbe | None,
        D("Readiness probe of the workloads."),
        Constraint(
            (
                "(has(self.httpGet) ? 1 : 0) + (has(self.tcpSocket) ? 1 : 0) + (has(self.exec) ? 1 : 0) + (has(self.grpc) ? 1 : 0) <= 1",
                "at most one of httpGet, tcpSocket, exec or grpc can be set",
            )
        ),
    ] = None


class WorkloadGroup(Object):
    """A group of workloads that are not pods."""

    spec: WorkloadGroupSpec  # type: ignore[misc]  # keyword-only, which the plugin-less checker cannot know


class ProxyImage(Struct):
    """The image of the proxy."""

    image_type: Annotated[str | None, D("default, debug or distroless.")] = None


class ProxyConfigSpec(Struct):
    """Startup options of proxies."""

    selector: Annotated[Selector | None, D("Workloads it applies to; default the whole namespace.")] = None
    concurrency: Annotated[int | None, D("Number of worker threads; 0: one per core."), Constraint(minimum=0)] = None
    environment_variables: Annotated[
        dict[str, str], D("Further environment variables."), Constraint(maxProperties=1024)
    ] = {}
    image: Annotated[ProxyImage | None, D("Image of the proxy.")] = None


class ProxyConfig(Object):
    """Options of proxies."""

    spec: ProxyConfigSpec = ProxyConfigSpec()
