"""Lines of access logs in words."""

from __future__ import annotations

import pytest

from sailcloth.analysis import access_log_words

TEXT = (
    '[2026-11-30T08:00:00.123Z] "GET /reviews/0 HTTP/1.1" {code} {flags} {details} - "-" 0 295 12 11 "-" "curl/8" '
    '"6a1e" "reviews:9080" "{host}" {cluster} 10.0.0.1:1 10.96.0.1:9080 10.0.0.1:2 - default'
)


def line(
    code: int = 200,
    flags: str = "-",
    details: str = "via_upstream",
    host: str = "10.0.0.9:9080",
    cluster: str = "outbound|9080|v2|reviews.default.svc.cluster.local",
) -> str:
    return TEXT.format(code=code, flags=flags, details=details, host=host, cluster=cluster)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (line(), "Outbound GET /reviews/0 for reviews:9080: answered 200 after 12 ms"),
        (line(cluster="inbound|9080||"), "Inbound GET /reviews/0 for reviews:9080: answered 200 after 12 ms"),
        (line(503, "UH", "no_healthy_upstream", "-"), "answered 503 after 12 ms, because no healthy upstream"),
        (line(403, "-", "rbac_access_denied_matched_policy[none]"), "because an AuthorizationPolicy refused"),
        (line(0, "DC", "downstream_remote_disconnect"), "no response after 12 ms, because the client closed"),
        (
            line(503, "UF,URX", "upstream_reset_before_response_started{x}"),
            "; retries or connection attempts are used up",
        ),
        (line(503, "XYZ"), "because Envoy's flag XYZ"),
        (line(500), "answered 500 after 12 ms, because the upstream's own response"),
    ],
)
def test_what_happened(text: str, words: str) -> None:
    explained = access_log_words.explain(text)
    assert explained is not None
    assert words in explained[0]


def test_fields_have_meanings() -> None:
    explained = access_log_words.explain(line(503, "UO", "overflow"))
    assert explained is not None
    fields = {f.name: f for f in explained[1]}
    assert "circuit breaker" in fields["response_flags"].meaning
    assert fields["upstream_cluster"].meaning == "port 9080 of reviews.default.svc.cluster.local, subset v2"
    assert fields["duration"].value == "12"
    assert "connection_termination_details" not in fields
    assert all(f.meaning for f in explained[1])


def test_json_and_other_lines() -> None:
    explained = access_log_words.explain('{"upstream_cluster": "BlackHoleCluster", "response_flags": "UH", "mine": 1}')
    assert explained is not None
    assert explained[0].startswith("Outbound connection: ended")
    assert {f.name for f in explained[1]} == {"upstream_cluster", "response_flags", "mine"}
    assert access_log_words.explain("hello") is None
