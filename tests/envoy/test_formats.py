"""What validation says of formats is what Envoy says."""

from __future__ import annotations

import random

import pytest

from sailcloth.api.validation import formats
from tools.format_commands import accepted

ODD = [
    "%HOSTNAM%", "%REQ(a?b?c)%", "%REQ(a b)%", "%REQ()%", "%REQ%", "%REQ(a):-1%", "%req(a)%", "%REQ(a)", "a%", "%A",
    "%FILTER_STATE(a:b)%", "%FILTER_STATE()%", "%GRPC_STATUS(x)%", "%QUERY_PARAMS(RAW)%", "%ENVIRONMENT()%", "%PROTOCOL(a)%",
    "%HOSTNAME:3%", "%DYNAMIC_METADATA()%",
]  # fmt: skip
FINE = [
    "", "plain", "100%%", "%%", "%REQ(a?b):10%", "%REQ(:PATH)%", "%START_TIME(%s.%3f)%", "%REQ(a)%%RESP(b)%",
    "%FILTER_STATE(a:PLAIN):3%", "%GRPC_STATUS(CAMEL_STRING)%", "x-%HOSTNAME%-y", "%PATH(NQ:ORIG)%", "%METADATA(ROUTE:a:b)%",
    "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(16)%", "%REQUESTED_SERVER_NAME(SNI_FIRST:HOST)%",
]  # fmt: skip


@pytest.mark.parametrize("text", ODD)
def test_what_envoy_refuses_is_refused(text: str) -> None:
    assert formats.problem(text)
    assert not accepted(text)


@pytest.mark.parametrize("text", FINE)
def test_what_envoy_takes_is_taken(text: str) -> None:
    assert formats.problem(text) is None
    assert accepted(text)


def test_every_command_of_the_tables_is_envoys() -> None:
    names = sorted(formats._PLAIN | formats._OPTIONAL | {n[:-1] for n in formats._ARGUMENTS if n.endswith("?")})
    assert accepted("".join(f"%{name}%" for name in names))
    for name in random.Random(7).sample(sorted(formats._PLAIN), 6):
        assert not accepted(f"%{name}(a)%")
