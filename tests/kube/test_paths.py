"""The URL paths of objects: no name may lead to another object."""

from __future__ import annotations

import pytest

from sailcloth.kube.resources import PODS


def test_the_path_of_an_object() -> None:
    assert PODS.path("default", "reviews-v1", "log") == "/api/v1/namespaces/default/pods/reviews-v1/log"


@pytest.mark.parametrize("name", ["../secrets/key", "..", ".", "a?b=c", "a#b", "%2e%2e", "a\\b"])
def test_a_name_that_leads_elsewhere_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is no name of a Kubernetes object"):
        PODS.path("default", name)
    with pytest.raises(ValueError, match="is no name of a Kubernetes object"):
        PODS.path(name)
