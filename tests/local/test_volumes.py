"""Volumes made from objects: modes, items, and their replacement while the pod runs."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from sailcloth.kube.client import Client
from sailcloth.kube.resources import CONFIGMAPS, PODS, SECRETS
from sailcloth.local.node.environment import Missing
from sailcloth.local.node.volumes import File, Volumes, write_atomically, written

from .local_cluster import in_time
from .pods import Object, events, log, make, pod, ready


def test_files_are_switched_over_together_and_readers_of_old_ones_keep_them(tmp_path: Path) -> None:
    write_atomically(tmp_path, {"a": File(b"1"), "deep/b": File(b"1", 0o400)})
    old = (tmp_path / "a").resolve()
    with (tmp_path / "a").open("rb") as reader:
        write_atomically(tmp_path, {"a": File(b"2"), "c": File(b"2")})
        assert reader.read() == b"1"
    assert written(tmp_path) == {"a": File(b"2"), "c": File(b"2")}
    assert sorted(p.name for p in tmp_path.iterdir() if not p.name.startswith("..")) == ["a", "c"]
    assert os.readlink(tmp_path / "a") == "..data/a"
    assert not old.exists()
    before = os.readlink(tmp_path / "..data")
    write_atomically(tmp_path, {"a": File(b"2"), "c": File(b"2")})
    assert os.readlink(tmp_path / "..data") == before


def test_no_file_leaves_its_volume(tmp_path: Path) -> None:
    folder = tmp_path / "volume"
    folder.mkdir()
    write_atomically(folder, {"../out": File(b"x"), "/out": File(b"x"), "in": File(b"x")})
    assert written(folder) == {"in": File(b"x")}
    assert [p.name for p in tmp_path.iterdir()] == ["volume"]


@pytest.mark.parametrize(
    "volume", [{"name": "/etc"}, {"name": "../up"}, {"name": ".."}, {"name": "v", "nfs": {"server": "x", "path": "/"}}]
)
async def test_a_volume_has_no_folder_of_the_host(tmp_path: Path, volume: Object) -> None:
    """Also of a pod that an API server without these rules has admitted."""

    async def nothing(*_: Any) -> Any:
        raise AssertionError

    volumes = Volumes(tmp_path / "pod", nothing, nothing)
    with pytest.raises(Missing, match=r"lead out|does not have"):
        await volumes.make({"spec": {"volumes": [{"emptyDir": {}} | volume]}}, "", "")
    assert list(tmp_path.iterdir()) == []


async def test_tokens_are_asked_for_again_late_in_their_life_and_not_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[list[str], int]] = []

    async def token(audiences: list[str], seconds: int) -> str:
        asked.append((audiences, seconds))
        return f"token-{len(asked)}"

    async def fetch(kind: str, name: str) -> Object | None:
        return None

    source = {"serviceAccountToken": {"path": "token", "expirationSeconds": 1000, "audience": "x"}}
    spec = {"volumes": [{"name": "v", "projected": {"sources": [source]}}]}
    obj = {"metadata": {"name": "p", "namespace": "n", "uid": "u"}, "spec": spec}
    kept = Volumes(tmp_path, fetch, token)
    folders = await kept.make(obj, "", "")
    await kept.refresh(obj, "", "")
    assert asked == [(["x"], 1000)]
    begin = time.monotonic()
    assert not kept.tokens_expire(begin + 700)
    assert kept.tokens_expire(begin + 801)
    monkeypatch.setattr(time, "monotonic", lambda: begin + 801)
    await kept.refresh(obj, "", "")
    assert (Path(folders["v"]) / "token").read_text() == "token-2"


async def test_what_is_missing_leaves_the_rest_as_it_was(tmp_path: Path) -> None:
    stored: dict[str, Any] = {"c": {"data": {"k": "1"}}}

    async def fetch(kind: str, name: str) -> Object | None:
        found: Object | None = stored.get(name)
        return found

    async def token(audiences: list[str], seconds: int) -> str:
        raise AssertionError

    obj = {
        "metadata": {"name": "p", "namespace": "n"},
        "spec": {"volumes": [{"name": "v", "configMap": {"name": "c"}}]},
    }
    kept = Volumes(tmp_path, fetch, token)
    folder = Path((await kept.make(obj, "", ""))["v"])
    del stored["c"]
    with pytest.raises(Missing, match='configmap "c" not found'):
        await kept.refresh(obj, "", "")
    assert (folder / "k").read_text() == "1"


async def test_a_running_pod_sees_changed_objects(client: Client, namespace: str) -> None:
    await client.create(CONFIGMAPS, {"metadata": {"name": "c", "namespace": namespace}, "data": {"k": "old"}})
    script = (
        "stat -L -c '%a' /maps/k /secrets/p; (echo x > /maps/k) 2>/dev/null || echo read-only; "
        'until [ "$(cat /maps/k)" = new ]; do sleep 0.05; done; echo map; '
        "until grep -q later /secrets/p; do sleep 0.05; done; echo secret; "
        "until grep -q color /info/labels; do sleep 0.05; done; echo labels; exec sleep 1000"
    )
    mounts = [{"name": n, "mountPath": f"/{n}"} for n in ("maps", "secrets", "info")]
    labels = {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}
    await client.create(SECRETS, {"metadata": {"name": "s", "namespace": namespace}, "stringData": {"p": "first"}})
    volumes = [
        {"name": "maps", "configMap": {"name": "c"}},
        {"name": "secrets", "secret": {"secretName": "s", "defaultMode": 0o400}},
        {"name": "info", "downwardAPI": {"items": [labels]}},
    ]
    await make(client, namespace, pod("follows", script, container={"volumeMounts": mounts}, volumes=volumes))
    await ready(client, namespace, "follows")
    await client.patch(CONFIGMAPS, "c", namespace, {"data": {"k": "new"}})
    await client.patch(SECRETS, "s", namespace, {"stringData": {"p": "later"}})
    await client.patch(PODS, "follows", namespace, {"metadata": {"labels": {"color": "red"}}})

    async def told() -> bool:
        return (await log(client, namespace, "follows")).split() == [
            "644",
            "400",
            "read-only",
            "map",
            "secret",
            "labels",
        ]

    await in_time("the pod sees all changes", told)


async def test_a_path_of_the_host_is_made_or_looked_for_as_its_type_says(
    client: Client, namespace: str, tmp_path: Path
) -> None:
    made = {"name": "made", "hostPath": {"path": str(tmp_path / "new"), "type": "DirectoryOrCreate"}}
    mounts = [{"name": "made", "mountPath": "/made"}]
    await make(
        client,
        namespace,
        pod("makes", "touch /made/x; exec sleep 1000", container={"volumeMounts": mounts}, volumes=[made]),
    )
    await ready(client, namespace, "makes")
    assert (tmp_path / "new" / "x").exists()
    absent = {"name": "made", "hostPath": {"path": str(tmp_path / "absent"), "type": "Directory"}}
    await make(client, namespace, pod("waits", "true", container={"volumeMounts": mounts}, volumes=[absent]))

    async def told() -> bool:
        return "is not a directory" in (await events(client, namespace, "waits")).get("FailedMount", "")

    await in_time("the missing path is told", told)
