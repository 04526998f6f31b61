"""`python -m sailcloth.local.apiserver --config FILE`: the API server and the controllers as one process."""

from __future__ import annotations

import argparse
import asyncio
import asyncio.sslproto
import base64
import contextlib
import gc
import ipaddress
import logging
import os
import resource
import signal
import socket
import ssl
import sys
import tempfile
from pathlib import Path

import apsw
import msgspec
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from sailcloth.lib.connections import ConnectionLimits, Connections, listen
from sailcloth.lib.private_file import write_private

from .auth import pki as pki_files
from .auth.authentication import Authenticator
from .auth.service_account_tokens import TokenIssuer
from .cyclic_gc import CyclicCollection
from .http.server import ApiServer
from .registry import Registry
from .storage import StorageError, Store
from .writes.admission import Admission
from .writes.rest_storage import RestStorage

log = logging.getLogger("sailcloth.local.apiserver")

UNUSABLE_STATE = 78  # exit code (EX_CONFIG): a restart would not help


class _UnusableState(Exception):
    """The state of an earlier run cannot be used; the text says what to do."""


class ListenAddress(msgspec.Struct, frozen=True):
    """A socket that is already listening, or an address."""

    fd: int = -1
    host: str = "127.0.0.1"
    port: int = 0


class Config(msgspec.Struct, frozen=True):
    """Settings of the process."""

    db: str
    pki_dir: str
    listen: list[ListenAddress]
    public_url: str = ""
    kubeconfig: str = ""
    component_kubeconfigs: dict[str, str] = {}
    component_url: str = "https://10.42.0.1:6443"
    node_socket: str = ""
    pod_log_root: str = ""
    service_cidr: str = "10.96.0.0/16"
    durability: str = "normal"
    load_balancers: str = "127.83.0.0/16"
    api_address: str = "10.42.0.1"
    gateway_api: bool = False  # install its definitions in a new cluster
    ready_fd: int = -1
    request_timeout_s: float = 60.0  # for the next request on a connection, its head included, and then for its body
    authentication_timeout_s: float = 10.0  # for the first authenticated request on a connection
    max_unauthenticated: int = 256  # connections; the limits for users are in ConnectionLimits
    max_per_user: int = 1000


_READ_BUFFER = 32 << 10
_IDENTITIES = {
    "node": ("system:node:sailcloth", ("system:nodes",)),
    "controlplane": ("sailcloth:controlplane", ("system:masters",)),
    "console": ("sailcloth:console", ()),  # likewise
    "telemetry": ("sailcloth:telemetry", ()),  # reads pods, by the role that comes with it
    "admin": ("kubernetes-admin", ("system:masters",)),
}


async def serve(config: Config) -> None:
    """Run until SIGTERM or SIGINT."""
    from sailcloth.local.controllers import gateway_api
    from sailcloth.local.controllers.manager import ControllerManager

    from .http.pod_streams import PodStreams

    pki, store = _open(config)
    registry = Registry()
    admission = Admission(store, registry)
    storage = RestStorage(store, registry, admission, config.service_cidr)
    tokens = TokenIssuer(pki.service_account_key)
    connections = Connections("the API server", _limits(config))
    api = ApiServer(store, registry, storage, Authenticator(tokens, store), connections, config.request_timeout_s)
    api.set_pod_endpoints(PodStreams(store, config.node_socket, config.pod_log_root), tokens)
    controllers = ControllerManager(
        storage,
        ca=pki.ca,
        load_balancers=ipaddress.IPv4Network(config.load_balancers),
        api_address=config.api_address,
        service_ip=_first_address(config.service_cidr),
        tokens=tokens,
    )
    await controllers.bootstrap()
    if config.gateway_api:
        gateway_api.install(storage)
    gc.freeze()
    # asyncio holds a read buffer of this size, 256 KiB by default, for every TLS connection: hundreds of watchers read nothing.
    asyncio.sslproto.SSLProtocol.max_size = _READ_BUFFER
    context = _tls(pki)
    # A client that disconnects cancels its requests: watches, followed logs, commands in containers.
    runner = web.AppRunner(
        api.application(),
        access_log=None,
        keepalive_timeout=config.request_timeout_s,
        shutdown_timeout=0.5,
        handler_cancellation=True,
    )
    await runner.setup()
    assert runner.server is not None
    tasks = [
        asyncio.create_task(connections.serve(_listener(address), runner.server, context), name="listener")
        for address in config.listen
    ]
    _write_kubeconfigs(config, pki)
    api.ready = True
    tasks.append(asyncio.create_task(controllers.run(), name="controllers"))
    if config.ready_fd >= 0:
        os.write(config.ready_fd, b"1")
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()
    for task in tasks:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    await admission.close()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(runner.cleanup(), 3)
    store.close()


