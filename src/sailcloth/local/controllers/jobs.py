"""Job: pods until enough of them have succeeded, or too many failed.

A pod counts once it has ended, and stays counted when it is deleted: the count and the pods that it includes anew are written
together, then the pods are marked, so that a controller that starts in between counts none twice. Pods that fail are followed by new
ones after a second, then two, four and so on (Kubernetes begins with ten).
"""

from __future__ import annotations

import datetime as dt

from sailcloth.local.apiserver.times import now
from sailcloth.local.apiserver.unstructured import Unstructured

from .context import ControllerContext
from .replicasets import active, is_ready, pod_of, pods_of

GR = "jobs.batch"
COUNTED = "batch.sailcloth.io/counted"
INDEX = "batch.kubernetes.io/job-completion-index"
_COMPONENT = "job-controller"
_BACKOFF_S = (1.0, 360.0)


def finished(job: Unstructured) -> str:
    """Complete, Failed, or nothing."""
    conditions = (job.get("status") or {}).get("conditions") or ()
    return next((c["type"] for c in conditions if c["type"] in ("Complete", "Failed") and c["status"] == "True"), "")


def seconds_since(stamp: str) -> float:
    return (dt.datetime.now(dt.UTC) - dt.datetime.fromisoformat(stamp)).total_seconds()


async def reconcile(cluster: ControllerContext, namespace: str, name: str) -> float | None:
    """One step; the pods' changes bring the next. Returns the seconds until something is due without them."""
    job = cluster.store.get(GR, namespace, name)
    if job is None or job["metadata"].get("deletionTimestamp"):
        return None
    if finished(job):
        if job["status"].get("uncountedTerminatedPods"):  # all of them are marked by now
            await cluster.update(GR, namespace, name, _all_counted, sub="status")
        return await _expire(cluster, job)
    return await _Step(cluster, job).take()


async def _expire(cluster: ControllerContext, job: Unstructured) -> float | None:
    """Delete a finished job after its time to live."""
    life = job["spec"].get("ttlSecondsAfterFinished")
    if life is None:
        return None
    ends = [c.get("lastTransitionTime") for c in job["status"]["conditions"] if c["type"] in ("Complete", "Failed")]
    left = float(life) - seconds_since(ends[0] or job["metadata"]["creationTimestamp"])
    if left > 0:
        return left + 0.05
    for pod in pods_of(cluster, job):
        await cluster.delete("pods", job["metadata"]["namespace"], pod["metadata"]["name"])
    await cluster.delete(GR, job["metadata"]["namespace"], job["metadata"]["name"])
    return None


def _indexes(text: str) -> set[int]:
    out: set[int] = set()
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        out |= set(range(int(first), int(last or first) + 1))
    return out


def _ranges(indexes: set[int]) -> str:
    """0-2,4"""
    out: list[list[int]] = []
    for index in sorted(indexes):
        if out and out[-1][1] == index - 1:
            out[-1][1] = index
        else:
            out.append([index, index])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in out)


def _index(pod: Unstructured) -> int:
    return int((pod["metadata"].get("annotations") or {}).get(INDEX, -1))


def _all_counted(job: Unstructured) -> Unstructured:
    return {**job, "status": {**job["status"], "uncountedTerminatedPods": {}}}


def _is_counted(pod: Unstructured) -> bool:
    return COUNTED in (pod["metadata"].get("annotations") or {})


def _as_counted(pod: Unstructured) -> Unstructured:
    pod["metadata"]["annotations"] = {**(pod["metadata"].get("annotations") or {}), COUNTED: "true"}
    return pod


