"""The agent of an Envoy proxy: bootstrap, certificates over SDS, relay of its xDS stream, DNS, drain.

One agent serves one pod (a sidecar container on Kubernetes) or all pods of a node (the local cluster). Private keys are
generated here and never leave memory.
"""
