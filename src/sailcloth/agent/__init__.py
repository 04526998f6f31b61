"""What stands beside a workload's Envoy: bootstrap, keys and certificates over SDS, the relay of its xDS stream, drain.

One agent serves one pod (a sidecar container on Kubernetes) or all pods of a node (the local cluster): the same code. Private
keys are made here and never leave memory.
"""
