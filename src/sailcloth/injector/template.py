"""The pieces that injection adds: init container, proxy container, volumes. Source: istio.md 2.19."""

from __future__ import annotations

import json
from typing import Any

from .config import InjectorConfig

PROXY, INIT, VALIDATION = "istio-proxy", "istio-init", "istio-validation"


def field_env(name: str, path: str) -> dict[str, Any]:
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}


def resource_env(name: str, resource: str) -> dict[str, Any]:
    return {"name": name, "valueFrom": {"resourceFieldRef": {"divisor": "1", "resource": resource}}}


def value_env(name: str, value: str) -> dict[str, Any]:
    return {"name": name, "value": value} if value else {"name": name}


def resources(config: InjectorConfig, annotations: dict[str, str]) -> dict[str, Any]:
    """Requests and limits; any of the annotations replaces the whole default."""
    names = {
        ("requests", "cpu"): "sidecar.istio.io/proxyCPU",
        ("requests", "memory"): "sidecar.istio.io/proxyMemory",
        ("limits", "cpu"): "sidecar.istio.io/proxyCPULimit",
        ("limits", "memory"): "sidecar.istio.io/proxyMemoryLimit",
    }
    given = {key: annotations[name] for key, name in names.items() if name in annotations}
    if not given:
        return {kind: dict(units) for kind, units in config.resources.items()}
    out: dict[str, Any] = {}
    for (kind, unit), value in given.items():
        out.setdefault(kind, {})[unit] = value
    return out


def variables(mesh_options: dict[str, object]) -> list[dict[str, Any]]:
    """The `proxyMetadata` of the options, as variables."""
    value: Any = mesh_options.get("proxyMetadata") or {}
    return [value_env(str(k), _text(v)) for k, v in sorted(value.items())]


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def capture(
    config: InjectorConfig,
    annotations: dict[str, str],
    image: str,
    limits: dict[str, Any],
    mesh_options: dict[str, object],
    secure: list[str],
) -> dict[str, Any]:
    """The init container that redirects the pod's traffic (or, with CNI, checks that somebody did). `secure`: inbound ports whose TLS
    a listener of the proxy itself ends."""
    a = {k.removeprefix("traffic.sidecar.istio.io/"): v for k, v in annotations.items()}
    status = annotations.get("status.sidecar.istio.io/port", str(config.status_port))
    excluded = [p for p in ("15090", "15021", status if status != "0" else "") if p]
    excluded += [
        p
        for p in (*secure, *a.get("excludeInboundPorts", config.excluded_inbound_ports).split(","))
        if p and p not in excluded
    ]
    args = [
        "istio-iptables",
        *("-p", "15001"),
        *("-z", "15006"),
        *("-u", "1337"),
        *("-m", annotations.get("sidecar.istio.io/interceptionMode", "REDIRECT")),
        *("-i", a.get("includeOutboundIPRanges", config.included_ranges)),
        *("-x", a.get("excludeOutboundIPRanges", config.excluded_ranges)),
        *("-b", a.get("includeInboundPorts", config.included_inbound_ports)),
        *("-d", ",".join(excluded)),
    ]
    if included := a.get("includeOutboundPorts", config.included_outbound_ports):
        args += ["-q", included]
    if excluded_outbound := a.get("excludeOutboundPorts", config.excluded_outbound_ports):
        args += ["-o", excluded_outbound]
    if a.get("excludeInterfaces"):
        args += ["-c", a["excludeInterfaces"]]
    if a.get("kubevirtInterfaces"):
        args += ["-k", a["kubevirtInterfaces"]]
    elif annotations.get("istio.io/reroute-virtual-interfaces"):
        args += ["-k", annotations["istio.io/reroute-virtual-interfaces"]]
    args.append(f"--log_output_level={annotations.get('sidecar.istio.io/agentLogLevel', config.agent_log_level)}")
    security: dict[str, Any]
    if config.cni:
        args += ["--run-validation", "--skip-rule-apply"]
        security = proxy_security()  # it changes nothing
    else:
        security = {
            "allowPrivilegeEscalation": False,
            "capabilities": {"add": ["NET_ADMIN", "NET_RAW"], "drop": ["ALL"]},
            "privileged": config.privileged,
            "readOnlyRootFilesystem": False,
            "runAsGroup": 0,
            "runAsNonRoot": False,
            "runAsUser": 0,
        }
    return {
        "name": VALIDATION if config.cni else INIT,
        "image": image,
        **_pull(config),
        "args": args,
        **({"env": given} if (given := variables(mesh_options)) else {}),
        "resources": limits,
        "securityContext": security,
    }


