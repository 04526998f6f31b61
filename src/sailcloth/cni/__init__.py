"""The DaemonSet istio-cni-node: captures the traffic of the node's pods in their place, so that these need no rights for it.

Must not decide which pods are of the mesh, nor what of their traffic is captured: the injector has written both into the pod.
"""
