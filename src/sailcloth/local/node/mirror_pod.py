"""Mirror pods: processes beside the node (control plane, telemetry, console) as pods of the API, as a kubelet shows its static pods.

Tools find a control plane by its pod (label `app=istiod`), read its log, and reach its ports by port-forward; Services select the
pods. Nothing runs by them: deleting one stops nothing, and it comes back. Must not know what the processes do.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import logging
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sailcloth.kube import RETRIABLE, ApiError, Client
from sailcloth.kube.resources import PODS
from sailcloth.local import network

log = logging.getLogger(__name__)

Object = dict[str, Any]
NAMESPACE = "istio-system"
MIRROR, SOURCE = "kubernetes.io/config.mirror", "kubernetes.io/config.source"
_FAST_S, _SLOW_S = 0.25, 2.0  # between readiness probes, before and after it is ready
_AWAY_S = 1.0  # `kubectl delete` waits for ever if the next pod of the name is there before it looks for the deleted one again


@dataclass(frozen=True)
class Mirrored:
    """A process: the name of its pod without the node's, of its container and its log, its labels, ports by name, and where it says
    that it is ready."""

    name: str
    container: str
    log: str
    labels: dict[str, str]
    ports: dict[str, int]
    ready: tuple[int, str]
    annotations: dict[str, str] = field(default_factory=dict)


CONTROL_PLANE = Mirrored(
    "istiod",
    "discovery",
    "controlplane",
    {"app": "istiod", "istio": "pilot", "istio.io/rev": "default"},
    {"http-debug": 8080, "grpc-xds": 15012, "http-monitoring": 15014, "https-webhook": 15017},
    (8080, "/ready"),
)
TELEMETRY = Mirrored(
    "telemetry",
    "telemetry",
    "telemetry",
    {"app": "telemetry"},
    {
        "prometheus": 9090,
        "zipkin": 9411,
        "otlp-grpc": 4317,
        "otlp-http": 4318,
        "jaeger": 16686,
        "tempo": 3200,
        "access-logs": 3100,
    },
    (9090, "/-/ready"),
    {"prometheus.io/scrape": "true", "prometheus.io/port": "9090"},
)
CONSOLE = Mirrored("kiali", "kiali", "console", {"app": "kiali"}, {"http": 20001}, (20001, "/healthz"))


def is_mirror(pod: Object) -> bool:
    """Whether nothing runs by this pod."""
    return MIRROR in (pod["metadata"].get("annotations") or {})


class MirrorPod:
    """Keeps a pod there, and its status true."""

    def __init__(self, client: Client, node: str, logs: Path, of: Mirrored) -> None:
        self._client, self._node, self._logs, self._of = client, node, logs, of
        self._name = f"{of.name}-{node}"
        self._pod: Object | None = None
        self._deleted = ""  # UID of the last pod that was deleted
        self._changed = asyncio.Event()
        self._started = _now()

    @property
    def uid(self) -> str:
        """The UID of the pod; empty while there is none."""
        return str(self._pod["metadata"]["uid"]) if self._pod is not None else ""

    def observe(self, kind: str, pod: Object) -> None:
        """A mirror pod of this node was seen in the API."""
        metadata = pod["metadata"]
        if metadata["name"] == self._name and metadata["namespace"] == NAMESPACE and metadata["uid"] != self._deleted:
            self._pod = None if kind == "DELETED" else pod
            self._changed.set()

    async def connect(self, port: int) -> socket.socket:
        """A connection to a port of the process. Raises OSError."""
        sock = socket.socket()
        sock.setblocking(False)
        try:
            await asyncio.wait_for(asyncio.get_running_loop().sock_connect(sock, (network.NODE_IP, port)), 5)
        except BaseException:
            sock.close()
            raise
        return sock

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._changed.clear()
            ready = await _is_ready(*self._of.ready)
            try:
                await self._reconcile(ready)
            except RETRIABLE as error:
                log.debug("pod %s is not written: %s", self._name, error)
            with contextlib.suppress(TimeoutError):  # not `wait_for`, which may swallow a cancellation (Python 3.11)
                async with asyncio.timeout(_SLOW_S if ready else _FAST_S):
                    await self._changed.wait()

    async def _reconcile(self, ready: bool) -> None:
        pod = self._pod
        if pod is None:
            if not ready:  # nobody looks for it before, and its namespace may not be there yet
                return
            try:
                pod = self._pod = await self._client.create(PODS, _manifest(self._name, self._node, self._of))
            except ApiError as error:
                if error.status != 409:
                    raise
                pod = self._pod = await self._client.get(PODS, self._name, NAMESPACE)
            self._link_log()
        if pod["metadata"].get("deletionTimestamp"):
            with contextlib.suppress(ApiError):
                await self._client.delete(PODS, self._name, NAMESPACE, grace=0)
            self._deleted, self._pod = self.uid, None
            await asyncio.sleep(_AWAY_S)
            self._changed.set()
            return
        conditions = {c["type"]: c["status"] for c in (pod.get("status") or {}).get("conditions") or ()}
        if conditions.get("Ready") != str(ready):
            status = _status(ready, self._started, self._of)
            self._pod = await self._client.patch(PODS, self._name, NAMESPACE, {"status": status}, sub="status")
        self._link_log()

    def _link_log(self) -> None:
        """`kubectl logs` reads the process's own log."""
        folder = self._logs / f"{NAMESPACE}_{self._name}_{self.uid}" / self._of.container
        link = folder / "0.log"
        if not link.is_symlink():
            folder.mkdir(parents=True, exist_ok=True)
            link.symlink_to(self._logs.parent / f"{self._of.log}.log")