def proxy_security(privileged: bool = False, transparent: bool = False) -> dict[str, Any]:
    """The proxy runs as user 1337 without privileges. `transparent`: it keeps the addresses of clients (TPROXY), as root with one right."""
    return {
        "allowPrivilegeEscalation": privileged,
        "capabilities": {**({"add": ["NET_ADMIN"]} if transparent else {}), "drop": ["ALL"]},
        "privileged": privileged,
        "readOnlyRootFilesystem": True,
        "runAsGroup": 1337,
        "runAsNonRoot": not transparent,
        "runAsUser": 0 if transparent else 1337,
    }


def _pull(config: InjectorConfig) -> dict[str, Any]:
    return {"imagePullPolicy": config.image_pull_policy} if config.image_pull_policy else {}


def probe(status_path: str, failures: int, period: int, delay: int = 0) -> dict[str, Any]:
    """A readiness or startup probe of the proxy."""
    out = {
        "httpGet": {"path": status_path, "port": 15021},
        "failureThreshold": failures,
        "periodSeconds": period,
        "timeoutSeconds": 3,
    }
    return {"initialDelaySeconds": delay, **out} if delay else out


def proxy(
    config: InjectorConfig,
    *,
    role: str,
    pod: dict[str, Any],
    annotations: dict[str, str],
    image: str,
    limits: dict[str, Any],
    workload: str,
    owner: str,
    mesh_options: dict[str, object],
    probers: dict[str, Any],
    native: bool,
) -> dict[str, Any]:
    """The proxy container; `role` is sidecar or router."""
    containers = pod["spec"].get("containers", [])
    ports = [
        {k: p[k] for k in ("name", "containerPort", "protocol") if p.get(k)}
        for c in containers
        if c.get("name") != PROXY
        for p in c.get("ports", ())
    ]
    env = [
        value_env("PILOT_CERT_PROVIDER", "istiod"),
        value_env("CA_ADDR", config.ca_address),
        field_env("POD_NAME", "metadata.name"),
        field_env("POD_NAMESPACE", "metadata.namespace"),
        field_env("INSTANCE_IP", "status.podIP"),
        field_env("SERVICE_ACCOUNT", "spec.serviceAccountName"),
        field_env("HOST_IP", "status.hostIP"),
        resource_env("ISTIO_CPU_LIMIT", "limits.cpu"),
        value_env("PROXY_CONFIG", json.dumps(mesh_options, separators=(",", ":"), sort_keys=True) + "\n"),
        value_env("ISTIO_META_POD_PORTS", _port_list(ports)),
        value_env("ISTIO_META_APP_CONTAINERS", ",".join(c["name"] for c in containers if c.get("name") != PROXY)),
        resource_env("GOMEMLIMIT", "limits.memory"),
        value_env("ISTIO_META_CLUSTER_ID", config.cluster_id),
        field_env("ISTIO_META_NODE_NAME", "spec.nodeName"),
        value_env("ISTIO_META_INTERCEPTION_MODE", annotations.get("sidecar.istio.io/interceptionMode", "REDIRECT")),
        *([value_env("ISTIO_META_WORKLOAD_NAME", workload)] if workload else []),
        *([value_env("ISTIO_META_OWNER", owner)] if owner else []),
        value_env("ISTIO_META_MESH_ID", config.mesh_id),
        value_env("TRUST_DOMAIN", config.trust_domain),
        *([value_env("ISTIO_META_NETWORK", config.network)] if config.network else []),
    ]
    if role == "router":  # its template has these two the other way round
        places = [i for i, v in enumerate(env) if v["name"] in ("ISTIO_META_APP_CONTAINERS", "GOMEMLIMIT")]
        env[places[0]], env[places[1]] = env[places[1]], env[places[0]]
    given = variables(mesh_options)
    own = {v["name"] for v in given}
    env = [v for v in env if v["name"] not in own] + given
    if probers:
        env.append(value_env("ISTIO_KUBE_APP_PROBERS", json.dumps(probers, separators=(",", ":"), sort_keys=True)))
    get = annotations.get
    args = [
        "proxy",
        role,
        "--domain",
        f"$(POD_NAMESPACE).svc.{config.domain}",
        f"--proxyLogLevel={get('sidecar.istio.io/logLevel', config.log_level)}",
        f"--proxyComponentLogLevel={get('sidecar.istio.io/componentLogLevel', config.component_log_level)}",
        f"--log_output_level={get('sidecar.istio.io/agentLogLevel', config.agent_log_level)}",
    ]
    out: dict[str, Any] = {
        "name": PROXY,
        "image": image,
        **_pull(config),
        "args": args,
        "env": env,
        "ports": [{"containerPort": 15090, "name": "http-envoy-prom", "protocol": "TCP"}],
        "resources": limits,
        "securityContext": proxy_security(
            config.privileged, annotations.get("sidecar.istio.io/interceptionMode") == "TPROXY"
        )
        if role == "sidecar"
        else {"runAsGroup": 1337, "runAsUser": 1337},
        "volumeMounts": _mounts(config.crl and role == "sidecar"),
    }
    if annotations.get("status.sidecar.istio.io/port") != "0":
        out["readinessProbe"] = probe(
            "/healthz/ready",
            int(get("readiness.status.sidecar.istio.io/failureThreshold", "4")),
            int(get("readiness.status.sidecar.istio.io/periodSeconds", "15")),
            int(get("readiness.status.sidecar.istio.io/initialDelaySeconds", "0")),
        )
        if role == "sidecar":
            out["startupProbe"] = probe("/healthz/ready", 600, 1)
    if native:
        out["restartPolicy"] = "Always"
        port = get("status.sidecar.istio.io/port", str(config.status_port))
        command = ["pilot-agent", "request", f"--debug-port={port}", "POST", "drain"]
        out["lifecycle"] = {"preStop": {"exec": {"command": command}}}
    elif mesh_options.get("holdApplicationUntilProxyStarts") or config.hold_application:
        out["lifecycle"] = {"postStart": {"exec": {"command": ["pilot-agent", "wait"]}}}
    if config.lifecycle:
        out["lifecycle"] = dict(config.lifecycle)
    return out


