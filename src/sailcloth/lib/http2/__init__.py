"""The server's side of one HTTP/2 connection, without I/O: bytes go in, calls of `Requests` and bytes come out.

Written for few streams that exchange many small messages: a message that fits into a frame and the windows is one list entry, and
what has to wait for the client is kept as references to the caller's bytes. Header blocks are read by `hpack`; those that are sent
use no table. Must know nothing of what is asked for.
"""

from .frames import (
    CANCEL,
    COMPRESSION_ERROR,
    ENHANCE_YOUR_CALM,
    FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR,
    NO_ERROR,
    PREFACE,
    PROTOCOL_ERROR,
    REFUSED_STREAM,
    STREAM_CLOSED,
    Headers,
    literal,
    status,
)
from .receiving import ServerConnection
from .sending import Requests, Stream

__all__ = [
    "CANCEL",
    "COMPRESSION_ERROR",
    "ENHANCE_YOUR_CALM",
    "FLOW_CONTROL_ERROR",
    "FRAME_SIZE_ERROR",
    "NO_ERROR",
    "PREFACE",
    "PROTOCOL_ERROR",
    "REFUSED_STREAM",
    "STREAM_CLOSED",
    "Headers",
    "Requests",
    "ServerConnection",
    "Stream",
    "literal",
    "status",
]
