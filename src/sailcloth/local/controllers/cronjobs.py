"""CronJob: a Job at each of the schedule's minutes. After a pause only the last minute that was missed is made up for."""

from __future__ import annotations

import copy
import datetime as dt
import zoneinfo
from typing import Any

from sailcloth.lib import cron
from sailcloth.local.apiserver.unstructured import Unstructured

from .context import ControllerContext
from .jobs import finished
from .replicasets import reference

GR = "cronjobs.batch"
JOBS = "jobs.batch"
_COMPONENT = "cronjob-controller"
_LONGEST_S = 3600.0  # clocks are set and zones change: look again at least this often


async def reconcile(cluster: ControllerContext, namespace: str, name: str) -> float | None:
    """Start what is due, forget old jobs. Returns the seconds until the next minute of the schedule."""
    found = cluster.store.get(GR, namespace, name)
    if found is None or found["metadata"].get("deletionTimestamp"):
        return None
    jobs = _jobs(cluster, found)
    await _forget(cluster, found, jobs)
    try:
        schedule = cron.parse(found["spec"]["schedule"])
        zone = zoneinfo.ZoneInfo(found["spec"].get("timeZone") or "UTC")
    except (ValueError, zoneinfo.ZoneInfoNotFoundError) as error:
        await cluster.event(found, _COMPONENT, "UnparseableSchedule", f"unparseable schedule: {error}", "Warning")
        return None
    moment = dt.datetime.now(zone)
    local = moment.replace(tzinfo=None)
    if not found["spec"].get("suspend"):
        since = (found.get("status") or {}).get("lastScheduleTime") or found["metadata"]["creationTimestamp"]
        before = dt.datetime.fromisoformat(since).astimezone(zone).replace(tzinfo=None)
        due = schedule.last(local, before)
        if due is not None:
            await _start(cluster, found, due.replace(tzinfo=zone), moment, jobs)
    await _status(cluster, found)
    following = schedule.next(local)
    if following is None:
        return None
    left = (following.replace(tzinfo=zone) - moment).total_seconds()
    return min(max(left, 0.0) + 0.05, _LONGEST_S)


def _jobs(cluster: ControllerContext, found: Unstructured) -> list[Unstructured]:
    """The jobs that it made, oldest first."""
    uid = found["metadata"]["uid"]
    own = [
        j
        for j in cluster.store.all(JOBS, found["metadata"]["namespace"])
        if any(r.get("uid") == uid for r in j["metadata"].get("ownerReferences") or ())
    ]
    return sorted(own, key=lambda j: (j["metadata"]["creationTimestamp"], j["metadata"]["name"]))


async def _start(
    cluster: ControllerContext, found: Unstructured, due: dt.datetime, moment: dt.datetime, jobs: list[Unstructured]
) -> None:
    metadata, spec = found["metadata"], found["spec"]
    limit = spec.get("startingDeadlineSeconds")
    if limit is not None and (moment - due).total_seconds() > float(limit):
        text = f"Missed scheduled time to start a job: {due.astimezone(dt.UTC):%Y-%m-%dT%H:%M:%SZ}"
        await cluster.event(found, _COMPONENT, "MissSchedule", text, "Warning")
        return
    busy = [j for j in jobs if not finished(j)]
    policy = spec.get("concurrencyPolicy", "Allow")
    if busy and policy == "Forbid":
        text = "Not starting job because prior execution is running and concurrency policy is Forbid"
        await cluster.event(found, _COMPONENT, "JobAlreadyActive", text)
        return
    if policy == "Replace":
        for job in busy:
            await cluster.delete(JOBS, metadata["namespace"], job["metadata"]["name"])
    template = copy.deepcopy(spec["jobTemplate"])
    kept = {k: v for k, v in (template.get("metadata") or {}).items() if k in ("labels", "annotations")}
    stamp = due.astimezone(dt.UTC)
    annotations = {**(kept.get("annotations") or {})}
    annotations["batch.kubernetes.io/cronjob-scheduled-timestamp"] = f"{stamp:%Y-%m-%dT%H:%M:%SZ}"
    made = await cluster.create(
        JOBS,
        {
            "metadata": {
                **kept,
                "annotations": annotations,
                "name": f"{metadata['name']}-{int(stamp.timestamp()) // 60}",
                "namespace": metadata["namespace"],
                "ownerReferences": [reference(found)],
            },
            "spec": template["spec"],
        },
    )
    if made is not None:
        await cluster.event(found, _COMPONENT, "SuccessfulCreate", f"Created job {made['metadata']['name']}")
    scheduled = f"{stamp:%Y-%m-%dT%H:%M:%SZ}"
    await cluster.update(GR, metadata["namespace"], metadata["name"], lambda o: _with(o, lastScheduleTime=scheduled), sub="status")  # fmt: skip


def _with(obj: Unstructured, **fields: Any) -> Unstructured:
    """With these fields of status; a field whose value is None is dropped."""
    status = {**(obj.get("status") or {}), **fields}
    return {**obj, "status": {k: v for k, v in status.items() if v is not None}}


async def _forget(cluster: ControllerContext, found: Unstructured, jobs: list[Unstructured]) -> None:
    """Delete the oldest finished jobs beyond the limits of the history."""
    for kind, field, default in (
        ("Complete", "successfulJobsHistoryLimit", 3),
        ("Failed", "failedJobsHistoryLimit", 1),
    ):
        limit = int(found["spec"].get(field, default))
        ended = [j for j in jobs if finished(j) == kind]
        for job in ended[: max(0, len(ended) - limit)]:
            await cluster.delete(JOBS, found["metadata"]["namespace"], job["metadata"]["name"])


async def _status(cluster: ControllerContext, found: Unstructured) -> None:
    metadata = found["metadata"]
    jobs = _jobs(cluster, found)
    active = [
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "name": j["metadata"]["name"],
            "namespace": metadata["namespace"],
            "uid": j["metadata"]["uid"],
        }
        for j in jobs
        if not finished(j)
    ]
    done = [(j["status"] or {}).get("completionTime", "") for j in jobs if finished(j) == "Complete"]
    live = cluster.store.get(GR, metadata["namespace"], metadata["name"])
    before = (live or {}).get("status") or {}
    wanted: Unstructured = {
        "active": active or None,
        "lastSuccessfulTime": max(done, default="") or before.get("lastSuccessfulTime"),
    }
    if any(before.get(k) != v for k, v in wanted.items()):
        await cluster.update(GR, metadata["namespace"], metadata["name"], lambda o: _with(o, **wanted), sub="status")
