"""What issuers of end users' tokens publish: key sets, and the configuration that says where they are."""

from __future__ import annotations

import asyncio
import contextlib
import json

from hypothesis import given
from hypothesis import strategies as st

from sailcloth.controlplane.key_fetcher import KeyFetcher
from sailcloth.lib.http_fetch import FetchError
from sailcloth.mesh import json_web_keys
from sailcloth.mesh.json_web_keys import KeySource
from sailcloth.mesh.registry import Mesh

from ..tokens import Issuer
from . import JSON, fuzzed, mutated, replaced

SET = json.loads(Issuer("https://a.example", "RS256").keys)
SET["keys"] += [
    key for name in ("ES256", "EdDSA") for key in json.loads(Issuer("https://a.example", name).keys)["keys"]
]
FIELDS = st.dictionaries(
    st.sampled_from(["kty", "n", "e", "crv", "x", "y", "use", "alg", "kid", "d", "k"]),
    st.one_of(JSON, st.sampled_from(["RSA", "EC", "OKP", "oct", "P-256", "Ed25519", "AQAB", "sig", "RS256"])),
    max_size=8,
)


def dumped(value: object) -> str:
    return json.dumps(value)


@fuzzed
@given(
    st.one_of(
        st.text(max_size=60),
        replaced(SET).map(dumped),
        st.lists(FIELDS, max_size=3).map(lambda keys: dumped({"keys": keys})),
        mutated(dumped(SET).encode()).map(lambda b: b.decode("latin-1")),
    )
)
def test_key_sets(text: str) -> None:
    """What is used of a set is a set of the same public keys."""
    used = json_web_keys.usable(text)
    assert json_web_keys.usable(used) == used
    assert '"d":' not in used
    assert '"k":' not in used


ADDRESSES = st.one_of(JSON, st.sampled_from(["http://[", "https://a\ud800", "//x", "http://", "https://a/keys"]))


@fuzzed
@given(
    st.one_of(
        st.binary(max_size=60),
        ADDRESSES.map(lambda a: dumped({"jwks_uri": a}).encode()),
        replaced({"issuer": "https://a", "jwks_uri": "https://a/keys"}).map(lambda v: dumped(v).encode()),
    )
)
def test_configurations(body: bytes) -> None:
    """The keys are fetched, or it is said why not; nothing else ends the attempt, which would be the last."""

    async def fetch(url: str, *_: object) -> bytes:
        return body if url.endswith("/openid-configuration") else dumped(SET).encode()

    fetcher = KeyFetcher(Mesh(), lambda _key, _obj: None, lambda: None, fetch=fetch)
    with contextlib.suppress(FetchError):
        assert asyncio.run(fetcher._keys(KeySource("https://a", True)))
