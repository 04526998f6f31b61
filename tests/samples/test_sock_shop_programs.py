"""The Sock Shop's programs against each other, over the paths and fields of their published contracts."""

from __future__ import annotations

import base64
import json
import socket
import subprocess
import sys
from typing import Any

import pytest

from sailcloth.local import images

from .programs import Program, Start, free_port, wait_for_line

HOLY, CLASSIC = "03fef6ac-1896-4ce8-bd69-b798f85c6e0b", "zzz4f044-b040-410d-8ead-4de0446aec7e"
EVE = "57a98d98e4b00679b4a830af"


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


def at(**programs: Program) -> dict[str, str]:
    return {f"{name.upper()}_ADDRESS": f"127.0.0.1:{p.port}" for name, p in programs.items()}


def post(program: Program, target: str, body: Any, method: str = "POST", **headers: str) -> Any:
    return program.ask(target, method, json.dumps(body), content_type="application/json", **headers)


def test_catalogue(start: Start) -> None:
    db = start("database.py", "--greet", "--seed", "socks")
    shop = start("sock_shop_catalogue.py", **at(catalogue_db=db))
    socks = shop.ask("/catalogue").json
    assert len(socks) == 10
    assert set(socks[0]) == {"id", "name", "description", "imageUrl", "price", "count", "tag"}
    assert shop.ask("/catalogue/size").json == {"size": 10, "err": None}
    assert shop.ask("/catalogue/size?tags=blue,red").json["size"] == 4
    assert "geek" in shop.ask("/tags").json["tags"]
    prices = [s["price"] for s in shop.ask("/catalogue?sort=price&size=4&page=2").json]
    assert prices == sorted(s["price"] for s in socks)[4:8]
    assert shop.ask(f"/catalogue/{HOLY}").json["name"] == "Holy"
    assert shop.ask("/catalogue/none").status == 404
    assert shop.ask(socks[0]["imageUrl"][0]).headers["content-type"] == "image/svg+xml"
    assert [h["status"] for h in shop.ask("/health").json["health"]] == ["OK", "OK"]


def test_catalogue_without_its_database(start: Start) -> None:
    shop = start("sock_shop_catalogue.py", CATALOGUE_DB_ADDRESS=f"127.0.0.1:{free_port()}")
    assert shop.ask("/catalogue").status == 500
    health = shop.ask("/health")
    assert (health.status, [h["status"] for h in health.json["health"]]) == (200, ["OK", "err"])


def test_a_service_finds_its_database_again(start: Start) -> None:
    db = start("database.py", "--seed", "users")
    user = start("sock_shop_user.py", **at(user_db=db))
    assert user.ask("/customers").status == 200
    assert db.stop() == 0
    argv = [
        sys.executable,
        "-I",
        "-S",
        str(images.programs() / "database.py"),
        str(db.port),
        "--seed",
        "users",
    ]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as again:
        try:
            wait_for_line(again, b"listening")
            assert user.ask("/customers").status == 200
        finally:
            again.kill()


def test_carts(start: Start) -> None:
    carts = start("sock_shop_carts.py", **at(carts_db=start("database.py")))
    assert carts.ask("/carts/1").json["items"] == []
    made = post(carts, "/carts/1/items", {"itemId": HOLY, "unitPrice": 99.99})
    assert (made.status, made.json["quantity"]) == (201, 1)
    assert post(carts, "/carts/1/items", {"itemId": HOLY, "unitPrice": 99.99}).json["quantity"] == 2
    assert post(carts, "/carts/1/items", {"itemId": HOLY, "quantity": 5, "unitPrice": 9}, "PATCH").status == 200
    (item,) = carts.ask("/carts/1/items").json
    assert (item["quantity"], item["unitPrice"]) == (5, 9.0)
    post(carts, "/carts/session/items", {"itemId": CLASSIC, "unitPrice": 12})
    assert carts.ask("/carts/1/merge?sessionId=session").status == 202
    assert {i["itemId"] for i in carts.ask("/carts/1/items").json} == {HOLY, CLASSIC}
    assert carts.ask("/carts/session").json["items"] == []
    assert carts.ask(f"/carts/1/items/{HOLY}", "DELETE").status == 202
    assert len(carts.ask("/carts/1/items").json) == 1
    assert carts.ask("/carts/1", "DELETE").status == 202
    assert carts.ask("/carts/1").json["items"] == []
    assert post(carts, "/carts/1/items", {}).status == 400
    assert post(carts, "/carts/1/items", []).status == 400


