"""Which certificates of CAs end soon. Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable

from cryptography import x509

SOON = dt.timedelta(days=30)


def ending(certificates: Iterable[tuple[str, x509.Certificate]], now: dt.datetime) -> list[str]:
    """A text for each certificate, with what it is, that ends within `SOON` or has ended; the earliest first. The texts change once a
    day."""
    named: dict[x509.Certificate, str] = {}
    for what, certificate in certificates:
        named.setdefault(certificate, what)  # a root may be in several places
    ends = sorted((certificate.not_valid_after_utc, what) for certificate, what in named.items())
    return [_text(what, end, now) for end, what in ends if end - now < SOON]


def _text(what: str, end: dt.datetime, now: dt.datetime) -> str:
    moment = f"{end:%Y-%m-%d %H:%M} UTC"
    if end <= now:
        return f"{what} ended at {moment}: what is signed under it is refused"
    days = (end - now).days
    return f"{what} ends at {moment} (in {days} {'day' if days == 1 else 'days'}): replace it before"
