"""An authorizer for the external-authorization walk-through: HTTP on 8000, Envoy's gRPC check on 9000. Arguments: both ports.

It allows what carries `x-ext-authz: allow`, or comes from a service account named `a`, and says so in
`x-ext-authz-check-result`. Without gRPC for Python only HTTP is served.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from web import Request, Response, serve

CHECK, RESULT, RECEIVED, OVERRIDE = (
    "x-ext-authz",
    "x-ext-authz-check-result",
    "x-ext-authz-check-received",
    "x-ext-authz-additional-header-override",
)
DENIED = f"denied by ext_authz for not found header `{CHECK}: allow` in the request"


def allowed(headers: Mapping[str, str], principal: str) -> bool:
    return headers.get(CHECK) == "allow" or principal.endswith("/sa/a")


def principal_of(certificate: str) -> str:
    """The SPIFFE id in an `x-forwarded-client-cert` header; empty if there is none."""
    uris = [p.partition("=")[2] for p in certificate.replace(",", ";").split(";") if p.startswith("URI=")]
    return uris[-1] if uris else ""


def page(request: Request) -> Response:
    principal = principal_of(request.headers.get("x-forwarded-client-cert", ""))
    given = {k.lower(): v for k, v in request.headers.items()}
    received = f"{request.method} {given.get('host', '')}{request.target}, headers: {sorted(given.items())}, body: [{request.body.decode(errors='replace')}]"  # fmt: skip
    carried = [(RECEIVED, received.replace("\r", "").replace("\n", "")), (OVERRIDE, given.get(OVERRIDE, ""))]
    verdict = allowed(given, principal)
    word = "allowed" if verdict else "denied"
    print(f"[HTTP][{word}]: {request.method} {request.target}", flush=True)
    fields = [(RESULT, word), *carried]
    return Response("" if verdict else DENIED, 200 if verdict else 403, fields=fields)


def grpc_server(port: int) -> Any:
    """The gRPC check, started. Raises ImportError where gRPC for Python or Envoy's messages are not installed."""
    import grpc
    from envoy.config.core.v3.base_pb2 import HeaderValue, HeaderValueOption
    from envoy.service.auth.v3 import external_auth_pb2
    from envoy.type.v3.http_status_pb2 import HttpStatus
    from google.rpc.status_pb2 import Status

    def check(request: Any, _: Any) -> Any:
        http = request.attributes.request.http
        verdict = allowed(http.headers, request.attributes.source.principal)
        word = "allowed" if verdict else "denied"
        print(f"[gRPCv3][{word}]: {http.method} {http.path}", flush=True)
        pairs = [(RESULT, word), (RECEIVED, f"{http.method} {http.host}{http.path}")]
        pairs += [(OVERRIDE, "grpc-additional-header-override-value")] if verdict else []
        headers = [HeaderValueOption(header=HeaderValue(key=k, value=v)) for k, v in pairs]
        if verdict:
            ok = external_auth_pb2.OkHttpResponse(headers=headers)
            return external_auth_pb2.CheckResponse(status=Status(code=0), ok_response=ok)
        no = external_auth_pb2.DeniedHttpResponse(status=HttpStatus(code=403), headers=headers, body=DENIED)
        return external_auth_pb2.CheckResponse(status=Status(code=7), denied_response=no)

    method = grpc.unary_unary_rpc_method_handler(
        check,
        request_deserializer=external_auth_pb2.CheckRequest.FromString,
        response_serializer=external_auth_pb2.CheckResponse.SerializeToString,
    )
    server = grpc.server(ThreadPoolExecutor(8))
    name = "envoy.service.auth.v3.Authorization"
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, {"Check": method}),))
    server.add_insecure_port(f"0.0.0.0:{port}")
    server.start()
    return server


def main() -> None:
    ports = [int(a) for a in sys.argv[1:] if a.isdigit()]
    try:
        running = grpc_server(ports[1] if len(ports) > 1 else 9000)
    except ImportError as error:
        print(f"no gRPC: {error}", file=sys.stderr, flush=True)
        running = None
    serve(page, ports[0] if ports else 8000)
    if running is not None:
        running.stop(1).wait(2)


if __name__ == "__main__":
    main()