class _Step:
    """What a job's pods say, and what follows."""

    def __init__(self, cluster: ControllerContext, job: Unstructured) -> None:
        self.cluster, self.job = cluster, job
        self.spec, self.metadata = job["spec"], job["metadata"]
        self.before: Unstructured = job.get("status") or {}
        pods = pods_of(cluster, job)
        phases = [(p.get("status") or {}).get("phase") for p in pods]
        self.active = [p for p in pods if active(p)]
        self.indexed = self.spec.get("completionMode") == "Indexed"
        self.completed = _indexes(self.before.get("completedIndexes", ""))
        self.successes = [p for p, phase in zip(pods, phases, strict=True) if phase == "Succeeded"]
        self.failures = [p for p, phase in zip(pods, phases, strict=True) if phase == "Failed"]
        self.succeeded = int(self.before.get("succeeded", 0)) + self._anew("succeeded", self.successes)
        self.failed = int(self.before.get("failed", 0)) + self._anew("failed", self.failures)
        if self.indexed:
            self.completed |= {_index(p) for p in self.successes} - {-1}
            self.succeeded = len(self.completed)
        self.parallelism = int(self.spec.get("parallelism", 1))
        self.completions: int | None = self.spec.get("completions")

    def _anew(self, kind: str, pods: list[Unstructured]) -> int:
        """How many of the pods the status does not count yet."""
        counted = (self.before.get("uncountedTerminatedPods") or {}).get(kind) or ()
        return sum(not _is_counted(p) and p["metadata"]["uid"] not in counted for p in pods)

    async def take(self) -> float | None:
        if self.spec.get("suspend"):
            await self._end_pods()
            await self._write([self._condition("Suspended", "JobSuspended", "Job suspended")], started=False)
            return None
        begun = self.before.get("startTime") or now()
        reason = self._ended(begun)
        if reason:
            await self._end_pods()
            await self._conclude("Failed", *reason)
            return None
        enough = self.succeeded >= self.completions if self.completions is not None else self.succeeded > 0
        if enough and (self.completions is not None or not self.active):
            await self._end_pods()
            await self._conclude("Complete", "CompletionsReached", "Reached expected number of succeeded pods")
            return None
        wait = self._backoff()
        if wait <= 0:
            await self._make_pods(stop=enough)
        await self._write([], started=True, begun=begun)
        limit = self.spec.get("activeDeadlineSeconds")
        due = [wait] if wait > 0 else []
        due += [float(limit) - seconds_since(begun) + 0.05] if limit else []
        return max(0.05, min(due)) if due else None

    def _ended(self, begun: str) -> tuple[str, str] | None:
        """Why the job has failed, if it has."""
        limit = self.spec.get("activeDeadlineSeconds")
        if limit and seconds_since(begun) >= float(limit):
            return "DeadlineExceeded", "Job was active longer than specified deadline"
        restarts = 0
        if self.spec["template"]["spec"].get("restartPolicy") == "OnFailure":
            own = [s for p in self.active for s in (p.get("status") or {}).get("containerStatuses") or ()]
            restarts = sum(int(s.get("restartCount", 0)) for s in own)
        if self.failed + restarts > int(self.spec.get("backoffLimit", 6)):
            return "BackoffLimitExceeded", "Job has reached the specified backoff limit"
        return None

    def _backoff(self) -> float:
        """Seconds until a failed pod may be followed by another."""
        ends = [
            state["terminated"]["finishedAt"]
            for pod in self.failures
            for status in (pod.get("status") or {}).get("containerStatuses") or ()
            if (state := status.get("state") or {}).get("terminated", {}).get("finishedAt")
        ]
        if not ends:
            return 0.0
        delay: float = min(_BACKOFF_S[0] * 2 ** (len(self.failures) - 1), _BACKOFF_S[1])
        return delay - seconds_since(max(ends))

    async def _make_pods(self, stop: bool) -> None:
        left = (
            self.parallelism if self.completions is None else min(self.parallelism, self.completions - self.succeeded)
        )
        busy = {_index(p) for p in self.active}
        free = [i for i in range(self.completions or 0) if i not in self.completed | busy]
        for _ in range(0 if stop else left - len(self.active)):
            index = free.pop(0) if self.indexed and free else -1
            created = await self.cluster.create("pods", self._pod_for(index))
            if created is not None:
                self.active.append(created)
                text = f"Created pod: {created['metadata']['name']}"
                await self.cluster.event(self.job, _COMPONENT, "SuccessfulCreate", text)
        for pod in self.active[max(0, left) :]:
            await self.cluster.delete("pods", self.metadata["namespace"], pod["metadata"]["name"])

    def _pod_for(self, index: int) -> Unstructured:
        pod = pod_of(self.job, self.spec["template"])
        if not self.indexed:
            return pod
        name = f"{self.metadata['name']}-{index}"
        pod["metadata"]["generateName"] = name + "-"
        for field in ("annotations", "labels"):
            pod["metadata"][field] = {**(pod["metadata"].get(field) or {}), INDEX: str(index)}
        pod["spec"]["hostname"] = name
        source = {"fieldRef": {"fieldPath": f"metadata.annotations['{INDEX}']"}}
        for container in [*pod["spec"]["containers"], *(pod["spec"].get("initContainers") or ())]:
            container["env"] = [*(container.get("env") or ()), {"name": "JOB_COMPLETION_INDEX", "valueFrom": source}]
        return pod

    async def _end_pods(self) -> None:
        for pod in self.active:
            await self.cluster.delete("pods", self.metadata["namespace"], pod["metadata"]["name"])
        self.active = []

    async def _conclude(self, kind: str, reason: str, text: str) -> None:
        first = "SuccessCriteriaMet" if kind == "Complete" else "FailureTarget"
        conditions = [self._condition(first, reason, text), self._condition(kind, reason, text)]
        await self._write(conditions, started=True, done=kind == "Complete")
        word, level = ("Completed", "Normal") if kind == "Complete" else (reason, "Warning")
        await self.cluster.event(self.job, _COMPONENT, word, "Job completed" if kind == "Complete" else text, level)

    def _condition(self, kind: str, reason: str, text: str) -> Unstructured:
        known = {c["type"]: c for c in self.before.get("conditions") or ()}
        if kind in known:
            return known[kind]  # type: ignore[no-any-return]
        return {
            "type": kind,
            "status": "True",
            "reason": reason,
            "message": text,
            "lastProbeTime": now(),
            "lastTransitionTime": now(),
        }

    async def _write(self, conditions: list[Unstructured], started: bool, begun: str = "", done: bool = False) -> None:
        status: Unstructured = {"ready": sum(is_ready(p) for p in self.active), "terminating": 0}
        counts = {"active": len(self.active), "succeeded": self.succeeded, "failed": self.failed}
        status |= {k: v for k, v in counts.items() if v}
        if started:
            status["startTime"] = begun or self.before.get("startTime") or now()
        if done:
            status["completionTime"] = now()
        if self.completed:
            status["completedIndexes"] = _ranges(self.completed)
        if conditions:
            status["conditions"] = conditions
        namespace, name = self.metadata["namespace"], self.metadata["name"]
        fresh = {"succeeded": self.successes, "failed": self.failures}
        unmarked = {kind: [p["metadata"] for p in pods if not _is_counted(p)] for kind, pods in fresh.items()}
        status["uncountedTerminatedPods"] = {kind: [m["uid"] for m in some] for kind, some in unmarked.items() if some}
        if self.before != status:
            await self.cluster.update(GR, namespace, name, lambda o: {**o, "status": status}, sub="status")
        for metadata in (m for some in unmarked.values() for m in some):
            await self.cluster.update("pods", namespace, metadata["name"], _as_counted)
