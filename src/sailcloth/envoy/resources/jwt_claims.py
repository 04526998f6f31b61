"""Matchers of the claims of a verified token, in the metadata that Envoy's `jwt_authn` filter sets."""

from __future__ import annotations

from collections.abc import Sequence

from envoy.type.matcher.v3 import metadata_pb2, string_pb2, value_pb2

FILTER = "envoy.filters.http.jwt_authn"
PAYLOAD = "payload"
"""The key of the token's payload in the filter's metadata, as in Istio."""


def matcher(path: Sequence[str], value: value_pb2.ValueMatcher) -> metadata_pb2.MetadataMatcher:
    """A matcher of one claim of the payload; `path` has more than one element for a nested claim."""
    segments = [metadata_pb2.MetadataMatcher.PathSegment(key=key) for key in (PAYLOAD, *path)]
    return metadata_pb2.MetadataMatcher(filter=FILTER, path=segments, value=value)


def text_or_list(text: string_pb2.StringMatcher) -> value_pb2.ValueMatcher:
    """A claim that is a text, or a list with such a text."""
    one = value_pb2.ValueMatcher(string_match=text)
    listed = value_pb2.ValueMatcher(list_match=value_pb2.ListMatcher(one_of=one))
    return value_pb2.ValueMatcher(or_match=value_pb2.OrMatcher(value_matchers=[one, listed]))
