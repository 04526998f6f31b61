"""Workloads that are not pods behind a Kubernetes Service, seen at a real Envoy."""

from __future__ import annotations

from collections import Counter

from .loopback import backend, configuration, envoy, fetch, free_port

WORLD = """
apiVersion: v1
kind: Service
metadata: {{name: ledger, namespace: default}}
spec: {{selector: {{app: ledger}}, ports: [{{name: http, port: {port}, targetPort: web}}], clusterIP: 10.96.9.9}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: heavy, namespace: default}}
spec: {{address: 127.0.0.1, labels: {{app: ledger}}, ports: {{web: {heavy}}}, weight: 3}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: light, namespace: default, labels: {{app: ledger}}}}
spec: {{address: 127.0.0.1, ports: {{http: {light}}}}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: ill, namespace: default, annotations: {{proxy.istio.io/health-checks-enabled: "true"}}}}
spec: {{address: 127.0.0.1, labels: {{app: ledger}}, ports: {{web: {ill}}}}}
status: {{conditions: [{{type: Healthy, status: "False"}}]}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: other, namespace: default}}
spec: {{address: 127.0.0.1, labels: {{app: other}}, ports: {{web: {other}}}}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: ledger, namespace: default}}
spec: {{host: ledger, trafficPolicy: {{tls: {{mode: DISABLE}}, loadBalancer: {{simple: ROUND_ROBIN}}}}}}
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{name: s, namespace: default}}
spec:
  egress: [{{port: {{number: {port}, protocol: HTTP, name: http}}, captureMode: NONE, hosts: ["./*"]}}]
"""


def test_requests_go_to_the_selected_and_healthy_ones_by_weight() -> None:
    with backend("heavy") as heavy, backend("light") as light, backend("ill") as ill, backend("other") as other:
        port = free_port()
        ports = {b.name: b.port for b in (heavy, light, ill, other)}
        config = configuration(WORLD.format(port=port, **ports), {"ip": "127.0.0.1"}, (f"127.0.0.1_{port}",))
        with envoy(config):
            found = Counter(fetch(("127.0.0.1", port), host="ledger.default") for _ in range(40))
        assert found == {(200, "heavy"): 30, (200, "light"): 10}
