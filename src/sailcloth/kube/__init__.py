"""A thin asynchronous client of the Kubernetes API: requests, patches, tokens, informers. No knowledge of the mesh.

Objects are plain dictionaries, or whatever a caller's decoder makes of an object's bytes.
"""

from __future__ import annotations

from .client import RETRIABLE, ApiError, Client
from .informer import Informer
from .resources import Resource

__all__ = ["RETRIABLE", "ApiError", "Client", "Informer", "Resource"]
