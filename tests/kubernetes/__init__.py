"""The mesh on a real Kubernetes: its own API server, controllers and kubelet, as Google's and Debian's users run them.

`make test-kubernetes` builds the programs once and runs these tests; `make test` leaves them out. The local cluster of `sailctl up`
has no part in them: they are what shows where it is more generous than the original.
"""
