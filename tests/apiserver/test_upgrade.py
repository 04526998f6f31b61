"""State that an older program wrote is today's: objects, watches from before, and what runs on them. A newer one's is left alone."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sailcloth.kube import resources
from sailcloth.kube.client import ApiError, Client
from sailcloth.kube.resources import Resource

from .cluster import Server, until

Object = dict[str, Any]
THINGS = Resource("old.example", "v1", "things", "Thing")

# The statements of the first version, word for word.
SCHEMA = """
create table if not exists obj(gr text, ns text, name text, rv integer, body blob, primary key(gr, ns, name)) without rowid;
create table if not exists log(rv integer primary key, gr text, ns text, name text, type text, body blob, prev blob);
create table if not exists meta(key text primary key, value text);
"""
UID = "11111111-0000-4000-8000-00000000000{}"


class Old:
    """A state file as the first version wrote it: objects with fewer defaults, no managed fields."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("pragma journal_mode=wal")
        self._db.executescript(SCHEMA)
        self._db.execute("insert into meta values('format', '1')")
        self.revision = 100
        self._db.execute("insert into meta values('floor', '100')")
        self._was: dict[tuple[str, str, str], bytes] = {}

    def write(self, gr: str, obj: Object) -> None:
        metadata = obj["metadata"]
        self.revision += 1
        metadata["resourceVersion"] = str(self.revision)
        metadata.setdefault("creationTimestamp", "2026-01-01T00:00:00Z")
        key, body = (gr, metadata.get("namespace", ""), metadata["name"]), json.dumps(obj).encode()
        prev = self._was.get(key)
        row = (self.revision, *key, "MODIFIED" if prev else "ADDED", body, prev)
        self._db.execute("insert into log values(?,?,?,?,?,?,?)", row)
        self._db.execute("insert or replace into obj values(?,?,?,?,?)", (*key, self.revision, body))
        self._was[key] = body

    def delete(self, gr: str, ns: str, name: str) -> None:
        self.revision += 1
        gone = json.loads(self._was[gr, ns, name])
        gone["metadata"]["resourceVersion"] = str(self.revision)
        row = (self.revision, gr, ns, name, "DELETED", json.dumps(gone).encode(), None)
        self._db.execute("insert into log values(?,?,?,?,?,?,?)", row)
        self._db.execute("delete from obj where gr=? and ns=? and name=?", (gr, ns, name))

    def close(self) -> None:
        self._db.close()


def fill(old: Old) -> None:
    old.write(
        "namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "uid": UID.format(1)}}
    )
    settings = {"apiVersion": "v1", "kind": "ConfigMap", "data": {"colour": "red"}}
    old.write("configmaps", {**settings, "metadata": {"name": "kept", "namespace": "shop", "uid": UID.format(2)}})
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": "curl"}]}}
    spec = {"replicas": 0, "selector": {"matchLabels": {"app": "web"}}, "template": template}
    metadata = {"name": "web", "namespace": "shop", "uid": UID.format(3), "generation": 1}
    old.write("deployments.apps", {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec})
    names = {"plural": "things", "kind": "Thing"}
    schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": {"size": {"type": "integer"}}}}}
    versions = [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}]
    kind = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition"}
    crd = {"group": "old.example", "scope": "Namespaced", "names": names, "versions": versions}
    status = {
        "acceptedNames": names,
        "conditions": [{"type": "Established", "status": "True"}],
        "storedVersions": ["v1"],
    }
    old.write(
        "customresourcedefinitions.apiextensions.k8s.io",
        {**kind, "metadata": {"name": "things.old.example", "uid": UID.format(4)}, "spec": crd, "status": status},
    )
    thing = {"apiVersion": "old.example/v1", "kind": "Thing", "spec": {"size": 3}}
    old.write("things.old.example", {**thing, "metadata": {"name": "one", "namespace": "shop", "uid": UID.format(5)}})
    # What a watch that began before resumes with: a change, and something that came and went.
    changed = {**settings, "data": {"colour": "blue"}}
    old.write("configmaps", {**changed, "metadata": {"name": "kept", "namespace": "shop", "uid": UID.format(2)}})
    old.write("configmaps", {**settings, "metadata": {"name": "brief", "namespace": "shop", "uid": UID.format(6)}})
    old.delete("configmaps", "shop", "brief")


