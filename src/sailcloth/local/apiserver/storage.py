"""Objects with revisions, in SQLite and in memory. The event loop's thread is the only writer.

A write is answered after its commit, watchers are told after the commit, and every event is encoded once. Writes of one turn
of the event loop share a commit. A watch resumes from any revision since the last compaction, across restarts too.
"""

from __future__ import annotations

import asyncio
import bisect
import heapq
import logging
from collections import defaultdict, deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

import apsw
import orjson

from .shared_parts import share
from .unstructured import Unstructured

log = logging.getLogger(__name__)

Type = Literal["ADDED", "MODIFIED", "DELETED"]
Name = tuple[str, str]  # namespace, name

KEPT_EVENTS = 5_000  # events kept on disk for resuming watches
_COMPACT_EVERY = 1_000
_EVENTS_IN_MEMORY = 200  # of them, for each resource, kept decoded: what a watch may have missed since its list
_PAGE = 8192  # bytes; most objects have one or two kB, which would need a page of their own in smaller ones
_FORMAT = "1"  # of the tables; grows when an older program could not read them
_SCHEMA = """
create table if not exists obj(gr text, ns text, name text, rv integer, body blob, primary key(gr, ns, name)) without rowid;
create table if not exists log(rv integer primary key, gr text, ns text, name text, type text, body blob, prev blob);
create table if not exists meta(key text primary key, value text);
"""


class Expired(Exception):
    """The requested revision has been compacted."""


class StorageError(Exception):
    """A write to disk failed; memory is rolled back."""


