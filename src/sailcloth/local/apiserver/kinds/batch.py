"""Jobs and CronJobs."""

from __future__ import annotations

import copy
import datetime as dt
import zoneinfo
from collections.abc import Iterator

from sailcloth.lib import cron

from ..field_errors import FieldError, immutable, invalid, required
from ..unstructured import Unstructured
from . import pod_spec
from .columns import AGE, CONTAINERS, IMAGES, SELECTOR, age, boolean, containers, integer, text, wide
from .defaulting import nested, set_defaults
from .pod_validation import validate_pod_spec
from .record import READ, STATUS, WRITE, Cell, FieldSelector, Grant, Kind


def _job_defaults(obj: Unstructured) -> None:
    spec, metadata = obj["spec"], obj["metadata"]
    if spec.get("completions") is None and spec.get("parallelism") is None:
        spec["completions"] = 1
    set_defaults(spec, parallelism=1, backoffLimit=6, completionMode="NonIndexed", suspend=False)
    set_defaults(spec, podReplacementPolicy="Failed" if spec.get("podFailurePolicy") else "TerminatingOrFailed")
    pod_spec.template(spec)
    if not spec.get("manualSelector") and metadata.get("uid"):
        spec["manualSelector"] = False
        uid, name = metadata["uid"], metadata.get("name", "")
        labels = nested(spec["template"]["metadata"], "labels")
        labels |= {"batch.kubernetes.io/controller-uid": uid, "batch.kubernetes.io/job-name": name}
        labels |= {"controller-uid": uid, "job-name": name}
        set_defaults(spec, selector={"matchLabels": {"batch.kubernetes.io/controller-uid": uid}})


def _cron_job_defaults(obj: Unstructured) -> None:
    spec = obj["spec"]
    set_defaults(spec, concurrencyPolicy="Allow", suspend=False, successfulJobsHistoryLimit=3, failedJobsHistoryLimit=1)
    job = nested(spec, "jobTemplate")
    nested(job, "metadata").setdefault("creationTimestamp", None)
    if isinstance(job.get("spec"), dict):
        pod_spec.template(job["spec"])


def _validate_job(obj: Unstructured, old: Unstructured | None) -> Iterator[FieldError]:
    yield from _validate_job_spec(obj["spec"], "spec")
    if old is not None:
        yield from _validate_job_update(obj["spec"], old)


_FIXED = ("selector", "completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy")
_SCHEDULING = ("affinity", "nodeSelector", "tolerations", "schedulingGates")


def _validate_job_update(spec: Unstructured, old: Unstructured) -> Iterator[FieldError]:
    before, status = old["spec"], old.get("status") or {}
    for name in _FIXED:
        if spec.get(name) != before.get(name):
            yield immutable(f"spec.{name}", spec.get(name))
    completions = spec.get("completions")
    elastic = spec.get("completionMode") == "Indexed" and completions == spec.get("parallelism")
    if completions != before.get("completions") and not elastic:
        yield immutable("spec.completions", completions)
    template, previous = (copy.deepcopy(s.get("template") or {}) for s in (spec, before))
    if before.get("suspend") and not status.get("startTime"):
        for one in (template, previous):  # where the pods of a job that has not started run may still be decided
            for key in ("labels", "annotations"):
                (one.get("metadata") or {}).pop(key, None)
            for key in _SCHEDULING:
                (one.get("spec") or {}).pop(key, None)
    if template != previous:
        text = "Invalid value: core.PodTemplateSpec{...}: field is immutable"
        yield "spec.template", "FieldValueInvalid", text


def _validate_job_spec(spec: Unstructured, path: str) -> Iterator[FieldError]:
    pod = (spec.get("template") or {}).get("spec") or {}
    yield from validate_pod_spec(pod, f"{path}.template.spec")
    if pod.get("restartPolicy", "Always") == "Always":
        yield required(f"{path}.template.spec.restartPolicy", 'valid values: "OnFailure", "Never"')


