"""StatefulSets, DaemonSets, Jobs and CronJobs, against a node that only pretends: order, counts, limits, history."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from sailcloth.kube import resources
from sailcloth.kube.client import ApiError, Client
from sailcloth.kube.resources import Resource

from .cluster import Kubectl, until

Object = dict[str, Any]
STATEFULSETS = Resource("apps", "v1", "statefulsets", "StatefulSet")
DAEMONSETS = Resource("apps", "v1", "daemonsets", "DaemonSet")
REVISIONS = Resource("apps", "v1", "controllerrevisions", "ControllerRevision")
JOBS = Resource("batch", "v1", "jobs", "Job")
CRONJOBS = Resource("batch", "v1", "cronjobs", "CronJob")
CLAIMS = Resource("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim")


def template(image: str = "a:1", **spec: Any) -> Object:
    container = {"name": "main", "image": image}
    return {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [container], **spec}}


def stateful(namespace: str, replicas: int, **spec: Any) -> Object:
    whole = {"replicas": replicas, "serviceName": "web", "selector": {"matchLabels": {"app": "web"}}}
    return {"metadata": {"name": "web", "namespace": namespace}, "spec": {**whole, "template": template(), **spec}}


def job(namespace: str, **spec: Any) -> Object:
    made = template(restartPolicy="Never")
    return {"metadata": {"name": "work", "namespace": namespace}, "spec": {"template": made, **spec}}


async def pods(client: Client, namespace: str) -> list[Object]:
    found, _ = await client.list(resources.PODS, namespace)
    return sorted((p for p in found if not p["metadata"].get("deletionTimestamp")), key=lambda p: p["metadata"]["name"])


async def names(client: Client, namespace: str) -> list[str]:
    return [p["metadata"]["name"] for p in await pods(client, namespace)]


async def status(client: Client, kind: Resource, name: str, namespace: str) -> Object:
    return (await client.get(kind, name, namespace)).get("status") or {}


async def settle(client: Client, namespace: str, replicas: int) -> Object:
    async def settled() -> Object | None:
        found = await client.get(STATEFULSETS, "web", namespace)
        now = found.get("status") or {}
        counts = [now.get(k, 0) for k in ("replicas", "readyReplicas", "updatedReplicas")]
        seen = now.get("observedGeneration") == found["metadata"]["generation"]
        return now if counts == [replicas] * 3 and seen else None

    found: Object = await until(f"a StatefulSet of {replicas}", settled)
    return found


async def end(client: Client, namespace: str, name: str, code: int = 0) -> None:
    """A pod's container ends."""
    stamp = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    ended = {"exitCode": code, "finishedAt": stamp, "startedAt": stamp, "reason": "Completed"}
    one = {
        "name": "main",
        "image": "a:1",
        "imageID": "",
        "ready": False,
        "restartCount": 0,
        "state": {"terminated": ended},
    }
    phase = "Failed" if code else "Succeeded"
    conditions = [{"type": "Ready", "status": "False"}]
    wanted = {"status": {"phase": phase, "containerStatuses": [one], "conditions": conditions}}
    await client.patch(resources.PODS, name, namespace, wanted, sub="status")


async def running(client: Client, namespace: str, count: int) -> list[str]:
    """Names of the pods that run, once there are so many."""

    async def so_many() -> list[str] | None:
        found = [p for p in await pods(client, namespace) if p.get("status", {}).get("phase") == "Running"]
        return [p["metadata"]["name"] for p in found] if len(found) == count else None

    out: list[str] = await until(f"{count} running pods", so_many)
    return out


async def condition(client: Client, namespace: str, kind: str) -> Object:
    async def holds() -> Object | None:
        found = (await status(client, JOBS, "work", namespace)).get("conditions") or ()
        return next((c for c in found if c["type"] == kind and c["status"] == "True"), None)

    out: Object = await until(f"the job to be {kind}", holds)
    return out


