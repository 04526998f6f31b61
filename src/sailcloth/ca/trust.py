"""Who signs, and which roots the mesh trusts, while one CA takes over from another. Pure.

A change has three steps, so that no peer ever meets a certificate whose root it does not know: the next CA's root is trusted
beside the present one (`propose`); when every proxy trusts it, that CA signs (`promote`); and the old root goes when the last
certificate under it has ended (`expire`). `record` is what a new process must know of roots that were given out before.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from cryptography import x509

from .authority import Authority, fingerprint, pem


@dataclass(frozen=True)
class Retired:
    """Roots that signed until lately. `until`: when the last certificate under them ends."""

    roots: tuple[x509.Certificate, ...]
    until: dt.datetime


@dataclass(frozen=True)
class Trust:
    """`issuer` signs; None only after a restart, while proxies do not trust any CA whose key is at hand. `candidate` signs next."""

    issuer: Authority | None
    candidate: Authority | None = None
    retired: tuple[Retired, ...] = ()

    @property
    def roots(self) -> tuple[x509.Certificate, ...]:
        """All that proxies are to trust, each once, the oldest first: who signs makes no difference."""
        every = [*(self.issuer.roots if self.issuer else ()), *(self.candidate.roots if self.candidate else ())]
        every += [c for r in self.retired for c in r.roots]
        return tuple(sorted(set(every), key=lambda c: (c.not_valid_before_utc, fingerprint(c))))

    @property
    def bundle(self) -> bytes:
        """The roots as PEM."""
        return pem(self.roots)

    def propose(self, authority: Authority) -> Trust:
        """This CA is to sign from now on. Under a root that the issuer's chain ends in, too, it does so at once."""
        if authority == self.issuer:
            return replace(self, candidate=None)
        if self.issuer is not None and authority.root == self.issuer.root and set(self.roots) >= set(authority.roots):
            return replace(self, issuer=authority, candidate=None)
        return replace(self, candidate=authority)

    def promote(self, until: dt.datetime) -> Trust:
        """The candidate signs. `until`: when the last certificate of the present issuer ends."""
        if self.candidate is None:
            return self
        old = tuple(c for c in (self.issuer.roots if self.issuer else ()) if c not in self.candidate.roots)
        retired = (*self.retired, Retired(old, until)) if old else self.retired
        return Trust(self.candidate, None, retired)

    def expire(self, now: dt.datetime) -> Trust:
        """Without the roots under which no certificate is valid any more."""
        kept = tuple(r for r in self.retired if r.until > now)
        return self if kept == self.retired else replace(self, retired=kept)


def record(trust: Trust, until: dt.datetime) -> dict[str, float]:
    """By the fingerprint of each root that has signed, seconds since the epoch when the last certificate under it ends. It is
    kept with the bundle.

    until: for certificates of the present issuer.
    """
    ends = {c: r.until for r in trust.retired for c in r.roots}
    signed = (*(trust.issuer.roots if trust.issuer else ()), *ends)
    return {fingerprint(c): ends.get(c, until).timestamp() for c in signed}


def resume(bundle: Iterable[x509.Certificate], ends: Mapping[str, float], authority: Authority) -> Trust:
    """The state in which a new process goes on that has this CA's key only.

    bundle, ends: the roots that were given out, and their `record`. Of a root that is not in it, not all proxies may know.
    """
    known = {c: dt.datetime.fromtimestamp(ends[fingerprint(c)], dt.UTC) for c in bundle if fingerprint(c) in ends}
    others = tuple(Retired((c,), until) for c, until in known.items() if c not in authority.roots)
    if known and authority.root not in known:
        return Trust(None, authority, others)
    return Trust(authority, None, others)


def fingerprints(certificates: Iterable[x509.Certificate]) -> str:
    """Roots in the metadata of an agent's call, by which it tells what its proxy trusts."""
    return ",".join(sorted(fingerprint(c) for c in certificates))


ROOTS_HEADER = "x-sailcloth-roots"