def _limits(config: Config) -> ConnectionLimits:
    """Connections take half of the descriptors that the process may have at most."""
    descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    users = min(ConnectionLimits.users, max(1, descriptors // 2 - config.max_unauthenticated))
    return ConnectionLimits(
        config.max_unauthenticated,
        config.max_per_user,
        users,
        config.authentication_timeout_s,
        config.authentication_timeout_s,
    )


def _listener(address: ListenAddress) -> socket.socket:
    return socket.socket(fileno=address.fd) if address.fd >= 0 else listen(address.host, address.port)


def _open(config: Config) -> tuple[pki_files.Pki, Store]:
    try:
        pki = pki_files.load(Path(config.pki_dir))
    except (OSError, ValueError) as error:
        raise _UnusableState(
            f"the keys in {config.pki_dir} cannot be used ({error}); move that folder away, and new keys are created"
        ) from error
    try:
        return pki, Store(config.db, config.durability, CyclicCollection())
    except (StorageError, apsw.Error) as error:
        raise _UnusableState(
            f"the objects in {config.db} cannot be read ({error}); "
            "move that file away to start without them, or use --state for another directory"
        ) from error


def _first_address(cidr: str) -> str:
    import ipaddress

    return str(ipaddress.ip_network(cidr).network_address + 1)


def _tls(pki: pki_files.Pki) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile() as file:
        file.write(pki.server.certificate + pki.server.key)
        file.flush()
        context.load_cert_chain(file.name)
    context.load_verify_locations(cadata=pki.ca.certificate.decode())
    context.verify_mode = ssl.CERT_OPTIONAL  # a client may prove itself by certificate or by token
    return context


def _write_kubeconfigs(config: Config, pki: pki_files.Pki) -> None:
    wanted = [("admin", config.kubeconfig, config.public_url)] if config.kubeconfig else []
    wanted += [(name, path, config.component_url) for name, path in config.component_kubeconfigs.items()]
    authority = base64.b64encode(pki.ca.certificate).decode()
    for name, path, url in wanted:
        user, groups = _IDENTITIES[name]
        file = Path(path)
        if not file.exists() or url not in (text := file.read_text()) or authority not in text:
            write_private(file, pki_files.kubeconfig(pki, url, user, groups))


def _shorten_http_errors(record: logging.LogRecord) -> bool:
    """Log a malformed HTTP request in one line instead of the library's traceback."""
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, HttpProcessingError):
        record.msg, record.args, record.exc_info = "a request could not be read: %s", (error.message[:100],), None
        record.levelno, record.levelname = logging.INFO, "INFO"
    return True


def main() -> None:
    parser = argparse.ArgumentParser(prog="sailcloth-apiserver", description="The embedded Kubernetes API server.")
    parser.add_argument("--config", required=True, help="JSON file with the process's settings")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("aiohttp.server").addFilter(_shorten_http_errors)
    config = msgspec.json.decode(Path(arguments.config).read_bytes(), type=Config)
    gc.freeze()
    try:
        asyncio.run(serve(config))
    except _UnusableState as error:
        print(f"Error: {error}", file=sys.stderr, flush=True)
        sys.exit(UNUSABLE_STATE)


if __name__ == "__main__":
    main()
