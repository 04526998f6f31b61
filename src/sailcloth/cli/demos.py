"""The sample applications of `sailctl demo`, as data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Demo:
    title: str
    namespace: str
    files: tuple[str, ...]  # below the samples folder, applied in this order, Deployments last
    page: str  # the path at the gateway that shows the application
    url: str  # the name of that page among the answer's URLs
    next: str  # a command worth trying


DEMOS = {
    "bookinfo": Demo(
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
