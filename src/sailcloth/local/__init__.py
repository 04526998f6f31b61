"""The local cluster: an embedded Kubernetes API server, controllers, and a node whose pods are processes."""
