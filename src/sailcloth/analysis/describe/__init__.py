"""Everything of the mesh that concerns one pod or one service, for `sailctl x describe`.

`describe` gathers it, `routes_to` finds the routes that lead there, `warnings` says what is likely wrong, `facts` has the values. All of
it is what proxies get: derived values of the mesh and of views, never a second reading of the rules.
"""

from .describe import Setting, pod, proxy_of, service
from .facts import Description, PodDescription

__all__ = ["Description", "PodDescription", "Setting", "pod", "proxy_of", "service"]
