"""The node: runs the pods that are assigned to it as processes in namespaces of their own, and says how they are.

Talks to the API server as any kubelet does. It may be ended and started at any time: pods live on, and are found again by the
sockets in their directories.
"""
