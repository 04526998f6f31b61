"""Istio's labels from what Envoy's statistics access logger prints."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sailcloth.agent.istio_metrics import StandardMetrics, workload
from sailcloth.agent.merged_metrics import Target, targets
from sailcloth.ca.authority import Identity

OWN = workload("web-v1", "shop", {"app": "web", "version": "v1"})
ME, YOU = "spiffe://td/ns/shop/sa/web", "spiffe://td/ns/other/sa/cart"
SERVICE = r"[{\"host\":\"cart.other.svc.cluster.local\",\"name\":\"cart\",\"namespace\":\"other\"}]"
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def page(labels: str, name: str = "istio_requests_total", value: str = "3") -> bytes:
    return f"# TYPE envoy_istiocustom_{name} counter\nenvoy_istiocustom_{name}{{{labels}}} {value}\n".encode()


def rewritten(labels: str, **more: str) -> dict[str, str]:
    """The labels of the one series."""
    text = StandardMetrics(OWN, lambda: ME).rewrite(page(labels, **more)).decode()
    (line,) = (line for line in text.splitlines() if not line.startswith("#"))
    return dict(_LABEL.findall(line))


def outbound(
    code: str = "200", status: str = "-", peer: str = "cart-v2;other;cart;v2;Kubernetes", rest: str = SERVICE
) -> str:
    return f'labels="source|-|{code}|{status}|{peer}|{YOU}|{rest}"'


def test_a_request_that_was_sent() -> None:
    assert rewritten(outbound()) == {
        "reporter": "source",
        "source_workload": "web-v1",
        "source_workload_namespace": "shop",
        "source_principal": ME,
        "source_app": "web",
        "source_version": "v1",
        "source_cluster": "Kubernetes",
        "source_canonical_service": "web",
        "source_canonical_revision": "v1",
        "destination_workload": "cart-v2",
        "destination_workload_namespace": "other",
        "destination_principal": YOU,
        "destination_app": "cart",
        "destination_version": "v2",
        "destination_cluster": "Kubernetes",
        "destination_canonical_service": "cart",
        "destination_canonical_revision": "v2",
        "destination_service": "cart.other.svc.cluster.local",
        "destination_service_name": "cart",
        "destination_service_namespace": "other",
        "request_protocol": "http",
        "response_code": "200",
        "response_flags": "-",
        "connection_security_policy": "unknown",
    }


def test_a_request_that_was_received_names_its_caller_by_the_certificate() -> None:
    caller = Identity(
        "td", "other", "cart", workload="cart-v2", app="cart", version="1.2_x", canonical_service="basket"
    )
    labels = rewritten(
        f'labels="destination|-|200|0|{caller.attributes}|{YOU}|[{{\\"host\\":\\"web.shop.svc.cluster.local\\"}}]"'
    )
    assert (labels["source_workload"], labels["source_version"]) == ("cart-v2", "1.2_x")
    assert (labels["source_canonical_service"], labels["source_canonical_revision"]) == ("basket", "1.2_x")
    assert (labels["connection_security_policy"], labels["source_principal"]) == ("mutual_tls", YOU)
    assert (labels["destination_service_name"], labels["destination_service_namespace"]) == ("web", "shop")
    assert (labels["request_protocol"], labels["grpc_response_status"]) == ("grpc", "0")


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ('labels="destination|-|200|-|-|-|-"', {"destination_service_name": "InboundPassthroughCluster"}),
        ('labels="destination|-|200|-|-|-|-"', {"source_workload": "unknown", "connection_security_policy": "none"}),
        (f'labels="destination|-|200|-|-|{YOU}|-"', {"source_workload_namespace": "other", "source_workload": "unknown"}),
        (outbound(peer="-", rest="example.com"), {"destination_service": "example.com"}),
        (outbound(peer="-", rest="example.com"), {"destination_service_name": "PassthroughCluster"}),
        (outbound(code="-", peer="-", rest="-"), {"request_protocol": "tcp", "destination_service": "unknown"}),
        (outbound(rest=r"[{\"name\":\"BlackHoleCluster\"}]"), {"destination_service_name": "BlackHoleCluster"}),
        (outbound(rest=r"[{\"host\":\"api.example.com\",\"name\":\"api.example.com\",\"namespace\":\"shop\"}]"),
         {"destination_service_name": "api.example.com", "destination_service_namespace": "shop"}),
        (outbound(peer="job;other;;;Kubernetes"), {"destination_canonical_service": "job", "destination_canonical_revision": "latest"}),
        (outbound(peer="x;o;canonical;r;c2;app;v"), {"destination_app": "app", "destination_canonical_service": "canonical"}),
        (outbound(peer="x;o;canonical;r;c2;app;v"), {"destination_cluster": "c2"}),
        (outbound() + ',team="a\\"b",response_code="OK"', {"team": 'a\\"b', "response_code": "OK"}),
        ('labels="source|UF,URX|503|-|-|-|-"', {"response_flags": "UF,URX", "destination_principal": "unknown"}),
    ],
)  # fmt: skip
def test_labels(labels: str, expected: dict[str, str]) -> None:
    assert expected.items() <= rewritten(labels).items()


def test_labels_can_be_dropped() -> None:
    assert "source_principal" not in rewritten(outbound() + ',drop="source_principal,source_app"')


def test_messages_are_added_up() -> None:
    sets = [(outbound(status="0") + f',messages="{m}"', n) for m, n in (("1,1", 5), ("2,10", 3))]
    text = b"".join(page(labels, "istio_grpc_messages_total", str(n)) for labels, n in sets)
    out = StandardMetrics(OWN, lambda: ME).rewrite(text).decode()
    values = dict(re.findall(r"^(istio_\w+)\{.*\} (\d+)$", out, re.MULTILINE))
    assert values == {"istio_request_messages_total": "11", "istio_response_messages_total": "35"}
    assert "grpc_messages" not in out


def test_buckets_keep_their_bound() -> None:
    out = StandardMetrics(OWN).rewrite(page(outbound() + ',le="0.5"', "istio_request_duration_milliseconds_bucket"))
    assert b',le="0.5"} 3' in out


def test_other_lines_stay_and_a_second_page_is_the_same() -> None:
    metrics = StandardMetrics(OWN, lambda: ME)
    text = b"# TYPE envoy_server_uptime gauge\nenvoy_server_uptime{} 7\n" + page(outbound())
    first = metrics.rewrite(text)
    assert first.startswith(
        b"# TYPE envoy_server_uptime gauge\nenvoy_server_uptime{} 7\n# TYPE istio_requests_total counter\n"
    )
    assert metrics.rewrite(text) == first
    assert metrics.rewrite(b"") == b""


@given(st.text(max_size=200))
def test_no_text_breaks_a_page(text: str) -> None:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "")
    StandardMetrics(OWN).rewrite(page(f'labels="{escaped}"'))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ()),
        ("{", ()),
        ("[]", ()),
        ('{"scrape":"false"}', ()),
        ('{"scrape":"true","path":"/m","port":"9100"}', (Target(9100, "/m"),)),
        ('{"scrape":"true","path":"","port":""}', (Target(80),)),
        ('{"scrape":"true","targets":"9100, :9200/x ,no,99999"}', (Target(9100), Target(9200, "/x"))),
    ],
)
def test_pages_of_the_application(text: str, expected: tuple[Target, ...]) -> None:
    assert targets(text) == expected
