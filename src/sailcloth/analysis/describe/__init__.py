"""The mesh's configuration for one pod or one service, for `sailctl x describe`.

`describe` collects it, `routes_to` has the routes to it, `warnings` the likely mistakes, `facts` the types. Uses the derived values
of the mesh and of views that proxies' configuration is built from; must not evaluate rules itself.
"""

from .describe import MeshSnapshot, pod, proxy_of, service
from .facts import Description, PodDescription
from .snapshot import snapshot_of

__all__ = ["Description", "MeshSnapshot", "PodDescription", "pod", "proxy_of", "service", "snapshot_of"]
