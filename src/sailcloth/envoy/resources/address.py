"""Socket addresses, and the source address and mark of a proxy's own connections."""

from __future__ import annotations

from envoy.config.core.v3 import address_pb2, socket_option_pb2

from sailcloth.envoy import names


def to_address(address: str, port: int) -> address_pb2.Address:
    """An IP address and port, or a UNIX socket: unix:///path."""
    if address.startswith("unix://"):
        return address_pb2.Address(pipe=address_pb2.Pipe(path=address.removeprefix("unix://")))
    return socket_address(address, port)


def socket_address(address: str, port: int) -> address_pb2.Address:
    return address_pb2.Address(socket_address=address_pb2.SocketAddress(address=address, port_value=port))


def bind_config(mark: int) -> address_pb2.BindConfig:
    """Source address 127.0.0.6, which traffic capture ignores. Sets the mark again, because this replaces the bootstrap's."""
    config = address_pb2.BindConfig(
        source_address=address_pb2.SocketAddress(address=names.INBOUND_SOURCE, port_value=0)
    )
    if mark:
        config.socket_options.append(mark_option(mark))
    return config


def mark_option(mark: int) -> socket_option_pb2.SocketOption:
    """SO_MARK on connections of the proxy."""
    return socket_option_pb2.SocketOption(
        description="SO_MARK", level=1, name=36, int_value=mark, state=socket_option_pb2.SocketOption.STATE_PREBIND
    )
