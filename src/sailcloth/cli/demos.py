"""The sample applications of `sailctl demo`, as data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Demo:
    title: str
    namespace: str
    files: tuple[str, ...]  # below the samples folder, applied in this order, Deployments last
    page: str  # the path at the gateway that shows the application
    url: str  # the name of that page among the answer's URLs
    next: str  # a command worth trying


LOAD = "sailcloth-load"  # the Deployment that sends requests


def load(demo: Demo, rate: float) -> dict[str, Any]:
    """A Deployment outside the mesh that asks for a demo's page at the gateway, `rate` times a second."""
    labels = {"app": LOAD}
    url = f"http://istio-ingressgateway.istio-system{demo.page}"
    container = {
        "name": "load",
        "image": "fortio/fortio:1.69.0",
        "args": ["load", "-quiet", "-c", "1", "-qps", f"{rate:g}", "-t", "0", url],
    }
    pod = {"metadata": {"labels": {**labels, "sidecar.istio.io/inject": "false"}}, "spec": {"containers": [container]}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": LOAD, "namespace": demo.namespace, "labels": labels},
        "spec": {"selector": {"matchLabels": labels}, "template": pod},
    }


_BOOKINFO = Demo(
    title="Bookinfo",
    namespace="default",
    files=(
        "bookinfo/networking/bookinfo-gateway.yaml",
        "bookinfo/networking/destination-rule-all.yaml",
        "bookinfo/platform/kube/bookinfo.yaml",
    ),
    page="/productpage",
    url="productpage",
    next="kubectl apply -f samples/bookinfo/networking/virtual-service-reviews-50-v3.yaml",
)
DEMOS = {
    "bookinfo": _BOOKINFO,
    "bookinfo-trouble": replace(
        _BOOKINFO,
        title="Bookinfo with two faults",
        files=("bookinfo/trouble/two-faults.yaml", *_BOOKINFO.files),
        next="kubectl delete -f samples/bookinfo/trouble/two-faults.yaml",
    ),
    "catcatgo": Demo(
        title="CatCatGo",
        namespace="catcatgo",
        files=(
            "catcatgo/networking/catcatgo-gateway.yaml",
            "catcatgo/platform/kube/catcatgo.yaml",
        ),
        page="/",
        url="page",
        next="kubectl apply -f samples/catcatgo/networking/virtual-service-canary-by-cookie.yaml",
    ),
    "sock-shop": Demo(
        title="Sock Shop",
        namespace="sock-shop",
        files=(
            "sock-shop/networking/sock-shop-gateway.yaml",
            "sock-shop/networking/destination-rule-all.yaml",
            "sock-shop/platform/kube/sock-shop.yaml",
        ),
        page="/",
        url="front-end",
        next="kubectl apply -f samples/sock-shop/networking/virtual-service-front-end-20-v2.yaml",
    ),
}
