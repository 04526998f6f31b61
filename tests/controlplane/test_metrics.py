"""The control plane's metrics, on a control plane in memory."""

from __future__ import annotations

import re

from sailcloth.api.meta import Finding, Key, Object
from sailcloth.controlplane.metrics import Histogram, Metrics
from sailcloth.testing.world import World

SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: default}
spec: {clusterIP: 10.96.0.10, ports: [{name: http, port: 80}]}
"""
RULE = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews, namespace: default}
spec: {hosts: [reviews], http: [{route: [{destination: {host: reviews}}]}]}
"""


def samples(metrics: Metrics) -> dict[str, float]:
    lines = [line for line in metrics.page().decode().splitlines() if not line.startswith("#")]
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines}


def counting(world: World) -> Metrics:
    made = Metrics(world.mesh, world.connected, dict, lambda: {"citadel_server_root_cert_expiry_seconds": ("Ends.", 7)})
    world.connected.on_answer = made.answered
    before = world.updates.change

    def change(key: Key, obj: Object | Finding | None) -> bool:
        made.changed(key, obj)
        return before(key, obj)

    world.updates.change = change  # type: ignore[method-assign]
    return made


async def test_pushes_and_convergence_are_counted() -> None:
    async with World() as world:
        metrics = counting(world)
        await world.connect({"labels": {"app": "client"}})
        await world.apply(SERVICE, RULE)
        found = samples(metrics)
        assert found['pilot_xds{version="unknown"}'] == 1
        assert found['pilot_xds_pushes{type="cds"}'] >= 2
        assert found["pilot_proxy_convergence_time_count"] >= 1
        assert found['pilot_k8s_cfg_events{event="add",type="VirtualService"}'] == 1
        assert found['pilot_inbound_updates{type="svc"}'] == 1
        assert (found["pilot_services"], found["pilot_virt_services"]) == (1, 1)
        assert found["citadel_server_root_cert_expiry_seconds"] == 7
        assert found["process_resident_memory_bytes"] > 1e6
        await world.apply(RULE)
        assert samples(metrics)['pilot_k8s_cfg_events{event="update",type="VirtualService"}'] == 1


async def test_a_refused_push_is_counted_and_has_not_converged() -> None:
    async with World() as world:
        metrics = counting(world)
        proxy = await world.connect({"labels": {"app": "client"}})
        before = samples(metrics)["pilot_proxy_convergence_time_count"]
        proxy.reject = lambda type_url, names: "no" if type_url.endswith("RouteConfiguration") else ""
        await world.apply(SERVICE, RULE)
        found = samples(metrics)
        assert found['pilot_total_xds_rejects{type="rds"}'] >= 1
        assert found["pilot_xds_rds_reject"] >= 1
        assert found["pilot_proxy_convergence_time_count"] == before


async def test_types_have_the_names_of_their_samples() -> None:
    async with World() as world:
        metrics = counting(world)
        metrics.validated(True)
        metrics.injected("success", 0.003)
        page = metrics.page().decode()
        assert "# TYPE galley_validation_passed counter\ngalley_validation_passed 1.0\n" in page
        assert "# TYPE sidecar_injection_success_total counter\nsidecar_injection_success_total 1.0\n" in page
        types = re.findall(r"^# TYPE (\S+) counter$", page, re.MULTILINE)
        have = {line.partition("{")[0].partition(" ")[0] for line in page.splitlines() if not line.startswith("#")}
        of_started = [
            name for name in types if name not in have
        ]  # counters with labels have no sample before the first count
        assert all(name.startswith(("pilot_", "process_")) for name in of_started), of_started


def test_buckets_are_cumulative() -> None:
    histogram = Histogram((0.1, 1.0))
    for value in (0.05, 0.1, 0.5, 7.0):
        histogram.observe(value)
    assert histogram.buckets() == [("0.1", 2), ("1", 3), ("+Inf", 4)]
    assert histogram.total == 7.65
