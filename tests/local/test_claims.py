"""PersistentVolumeClaims on a real node: what is kept, for how long, and that nothing of it stays."""

from __future__ import annotations

from sailcloth.kube.client import ApiError, Client
from sailcloth.kube.resources import CLAIMS, PODS

from .local_cluster import Object, Up, in_time
from .pods import ended, events, log, make, pod, ready

SPEC = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}


def using(name: str, script: str, **spec: object) -> Object:
    mounted = {"volumeMounts": [{"name": "data", "mountPath": "/data"}]}
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": "kept"}}]
    return pod(name, script, container=mounted, volumes=volumes, **spec)


async def claim(client: Client, namespace: str) -> None:
    await client.create(CLAIMS, {"metadata": {"name": "kept", "namespace": namespace}, "spec": SPEC})


async def gone(client: Client, what: object, name: str, namespace: str) -> None:
    async def ask() -> bool:
        try:
            await client.get(what, name, namespace)  # type: ignore[arg-type]
        except ApiError as error:
            return error.status == 404
        return False

    await in_time(f"{name} is gone", ask)


async def test_a_claims_files_outlive_pods_and_go_with_the_claim(client: Client, up: Up, namespace: str) -> None:
    await make(client, namespace, using("early", "echo value > /data/file; ls /data", restartPolicy="Never"))

    async def told() -> bool:
        return "not found" in (await events(client, namespace, "early")).get("FailedMount", "")

    await in_time("a pod waits for its claim", told)
    await claim(client, namespace)
    assert await ended(client, namespace, "early") == "Succeeded"
    await make(client, namespace, using("late", "cat /data/file; exec sleep 600"))
    await ready(client, namespace, "late")
    assert await log(client, namespace, "late") == "value\n"

    folders = up.state / "state" / "claims"
    (folder,) = folders.glob(f"{namespace}_*")
    await client.delete(CLAIMS, "kept", namespace)
    found = await client.get(CLAIMS, "kept", namespace)
    assert found["metadata"]["deletionTimestamp"], "it is in use"
    assert (folder / "file").exists()
    await client.delete(PODS, "late", namespace, grace=1)
    await gone(client, CLAIMS, "kept", namespace)

    async def removed() -> bool:
        return not folder.exists()

    await claim(client, namespace)
    await make(client, namespace, using("again", "ls /data", restartPolicy="Never"))
    await ended(client, namespace, "again")
    assert await log(client, namespace, "again") == "", "a new claim of the name is empty"
    await in_time("the old claim's folder is removed", removed)
    assert len(list(folders.glob(f"{namespace}_*"))) == 1


async def test_folders_from_before_are_kept_or_removed_when_the_node_comes_back(
    client: Client, up: Up, namespace: str
) -> None:
    await claim(client, namespace)
    folders = up.state / "state" / "claims"
    older, orphan = folders / f"{namespace}_kept", folders / f"{namespace}_lost"
    for folder in (older, orphan):
        folder.mkdir(parents=True)
        (folder / "file").write_text("of an older state\n")
    up.kill("node")

    async def removed() -> bool:
        return not orphan.exists()

    await in_time("the folder without a claim is removed", removed)
    await make(client, namespace, using("reads", "cat /data/file", restartPolicy="Never"))
    await ended(client, namespace, "reads")
    assert await log(client, namespace, "reads") == "of an older state\n"