def _port_list(ports: list[dict[str, Any]]) -> str:
    if not ports:
        return "[\n]"
    inner = "\n    ,".join(json.dumps(p, separators=(",", ":")) for p in ports)
    return f"[\n    {inner}\n]"


def _mounts(crl: bool) -> list[dict[str, Any]]:
    pairs = [
        ("/var/run/secrets/workload-spiffe-uds", "workload-socket"),
        ("/var/run/secrets/credential-uds", "credential-socket"),
        ("/var/run/secrets/workload-spiffe-credentials", "workload-certs"),
        ("/var/run/secrets/istio", "istiod-ca-cert"),
        *([("/var/run/secrets/istio/crl", "istio-ca-crl")] if crl else []),
        ("/var/lib/istio/data", "istio-data"),
        ("/etc/istio/proxy", "istio-envoy"),
        ("/var/run/secrets/tokens", "istio-token"),
        ("/etc/istio/pod", "istio-podinfo"),
    ]
    return [{"mountPath": path, "name": name} for path, name in pairs]


def volumes(with_crl: bool) -> list[dict[str, Any]]:
    """The volumes of the proxy."""
    items = [{"fieldRef": {"fieldPath": f"metadata.{name}"}, "path": name} for name in ("labels", "annotations")]
    token = {"audience": "istio-ca", "expirationSeconds": 43200, "path": "istio-token"}
    crl = {"configMap": {"name": "istio-ca-crl", "optional": True}, "name": "istio-ca-crl"}
    return [
        {"name": "workload-socket", "emptyDir": {}},
        {"name": "credential-socket", "emptyDir": {}},
        {"name": "workload-certs", "emptyDir": {}},
        {"name": "istio-envoy", "emptyDir": {"medium": "Memory"}},
        {"name": "istio-data", "emptyDir": {}},
        {"name": "istio-podinfo", "downwardAPI": {"items": items}},
        {"name": "istio-token", "projected": {"sources": [{"serviceAccountToken": token}]}},
        {"name": "istiod-ca-cert", "configMap": {"name": "istio-ca-root-cert"}},
        *([crl] if with_crl else []),
    ]