def test_payment(start: Start) -> None:
    payment = start("sock_shop_payment.py", "-decline=50")
    assert post(payment, "/paymentAuth", {"amount": 50}).json == {"authorised": True, "message": "Payment authorised"}
    assert post(payment, "/paymentAuth", {"amount": 51}).json["authorised"] is False
    assert post(payment, "/paymentAuth", {"amount": 0}).status == 500
    assert post(payment, "/paymentAuth", {}).status == 400


def test_user(start: Start) -> None:
    user = start("sock_shop_user.py", mongo=f"127.0.0.1:{start('database.py', '--seed', 'users').port}")
    assert user.ask("/login", authorization=basic("Eve_Berger:eve")).json["user"]["id"] == EVE
    for wrong in ("Eve_Berger:adam", "nobody:eve", ":"):
        assert user.ask("/login", authorization=basic(wrong)).status == 401
    assert user.ask("/login").status == 401
    new = {"username": "ada", "password": "s", "email": "a@example.com", "firstName": "Ada", "lastName": "L"}
    ident = post(user, "/register", new).json["id"]
    assert post(user, "/register", new).status == 500
    assert user.ask("/login", authorization=basic("ada:s")).json["user"]["firstName"] == "Ada"
    assert len(user.ask("/customers").json["_embedded"]["customer"]) == 4
    customer = user.ask(f"/customers/{ident}").json
    assert customer["_links"]["addresses"]["href"] == f"http://user/customers/{ident}/addresses"
    assert "digest" not in customer
    card = post(user, "/cards", {"longNum": "1", "expires": "08/30", "ccv": "1", "userID": ident}).json["id"]
    (found,) = user.ask(f"/customers/{ident}/cards").json["_embedded"]["card"]
    assert (found["id"], found["longNum"]) == (card, "1")
    assert post(user, "/addresses", {"userID": "nobody"}).status == 404
    assert user.ask(f"/customers/{ident}", "DELETE").json == {"status": True}
    assert user.ask(f"/cards/{card}").status == 404
    assert user.ask("/addresses").json["_embedded"]["address"]


@pytest.fixture
def shop(start: Start) -> dict[str, Program]:
    """Every service, the front end in red and with its sessions in session-db."""
    queue = start("sock_shop_rabbitmq.py", str(free_port()))
    parts = {
        "catalogue": start(
            "sock_shop_catalogue.py", **at(catalogue_db=start("database.py", "--greet", "--seed", "socks"))
        ),
        "carts": start("sock_shop_carts.py", **at(carts_db=start("database.py"))),
        "user": start("sock_shop_user.py", **at(user_db=start("database.py", "--seed", "users"))),
        "payment": start("sock_shop_payment.py"),
        "shipping": start("sock_shop_shipping.py", **at(rabbitmq=queue)),
        "master": start("sock_shop_queue_master.py", **at(rabbitmq=queue)),
        "session_db": start("redis_server.py"),
    }
    orders = start("sock_shop_orders.py", **at(orders_db=start("database.py"), **parts))
    parts |= {"orders": orders}
    front = start("sock_shop_front_end.py", SESSION_REDIS="true", IMAGE_TAG="v2", **at(**parts))
    return {**parts, "front": front}


