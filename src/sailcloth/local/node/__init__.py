"""The node: runs the pods that are bound to it as processes in their own namespaces, and reports their status.

It talks to the API server as any kubelet does. It may restart at any time: pods keep running, and it adopts them through the
sockets in their directories.
"""