# -- StatefulSet ------------------------------------------------------------------------------------------------------------


async def test_pods_of_a_stateful_set_come_in_order(client: Client, namespace: str) -> None:
    """Without a node no pod is ever ready: the second waits for the first."""
    await client.create(STATEFULSETS, stateful(namespace, 3))
    await until("the first pod", lambda: names(client, namespace))
    await until("an observed generation", lambda: status(client, STATEFULSETS, "web", namespace))
    assert await names(client, namespace) == ["web-0"]


async def test_parallel_pods_do_not_wait(client: Client, namespace: str) -> None:
    await client.create(STATEFULSETS, stateful(namespace, 3, podManagementPolicy="Parallel"))

    async def all_there() -> bool:
        return await names(client, namespace) == ["web-0", "web-1", "web-2"]

    await until("three pods at once", all_there)


async def test_stateful_pods_keep_names_and_claims(client: Client, namespace: str, node: None) -> None:
    claim = {
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    await client.create(STATEFULSETS, stateful(namespace, 2, volumeClaimTemplates=[claim]))
    found = await settle(client, namespace, 2)
    assert found["currentRevision"] == found["updateRevision"]
    first = (await pods(client, namespace))[0]
    assert first["metadata"]["name"] == "web-0"
    assert (first["spec"]["hostname"], first["spec"]["subdomain"]) == ("web-0", "web")
    assert first["metadata"]["labels"]["apps.kubernetes.io/pod-index"] == "0"
    assert {"name": "data", "persistentVolumeClaim": {"claimName": "data-web-0"}} in first["spec"]["volumes"]

    async def bound() -> bool:
        claims, _ = await client.list(CLAIMS, namespace)
        return sorted((c["metadata"]["name"], c.get("status", {}).get("phase")) for c in claims) == [
            ("data-web-0", "Bound"),
            ("data-web-1", "Bound"),
        ]

    await until("two bound claims", bound)
    await client.delete(resources.PODS, "web-0", namespace)

    async def back() -> bool:
        again = await pods(client, namespace)
        return [p["metadata"]["name"] for p in again] == ["web-0", "web-1"] and again[0]["metadata"]["uid"] != first[
            "metadata"
        ]["uid"]

    await until("a new pod of the old name", back)


async def test_a_stateful_set_rolls_from_the_last_pod_and_shrinks_from_there(
    client: Client, namespace: str, node: None, kubectl: Kubectl
) -> None:
    await client.create(STATEFULSETS, stateful(namespace, 3))
    before = await settle(client, namespace, 3)
    image = [
        {"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "a:2"},
        {"op": "replace", "path": "/spec/updateStrategy/rollingUpdate/partition", "value": 1},
    ]
    await client.patch(STATEFULSETS, "web", namespace, image, type="json")

    async def two_updated() -> bool:
        found = await pods(client, namespace)
        images = [p["spec"]["containers"][0]["image"] for p in found]
        return images == ["a:1", "a:2", "a:2"]

    await until("the pods above the partition to be updated", two_updated)
    (old, *_) = await pods(client, namespace)
    await client.delete(resources.PODS, "web-0", namespace)

    async def made_anew() -> Object | None:
        found = await pods(client, namespace)
        return found[0] if len(found) == 3 and found[0]["metadata"]["uid"] != old["metadata"]["uid"] else None

    again = await until("the pod below the partition to be made anew", made_anew)
    assert again["spec"]["containers"][0]["image"] == "a:1", "it keeps its revision's template"
    assert again["metadata"]["labels"]["controller-revision-hash"] == before["currentRevision"]
    await client.patch(
        STATEFULSETS, "web", namespace, {"spec": {"updateStrategy": {"rollingUpdate": {"partition": 0}}}}
    )
    after = await settle(client, namespace, 3)
    assert after["currentRevision"] != before["currentRevision"]
    assert "roll out complete: 3 new pods" in await kubectl("rollout", "status", "statefulset/web", "--timeout=10s")
    assert (await kubectl("get", "sts", "web", "--no-headers")).split()[:2] == ["web", "3/3"]
    await kubectl("scale", "statefulset/web", "--replicas=1")
    await settle(client, namespace, 1)
    assert await names(client, namespace) == ["web-0"]


@pytest.mark.parametrize("kind", ["statefulset", "daemonset"])
async def test_revisions_are_kept_shown_and_brought_back(
    client: Client, namespace: str, node: None, kubectl: Kubectl, kind: str
) -> None:
    resource = STATEFULSETS if kind == "statefulset" else DAEMONSETS
    obj = stateful(namespace, 1, revisionHistoryLimit=2)
    if kind == "daemonset":
        obj["spec"] = {k: v for k, v in obj["spec"].items() if k not in ("replicas", "serviceName")}
    await client.create(resource, obj)

    async def runs(image: str) -> bool:
        found = await pods(client, namespace)
        return [p["spec"]["containers"][0]["image"] for p in found] == [image]

    for image in ("a:1", "a:2"):
        change = [{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": image}]
        await client.patch(resource, "web", namespace, change, type="json")
        await until(f"a pod of {image}", lambda image=image: runs(image))
    history = await kubectl("rollout", "history", f"{kind}/web")
    assert [line.split()[0] for line in history.splitlines()[2:] if line] == ["1", "2"]
    assert "a:1" in await kubectl("rollout", "history", f"{kind}/web", "--revision=1")
    assert "rolled back" in await kubectl("rollout", "undo", f"{kind}/web")
    await until("a pod of the first template", lambda: runs("a:1"))
    history = await kubectl("rollout", "history", f"{kind}/web")
    assert [line.split()[0] for line in history.splitlines()[2:] if line] == ["2", "3"]
    shown = await kubectl("get", "controllerrevisions", "--no-headers")
    assert {tuple(line.split()[1:3]) for line in shown.splitlines()} == {
        (f"{kind}.apps/web", "2"),
        (f"{kind}.apps/web", "3"),
    }
    for number in range(4):
        change = [{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": f"b:{number}"}]
        await client.patch(resource, "web", namespace, change, type="json")
        await until("the next template", lambda number=number: runs(f"b:{number}"))

    async def only_the_newest() -> bool:
        found, _ = await client.list(REVISIONS, namespace)
        return sorted(r["revision"] for r in found) == [5, 6, 7]

    await until("old revisions to be forgotten", only_the_newest)
    (newest, *_) = (await client.list(REVISIONS, namespace))[0]
    with pytest.raises(ApiError, match="immutable"):
        await client.patch(REVISIONS, newest["metadata"]["name"], namespace, {"data": {"other": 1}}, type="merge")
    await client.delete(resource, "web", namespace)

    async def none() -> bool:
        return not (await client.list(REVISIONS, namespace))[0]

    await until("revisions to go with their owner", none)


# -- DaemonSet --------------------------------------------------------------------------------------------------------------


async def test_a_daemon_runs_once_on_a_node_that_it_wants(
    client: Client, namespace: str, node: None, kubectl: Kubectl
) -> None:
    spec = {"selector": {"matchLabels": {"app": "web"}}, "template": template()}
    await client.create(DAEMONSETS, {"metadata": {"name": "web", "namespace": namespace}, "spec": spec})
    (first,) = await running(client, namespace, 1)
    assert "successfully rolled out" in await kubectl("rollout", "status", "daemonset/web", "--timeout=10s")
    image = [{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "a:2"}]
    await client.patch(DAEMONSETS, "web", namespace, image, type="json")

    async def replaced() -> bool:
        found = await pods(client, namespace)
        return [p["spec"]["containers"][0]["image"] for p in found] == ["a:2"] and found[0]["metadata"]["name"] != first

    await until("a pod of the new template", replaced)
    assert "successfully rolled out" in await kubectl("rollout", "status", "daemonset/web", "--timeout=10s")
    assert (await kubectl("get", "ds", "web", "--no-headers")).split()[:6] == ["web", "1", "1", "1", "1", "1"]
    elsewhere = {"spec": {"template": {"spec": {"nodeSelector": {"disk": "ssd"}}}}}
    await client.patch(DAEMONSETS, "web", namespace, elsewhere)

    async def gone() -> bool:
        return (
            not await pods(client, namespace)
            and (await status(client, DAEMONSETS, "web", namespace))["desiredNumberScheduled"] == 0
        )

    await until("no pod on a node that is not wanted", gone)


# -- Job --------------------------------------------------------------------------------------------------------------------


async def test_a_job_runs_to_its_completions(client: Client, namespace: str, node: None, kubectl: Kubectl) -> None:
    await client.create(JOBS, job(namespace, completions=3, parallelism=2))
    for name in await running(client, namespace, 2):
        await end(client, namespace, name)
    (last,) = await running(client, namespace, 1)
    pod = await client.get(resources.PODS, last, namespace)
    assert pod["metadata"]["labels"]["batch.kubernetes.io/job-name"] == "work"
    counted = next(name for name in await names(client, namespace) if name != last)
    await client.delete(resources.PODS, counted, namespace)
    await end(client, namespace, last)
    await condition(client, namespace, "Complete")
    found = await status(client, JOBS, "work", namespace)
    assert (found["succeeded"], found.get("active", 0)) == (3, 0)  # what was counted stays counted
    assert found["completionTime"]
    assert "condition met" in await kubectl("wait", "--for=condition=complete", "job/work", "--timeout=10s")
    assert (await kubectl("get", "job", "work", "--no-headers")).split()[:3] == ["work", "Complete", "3/3"]


async def test_a_failed_pod_is_followed_by_another_up_to_a_limit(client: Client, namespace: str, node: None) -> None:
    await client.create(JOBS, job(namespace, backoffLimit=1))
    (first,) = await running(client, namespace, 1)
    await end(client, namespace, first, code=3)
    (second,) = await running(client, namespace, 1)
    assert second != first
    await end(client, namespace, second, code=3)
    found = await condition(client, namespace, "Failed")
    assert found["reason"] == "BackoffLimitExceeded"
    assert (await status(client, JOBS, "work", namespace))["failed"] == 2


async def test_indexed_pods_know_their_index(client: Client, namespace: str, node: None) -> None:
    await client.create(JOBS, job(namespace, completions=2, parallelism=2, completionMode="Indexed"))
    for name in await running(client, namespace, 2):
        pod = await client.get(resources.PODS, name, namespace)
        index = pod["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"]
        assert name.startswith(f"work-{index}-")
        assert pod["spec"]["hostname"] == f"work-{index}"
        assert "JOB_COMPLETION_INDEX" in [e["name"] for e in pod["spec"]["containers"][0]["env"]]
        await end(client, namespace, name)
    await condition(client, namespace, "Complete")
    assert (await status(client, JOBS, "work", namespace))["completedIndexes"] == "0-1"


async def test_a_suspended_job_waits_and_a_late_one_fails(client: Client, namespace: str, node: None) -> None:
    await client.create(JOBS, job(namespace, suspend=True, activeDeadlineSeconds=3))
    await condition(client, namespace, "Suspended")
    assert await pods(client, namespace) == []
    await client.patch(JOBS, "work", namespace, {"spec": {"suspend": False}})
    await running(client, namespace, 1)
    assert (await condition(client, namespace, "Failed"))["reason"] == "DeadlineExceeded"


async def test_a_finished_job_goes_after_its_time(client: Client, namespace: str, node: None) -> None:
    await client.create(JOBS, job(namespace, ttlSecondsAfterFinished=0))
    (name,) = await running(client, namespace, 1)
    await end(client, namespace, name)

    async def gone() -> bool:
        try:
            await client.get(JOBS, "work", namespace)
        except ApiError as error:
            return error.status == 404
        return False

    await until("the job to be deleted", gone)


# -- CronJob ----------------------------------------------------------------------------------------------------------------


def hourly() -> str:
    """A schedule whose last time was two minutes ago: nothing comes of itself while a test looks."""
    return f"{(dt.datetime.now(dt.UTC) - dt.timedelta(minutes=2)).minute} * * * *"


def cronjob(namespace: str, schedule: str = "", **spec: Any) -> Object:
    template = {"spec": {"template": job(namespace)["spec"]["template"]}}
    return {
        "metadata": {"name": "tick", "namespace": namespace},
        "spec": {"schedule": schedule or hourly(), "jobTemplate": template, **spec},
    }


async def due(client: Client, namespace: str) -> None:
    """Pretend that the last run was long ago."""
    past = (dt.datetime.now(dt.UTC) - dt.timedelta(minutes=5)).strftime("%Y-%m-%dT%H:%M:%SZ")
    await client.patch(CRONJOBS, "tick", namespace, {"status": {"lastScheduleTime": past}}, sub="status")


async def jobs(client: Client, namespace: str, count: int) -> list[Object]:
    async def so_many() -> tuple[list[Object]] | None:
        found, _ = await client.list(JOBS, namespace)
        return (found,) if len(found) == count else None

    out: tuple[list[Object]] = await until(f"{count} jobs", so_many)
    return out[0]


async def test_a_missed_minute_is_made_up_for_once(
    client: Client, namespace: str, node: None, kubectl: Kubectl
) -> None:
    schedule = hourly()
    await client.create(CRONJOBS, cronjob(namespace, schedule, concurrencyPolicy="Forbid"))
    await due(client, namespace)
    (made,) = await jobs(client, namespace, 1)
    assert made["metadata"]["name"].startswith("tick-")
    assert made["metadata"]["ownerReferences"][0]["kind"] == "CronJob"

    async def active() -> list[str]:
        now = await status(client, CRONJOBS, "tick", namespace)
        return [a["name"] for a in now.get("active") or ()]

    assert await until("the job to be noted", active) == [made["metadata"]["name"]]
    (pod,) = await running(client, namespace, 1)
    await end(client, namespace, pod)

    async def succeeded() -> bool:
        now = await status(client, CRONJOBS, "tick", namespace)
        return bool(now.get("lastSuccessfulTime")) and not now.get("active")

    await until("the job's success to be noted", succeeded)
    assert (await kubectl("get", "cronjob", "tick", "--no-headers")).split()[:8] == ["tick", *schedule.split(), "<none>", "False"]  # fmt: skip
    await kubectl("create", "job", "by-hand", "--from=cronjob/tick")
    await jobs(client, namespace, 2)


async def test_a_suspended_or_late_schedule_starts_nothing(client: Client, namespace: str) -> None:
    await client.create(CRONJOBS, cronjob(namespace, "@yearly", suspend=True))
    past = {"status": {"lastScheduleTime": "2020-01-01T00:00:00Z"}}
    await client.patch(CRONJOBS, "tick", namespace, past, sub="status")
    await client.patch(CRONJOBS, "tick", namespace, {"spec": {"suspend": False, "startingDeadlineSeconds": 1}})

    async def missed() -> bool:
        events, _ = await client.list(resources.EVENTS, namespace)
        return any(e["reason"] == "MissSchedule" for e in events)

    await until("the missed minute to be told", missed)
    assert await jobs(client, namespace, 0) == []


async def test_old_jobs_are_forgotten(client: Client, namespace: str, node: None) -> None:
    await client.create(CRONJOBS, cronjob(namespace, successfulJobsHistoryLimit=0))
    await due(client, namespace)
    (pod,) = await running(client, namespace, 1)
    await end(client, namespace, pod)
    await jobs(client, namespace, 0)
