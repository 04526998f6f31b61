"""What `sailctl up` waits for."""

from __future__ import annotations

from typing import Any

from sailcloth.cli import readiness

Object = dict[str, Any]


class Listed:
    """An API with these objects."""

    def __init__(self, **found: list[Object]) -> None:
        self._found = found

    async def list(self, resource: Any) -> tuple[list[Object], str]:
        return self._found[resource.plural], ""


def deployment(name: str, ready: int) -> Object:
    spec = {"replicas": 1, "selector": {"matchLabels": {"app": name}}}
    status = {"readyReplicas": ready, "updatedReplicas": 1}
    return {"metadata": {"name": name, "namespace": "default"}, "spec": spec, "status": status}


def pod(app: str, **state: Object) -> Object:
    metadata = {"name": app, "namespace": "default", "labels": {"app": app}}
    return {"metadata": metadata, "status": {"containerStatuses": [{"state": state}]}}


RUNNING = {"startedAt": "2026-01-02T00:00:00Z"}


async def test_a_job_that_is_done_is_not_waited_for() -> None:
    api = Listed(deployments=[deployment("web", 1)], pods=[pod("web", running=RUNNING), pod("job", terminated={})])
    assert await readiness._pods_ready(api, {("default", "web")}, "2026-01-01T00:00:00") == (1, [])


async def test_a_workload_of_the_users_that_never_gets_ready_does_not_keep_the_mesh_down(monkeypatch: Any) -> None:
    monkeypatch.setattr(readiness, "_USER_DEPLOYMENTS_S", 0.05)
    found = [deployment("web", 1), deployment("broken", 0)]
    api = Listed(deployments=found, pods=[pod("web", running=RUNNING), pod("broken", waiting={})])
    assert await readiness._pods_ready(api, {("default", "web")}, "") == (2, ["default/broken"])