def _manifest(name: str, node: str, of: Mirrored) -> Object:
    container = {
        "name": of.container,
        "image": f"sailcloth/{of.log}",
        "imagePullPolicy": "Never",
        "ports": [{"name": n, "containerPort": p, "hostPort": p, "protocol": "TCP"} for n, p in of.ports.items()],
        "readinessProbe": {"httpGet": {"path": of.ready[1], "port": of.ready[0]}},
    }
    labels = {**of.labels, "sidecar.istio.io/inject": "false"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": NAMESPACE,
            "labels": labels,
            "annotations": {MIRROR: "sailcloth", SOURCE: "file", **of.annotations},
        },
        "spec": {
            "nodeName": node,
            "hostNetwork": True,
            "automountServiceAccountToken": False,
            "priorityClassName": "system-node-critical",
            "tolerations": [{"operator": "Exists"}],
            "containers": [container],
        },
    }


def _status(ready: bool, started: str, of: Mirrored) -> Object:
    now, value = _now(), "True" if ready else "False"
    conditions = [
        {"type": kind, "status": state, "lastTransitionTime": now}
        for kind, state in (
            ("PodScheduled", "True"),
            ("Initialized", "True"),
            ("ContainersReady", value),
            ("Ready", value),
        )
    ]
    running = {
        "name": of.container,
        "image": f"sailcloth/{of.log}",
        "imageID": "",
        "ready": ready,
        "started": True,
        "restartCount": 0,
        "state": {"running": {"startedAt": started}},
    }
    return {
        "phase": "Running",
        "hostIP": network.NODE_IP,
        "podIP": network.NODE_IP,
        "podIPs": [{"ip": network.NODE_IP}],
        "startTime": started,
        "conditions": conditions,
        "containerStatuses": [running],
    }


async def _is_ready(port: int, path: str) -> bool:
    """Whether the process answers its readiness probe."""
    try:
        async with asyncio.timeout(1):
            reader, writer = await asyncio.open_connection(network.NODE_IP, port)
            try:
                writer.write(f"GET {path} HTTP/1.1\r\nHost: {network.NODE_IP}\r\nConnection: close\r\n\r\n".encode())
                return b" 200 " in await reader.readline()
            finally:
                writer.close()
    except (OSError, TimeoutError, ValueError):
        return False


def _now() -> str:
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
