"""One CA takes over from another: no proxy meets a certificate whose root it does not know, also across a restart."""

from __future__ import annotations

import datetime as dt

from hypothesis import given
from hypothesis import strategies as st

from sailcloth.ca import plugged_in
from sailcloth.ca.authority import Authority, fingerprint
from sailcloth.ca.trust import Trust, record, resume

from .. import authorities

NOW = dt.datetime.now(dt.UTC)
HOUR = dt.timedelta(hours=1)
OLD, NEXT, LAST = Authority.create(), Authority.create(), Authority.create()
CAS = (OLD, NEXT, LAST)


def test_both_roots_are_trusted_until_the_last_certificate_of_the_old_one_has_ended() -> None:
    start = Trust(OLD)
    proposed = start.propose(NEXT)
    assert proposed.issuer == OLD
    assert set(proposed.roots) == {OLD.root, NEXT.root}
    promoted = proposed.promote(NOW + HOUR)
    assert promoted.issuer == NEXT
    assert promoted.bundle == proposed.bundle, "proxies are not told again"
    assert promoted.expire(NOW) == promoted
    assert promoted.expire(NOW + HOUR) == Trust(NEXT)


def test_an_intermediate_of_the_same_root_signs_at_once() -> None:
    root = authorities.Authority("root")
    one, two = (plugged_in.load(authorities.Authority(n, root).secret(), NOW) for n in ("one", "two"))
    assert Trust(one).propose(two) == Trust(two)
    more = authorities.Authority("two", root).secret(roots=root.pem + OLD.certificate_pem)
    widened = Trust(one).propose(plugged_in.load(more, NOW))
    assert widened.issuer == one, "a root that proxies do not know yet has to reach them first"


def test_a_proposal_is_withdrawn_and_the_old_root_can_come_back() -> None:
    assert Trust(OLD).propose(NEXT).propose(OLD) == Trust(OLD)
    back = Trust(OLD).propose(NEXT).promote(NOW + HOUR).propose(OLD).promote(NOW + HOUR)
    assert back.issuer == OLD
    assert set(back.roots) == {OLD.root, NEXT.root}


def test_a_new_process_knows_which_roots_were_given_out() -> None:
    during = Trust(OLD).propose(NEXT).promote(NOW + HOUR)
    later = resume(during.roots, record(during, NOW + 2 * HOUR), NEXT)
    assert later.issuer == NEXT
    assert later.expire(NOW + HOUR + dt.timedelta(seconds=1)) == Trust(NEXT)
    # Not all proxies knew the next root when the process ended, and the key of the old one is gone.
    proposed = Trust(OLD).propose(NEXT)
    later = resume(proposed.roots, record(proposed, NOW + HOUR), NEXT)
    assert (later.issuer, later.candidate) == (None, NEXT)
    assert set(later.roots) == {OLD.root, NEXT.root}
    assert later.promote(NOW + HOUR).issuer == NEXT


def test_a_root_of_somebody_else_in_the_bundle_is_not_kept() -> None:
    assert resume([OLD.root, LAST.root], {fingerprint(OLD.root): NOW.timestamp()}, OLD) == Trust(OLD)
    assert resume([], {}, OLD) == Trust(OLD), "the first start"


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("propose"), st.integers(0, 2)),
            st.tuples(st.just("promote"), st.integers(1, 5)),
            st.tuples(st.just("expire"), st.integers(0, 5)),
        ),
        max_size=12,
    )
)
def test_what_signs_or_has_signed_lately_is_always_trusted(steps: list[tuple[str, int]]) -> None:
    trust, now = Trust(OLD), NOW
    signed: dict[Authority, dt.datetime] = {OLD: now + HOUR}
    for what, number in steps:
        if what == "propose":
            trust = trust.propose(CAS[number])
        elif what == "promote":
            before = trust
            trust = trust.promote(max(signed.values()))
            assert trust.issuer is not None
            assert trust.issuer.root in before.roots, "proxies knew the root before it signed"
            signed[trust.issuer] = now + number * HOUR
        else:
            now += number * HOUR
            trust = trust.expire(now)
            if trust.issuer is not None:
                signed[trust.issuer] = max(signed[trust.issuer], now + HOUR)
        for authority, until in signed.items():
            assert until <= now or authority.root in trust.roots
