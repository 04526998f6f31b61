"""A thin asynchronous client of the Kubernetes API: requests, patches, tokens, informers. Must not know the mesh.

Objects are plain dictionaries, or the result of a decoder that the caller gives.
"""

from __future__ import annotations

from .client import RETRIABLE, ApiError, Client
from .informer import Informer
from .resources import Resource

__all__ = ["RETRIABLE", "ApiError", "Client", "Informer", "Resource"]
