"""The mesh on a Kubernetes cluster: its manifests, the values that decide about them, and how they are applied, checked and removed.

Every manifest is written once, as data (`definitions`, `istiod`, `gateway`). `render` makes objects of it, for `sailctl install`; `helm`
writes the same as templates of Helm charts (`charts/`).
"""
