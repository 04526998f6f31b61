"""Sidecar injection: what is added to a pod, for the webhook and for `sailctl kube-inject` alike. Pure but for the webhook."""
