"""CronJob: a Job at each of the schedule's minutes. After a pause only the last missed time is started."""

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
_LONGEST_S = 3600.0  # the clock or the time zone may change: reconcile at least this often


async def reconcile(cluster: ControllerContext, namespace: str, name: str) -> float | None:
    """Start what is due, forget old jobs. Returns the seconds until the next minute of the schedule."""
    cron_job = cluster.store.get(GR, namespace, name)
    if cron_job is None or cron_job["metadata"].get("deletionTimestamp"):
        return None
    jobs = _jobs(cluster, cron_job)
    await _forget(cluster, cron_job, jobs)
    try:
        schedule = cron.parse(cron_job["spec"]["schedule"])
        zone = zoneinfo.ZoneInfo(cron_job["spec"].get("timeZone") or "UTC")
    except (ValueError, zoneinfo.ZoneInfoNotFoundError) as error:
        await cluster.event(cron_job, _COMPONENT, "UnparseableSchedule", f"unparseable schedule: {error}", "Warning")
        return None
    moment = dt.datetime.now(zone)
    local = moment.replace(tzinfo=None)
    if not cron_job["spec"].get("suspend"):
        since = (cron_job.get("status") or {}).get("lastScheduleTime") or cron_job["metadata"]["creationTimestamp"]
        before = dt.datetime.fromisoformat(since).astimezone(zone).replace(tzinfo=None)
        due = schedule.last(local, before)
        if due is not None:
            await _start(cluster, cron_job, due.replace(tzinfo=zone), moment, jobs)
    await _status(cluster, cron_job)
    following = schedule.next(local)
    if following is None:
        return None
    left = (following.replace(tzinfo=zone) - moment).total_seconds()
    return min(max(left, 0.0) + 0.05, _LONGEST_S)


def _jobs(cluster: ControllerContext, cron_job: Unstructured) -> list[Unstructured]:
    """The Jobs that the CronJob controls, oldest first."""
    return sorted(
        cluster.owned(JOBS, cron_job), key=lambda j: (j["metadata"]["creationTimestamp"], j["metadata"]["name"])
    )


async def _start(
    cluster: ControllerContext, cron_job: Unstructured, due: dt.datetime, moment: dt.datetime, jobs: list[Unstructured]
) -> None:
    metadata, spec = cron_job["metadata"], cron_job["spec"]
    limit = spec.get("startingDeadlineSeconds")
    if limit is not None and (moment - due).total_seconds() > float(limit):
        text = f"Missed scheduled time to start a job: {due.astimezone(dt.UTC):%Y-%m-%dT%H:%M:%SZ}"
        await cluster.event(cron_job, _COMPONENT, "MissSchedule", text, "Warning")
        return
    busy = [j for j in jobs if not finished(j)]
    policy = spec.get("concurrencyPolicy", "Allow")
    if busy and policy == "Forbid":
        text = "Not starting job because prior execution is running and concurrency policy is Forbid"
        await cluster.event(cron_job, _COMPONENT, "JobAlreadyActive", text)
        return
    if policy == "Replace":
        for job in busy:
            await cluster.delete(JOBS, metadata["namespace"], job["metadata"]["name"])
    template = copy.deepcopy(spec["jobTemplate"])
    kept = {k: v for k, v in (template.get("metadata") or {}).items() if k in ("labels", "annotations")}
    stamp = due.astimezone(dt.UTC)
    annotations = {**(kept.get("annotations") or {})}
    annotations["batch.kubernetes.io/cronjob-scheduled-timestamp"] = f"{stamp:%Y-%m-%dT%H:%M:%SZ}"
    created = await cluster.create(
        JOBS,
        {
            "metadata": {
                **kept,
                "annotations": annotations,
                "name": f"{metadata['name']}-{int(stamp.timestamp()) // 60}",
                "namespace": metadata["namespace"],
                "ownerReferences": [reference(cron_job)],
            },
            "spec": template["spec"],
        },
    )
    if created is not None:
        await cluster.event(cron_job, _COMPONENT, "SuccessfulCreate", f"Created job {created['metadata']['name']}")
    scheduled = f"{stamp:%Y-%m-%dT%H:%M:%SZ}"
    await cluster.update(GR, metadata["namespace"], metadata["name"], lambda o: _with(o, lastScheduleTime=scheduled), sub="status")  # fmt: skip


def _with(obj: Unstructured, **fields: Any) -> Unstructured:
    """With these fields of status; a field whose value is None is dropped."""
    status = {**(obj.get("status") or {}), **fields}
    return {**obj, "status": {k: v for k, v in status.items() if v is not None}}


async def _forget(cluster: ControllerContext, cron_job: Unstructured, jobs: list[Unstructured]) -> None:
    """Delete the oldest finished jobs beyond the limits of the history."""
    for kind, field, default in (
        ("Complete", "successfulJobsHistoryLimit", 3),
        ("Failed", "failedJobsHistoryLimit", 1),
    ):
        limit = int(cron_job["spec"].get(field, default))
        ended = [j for j in jobs if finished(j) == kind]
        for job in ended[: max(0, len(ended) - limit)]:
            await cluster.delete(JOBS, cron_job["metadata"]["namespace"], job["metadata"]["name"])


async def _status(cluster: ControllerContext, cron_job: Unstructured) -> None:
    metadata = cron_job["metadata"]
    jobs = _jobs(cluster, cron_job)
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
