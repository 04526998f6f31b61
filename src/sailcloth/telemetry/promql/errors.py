"""What can be wrong with a query, with Prometheus' names."""

from __future__ import annotations


class QueryError(Exception):
    """kind: Prometheus' `errorType`; status: of the HTTP answer."""

    kind = "execution"
    status = 422


class BadQuery(QueryError):
    """The expression or a parameter is not valid."""

    kind = "bad_data"
    status = 400


class QueryTimeout(QueryError):
    """The query took too long."""

    kind = "timeout"
    status = 503
