"""Lists of revoked certificates: one that an administrator gives shuts out nobody but those in it."""

from __future__ import annotations

import datetime as dt

import pytest
from cryptography import x509

from sailcloth.ca.authority import Authority
from sailcloth.ca.revocation import Completion, split

from .. import authorities

NOW = dt.datetime.now(dt.UTC)
DAY = dt.timedelta(days=1)
GIVEN = authorities.Authority("given")
LIST = GIVEN.revoke(7)


def issuers(text: bytes) -> list[x509.Name]:
    return [x509.load_pem_x509_crl(each).issuer for each in split(text)]


def named(organization: str) -> Authority:
    return Authority.create(organization)


def test_without_a_list_there_is_none() -> None:
    assert Completion().of(b"", NOW, named("a")) == b""


def test_every_ca_that_signs_or_did_lately_has_one() -> None:
    present, following, former = (named(n) for n in ("present", "next", "former"))
    completion = Completion()
    completion.retire(former, NOW + DAY)
    text = completion.of(LIST, NOW, present, following, None)
    assert issuers(text) == [GIVEN.subject, *(a.certificate.subject for a in (present, following, former))]
    for each, authority in zip(split(text)[1:], (present, following, former), strict=True):
        read = x509.load_pem_x509_crl(each)
        assert read.is_signature_valid(authority.certificate.public_key())  # type: ignore[arg-type]
        assert not list(read)
    assert completion.of(LIST, NOW, present, following) == text, "made once"
    later = completion.of(LIST, NOW + 2 * DAY, present)
    assert issuers(later) == [GIVEN.subject, present.certificate.subject], "no certificate of the former is left"
    assert completion.of(LIST, NOW + 20 * DAY, present) != later, "renewed before it ends"


def test_a_list_that_is_given_is_not_replaced() -> None:
    ours = authorities.Authority("given")
    authority = Authority.load(ours.pem, ours.key_pem)
    assert Completion().of(ours.revoke(1), NOW, authority).count(b"BEGIN X509 CRL") == 1


def test_the_next_process_keeps_the_lists_of_cas_whose_key_is_gone() -> None:
    former, first, second = named("former"), Completion(), Completion()
    first.retire(former, NOW + DAY)
    second.resume(first.of(LIST, NOW))
    assert issuers(second.of(LIST, NOW)) == [GIVEN.subject, former.certificate.subject]


def test_nonsense_is_told() -> None:
    with pytest.raises(ValueError, match=r"(?i)pars|asn1|pem"):
        split(b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----")
