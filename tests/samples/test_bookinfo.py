"""Bookinfo's four programs against each other, and what readers see when one of them fails."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from email.message import Message
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from .programs import Program, Start, free_port

STAR = '<span class="glyphicon glyphicon-star"></span>'


def where(name: str, port: int) -> dict[str, str]:
    return {f"{name}_HOSTNAME": "127.0.0.1", f"{name}_SERVICE_PORT": str(port)}


def shop(start: Start, version: str = "v2", **reviews: str) -> Program:
    """productpage over details, reviews and ratings."""
    ratings = start("bookinfo_ratings.py")
    kinds = {"v1": {}, "v2": {"ENABLE_RATINGS": "true"}, "v3": {"ENABLE_RATINGS": "true", "STAR_COLOR": "red"}}
    backend = start("bookinfo_reviews.py", **{**where("RATINGS", ratings.port), **kinds[version], **reviews})
    details = start("bookinfo_details.py")
    return start("bookinfo_productpage.py", **where("DETAILS", details.port), **where("REVIEWS", backend.port))


def test_details(start: Start) -> None:
    program = start("bookinfo_details.py")
    book = program.ask("/details/7").json
    assert book["id"] == 7
    assert (book["year"], book["pages"], book["ISBN-10"]) == (1595, 200, "1234567890")
    assert program.ask("/details/x").status == 400
    assert program.ask("/health").json == {"status": "Details is healthy"}


def test_ratings(start: Start) -> None:
    program = start("bookinfo_ratings.py")
    assert program.ask("/ratings/1").json == {"id": 1, "ratings": {"Reviewer1": 5, "Reviewer2": 4}}
    assert program.ask("/ratings/1", "POST", b'{"Reviewer1": 1, "Reviewer2": 2}').status == 200
    assert program.ask("/ratings/1").json["ratings"] == {"Reviewer1": 1, "Reviewer2": 2}
    assert program.ask("/ratings/2").json["ratings"] == {"Reviewer1": 5, "Reviewer2": 4}
    assert program.ask("/ratings/1", "POST", b"[1]").status == 400
    assert program.ask("/ratings/x").status == 400
    assert program.ask("/health").status == 200


def test_ratings_of_the_database_version_take_no_posts(start: Start) -> None:
    assert (
        start("bookinfo_ratings.py", SERVICE_VERSION="v2").ask("/ratings/1", "POST", b'{"Reviewer1": 1}').status == 501
    )


@pytest.mark.parametrize("kind", ["mongo", "mysql"])
def test_ratings_from_a_database(start: Start, kind: str) -> None:
    database = start("database.py", *(["--greet"] if kind == "mysql" else []), "--seed", "ratings")
    where = {"MONGO_DB_URL": f"mongodb://127.0.0.1:{database.port}/test"}
    if kind == "mysql":
        where = {"DB_TYPE": "mysql", "MYSQL_DB_HOST": "127.0.0.1", "MYSQL_DB_PORT": str(database.port)}
    program = start("bookinfo_ratings.py", SERVICE_VERSION="v2", **where)
    assert program.ask("/ratings/7").json == {"id": 7, "ratings": {"Reviewer1": 5, "Reviewer2": 4}}
    assert database.stop() == 0
    assert program.ask("/ratings/7").status == 500
    assert program.ask("/health").status == 200


def test_faulty_ratings_fail_at_times(start: Start) -> None:
    program = start("bookinfo_ratings.py", SERVICE_VERSION="v-faulty")
    # All alike has a chance of 2 to the power of -59.
    assert {program.ask("/ratings/1").status for _ in range(60)} == {200, 503}


@pytest.mark.parametrize(("version", "color"), [("v1", ""), ("v2", "black"), ("v3", "red")])
def test_page_shows_the_stars_of_its_version(start: Start, version: str, color: str) -> None:
    page = shop(start, version).ask("/productpage")
    assert page.status == 200
    assert page.headers["content-type"].startswith("text/html")
    assert "<title>Simple Bookstore App</title>" in page.text
    assert "The Comedy of Errors" in page.text
    assert "Reviews served by:" in page.text
    assert page.text.count(STAR) == (9 if color else 0)
    assert page.text.count(f'<font color="{color}">') == (2 if color else 0)


def test_page_without_its_services(start: Start) -> None:
    closed = free_port()
    text = (
        start("bookinfo_productpage.py", **where("DETAILS", closed), **where("REVIEWS", closed))
        .ask("/productpage")
        .text
    )
    assert "Sorry, product details are currently unavailable for this book." in text
    assert "Sorry, product reviews are currently unavailable for this book." in text


def test_page_without_ratings(start: Start) -> None:
    text = shop(start, "v2", RATINGS_SERVICE_PORT=str(free_port())).ask("/productpage").text
    assert text.count("Ratings service is currently unavailable") == 2
    assert STAR not in text


@contextlib.contextmanager
def recorder() -> Iterator[tuple[int, list[Message]]]:
    """A port, and the headers of every request that came to it."""
    seen: list[Message] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.headers)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"ratings": {"Reviewer1": 5, "Reviewer2": 4}}')

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server.server_address[1], seen
        finally:
            server.shutdown()
            thread.join()


TRACE = {
    "x-request-id": "r-1",
    "traceparent": "00-a-b-01",
    "x-b3-traceid": "t-1",
    "user-agent": "me",
    "authorization": "Bearer t",
}


def test_headers_travel_through_the_whole_chain(start: Start) -> None:
    with recorder() as (port, seen):
        reviews = start("bookinfo_reviews.py", ENABLE_RATINGS="true", **where("RATINGS", port))
        page = start("bookinfo_productpage.py", **where("REVIEWS", reviews.port), **where("DETAILS", free_port()))
        assert page.ask("/productpage", **TRACE, x_private="no").status == 200
    assert len(seen) == 1
    assert {name: seen[0][name] for name in TRACE} == TRACE
    assert seen[0]["x-private"] is None
    assert seen[0]["end-user"] is None


def test_sign_in_reaches_the_services_as_end_user(start: Start) -> None:
    with recorder() as (port, seen):
        reviews = start("bookinfo_reviews.py", ENABLE_RATINGS="true", **where("RATINGS", port))
        page = start("bookinfo_productpage.py", **where("REVIEWS", reviews.port), **where("DETAILS", free_port()))
        done = page.ask("/login", "POST", b"username=jason&passwd=x", content_type="application/x-www-form-urlencoded")
        assert (done.status, done.headers["location"]) == (302, "/productpage")
        cookie = done.headers["set-cookie"].split(";")[0]
        assert "jason (" in page.ask("/productpage", cookie=cookie).text
        forged = page.ask("/productpage", cookie="session=jason.0000").text
        assert page.ask("/logout").headers["set-cookie"].startswith("session=;")
    assert "jason (" not in forged
    assert [headers["end-user"] for headers in seen] == ["jason", None]


def test_names_are_escaped(start: Start) -> None:
    page = start("bookinfo_productpage.py")
    done = page.ask("/login", "POST", b"username=%3Cscript%3E%0d%0ax:y&passwd=")
    cookie = done.headers["set-cookie"].split(";")[0]
    got = page.ask("/productpage", cookie=cookie)
    assert "<script>" not in got.text
    assert done.headers.get("x") is None


def test_api_and_metrics(start: Start) -> None:
    page = shop(start)
    assert page.ask("/api/v1/products").json[0]["title"] == "The Comedy of Errors"
    assert page.ask("/api/v1/products/0").json["author"] == "William Shakespeare"
    found = page.ask("/api/v1/products/0/reviews").json
    assert (found["id"], found["podname"], len(found["reviews"])) == ("0", "pod-0", 2)
    assert found["reviews"][0]["rating"] == {"stars": 5, "color": "black"}
    assert page.ask("/api/v1/products/0/nothing").status == 404
    assert 'destination_app="details",response_code="200"} 1' in page.ask("/metrics").text
    assert page.ask("/health").text == "Product page is healthy"


def test_flood_sends_more_requests_for_reviews(start: Start) -> None:
    reviews = start("bookinfo_reviews.py")
    page = start("bookinfo_productpage.py", FLOOD_FACTOR="5", **where("REVIEWS", reviews.port))
    page.ask("/productpage")
    wanted = 'destination_app="reviews",response_code="200"} 6'
    deadline = time.monotonic() + 10
    while wanted not in (text := page.ask("/metrics").text):
        assert time.monotonic() < deadline, f"waited 10 s for six requests for reviews, saw:\n{text}"
        time.sleep(0.02)