def test_an_order_goes_through_all_services(shop: dict[str, Program]) -> None:
    front, cookies = shop["front"], dict[str, str]()

    def ask(target: str, method: str = "GET", body: Any = None, **headers: str) -> Any:
        sent = {"cookie": "; ".join(f"{k}={v}" for k, v in cookies.items()), **headers}
        answer = front.ask(target, method, None if body is None else json.dumps(body), **sent)
        for line in answer.headers.get_all("set-cookie") or ():
            name, _, value = line.partition(";")[0].partition("=")
            cookies[name] = value
        return answer

    assert 'data-colour="red"' in ask("/").text
    assert ask("/cart", "POST", {"id": HOLY}).status == 201
    assert ask("/cart", "POST", {"id": "none"}).status == 404
    assert ask("/cart", "POST", {}).status == 400
    assert ask("/orders").status == 401
    assert ask("/login", authorization=basic("user:wrong")).status == 401
    assert ask("/login", authorization=basic("user:password")).status == 200
    assert ask("/customers").json["username"] == "user"
    assert ask("/card").json == {"number": "8721"}
    order = ask("/orders", "POST", {})
    assert (order.status, order.json["total"]) == (201, 104.98)
    assert ask("/orders/" + order.json["id"]).json["items"][0]["itemId"] == HOLY
    assert [o["id"] for o in ask("/orders").json] == [order.json["id"]]
    assert ask("/cart/update", "POST", {"id": HOLY, "quantity": 2}).status == 202
    declined = ask("/orders", "POST", {})
    assert (declined.status, declined.json["message"]) == (406, "Payment declined: amount exceeds 105.00")
    assert ask(f"/cart/{HOLY}", "DELETE").status == 202
    assert ask("/cart").json == []
    assert ask("/addresses", "POST", {"street": "Elm", "number": "1"}).status == 200
    assert ask("/address").json["street"] == "Elm"
    wait_for_line(shop["master"].process, order.json["id"].encode())
    assert ask("/logout", "POST").status == 200
    assert ask("/customers").status == 401
    assert 'route="orders",status_code="201"} 1' in front.ask("/metrics").text


def test_a_new_customer_registers(shop: dict[str, Program]) -> None:
    front = shop["front"]
    new = {"username": "bob", "password": "b", "email": "b@example.com"}
    made = front.ask("/register", "POST", json.dumps(new))
    assert made.status == 200
    assert any(c.startswith("logged_in=") for c in made.headers.get_all("set-cookie") or ())
    cookie = "; ".join(c.partition(";")[0] for c in made.headers.get_all("set-cookie") or ())
    assert front.ask("/customers", cookie=cookie).json["id"] == made.json["id"]
    refused = front.ask("/orders", "POST", "{}", cookie=cookie)
    assert (refused.status, refused.json["error"]) == (406, "An order needs an address.")


def test_what_fails_behind_is_told(start: Start) -> None:
    front = start("sock_shop_front_end.py", CATALOGUE_ADDRESS=f"127.0.0.1:{free_port()}")
    assert front.ask("/").status == 200
    assert 'data-colour="blue"' in front.ask("/category.html").text
    assert front.ask("/none.html").status == 404
    assert front.ask("/catalogue").status == 500


def test_redis_keeps_values_for_a_time(start: Start) -> None:
    program = start("redis_server.py")
    with socket.create_connection(("127.0.0.1", program.port), timeout=5) as link, link.makefile("rb") as lines:

        def ask(*words: bytes) -> bytes:
            link.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words))
            head = lines.readline().strip()
            return lines.readline().strip() if head.startswith(b"$") and head != b"$-1" else head

        assert ask(b"PING") == b"+PONG"
        assert ask(b"SET", b"k", b"v", b"EX", b"100") == b"+OK"
        assert ask(b"GET", b"k") == b"v"
        assert ask(b"TTL", b"k") in (b":100", b":99")
        assert ask(b"SET", b"k", b"w", b"NX") == b"$-1"
        assert ask(b"SET", b"short", b"v", b"PX", b"0") == b"+OK"
        assert ask(b"GET", b"short") == b"$-1"
        assert ask(b"INCR", b"n") == b":1"
        assert ask(b"INCR", b"n") == b":2"
        assert ask(b"DEL", b"k", b"n", b"none") == b":2"
        assert ask(b"LPUSH", b"k", b"v").startswith(b"-ERR unknown command")
        assert ask(b"GET").startswith(b"-ERR wrong arguments")
