"""Certificate revocation lists of the mesh: those that an administrator gives, completed for the CAs of which there is none.

Where a peer has any list, Envoy refuses certificates of a CA whose list is missing. So a CA whose key we hold, or held until lately, gets an empty
one: to revoke one certificate must not shut out all the others.
"""

from __future__ import annotations

import datetime as dt
import re

from cryptography import x509

from sailcloth.lib.x509_errors import as_value_errors

from .authority import Authority

_LIST = re.compile(rb"-----BEGIN X509 CRL-----.*?-----END X509 CRL-----", re.DOTALL)
_LIFETIME = dt.timedelta(days=30)


def split(text: bytes) -> list[bytes]:
    """The lists in PEM, each ending in a newline. Raises ValueError for one that cannot be read."""
    lists = [each + b"\n" for each in _LIST.findall(text)]
    for each in lists:
        with as_value_errors():
            read = x509.load_pem_x509_crl(each)
            (read.issuer, read.next_update_utc, len(list(read)))
    return lists


class Completion:
    """Empty lists by the CA's name, renewed in time. `formers` signed until lately."""

    def __init__(self) -> None:
        self._made: dict[Authority, tuple[bytes, dt.datetime]] = {}
        self._formers: dict[x509.Name, tuple[bytes, dt.datetime]] = {}

    def retire(self, authority: Authority, until: dt.datetime) -> None:
        """This CA signs no more. `until`: when its last certificate ends."""
        self._formers[authority.certificate.subject] = authority.empty_list(until), until

    def resume(self, text: bytes) -> None:
        """Take over the lists that an earlier process gave out: of the CAs whose key is not at hand, nobody can make new ones."""
        for each in split(text):
            read = x509.load_pem_x509_crl(each)
            if read.next_update_utc is not None and not len(list(read)):
                self._formers[read.issuer] = each, read.next_update_utc

    def of(self, given: bytes, now: dt.datetime, *signing: Authority | None) -> bytes:
        """The lists that are given, and empty ones for the other CAs; empty if none is given."""
        if not given:
            return b""
        out = split(given)
        known = {x509.load_pem_x509_crl(each).issuer for each in out}
        for authority in signing:
            if authority is not None and authority.certificate.subject not in known:
                known.add(authority.certificate.subject)
                out.append(self._empty(authority, now))
        self._formers = {name: entry for name, entry in self._formers.items() if entry[1] > now}
        out += [text for name, (text, _) in self._formers.items() if name not in known]
        return b"".join(out)

    def _empty(self, authority: Authority, now: dt.datetime) -> bytes:
        text, until = self._made.get(authority, (b"", now))
        if until - now < _LIFETIME / 2:
            until = now + _LIFETIME
            text = authority.empty_list(until)
            self._made[authority] = text, until
        return text
