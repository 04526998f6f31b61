"""Access logs: files that are followed over rotations and restarts, the store, and the API over real HTTP."""

from __future__ import annotations

import datetime as dt
import json
import os
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from sailcloth.lib import access_log_lines
from sailcloth.telemetry.access_logs.files import LogFiles
from sailcloth.telemetry.access_logs.server import AccessLogs
from sailcloth.telemetry.access_logs.store import LogStore, Query
from sailcloth.telemetry.partitions import PARTITION_US

Object = dict[str, Any]
NOW = 1_900_000_000_000_000
CLIENT, SERVER = "10.1.0.5", "10.1.0.9"
PODS = {CLIENT: "default/productpage-v1-5d8f-abcde", SERVER: "default/reviews-v1-6c9f-fghij"}
FIELDS = json.loads('{"flags": "-", "details": "via_upstream", "method": "GET"}')


def line(number: int, status: int = 200, path: str = "/reviews/0", inbound: bool = True, **fields: str) -> str:
    """A line of Istio's text format, of a moment before NOW."""
    at = dt.datetime.fromtimestamp(NOW / 1e6 - 60 + number / 1000, dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
    of = {**FIELDS, "id": f"id-{number}", "agent": "curl/8", "host": "reviews:9080", **fields}
    cluster = "inbound|9080||" if inbound else "outbound|9080||reviews.default.svc.cluster.local"
    return (
        f'[{at}] "{of["method"]} {path} HTTP/1.1" {status} {of["flags"]} {of["details"]} - "-" 0 295 12 11 "-" "{of["agent"]}" '
        f'"{of["id"]}" "{of["host"]}" "{SERVER}:9080" {cluster} {SERVER}:1 {SERVER}:9080 {CLIENT}:4711 '
        "outbound_.9080_._.reviews.default.svc.cluster.local default"
    )


class Pod:
    """The log of a proxy, as the node writes it."""

    def __init__(self, root: Path, name: str, namespace: str = "default") -> None:
        self.path = root / f"{namespace}_{name}_uid-{name}" / "istio-proxy" / "0.log"
        self.path.parent.mkdir(parents=True)

    def write(self, *lines: str, end: str = "\n") -> None:
        with self.path.open("a") as file:
            file.write("".join(f"2030-03-17T17:46:39.123456789Z stdout F {one}{end}" for one in lines))

    def rotate(self) -> None:
        self.path.replace(f"{self.path}.old")

    def remove(self) -> None:
        for path in self.path.parent.iterdir():
            path.unlink()
        self.path.parent.rmdir()
        self.path.parent.parent.rmdir()


class Reader:
    """The reader and its store; `again` is the next process."""

    def __init__(self, folder: Path, **limits: Any) -> None:
        self.folder, self._limits = folder, limits
        self.open()

    def open(self) -> None:
        self.store = LogStore(self.folder / "store", **self._limits)
        self.files = LogFiles(self.folder / "logs", "istio-proxy", self.store.positions())

    def again(self) -> None:
        self.close()
        self.open()

    def close(self) -> None:
        self.files.close()
        self.store.close()

    def read(self, now: int = NOW) -> None:
        self.store.keep(list(self.files.chunks()), PODS, now)
        self.store.tidy(self.files.names(), now)

    def ids(self, **query: Any) -> list[str]:
        found, complete = self.store.find(Query(**{"limit": 10_000, **query}))
        assert complete
        return [fields["request_id"] for _, _, fields in found]


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    one = Reader(tmp_path)
    yield one
    one.close()


@pytest.fixture
def pod(reader: Reader) -> Pod:
    return Pod(reader.folder / "logs", "reviews-v1-6c9f-fghij")


def test_what_is_written_is_found_the_latest_first(reader: Reader, pod: Pod) -> None:
    pod.write(line(1), "warning envoy main: not a request", line(2))
    reader.read()
    assert reader.ids() == ["id-2", "id-1"]
    found, _ = reader.store.find(Query())
    assert found[0][:2] == ("default/reviews-v1-6c9f-fghij", "default/productpage-v1-5d8f-abcde")


def test_a_line_waits_for_its_end(reader: Reader, pod: Pod) -> None:
    pod.write(line(1), end="")
    reader.read()
    assert reader.ids() == []
    with pod.path.open("a") as file:
        file.write("\n")
    reader.read()
    assert reader.ids() == ["id-1"]


def test_the_next_process_goes_on_where_the_last_one_stopped(reader: Reader, pod: Pod) -> None:
    pod.write(line(1))
    reader.read()
    pod.write(line(2))
    reader.again()
    reader.read()
    assert reader.ids() == ["id-2", "id-1"]


def test_what_was_rotated_meanwhile_is_read_too(reader: Reader, pod: Pod) -> None:
    pod.write(line(1))
    reader.read()
    pod.write(line(2))
    reader.again()
    pod.rotate()
    pod.write(line(3))
    reader.read()
    pod.write(line(4))
    pod.rotate()
    pod.write(line(5))
    reader.read()
    assert reader.ids() == [f"id-{n}" for n in (5, 4, 3, 2, 1)]


def test_lines_that_are_read_again_are_kept_once(reader: Reader, pod: Pod) -> None:
    """A crash between lines and positions."""
    pod.write(line(1), line(2))
    chunks = list(reader.files.chunks())
    reader.store.keep(chunks, PODS, NOW)
    reader.store.keep(chunks, PODS, NOW)
    assert reader.ids() == ["id-2", "id-1"]


def test_a_removed_pod_is_read_to_its_end_and_stays_in_the_store(reader: Reader, pod: Pod) -> None:
    pod.write(line(1))
    reader.read()
    pod.write(line(2))
    pod.remove()
    reader.read()
    assert (reader.ids(), reader.files.names()) == (["id-2", "id-1"], set())
    reader.read()
    assert reader.store.positions() == {}


def test_the_oldest_partitions_go(tmp_path: Path) -> None:
    reader = Reader(tmp_path, max_bytes=200_000)
    pod = Pod(tmp_path / "logs", "reviews-v1-6c9f-fghij")
    for part in range(4):
        pod.write(*(line(part * PARTITION_US // 1000 + n) for n in range(200)))
    reader.read(NOW + 4 * PARTITION_US)
    kept = reader.ids()
    assert 0 < len(kept) < 800
    assert kept[0] == f"id-{3 * PARTITION_US // 1000 + 199}"
    reader.read(NOW + 86_400_000_000 * 2)
    assert reader.ids() == []
    reader.close()


def test_text_and_json_have_the_same_summary() -> None:
    text = line(1, 503, flags="UF,URX", agent='a "quoted" agent 200 -', inbound=False)
    fields = access_log_lines.parse(text)
    assert fields is not None
    summary = access_log_lines.summary(text)
    assert summary == access_log_lines.summary(json.dumps(fields))
    assert summary == access_log_lines.Summary(NOW - 60_000_000 + 1000, False, 503, "UF,URX", "id-1", SERVER)


@pytest.mark.parametrize("text", ["", "{", "{}", '{"a": 1}', "[x]", '[x] "GET / HTTP/1.1" 200 - ', "[" * 20_000])
def test_other_lines_have_none(text: str) -> None:
    assert access_log_lines.summary(text) is None


# -- the API ----------------------------------------------------------------------------------------


Ask = Any


@pytest.fixture
async def ask(reader: Reader, pod: Pod) -> AsyncIterator[Ask]:
    other = Pod(reader.folder / "logs", "productpage-v1-5d8f-abcde")
    pod.write(
        line(1),
        line(2, 503, flags="UF"),
        line(3, 403, path="/admin", details="rbac_access_denied_matched_policy[none]"),
    )
    other.write(line(4, 404, inbound=False, method="POST", host="other"))
    logs = AccessLogs(reader.store, reader.files, PODS, lambda trace: {"id-2"} if trace == "ab" else (), lambda: NOW)
    reader.read()
    app = web.Application()
    app.add_routes(logs.routes())
    async with TestServer(app) as server, aiohttp.ClientSession() as session:

        async def get(**query: str) -> tuple[int, Any]:
            async with session.get(server.make_url("/api/v1/requests"), params=query) as answer:
                return answer.status, await answer.json() if answer.status == 200 else await answer.text()

        yield get


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ({}, [4, 3, 2, 1]),
        ({"limit": "2"}, [4, 3]),
        ({"workload": "reviews-v1"}, [3, 2, 1]),
        ({"workload": "reviews"}, []),
        ({"workload": "default/productpage-v1"}, [4]),
        ({"pod": "productpage-v1-5d8f-abcde"}, [4]),
        ({"namespace": "default"}, [4, 3, 2, 1]),
        ({"namespace": "other"}, []),
        ({"peer": "productpage-v1"}, [3, 2, 1]),
        ({"direction": "out"}, [4]),
        ({"status": "5xx"}, [2]),
        ({"status": ">=403"}, [4, 3, 2]),
        ({"status": "<403"}, [1]),
        ({"failed": "true"}, [4, 3, 2]),
        ({"flags": "UF"}, [2]),
        ({"flags": "U"}, []),
        ({"path": "/adm"}, [3]),
        ({"method": "post"}, [4]),
        ({"authority": "other"}, [4]),
        ({"request_id": "id-1"}, [1]),
        ({"trace": "ab"}, [2]),
        ({"trace": "cd"}, []),
        ({"since": "59998ms"}, [4, 3, 2]),
        ({"end": str(NOW / 1e6 - 59.999)}, [1]),
    ],
)
async def test_filters(ask: Ask, query: Mapping[str, str], ids: list[int]) -> None:
    status, answer = await ask(**query)
    assert status == 200, answer
    assert [one["request_id"] for one in answer["requests"]] == [f"id-{n}" for n in ids]
    assert answer["complete"]


async def test_a_request_says_who_and_why(ask: Ask) -> None:
    _, answer = await ask(path="/admin")
    one = answer["requests"][0]
    assert (one["source"], one["destination"]) == (PODS[CLIENT], PODS[SERVER])
    assert (one["direction"], one["status"], one["tls"]) == ("in", 403, True)
    assert one["details"] == "rbac_access_denied_matched_policy[none]"
    assert (one["method"], one["duration_ms"], one["upstream_cluster"]) == ("GET", 12, "inbound|9080||")


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ({"status": "teapot"}, "write 503, 5xx or >=400"),
        ({"since": "x"}, "cannot parse"),
        ({"limit": "0"}, "from 1 to 10000"),
        ({"direction": "up"}, "neither in nor out"),
        ({"sql": "x"}, "unknown parameter 'sql'; there are: authority, direction"),
    ],
)
async def test_wrong_questions(ask: Ask, query: Mapping[str, str], text: str) -> None:
    status, answer = await ask(**query)
    assert status == 400
    assert text in answer


def test_only_this_user_reads_the_files(reader: Reader, pod: Pod) -> None:
    pod.write(line(1))
    reader.read()
    files = [p for p in (reader.folder / "store").iterdir() if p.suffix == ".db"]
    assert len(files) == 2
    assert {os.stat(p).st_mode & 0o777 for p in files} == {0o600}
