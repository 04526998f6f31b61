"""The functions that Kubernetes adds to CEL: lists, sets, regular expressions, URLs, addresses, quantities, name formats.

CEL's runtime accepts only plain values, so an opaque value (a URL, an address, …) is a map with one key that no user's JSON
object can have. Equal values are equal maps, so `==` works.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import itertools
import re
import urllib.parse
from collections.abc import Callable
from fractions import Fraction
from typing import Any

from cel_expr_python import cel

from . import formats, quantity, regex

T = cel.Type
_LIST, _OPAQUE = T.List(T.DYN), T.Map(T.STRING, T.DYN)
_Ip = ipaddress.IPv4Address | ipaddress.IPv6Address
_Net = ipaddress.IPv4Network | ipaddress.IPv6Network
Opaque = dict[str, Any]


def _opaque(kind: str, text: str) -> Opaque:
    return {f"\1{kind}": text}


def _text(kind: str, value: Opaque) -> str:
    content = value.get(f"\1{kind}")
    if content is None:
        raise ValueError("no such overload")
    return str(content)


def _string(value: Opaque) -> str:
    if len(value) == 1 and next(iter(value)).startswith("\1"):
        return str(next(iter(value.values())))
    raise ValueError("no such overload")


def _valid(make: Callable[[str], Any]) -> Callable[[str], bool]:
    def check(text: str) -> bool:
        try:
            make(text)
        except ValueError:
            return False
        return True

    return check


# -- lists and sets ---------------------------------------------------------------------------------


def _comparable(items: list[Any]) -> list[Any]:
    return [_amount(i) if isinstance(i, dict) else i for i in items]


def _sorted(items: list[Any]) -> bool:
    keys = _comparable(items)
    return all(a <= b for a, b in itertools.pairwise(keys))


def _sum(items: list[Any]) -> Any:
    if items and isinstance(items[0], dt.timedelta):
        return sum(items, dt.timedelta())
    return sum(items)


def _extreme(choose: Callable[..., Any], name: str) -> Callable[[list[Any]], Any]:
    def pick(items: list[Any]) -> Any:
        if not items:
            raise ValueError(f"{name} called on empty list")
        return choose(items)

    return pick


def _same(a: Any, b: Any) -> bool:
    return bool(a == b) and isinstance(a, bool) == isinstance(b, bool)


def _index(items: list[Any], searched: Any) -> int:
    return next((n for n, item in enumerate(items) if _same(item, searched)), -1)


def _last(items: list[Any], item: Any) -> int:
    return next((n for n in reversed(range(len(items))) if _same(items[n], item)), -1)


def _contains(items: list[Any], others: list[Any]) -> bool:
    return all(_index(items, w) >= 0 for w in others)


# -- regular expressions ----------------------------------------------------------------------------


def _find(text: str, pattern: str) -> str:
    match = regex.compiled(pattern).search(text)
    return match.group(0) if match else ""


def _find_all(text: str, pattern: str, limit: int = -1) -> list[str]:
    matches = [m.group(0) for m in regex.compiled(pattern).finditer(text)]
    return matches if limit < 0 else matches[:limit]


# -- URLs -------------------------------------------------------------------------------------------


def _url(text: str) -> Opaque:
    parts = urllib.parse.urlsplit(text)
    absolute = bool(re.match(r"^[A-Za-z][A-Za-z0-9+.-]*:", text)) or text.startswith("/")
    if not absolute or any(c.isspace() or ord(c) < 32 for c in text) or re.search(r"%(?![0-9A-Fa-f]{2})", parts.path):
        raise ValueError(f"URL parse error during conversion from string: parse {text!r}: invalid URI for request")
    try:
        _ = parts.port
    except ValueError:
        raise ValueError(f"URL parse error during conversion from string: parse {text!r}: invalid port") from None
    return _opaque("url", text)


def _split(value: Opaque) -> urllib.parse.SplitResult:
    return urllib.parse.urlsplit(_text("url", value))


def _host(value: Opaque) -> str:
    return _split(value).netloc.rpartition("@")[2]


def _hostname(value: Opaque) -> str:
    host = _host(value)
    return host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]


def _port(value: Opaque) -> str:
    return _host(value).rpartition("]")[2].partition(":")[2]


def _parameters(value: Opaque) -> dict[str, list[str]]:
    return urllib.parse.parse_qs(_split(value).query, keep_blank_values=True)


# -- addresses --------------------------------------------------------------------------------------


def _ip(text: str) -> Opaque:
    if "%" in text:
        raise ValueError(f'IP address with zone value is not allowed: "{text}"')
    address = ipaddress.ip_address(text)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        raise ValueError(f'IPv4-mapped IPv6 address is not allowed: "{text}"')
    return _opaque("ip", str(address))


def _address(value: Opaque) -> _Ip:
    return ipaddress.ip_address(_text("ip", value))


def _canonical_ip(text: str) -> bool:
    return _text("ip", _ip(text)) == text


def _global_unicast(value: Opaque) -> bool:
    address = _address(value)
    broadcast = str(address) == "255.255.255.255"
    return not (
        address.is_unspecified or address.is_loopback or address.is_multicast or address.is_link_local or broadcast
    )


def _link_multicast(value: Opaque) -> bool:
    address = _address(value)
    if isinstance(address, ipaddress.IPv4Address):
        return address in ipaddress.ip_network("224.0.0.0/24")
    return address.packed[0] == 0xFF and address.packed[1] & 0x0F == 2


def _cidr(text: str) -> Opaque:
    address, slash, length = text.partition("/")
    if not slash or not length.isdigit():
        raise ValueError(f"network address parse error during conversion from string: {text}")
    return _opaque("cidr", f"{_text('ip', _ip(address))}/{ipaddress.ip_network(text, strict=False).prefixlen}")


def _interface(value: Opaque) -> Any:
    return ipaddress.ip_interface(_text("cidr", value))


def _contains_ip(value: Opaque, other: Any) -> bool:
    address = _address(_ip(other) if isinstance(other, str) else other)
    return address.version == _interface(value).version and address in _interface(value).network


def _contains_cidr(value: Opaque, other: Any) -> bool:
    inner: _Net = _interface(_cidr(other) if isinstance(other, str) else other).network
    outer: _Net = _interface(value).network
    return inner.version == outer.version and inner.subnet_of(outer)  # type: ignore[arg-type]


# -- quantities -------------------------------------------------------------------------------------


def _quantity(text: str) -> Opaque:
    return _opaque("quantity", _shown(quantity.parse(text)))


def _shown(value: Fraction) -> str:
    return quantity.show(value)


def _amount(value: Any) -> Fraction:
    if isinstance(value, int):
        return Fraction(value)
    return quantity.parse(_text("quantity", value))


def _as_integer(value: Opaque) -> int:
    amount = _amount(value)
    if amount.denominator != 1 or not -(1 << 63) <= amount < 1 << 63:
        raise ValueError("cannot convert value to integer")
    return int(amount)


def _is_integer(value: Opaque) -> bool:
    amount = _amount(value)
    return amount.denominator == 1 and -(1 << 63) <= amount < 1 << 63


def _compare(a: Opaque, b: Opaque) -> int:
    x, y = _amount(a), _amount(b)
    return (x > y) - (x < y)


# -- formats of names -------------------------------------------------------------------------------

_LABEL, _PLAIN = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_NAMES: dict[str, tuple[int, str, str]] = {
    "dns1123Label": (63, _LABEL, "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character"),
    "dns1123Subdomain": (253, rf"{_LABEL}(\.{_LABEL})*", "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character"),
    "dns1035Label": (63, r"[a-z]([-a-z0-9]*[a-z0-9])?", "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character"),
    "qualifiedName": (317, rf"({_LABEL}(\.{_LABEL})*/)?{_PLAIN}", "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character"),
    "labelValue": (63, rf"({_PLAIN})?", "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character"),
}  # fmt: skip
_NAMES["dns1123LabelPrefix"] = (63, r"[a-z0-9][-a-z0-9]*", _NAMES["dns1123Label"][2])
_NAMES["dns1123SubdomainPrefix"] = (253, r"[a-z0-9][-a-z0-9.]*", _NAMES["dns1123Subdomain"][2])
_NAMES["dns1035LabelPrefix"] = (63, r"[a-z][-a-z0-9]*", _NAMES["dns1035Label"][2])
_OTHER = {"uri": "uri", "uuid": "uuid", "byte": "byte", "date": "date", "datetime": "date-time"}


def _validate(value: Opaque, text: str) -> list[str]:
    name = _text("format", value)
    if name in _OTHER:
        return [] if formats.fits(_OTHER[name], text) else [f"invalid {name}"]
    max_length, pattern, message = _NAMES[name]
    problems = [] if re.fullmatch(pattern, text) else [message]
    return problems if len(text) <= max_length else [*problems, f"must be no more than {max_length} characters"]


def _named(name: str) -> list[Opaque]:
    return [_opaque("format", name)] if name in _NAMES or name in _OTHER else []


# -- the library ------------------------------------------------------------------------------------

_Overload = tuple[bool, list[cel.Type], cel.Type, Callable[..., Any]]


def _declare(name: str, *overloads: _Overload) -> cel.FunctionDecl:
    declarations = [
        cel.Overload(f"k8s_{name.replace('.', '_')}_{n}", returns, parameters, member, function)
        for n, (member, parameters, returns, function) in enumerate(overloads)
    ]
    return cel.FunctionDecl(name, declarations)


def _method(name: str, returns: cel.Type, function: Callable[..., Any], *parameters: cel.Type) -> cel.FunctionDecl:
    """A method."""
    return _declare(name, (True, list(parameters), returns, function))


def _function(name: str, returns: cel.Type, function: Callable[..., Any], *parameters: cel.Type) -> cel.FunctionDecl:
    """A function."""
    return _declare(name, (False, list(parameters), returns, function))


_S, _I, _B, _O = T.STRING, T.INT, T.BOOL, _OPAQUE
LIBRARY = cel.CelExtension(
    "kubernetes",
    [
        _method("isSorted", _B, _sorted, _LIST),
        _method("sum", T.DYN, _sum, _LIST),
        _method("min", T.DYN, _extreme(min, "min"), _LIST),
        _method("max", T.DYN, _extreme(max, "max"), _LIST),
        _method("indexOf", _I, _index, _LIST, T.DYN),
        _method("lastIndexOf", _I, _last, _LIST, T.DYN),
        _function("sets.contains", _B, _contains, _LIST, _LIST),
        _function("sets.equivalent", _B, lambda a, b: _contains(a, b) and _contains(b, a), _LIST, _LIST),
        _function("sets.intersects", _B, lambda a, b: any(_index(a, x) >= 0 for x in b), _LIST, _LIST),
        _method("find", _S, _find, _S, _S),
        _declare("findAll", (True, [_S, _S], T.List(_S), _find_all), (True, [_S, _S, _I], T.List(_S), _find_all)),
        _function("url", _O, _url, _S),
        _function("isURL", _B, _valid(_url), _S),
        _method("getScheme", _S, lambda u: _split(u).scheme, _O),
        _method("getHost", _S, _host, _O),
        _method("getHostname", _S, _hostname, _O),
        _method("getPort", _S, _port, _O),
        _method("getEscapedPath", _S, lambda u: _split(u).path, _O),
        _method("getQuery", T.Map(_S, T.List(_S)), _parameters, _O),
        _declare("ip", (False, [_S], _O, _ip), (True, [_O], _O, lambda c: _opaque("ip", str(_interface(c).ip)))),
        _function("isIP", _B, _valid(_ip), _S),
        _function("ip.isCanonical", _B, _canonical_ip, _S),
        _method("family", _I, lambda a: _address(a).version, _O),
        _method("isUnspecified", _B, lambda a: _address(a).is_unspecified, _O),
        _method("isLoopback", _B, lambda a: _address(a).is_loopback, _O),
        _method("isLinkLocalMulticast", _B, _link_multicast, _O),
        _method("isLinkLocalUnicast", _B, lambda a: _address(a).is_link_local, _O),
        _method("isGlobalUnicast", _B, _global_unicast, _O),
        _function("cidr", _O, _cidr, _S),
        _function("isCIDR", _B, _valid(_cidr), _S),
        _method("containsIP", _B, _contains_ip, _O, T.DYN),
        _method("containsCIDR", _B, _contains_cidr, _O, T.DYN),
        _method("masked", _O, lambda c: _opaque("cidr", str(_interface(c).network)), _O),
        _method("prefixLength", _I, lambda c: _interface(c).network.prefixlen, _O),
        _function("quantity", _O, _quantity, _S),
        _function("isQuantity", _B, _valid(quantity.parse), _S),
        _method("sign", _I, lambda q: (_amount(q) > 0) - (_amount(q) < 0), _O),
        _method("isInteger", _B, _is_integer, _O),
        _method("asInteger", _I, _as_integer, _O),
        _method("asApproximateFloat", T.DOUBLE, lambda q: float(_amount(q)), _O),
        _method("add", _O, lambda a, b: _opaque("quantity", _shown(_amount(a) + _amount(b))), _O, T.DYN),
        _method("sub", _O, lambda a, b: _opaque("quantity", _shown(_amount(a) - _amount(b))), _O, T.DYN),
        _method("isGreaterThan", _B, lambda a, b: _compare(a, b) > 0, _O, _O),
        _method("isLessThan", _B, lambda a, b: _compare(a, b) < 0, _O, _O),
        _method("compareTo", _I, _compare, _O, _O),
        *(_function(f"format.{name}", _O, lambda n=name: _opaque("format", n)) for name in [*_NAMES, *_OTHER]),
        # Python cannot create a CEL optional; a list of at most one item has the same methods.
        _function("format.named", T.List(_O), _named, _S),
        _method("validate", T.DYN, _validate, _O, _S),
        _method("hasValue", _B, bool, _LIST),
        _method("value", T.DYN, lambda found: found if not found or isinstance(found[0], str) else found[0], _LIST),
        _function("string", _S, _string, _O),
    ],
)
