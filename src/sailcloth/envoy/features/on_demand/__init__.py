"""On-demand clusters (ODCDS): a request or connection without its cluster waits until the control plane has sent it.

Sailcloth's own mesh option (`sidecarClusters: ON_DEMAND`; for one workload the annotation `sailcloth.io/clusters`), so that a
sidecar's memory depends on what it calls, not on the size of the mesh; Istio needs Sidecar objects for that. Envoy subscribes on
its ADS stream. It does not subscribe again to a cluster that was removed, so the control plane sends it again when it returns.
A new proxy gets the clusters that other proxies of its workload subscribed to in advance.
"""