@pytest.fixture
def upgraded(tmp_path: Path) -> Iterator[Server]:
    old = Old(tmp_path / "api.db")
    fill(old)
    old.close()
    running = Server(tmp_path)
    try:
        running.start()
        yield running
        assert running.end() == 0
        assert "Traceback" not in running.log(), running.log()
    finally:
        running.close()


async def test_an_older_state_is_kept_watched_and_worked_on(upgraded: Server) -> None:
    async with upgraded.client() as client:
        kept = await client.get(resources.CONFIGMAPS, "kept", "shop")
        assert (kept["data"], kept["metadata"]["uid"]) == ({"colour": "blue"}, UID.format(2))
        assert await seen(client, 102, 4) == [
            ("MODIFIED", "kept", "106"),
            ("ADDED", "brief", "107"),
            ("DELETED", "brief", "108"),
            ("ADDED", "kube-root-ca.crt"),  # what today's controllers add comes after it
        ]
        with pytest.raises(ApiError) as gone:
            await seen(client, 50, 1)
        assert gone.value.status == 410
        await client.patch(resources.CONFIGMAPS, "kept", "shop", {"data": {"more": "yes"}})
        one = await client.get(THINGS, "one", "shop")
        with pytest.raises(ApiError, match="size"):
            await client.patch(THINGS, "one", "shop", {"spec": {"size": "big"}})
        await client.patch(THINGS, "one", "shop", {"spec": {"size": one["spec"]["size"] + 1}})
        await client.patch(resources.DEPLOYMENTS, "web", "shop", {"spec": {"replicas": 1}})

        async def pods() -> list[Object]:
            return (await client.list(resources.PODS, "shop"))[0]

        (pod,) = await until("the old deployment's pod", pods)
        assert pod["spec"]["containers"][0]["terminationMessagePath"] == "/dev/termination-log"
    upgraded.end(signal.SIGKILL)
    upgraded.start()
    async with upgraded.client() as client:
        assert (await client.get(resources.CONFIGMAPS, "kept", "shop"))["data"] == {"colour": "blue", "more": "yes"}
        assert (await client.get(THINGS, "one", "shop"))["spec"] == {"size": 4}


async def seen(client: Client, since: int, count: int) -> list[tuple[str, ...]]:
    """What a watch from a revision reports; with revisions as far as the old state goes. Raises ApiError."""
    params = {"watch": "true", "resourceVersion": str(since)}
    out: list[tuple[str, ...]] = []
    async with client.request("GET", resources.CONFIGMAPS.path("shop"), params=params) as response:
        if response.status != 200:
            raise ApiError(response.status, "", "")
        while len(out) < count:
            event = json.loads(await response.content.readline())
            metadata = event["object"]["metadata"]
            revision = metadata["resourceVersion"]
            out.append((event["type"], metadata["name"], *([revision] if int(revision) <= 108 else [])))
    return out


def test_a_newer_state_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    old = Old(tmp_path / "api.db")
    fill(old)
    old._db.execute("update meta set value='9' where key='format'")
    old.close()
    before = (tmp_path / "api.db").read_bytes()
    config = {"db": str(tmp_path / "api.db"), "pki_dir": str(tmp_path / "pki"), "listen": [], "public_url": "https://x"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    command = [sys.executable, "-m", "sailcloth.local.apiserver", "--config", str(tmp_path / "config.json")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode
    assert "has format 9, this program reads format 1: use the version that made it" in ended.stderr
    assert (tmp_path / "api.db").read_bytes() == before
    assert not {f for f in os.listdir(tmp_path) if f.startswith("api.db-")}
