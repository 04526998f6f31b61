"""Kubernetes Ingresses, as their users make them with kubectl."""

from __future__ import annotations

import json
import os
import urllib.request
from pathlib import Path

from .bookinfo import Cluster


def test_an_ingress_leads_to_its_services_and_tells_its_address(mesh: Cluster) -> None:
    mesh.kubectl("delete", "virtualservice", "bookinfo")  # it answers for every host
    rules = ("--rule=shop.local/productpage=productpage:9080", "--rule=shop.local/api*=productpage:http")
    mesh.kubectl("create", "ingress", "web", "--class=istio", *rules)
    try:
        mesh.eventually(lambda: mesh.get("/productpage", Host="shop.local").status == 200)
        assert mesh.get("/api/v1/products", Host="shop.local").status == 200
        assert mesh.get("/apis", Host="shop.local").status == 404  # a prefix ends at a slash
        assert mesh.get("/productpage/more", Host="shop.local").status == 404  # exact
        path = "jsonpath={.status.loadBalancer.ingress[0].ip}"
        address = mesh.kubectl("get", "svc", "istio-ingressgateway", "-n", "istio-system", "-o", path)
        mesh.eventually(lambda: address in mesh.kubectl("get", "ingress", "web"))
    finally:
        mesh.kubectl("delete", "ingress", "web")
    mesh.eventually(lambda: mesh.get("/productpage", Host="shop.local").status == 404)


def test_an_ingress_of_another_class_is_left_alone(mesh: Cluster) -> None:
    mesh.kubectl("delete", "virtualservice", "bookinfo")
    mesh.kubectl("create", "ingress", "other", "--class=nginx", "--rule=other.local/*=productpage:9080")
    mesh.kubectl("create", "ingress", "ours", "--class=istio", "--rule=ours.local/*=productpage:9080")
    try:
        mesh.eventually(lambda: mesh.get("/productpage", Host="ours.local").status == 200)
        assert mesh.get("/productpage", Host="other.local").status == 404
    finally:
        mesh.kubectl("delete", "ingress", "other", "ours")


def test_the_gateway_is_also_at_its_load_balancers_address_and_for_pods(mesh: Cluster) -> None:
    """Not only at the ports of the host that `sailctl` prints."""
    path = "jsonpath={.status.loadBalancer.ingress[0].ip}"
    address = mesh.kubectl("get", "svc", "istio-ingressgateway", "-n", "istio-system", "-o", path)
    first = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    if os.geteuid() == 0 or first <= 80:  # else an event says what would allow it
        with urllib.request.urlopen(f"http://{address}/productpage", timeout=10) as answer:
            assert answer.status == 200
    page = "http://istio-ingressgateway.istio-system/productpage"
    ask = f"import urllib.request as r; print(r.urlopen('{page}').status)"
    assert mesh.kubectl("exec", "deploy/productpage-v1", "--", "python3", "-c", ask).strip() == "200"


def test_a_policy_is_attached_to_a_gateway_by_its_name(mesh: Cluster) -> None:
    """`targetRefs` name a Gateway; its pods have the name as a label, which may come later than the policy."""
    label = "gateway.networking.k8s.io/gateway-name"
    spec = {
        "action": "DENY",
        "targetRefs": [{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "edge"}],
        "rules": [{"to": [{"operation": {"paths": ["/productpage"]}}]}],
    }
    metadata = {"name": "edge", "namespace": "istio-system"}
    kind = {"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy"}
    mesh.kubectl("apply", "-f", "-", stdin=json.dumps({**kind, "metadata": metadata, "spec": spec}))
    pods = ("pod", "-n", "istio-system", "-l", "app=istio-ingressgateway")
    try:
        status = ("get", "authorizationpolicy", "edge", "-n", "istio-system", "-o", "yaml")
        mesh.eventually(lambda: "TargetNotFound" in mesh.kubectl(*status))
        assert mesh.get("/productpage").status == 200
        mesh.kubectl("label", *pods, f"{label}=edge")
        mesh.eventually(lambda: mesh.get("/productpage").status == 403)
        assert mesh.get("/api/v1/products").status == 200
        mesh.eventually(lambda: "TargetNotFound" not in mesh.kubectl(*status))
    finally:
        mesh.kubectl("label", *pods, f"{label}-")
        mesh.kubectl("delete", "authorizationpolicy", "edge", "-n", "istio-system")
    mesh.eventually(lambda: mesh.get("/productpage").status == 200)
