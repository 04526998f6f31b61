module sailcloth.invalid/istio-cni

go 1.22