def _validate_cron_job(obj: Unstructured, old: Unstructured | None) -> Iterator[FieldError]:
    spec = obj["spec"]
    try:
        cron.parse(str(spec.get("schedule") or ""))
    except ValueError as error:
        yield invalid("spec.schedule", spec.get("schedule"), str(error))
    zone = spec.get("timeZone")
    if zone and zone not in zoneinfo.available_timezones():
        yield invalid("spec.timeZone", zone, f"unknown time zone {zone}")
    yield from _validate_job_spec((spec.get("jobTemplate") or {}).get("spec") or {}, "spec.jobTemplate.spec")


def _job_status(obj: Unstructured) -> str:
    true = {c["type"] for c in obj.get("status", {}).get("conditions") or () if c.get("status") == "True"}
    for kind, word in (
        ("Complete", "Complete"),
        ("Failed", "Failed"),
        ("Suspended", "Suspended"),
        ("FailureTarget", "FailureTarget"),
    ):
        if kind in true:
            return word
    return "Terminating" if obj["metadata"].get("deletionTimestamp") else "Running"


def _completions(obj: Unstructured) -> str:
    done, spec = obj.get("status", {}).get("succeeded", 0), obj["spec"]
    if spec.get("completions") is not None:
        return f"{done}/{spec['completions']}"
    parallel = spec.get("parallelism") or 0
    return f"{done}/1 of {parallel}" if parallel > 1 else f"{done}/1"


def _job_duration(obj: Unstructured) -> str:
    status = obj.get("status", {})
    if not status.get("startTime"):
        return ""
    if not status.get("completionTime"):
        return age(status["startTime"])
    start, end = (dt.datetime.fromisoformat(status[k].replace("Z", "+00:00")) for k in ("startTime", "completionTime"))
    return age((dt.datetime.now(dt.UTC) - (end - start)).isoformat())


def _last_schedule(obj: Unstructured) -> str:
    stamp = obj.get("status", {}).get("lastScheduleTime")
    return age(stamp) if stamp else "<none>"


def _job_template(key: str) -> Cell:
    def cell(obj: Unstructured) -> str:
        return str(containers(key)({"spec": (obj["spec"].get("jobTemplate") or {}).get("spec") or {}}))

    return cell


JOB = Kind(
    group="batch",
    plural="jobs",
    kind="Job",
    categories=("all",),
    subresources=(STATUS,),
    columns=(
        text("Status", _job_status),
        text("Completions", _completions),
        text("Duration", _job_duration),
        AGE,
        CONTAINERS,
        IMAGES,
        SELECTOR,
    ),
    field_selectors={"status.successful": FieldSelector("0", "status.succeeded")},
    grants=(Grant("view", READ, ("", "status")), Grant("edit", WRITE)),
    generation=True,
    has_spec=True,
    has_status=True,
    defaults=_job_defaults,
    validate=_validate_job,
)
CRON_JOB = Kind(
    group="batch",
    plural="cronjobs",
    kind="CronJob",
    short_names=("cj",),
    categories=("all",),
    subresources=(STATUS,),
    columns=(
        text("Schedule", "spec.schedule"),
        text("Timezone", "spec.timeZone"),
        boolean("Suspend", lambda o: str(bool(o["spec"].get("suspend")))),
        integer("Active", lambda o: len(o.get("status", {}).get("active") or ())),
        text("Last Schedule", _last_schedule),
        AGE,
        wide("Containers", _job_template("name")),
        wide("Images", _job_template("image")),
        wide("Selector", lambda o: "<none>"),
    ),
    grants=(Grant("view", READ, ("", "status")), Grant("edit", WRITE)),
    generation=True,
    has_spec=True,
    has_status=True,
    defaults=_cron_job_defaults,
    validate=_validate_cron_job,
)
KINDS = (JOB, CRON_JOB)
