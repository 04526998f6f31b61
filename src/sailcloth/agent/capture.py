"""Traffic capture of a pod: the rules of `istio-iptables`, as nftables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sailcloth.lib import nftables as n
from sailcloth.lib.nftables import Batch

TABLE = "mesh"
DNS_PORT = 15053
INBOUND_SOURCE = "127.0.0.6/32"


@dataclass(frozen=True)
class Capture:
    """What to capture. The proxy's own traffic carries a packet mark or, with `user`, is of that user's processes."""

    outbound: int = 15001
    inbound: int = 15006
    mark: int = 1337
    user: int | None = None
    include_ranges: tuple[str, ...] = ("*",)
    exclude_ranges: tuple[str, ...] = ()
    include_inbound: tuple[str, ...] = ("*",)
    exclude_inbound: tuple[int, ...] = ()
    exclude_outbound: tuple[int, ...] = ()
    include_outbound: tuple[int, ...] = ()
    dns: int = 0  # port of the agent's DNS; 0: queries go where they are sent
    resolvers: tuple[str, ...] = ()  # only queries to these are captured; empty: all


def _ports(text: str) -> tuple[int, ...]:
    return tuple(int(p) for p in text.split(",") if p.strip().isdigit())


def _words(text: str) -> tuple[str, ...]:
    return tuple(w.strip() for w in text.split(",") if w.strip())


def _yes(environment: Mapping[str, str] | None, name: str) -> bool:
    return (environment or {}).get(name, "").lower() == "true"


def parse(
    arguments: list[str],
    environment: Mapping[str, str] | None = None,
    resolvers: tuple[str, ...] = (),
    by_user: bool = False,
) -> Capture:
    """Parse the flags and variables of `istio-iptables`; DNS queries to `resolvers` are captured. `by_user`: the proxy is told by its user,
    for in a container it may not mark packets.

    Raises ValueError for a flag that is not known.
    """
    given: dict[str, str] = {}
    known = {"-p", "-z", "-u", "-g", "-m", "-i", "-x", "-b", "-d", "-q", "-o", "-k", "-c"}
    rest = iter(arguments[1:] if arguments[:1] == ["istio-iptables"] else arguments)
    for word in rest:
        if word.startswith("--"):
            continue
        if word not in known:
            raise ValueError(f"istio-iptables: flag {word!r} is not known")
        given[word] = next(rest, "")
    captured = "--redirect-dns" in arguments or _yes(environment, "ISTIO_META_DNS_CAPTURE")
    everything = "--capture-all-dns" in arguments or _yes(environment, "CAPTURE_ALL_DNS")
    if given.get("-m", "REDIRECT") != "REDIRECT":
        raise ValueError(f"interception mode {given['-m']} is not supported here; use REDIRECT")
    return Capture(
        outbound=int(given.get("-p", "15001")),
        inbound=int(given.get("-z", "15006")),
        user=int(given.get("-u", "1337")) if by_user else None,
        include_ranges=_words(given.get("-i", "*")),
        exclude_ranges=_words(given.get("-x", "")),
        include_inbound=_words(given.get("-b", "*")),
        exclude_inbound=(15008, *_ports(given.get("-d", ""))),
        exclude_outbound=_ports(given.get("-o", "")),
        include_outbound=_ports(given.get("-q", "")),
        dns=DNS_PORT if captured or everything else 0,
        resolvers=() if everything else resolvers,
    )


def rules(c: Capture) -> Batch:
    """The rules; they replace existing ones."""
    b = Batch().fresh_table(TABLE)
    b.chain(TABLE, "in_redirect").rule(TABLE, "in_redirect", n.tcp(), n.redirect(c.inbound))
    b.chain(TABLE, "out_redirect").rule(TABLE, "out_redirect", n.tcp(), n.redirect(c.outbound))
    b.chain(TABLE, "output", "output").chain(TABLE, "prerouting", "prerouting")

    def own(operator: int = n.EQ) -> bytes:
        return n.mark(c.mark, operator) if c.user is None else n.user(c.user, operator)

    def out(*expressions: bytes) -> None:
        b.rule(TABLE, "output", *expressions)

    out(n.tcp(), n.out_loopback(), n.source(INBOUND_SOURCE), n.verdict(n.RETURN))
    # The application that calls itself by its service: to the proxy, and back in by the inbound listener.
    out(
        n.tcp(),
        n.out_loopback(),
        n.destination("127.0.0.1/32", n.NEQ),
        own(),
        n.verdict(n.GOTO, "in_redirect"),
    )
    out(n.tcp(), n.out_loopback(), own(n.NEQ), n.verdict(n.RETURN))
    out(own(), n.verdict(n.RETURN))
    out(n.destination("127.0.0.1/32"), n.verdict(n.RETURN))
    if c.dns:
        for resolver in c.resolvers or ("0.0.0.0/0",):
            for protocol in (n.udp(), n.tcp()):
                out(protocol, n.destination(resolver), n.port(53), n.redirect(c.dns))
    for number in c.exclude_outbound:
        out(n.tcp(), n.port(number), n.verdict(n.RETURN))
    for cidr in c.exclude_ranges:
        out(n.destination(cidr), n.verdict(n.RETURN))
    for number in c.include_outbound:
        out(n.tcp(), n.port(number), n.verdict(n.GOTO, "out_redirect"))
    for cidr in c.include_ranges:
        if cidr == "*":
            out(n.tcp(), n.verdict(n.GOTO, "out_redirect"))
        else:
            out(n.tcp(), n.destination(cidr), n.verdict(n.GOTO, "out_redirect"))
    for number in c.exclude_inbound:
        b.rule(TABLE, "prerouting", n.tcp(), n.port(number), n.verdict(n.RETURN))
    for word in c.include_inbound:
        if word == "*":
            b.rule(TABLE, "prerouting", n.tcp(), n.verdict(n.GOTO, "in_redirect"))
        elif word.isdigit():
            b.rule(TABLE, "prerouting", n.tcp(), n.port(int(word)), n.verdict(n.GOTO, "in_redirect"))
    return b