@dataclass(slots=True)
class Event:
    """One change. `prev` is the object before the change: a selector may have matched only that."""

    revision: int
    type: Type
    obj: Unstructured
    prev: Unstructured | None
    _encoded: dict[Hashable, bytes] = field(default_factory=dict)

    def encoded(self, form: Hashable, make: Callable[[], bytes]) -> bytes:
        """The event encoded in a form; encoded once for all watchers that use the same form."""
        body = self._encoded.get(form)
        if body is None:
            body = self._encoded[form] = make()
        return body


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A collection at one revision: sorted names, and a function that reads the object of a name."""

    names: list[Name]
    read: Callable[[Name], Unstructured]


def clone(obj: Unstructured) -> Unstructured:
    """A deep copy of a stored object, or of one that could be stored."""
    return orjson.loads(orjson.dumps(obj))  # type: ignore[no-any-return]


class Store:
    """All objects by resource (`plural.group`)."""

    def __init__(self, path: str, durability: str = "normal", compacted: Callable[[], None] = lambda: None) -> None:
        self._path, self._compacted = path, compacted
        self._db = apsw.Connection(path)
        self._db.setbusytimeout(5000)
        self._check_format()
        level = "full" if durability == "full" else "normal"
        self._db.execute(f"pragma page_size={_PAGE}")  # of a new file
        self._db.execute(f"pragma journal_mode=wal; pragma synchronous={level}; pragma cache_size=-16000")
        self._db.execute(_SCHEMA)
        self._db.execute("insert or ignore into meta values('format', ?)", (_FORMAT,))
        self.data: dict[str, dict[Name, Unstructured]] = defaultdict(dict)
        self._order: dict[str, list[Name]] = defaultdict(list)  # the keys of `data`, sorted
        self._events: dict[str, deque[Event]] = defaultdict(lambda: deque(maxlen=_EVENTS_IN_MEMORY))
        self._oldest_in_memory: dict[str, int] = {}  # last revision of each resource whose event is on disk only
        self._watchers: dict[str, set[Callable[[Event], None]]] = defaultdict(set)
        self._uncommitted: list[tuple[str, Event]] = []
        self._waiting: list[asyncio.Future[None]] = []
        self._handle: asyncio.Handle | None = None
        self._since_compaction = 0
        self._by_owner: dict[str, dict[tuple[str, Name], None]] = {}  # uid of an owner -> what names it as owner
        self._load()

    def _check_format(self) -> None:
        """Raises StorageError, with nothing changed, for a file in the format of another version of this program."""
        if not self._db.execute("select 1 from sqlite_master where name='meta'").fetchone():
            return
        (version,) = self._db.execute("select value from meta where key='format'").fetchone() or (_FORMAT,)
        if version != _FORMAT:
            self._db.close()
            text = f"has format {version}, this program reads format {_FORMAT}: use the version that made it"
            raise StorageError(f"{self._path} {text}")

    def _load(self) -> None:
        for group_resource, ns, name, body in self._db.execute("select gr, ns, name, body from obj"):
            obj = self.data[group_resource][(ns, name)] = orjson.loads(body)
            share(obj)
            self._order[group_resource].append((ns, name))
            self._index_owners(group_resource, (ns, name), None, obj)
        for names in self._order.values():
            names.sort()
        (top,) = self._db.execute("select max(rv) from log").fetchone() or (None,)
        floor = self._db.execute("select value from meta where key='floor'").fetchone()
        self.floor = int(floor[0]) if floor else 0
        self.revision = max(int(top or 0), self.floor, 1)
        self._first = self.revision  # what happened before this process is read from the log if a watch asks for it

    # -- reading --------------------------------------------------------------------------------

    def get(self, group_resource: str, ns: str, name: str) -> Unstructured | None:
        return self.data[group_resource].get((ns, name))

    def all(self, group_resource: str, ns: str | None = None) -> list[Unstructured]:
        """Objects sorted by namespace and name."""
        objects = self.data[group_resource]
        return [objects[k] for k in self._names(group_resource, ns)]

    def _names(self, group_resource: str, ns: str | None, after: Name = ("", "")) -> list[Name]:
        """Sorted names of what there is, in one namespace or in all, after a name."""
        names = self._order[group_resource]
        start = bisect.bisect_right(names, after) if after != ("", "") else 0
        if ns is None:
            return names[start:]
        start = max(start, bisect.bisect_left(names, (ns, "")))
        return names[start : bisect.bisect_left(names, (ns + "\0", ""), start)]

    def _set(self, group_resource: str, key: Name, obj: Unstructured | None) -> None:
        """Set the object in memory under a name; None removes it."""
        names, objects = self._order[group_resource], self.data[group_resource]
        if obj is None:
            del objects[key]
            del names[bisect.bisect_left(names, key)]
        else:
            if key not in objects:
                bisect.insort(names, key)
            objects[key] = obj

    def dependents(self, uid: str) -> list[tuple[str, Unstructured]]:
        """(resource, object) of every object with an owner reference to this uid."""
        return [(group_resource, self.data[group_resource][key]) for group_resource, key in self._by_owner.get(uid, ())]

    def _index_owners(self, group_resource: str, key: Name, old: Unstructured | None, new: Unstructured | None) -> None:
        before, after = _owner_uids(old), _owner_uids(new)
        for uid in before - after:
            dependents = self._by_owner.get(uid, {})
            dependents.pop((group_resource, key), None)
            if not dependents:
                self._by_owner.pop(uid, None)
        for uid in after - before:
            self._by_owner.setdefault(uid, {})[(group_resource, key)] = None

    def snapshot(
        self, group_resource: str, ns: str | None, revision: int | None = None, after: Name = ("", "")
    ) -> Snapshot:
        """Objects as they are, or as they were at a revision, sorted by namespace and name, from after a name. Raises Gone."""
        names, live = self._names(group_resource, ns, after), self.data[group_resource]
        if revision is None or revision == self.revision:
            return Snapshot(names, live.__getitem__)
        if not self.floor <= revision <= self.revision:
            raise Expired
        # What each object was before its first change since: None if it was not, else the change or its revision.
        then: dict[Name, int | Event | None] = {}
        asked = "select ns, name, min(rv), type from log where rv > ? and gr = ? group by ns, name"
        for space, name, first, type_ in self._db.execute(asked, (revision, group_resource)):
            then[space, name] = None if type_ == "ADDED" else first
        for group, event in self._uncommitted:
            if group == group_resource and event.revision > revision:
                metadata = event.obj["metadata"]
                then.setdefault((metadata.get("namespace", ""), metadata["name"]), event if event.prev else None)

        def read(name: Name) -> Unstructured:
            change = then.get(name)
            if isinstance(change, int):
                (event,) = self._read_log(group_resource, change - 1, 1)
                change = event
            return live[name] if change is None or change.prev is None else change.prev

        gone = [k for k, e in then.items() if e and k not in live and k > after and (ns is None or k[0] == ns)]
        new = {k for k, e in then.items() if e is None}
        return Snapshot([n for n in heapq.merge(names, sorted(gone)) if n not in new], read)

    # -- writing --------------------------------------------------------------------------------

    def put(self, group_resource: str, obj: Unstructured) -> Unstructured:
        """Add or replace; the object gets its new revision. Effective in memory at once, durable after `committed`."""
        metadata = obj["metadata"]
        key = (metadata.get("namespace", ""), metadata["name"])
        old = self.data[group_resource].get(key)
        self.revision += 1
        metadata["resourceVersion"] = str(self.revision)
        share(obj)
        self._set(group_resource, key, obj)
        self._index_owners(group_resource, key, old, obj)
        self._record(group_resource, Event(self.revision, "MODIFIED" if old is not None else "ADDED", obj, old))
        return obj

    def delete(self, group_resource: str, ns: str, name: str) -> Unstructured:
        old = self.data[group_resource][(ns, name)]
        self._set(group_resource, (ns, name), None)
        self._index_owners(group_resource, (ns, name), old, None)
        self.revision += 1
        gone = {**old, "metadata": {**old["metadata"], "resourceVersion": str(self.revision)}}
        self._record(group_resource, Event(self.revision, "DELETED", gone, old))
        return gone

    def _record(self, group_resource: str, event: Event) -> None:
        self._uncommitted.append((group_resource, event))
        if self._handle is None:
            self._handle = asyncio.get_running_loop().call_soon(self.commit)

    async def committed(self) -> None:
        """Wait until everything written so far is durable. Raises StorageError if it could not be written."""
        if self._uncommitted:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(future)
            await future

    def commit(self) -> None:
        """Write uncommitted events in one transaction, then notify watchers and waiting writers."""
        self._handle = None
        batch, self._uncommitted = self._uncommitted, []
        waiting, self._waiting = self._waiting, []
        if not batch:
            return
        try:
            self._write(batch)
        except (apsw.Error, orjson.JSONEncodeError) as error:
            self._roll_back(batch)
            text = f"the database refused the write: {error}"
            if isinstance(error, apsw.FullError | apsw.IOError):
                text += f"; free some space for {self._path}"
            log.error(text)
            for future in waiting:
                if not future.done():
                    future.set_exception(StorageError(text))
            return
        for group_resource, event in batch:
            events = self._events[group_resource]
            if len(events) == _EVENTS_IN_MEMORY:
                self._oldest_in_memory[group_resource] = events[0].revision
            events.append(event)
            for tell in list(self._watchers[group_resource]):
                try:
                    tell(event)
                except Exception:  # a failing watcher must not affect other watchers or waiting writers
                    log.exception("a watcher of %s failed", group_resource)
        for future in waiting:
            if not future.done():
                future.set_result(None)
        self._since_compaction += len(batch)
        if self._since_compaction >= _COMPACT_EVERY:
            self._compact()

    def _write(self, batch: list[tuple[str, Event]]) -> None:
        self._db.execute("begin immediate")
        try:
            for group_resource, e in batch:
                metadata = e.obj["metadata"]
                ns, name = metadata.get("namespace", ""), metadata["name"]
                body = orjson.dumps(e.obj)
                prev = orjson.dumps(e.prev) if e.prev is not None else None
                row = (e.revision, group_resource, ns, name, e.type, body, prev)
                self._db.execute("insert into log values(?,?,?,?,?,?,?)", row)
                if e.type == "DELETED":
                    self._db.execute("delete from obj where gr=? and ns=? and name=?", (group_resource, ns, name))
                else:
                    self._db.execute(
                        "insert or replace into obj values(?,?,?,?,?)", (group_resource, ns, name, e.revision, body)
                    )
            self._db.execute("commit")
        except (apsw.Error, orjson.JSONEncodeError):
            if self._db.in_transaction:  # some errors have rolled back already
                self._db.execute("rollback")
            raise

    def _roll_back(self, batch: list[tuple[str, Event]]) -> None:
        """Roll memory back to what is on disk."""
        for group_resource, event in reversed(batch):
            metadata = event.obj["metadata"]
            key = (metadata.get("namespace", ""), metadata["name"])
            self._index_owners(group_resource, key, None if event.type == "DELETED" else event.obj, event.prev)
            if event.prev is not None or key in self.data[group_resource]:
                self._set(group_resource, key, event.prev)

    def _compact(self) -> None:
        self._since_compaction = 0
        floor = self.revision - KEPT_EVENTS
        if floor <= self.floor:
            return
        try:
            with self._db:
                self._db.execute("delete from log where rv <= ?", (floor,))
                self._db.execute("insert or replace into meta values('floor', ?)", (str(floor),))
            self.floor = floor
        except apsw.Error as error:
            log.warning("compaction failed: %s", error)
        self._compacted()

    # -- watching -------------------------------------------------------------------------------

    def watch(self, group_resource: str, since: int | None, tell: Callable[[Event], None]) -> Callable[[], None]:
        """Report events after a revision (None: from now on). Returns a function that stops it. Raises Gone."""
        if since is not None:
            for event in self._since(group_resource, since):
                tell(event)
        self._watchers[group_resource].add(tell)
        return lambda: self._watchers[group_resource].discard(tell)

    def _since(self, group_resource: str, since: int) -> Iterable[Event]:
        """Committed events after a revision. Raises Gone for one that is compacted, or that this store has never reached:
        it belongs to another state."""
        if since < self.floor or since > self.revision:
            raise Expired
        if since >= self._oldest_in_memory.get(group_resource, self._first):
            return [e for e in self._events[group_resource] if e.revision > since]
        return list(self._read_log(group_resource, since))

    def _read_log(self, group_resource: str, since: int, most: int = -1) -> Iterator[Event]:
        asked = "select rv, type, body, prev from log where rv > ? and gr = ? order by rv limit ?"
        for revision, type_, body, prev in self._db.execute(asked, (since, group_resource, most)):
            obj = orjson.loads(body)
            # Older programs kept no such prev
            before = orjson.loads(prev) if prev else obj if type_ == "DELETED" else None
            yield Event(revision, type_, obj, before)

    def close(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self.commit()
        self._db.close()


def _owner_uids(obj: Unstructured | None) -> set[str]:
    references = obj["metadata"].get("ownerReferences") if obj is not None else None
    return {r["uid"] for r in references if r.get("uid")} if references else set()
