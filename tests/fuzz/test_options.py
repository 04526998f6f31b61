"""The mesh's options, which a user writes as text into a ConfigMap: in force, or an error that names the option."""

from __future__ import annotations

import contextlib

import yaml
from hypothesis import given
from hypothesis import strategies as st

from sailcloth.mesh import mesh_config

from . import fuzzed, mutated, replaced

OPTIONS = {
    "trustDomain": "a",
    "trustDomainAliases": ["b"],
    "enableAutoMtls": True,
    "outboundTrafficPolicy": {"mode": "ALLOW_ANY"},
    "inboundTrafficPolicy": {"mode": "PASSTHROUGH"},
    "connectTimeout": "1s",
    "accessLogFile": "/dev/stdout",
    "accessLogFormat": "%PROTOCOL%\n",
    "defaultHttpRetryPolicy": {"attempts": 2, "retryOn": "5xx"},
    "defaultTrafficPolicy": {"connectionPool": {"tcp": {"maxConnections": 1}}, "outlierDetection": {}},
    "tcpKeepalive": {"time": "1s"},
    "pathNormalization": {"normalization": "BASE"},
    "defaultConfig": {"concurrency": 2, "proxyMetadata": {"A": "b"}},
    "globalRateLimitStore": "redis://a:1",
    "localityLbSetting": {"distribute": [{"from": "a", "to": {"b": 100}}]},
    "extensionProviders": [
        {"name": "a", "envoyExtAuthzHttp": {"service": "a.b", "port": 80, "statusOnError": "503"}},
        {"name": "b", "opentelemetryMetrics": {"service": "a.b", "port": 80, "path": "/a", "interval": "1s"}},
    ],
    "blockedCidrsInJwksUris": ["10.0.0.0/8"],
    "caCertificates": [{"pem": "x"}],
    "meshMTLS": {"minProtocolVersion": "TLSV1_3", "ecdhCurves": ["P-256"]},
    "tlsDefaults": {"cipherSuites": ["a"]},
    "defaultServiceExportTo": ["*"],
}
KEYS = st.dictionaries(st.one_of(st.integers(), st.dates(), st.text(max_size=3)), st.integers(), max_size=3)


def text(value: object) -> str:
    return yaml.safe_dump(value, allow_unicode=True)


@fuzzed
@given(
    st.one_of(
        replaced({k: v for k, v in OPTIONS.items() if k != "caCertificates"}).map(text),
        replaced(OPTIONS).map(text),
        KEYS.map(lambda keys: text({"defaultConfig": keys})),
        mutated(text(OPTIONS).encode()).map(lambda b: b.decode("latin-1")),
    )
)
def test_options(options: str) -> None:
    with contextlib.suppress(ValueError):
        mesh_config.parse(options)
        mesh_config.unread(options)
