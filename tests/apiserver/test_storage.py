"""The store: what was answered survives, watches resume across restarts, a full disk loses nothing that was accepted."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sailcloth.kube import resources
from sailcloth.kube.client import ApiError, Client
from sailcloth.local.apiserver import storage
from sailcloth.local.apiserver.storage import Event, Expired, StorageError, Store

from .cluster import Server, until

Object = dict[str, Any]


def obj(name: str, **data: Any) -> Object:
    return {"metadata": {"name": name, "namespace": "n"}, "data": data}


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "db")


async def test_events_come_after_the_commit_and_once(path: str) -> None:
    store = Store(path)
    seen: list[Event] = []
    stop = store.watch("things", None, seen.append)
    store.put("things", obj("a", x=1))
    assert not seen
    assert not store.dependents("nobody")
    await store.committed()
    store.put("things", obj("a", x=2))
    store.delete("things", "n", "a")
    await store.committed()
    stop()
    store.put("things", obj("b"))
    await store.committed()
    assert [(e.type, e.obj["data"]) for e in seen] == [
        ("ADDED", {"x": 1}),
        ("MODIFIED", {"x": 2}),
        ("DELETED", {"x": 2}),
    ]
    store.close()


async def test_a_watch_resumes_across_a_restart_with_deletions(path: str) -> None:
    store = Store(path)
    store.put("things", obj("a", x=1))
    await store.committed()
    since = store.revision
    store.put("things", obj("a", x=2))
    store.delete("things", "n", "a")
    await store.committed()
    store.close()
    again = Store(path)
    again.put("things", obj("b"))
    await again.committed()
    seen: list[Event] = []
    again.watch("things", since, seen.append)
    assert [(e.type, e.obj["metadata"]["name"]) for e in seen] == [("MODIFIED", "a"), ("DELETED", "a"), ("ADDED", "b")]
    assert all(e.prev is not None for e in seen[:2]), "selectors need what was before"
    again.close()


async def test_revisions_below_the_floor_and_from_elsewhere_are_gone(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "KEPT_EVENTS", 20)
    monkeypatch.setattr(storage, "_COMPACT_EVERY", 10)
    monkeypatch.setattr(storage, "_EVENTS_IN_MEMORY", 5)
    store = Store(path)
    for n in range(60):
        store.put("things", obj("a", x=n))
        await store.committed()
    with pytest.raises(Expired):
        store.watch("things", 3, lambda _: None)
    with pytest.raises(Expired):
        store.watch("things", store.revision + 1, lambda _: None)
    seen: list[Event] = []
    store.watch("things", store.revision - 15, seen.append)
    assert [e.obj["data"]["x"] for e in seen] == list(range(45, 60))
    store.close()
    again = Store(path)
    with pytest.raises(Expired):
        again.watch("things", 3, lambda _: None)
    again.close()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from(["put", "delete"])), max_size=30), st.data())
def test_a_snapshot_is_what_a_list_was(steps: list[tuple[str, str]], data: st.DataObject) -> None:
    async def run() -> None:
        store = Store(":memory:")
        pictures = [(store.revision, store.all("things"))]
        for number, (name, what) in enumerate(steps):
            if what == "put":
                store.put("things", obj(name, x=number))
            elif store.get("things", "n", name):
                store.delete("things", "n", name)
            if data.draw(st.booleans()):
                await store.committed()
            pictures.append((store.revision, store.all("things")))
        for revision, picture in pictures:
            found = store.snapshot("things", None, revision)
            assert [found.read(n) for n in found.names] == picture
        await store.committed()
        store.close()

    asyncio.run(run())


async def test_a_full_disk_refuses_and_keeps_what_was_accepted(path: str) -> None:
    store = Store(path)
    store.put("things", obj("kept", x="small"))
    await store.committed()
    pages = store._db.execute("pragma page_count").fetchone()[0]
    store._db.execute(f"pragma max_page_count={pages + 2}")
    seen: list[Event] = []
    store.watch("things", None, seen.append)
    store.put("things", obj("kept", x="y" * 100_000))
    with pytest.raises(StorageError, match="full"):
        await store.committed()
    assert store.get("things", "n", "kept") == {**obj("kept", x="small"), "metadata": {**obj("kept")["metadata"], "resourceVersion": "2"}}  # fmt: skip
    assert not seen
    assert not store.dependents("nobody")
    store._db.execute("pragma max_page_count=100000")
    store.put("things", obj("kept", x="now it fits"))
    await store.committed()
    assert [e.obj["data"]["x"] for e in seen] == ["now it fits"]
    store.close()
    again = Store(path)
    assert again.all("things")[0]["data"] == {"x": "now it fits"}
    again.close()


async def test_nothing_answered_is_lost_when_the_server_is_killed(tmp_path: Path) -> None:
    server = Server(tmp_path)
    answered: dict[str, str] = {}
    try:
        server.start()
        async with server.client() as client:

            async def write(worker: int) -> None:
                for number in range(10_000):
                    name = f"w{worker}-{number}"
                    body = {"metadata": {"name": name, "namespace": "default"}, "data": {"n": str(number)}}
                    try:
                        made = await client.create(resources.CONFIGMAPS, body)
                    except (OSError, ApiError):
                        return
                    answered[name] = made["metadata"]["resourceVersion"]

            writers = [asyncio.create_task(write(n)) for n in range(8)]
            await until("300 answered writes", lambda: len(answered) >= 300)
            assert server.end(signal.SIGKILL) == -signal.SIGKILL
            await asyncio.gather(*writers)
        since = max(int(v) for v in answered.values())
        server.start()
        async with server.client() as client:
            found, version = await client.list(resources.CONFIGMAPS, "default")
            kept = {o["metadata"]["name"]: o["metadata"]["resourceVersion"] for o in found}
            assert answered.items() <= kept.items()
            assert int(version) >= since
            await _resumes(client, since)
    finally:
        server.close()


async def _resumes(client: Client, since: int) -> None:
    """A watch from before the crash goes on with what comes now."""
    await client.create(resources.CONFIGMAPS, {"metadata": {"name": "after", "namespace": "default"}})
    query = {"watch": "true", "resourceVersion": str(since), "fieldSelector": "metadata.name=after"}
    async with asyncio.timeout(10), client.request("GET", resources.CONFIGMAPS.path("default"), params=query) as answer:
        assert b'"after"' in await answer.content.readline()


async def test_owners_are_indexed_through_every_change(path: str) -> None:
    def owned(name: str, *uids: str) -> Object:
        made = obj(name)
        made["metadata"]["ownerReferences"] = [{"uid": u, "kind": "Thing", "name": u} for u in uids]
        return made

    def names(store: Store, uid: str) -> list[str]:
        return sorted(o["metadata"]["name"] for _, o in store.dependents(uid))

    store = Store(path)
    store.put("things", owned("a", "one", "two"))
    store.put("things", owned("b", "one"))
    assert (names(store, "one"), names(store, "two")) == (["a", "b"], ["a"])
    store.put("things", owned("a", "two"))
    store.delete("things", "n", "b")
    assert (names(store, "one"), names(store, "two")) == ([], ["a"])
    await store.committed()
    pages = store._db.execute("pragma page_count").fetchone()[0]
    store._db.execute(f"pragma max_page_count={pages}")
    store.put("things", {**owned("a", "one"), "data": "x" * 100_000})
    store.put("things", owned("c", "one"))
    with pytest.raises(StorageError):
        await store.committed()
    assert (names(store, "one"), names(store, "two")) == ([], ["a"])
    store._db.execute("pragma max_page_count=100000")
    store.close()
    again = Store(path)
    assert names(again, "two") == ["a"]
    again.close()
