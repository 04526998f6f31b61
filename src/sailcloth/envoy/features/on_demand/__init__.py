"""Clusters on first use: a request or a connection whose cluster is not there yet waits until the control plane has sent it.

A mesh option of our own (`sidecarClusters: ON_DEMAND`, for one workload the annotation `sailcloth.io/clusters`), so that a
sidecar's memory follows what it calls and not the size of the mesh; in Istio somebody has to write Sidecar objects for that.
Envoy asks on the stream that it has anyway. It does not ask twice for what it was refused or lost, so a cluster that was asked
for is sent again whenever it comes back. What the workload's other proxies asked for is sent to a new one in advance.
"""
