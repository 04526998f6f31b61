"""What a cluster gives to pods that ask for more, and the token that it gives to all."""

from __future__ import annotations

import os
import sys
from typing import Any

import pytest

from sailcloth.kube.client import Client
from sailcloth.kube.resources import NAMESPACES, SERVICEACCOUNTS

from .local_cluster import Object, Up, in_time
from .pods import ended, events, log, make, pod, ready, run_command, status

TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount"


async def output(client: Client, namespace: str, obj: Object) -> list[str]:
    name = obj["metadata"]["name"]
    obj["spec"]["restartPolicy"] = "Never"
    await make(client, namespace, obj)
    await ended(client, namespace, name)
    return (await log(client, namespace, name)).splitlines()


async def waiting(client: Client, namespace: str, name: str, reason: str) -> str:
    """Why a pod's container does not start."""

    async def ask() -> str:
        first = ((await status(client, namespace, name)).get("containerStatuses") or [{}])[0]
        state = (first.get("state") or {}).get("waiting") or {}
        return str(state.get("message", "")) if state.get("reason") == reason else ""

    return await in_time(f"pod {name} waits", ask)


async def test_without_allow_privileged_nothing_of_the_host_is_to_be_had(own: Up) -> None:
    own.start()
    async with own.client() as client:
        await client.create(NAMESPACES, {"metadata": {"name": "n"}})
        mighty: dict[str, Any] = {"securityContext": {"privileged": True}}
        await make(client, "n", pod("mighty", "true", container=mighty))
        assert "--allow-privileged" in await waiting(client, "n", "mighty", "CreateContainerError")
        assert "--allow-privileged" in (await events(client, "n", "mighty"))["Failed"]
        volume = {"name": "host", "hostPath": {"path": "/etc"}}
        mount = {"volumeMounts": [{"name": "host", "mountPath": "/host"}]}
        await make(client, "n", pod("mounts", "cat /host/shadow", container=mount, volumes=[volume]))
        assert "--allow-privileged" in await waiting(client, "n", "mounts", "ContainerCreating")
        assert "hostPath" in (await events(client, "n", "mounts"))["FailedMount"]


async def test_privileged_containers_have_the_rights_of_the_clusters_user(client: Client, namespace: str) -> None:
    script = "grep -E 'CapEff|Seccomp:' /proc/self/status | cut -f2; cat /proc/self/uid_map | tr -s ' '"
    lines = await output(client, namespace, pod("mighty", script, container={"securityContext": {"privileged": True}}))
    assert int(lines[0], 16) > 1 << 40
    assert lines[1] == "0"
    lines = await output(client, namespace, pod("plain", script))
    assert (int(lines[0], 16), lines[1]) == (0, "2")
    if os.geteuid() == 0:
        assert lines[2].split()[1] != "0"


async def test_every_container_has_its_accounts_token(client: Client, namespace: str) -> None:
    call = (
        "import json, ssl, urllib.request as u; folder = '" + TOKEN + "/'; read = lambda n: open(folder + n).read();"
        "request = u.Request('https://kubernetes.default.svc/apis/authentication.k8s.io/v1/selfsubjectreviews', method='POST',"
        "data=json.dumps({'apiVersion': 'authentication.k8s.io/v1', 'kind': 'SelfSubjectReview'}).encode(),"
        "headers={'Authorization': 'Bearer ' + read('token'), 'Content-Type': 'application/json'});"
        "answer = json.load(u.urlopen(request, context=ssl.create_default_context(cafile=folder + 'ca.crt')));"
        "print(answer['status']['userInfo']['username'], read('namespace'))"
    )
    command = {"command": [sys.executable, "-I", "-S", "-c", call]}
    lines = await output(client, namespace, pod("calls", "", container=command))
    assert lines == [f"system:serviceaccount:{namespace}:default {namespace}"]
    script = f"ls {TOKEN} || echo none; (echo x > {TOKEN}/token) 2>/dev/null || echo read-only"
    assert (await output(client, namespace, pod("reads", script)))[-4:] == ["ca.crt", "namespace", "token", "read-only"]


async def test_pods_and_accounts_may_leave_the_token_out(client: Client, namespace: str) -> None:
    account = {"metadata": {"name": "quiet", "namespace": namespace}, "automountServiceAccountToken": False}
    await client.create(SERVICEACCOUNTS, account)
    script = f"ls {TOKEN} 2>/dev/null | wc -l"
    cases: dict[str, tuple[dict[str, Any], str]] = {
        "pod": ({"automountServiceAccountToken": False}, "0"),
        "account": ({"serviceAccountName": "quiet"}, "0"),
        "both": ({"serviceAccountName": "quiet", "automountServiceAccountToken": True}, "3"),
    }
    for name, (spec, wanted) in cases.items():
        assert await output(client, namespace, pod(name, script, **spec)) == [wanted], name


@pytest.mark.parametrize("link", ["/", "../../../../.."])
async def test_an_init_containers_link_leads_no_one_out_of_the_volume(
    client: Client, namespace: str, link: str
) -> None:
    mount = [{"name": "v", "mountPath": "/v"}]
    first = {"name": "plants", "image": "busybox", "command": ["/bin/ln", "-s", link, "/v/out"], "volumeMounts": mount}
    main = {"volumeMounts": [{"name": "v", "mountPath": "/host", "subPath": "out"}]}
    volumes = [{"name": "v", "emptyDir": {}}]
    obj = pod("climbs", "ls /host", container=main, initContainers=[first], volumes=volumes)
    await make(client, namespace, obj)
    assert "leads out of the volume" in await waiting(client, namespace, "climbs", "CreateContainerError")


async def test_sub_paths_stay_below_and_may_name_variables(client: Client, namespace: str) -> None:
    env = [{"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]
    mounts = [
        {"name": "v", "mountPath": "/v"},
        {"name": "v", "mountPath": "/mine", "subPathExpr": "deep/$(POD)"},
    ]
    more: Object = {"env": env, "volumeMounts": mounts}
    volumes = [{"name": "v", "emptyDir": {}}]
    script = "echo x > /mine/file; ls /v/deep/named"
    assert await output(client, namespace, pod("named", script, container=more, volumes=volumes)) == ["file"]
    unknown = {"volumeMounts": [{"name": "v", "mountPath": "/m", "subPathExpr": "$(NOT_THERE)"}]}
    await make(client, namespace, pod("unknown", "true", container=unknown, volumes=volumes))
    assert "names a variable" in await waiting(client, namespace, "unknown", "CreateContainerError")


async def test_a_command_in_a_container_has_its_bounds(client: Client, namespace: str) -> None:
    await make(client, namespace, pod("lives", "exec sleep 600", container={"securityContext": {"runAsUser": 1234}}))

    await ready(client, namespace, "lives")
    script = "id -u; grep -E 'CapEff|Seccomp:|NoNewPrivs' /proc/self/status | cut -f2; ls -d /proc/[0-9]* | wc -l"
    code, out = await run_command(client, namespace, "lives", "/bin/sh", "-c", script)
    assert code == 0
    assert out.split()[:4] == ["1234", "0000000000000000", "1", "2"]
    assert int(out.split()[4]) < 10
