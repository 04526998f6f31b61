"""Pods whose image is a root file system: what they see, what they may, and that the image stays as it is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sailcloth.kube.client import Client
from sailcloth.kube.resources import CONFIGMAPS

from .image_files import layer, layout, packed, shell_root
from .local_cluster import Object, Up, in_time, sailctl
from .pods import ended, events, log, make, ready, run_command, status

IMAGE = "example.com/root/shell:1"
CONFIG = {
    "Entrypoint": ["/bin/sh", "-c"],
    "Cmd": ["echo own command; exec sleep 600"],
    "Env": ["PATH=/bin", "FROM=image"],
    "WorkingDir": "/work/deep",
}


@pytest.fixture(scope="module")
def image(up: Up, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The image in the catalog; its root file system on the host."""
    folder = tmp_path_factory.mktemp("image")
    root = shell_root(folder / "root")
    source = packed(
        layout(folder / "layout", [layer({}, root), layer({"etc/second": "layer"})], CONFIG), folder / "i.tar"
    )
    where = ("--state", str(up.state))
    done = sailctl("image", "add", *where, "--root", str(source), IMAGE)
    assert done.returncode == 0, done.stderr
    done = sailctl("image", "add", *where, "--root", str(root), "example.com/root/folder")
    assert done.returncode == 0, done.stderr
    yield next((up.state / "images").iterdir()) / "root"
    sailctl("image", "remove", *where, IMAGE)
    sailctl("image", "remove", *where, "example.com/root/folder")


def pod(name: str, *words: str, image: str = IMAGE, container: Object | None = None, **spec: Any) -> Object:
    main = {"name": "main", "image": image, **({"args": [*words]} if words else {}), **(container or {})}
    return {"metadata": {"name": name}, "spec": {"containers": [main], "terminationGracePeriodSeconds": 1, **spec}}


async def output(client: Client, namespace: str, obj: Object) -> list[str]:
    name = obj["metadata"]["name"]
    obj["spec"]["restartPolicy"] = "Never"
    await make(client, namespace, obj)
    await ended(client, namespace, name)
    return (await log(client, namespace, name)).splitlines()


async def test_the_image_is_the_root_and_stays_as_it_is(client: Client, namespace: str, image: Path) -> None:
    script = (
        "ls / ; ls /dev | grep -c . ; cat /etc/mark /etc/second; echo; echo changed > /etc/mark; cat /etc/mark; mkdir /new;"
        "echo $FROM $HOME $HOSTNAME; cat /etc/hostname; grep -c nameserver /etc/resolv.conf; ls -d /proc/self /sys/class/net/eth0;"
        "echo x > /dev/null; touch /dev/shm/x; id -u; cat /proc/1/comm > /tmp/x; ls -d /root /usr/share /work 2>/dev/null; ls -d ."
    )
    lines = await output(client, namespace, pod("root", script))
    top = lines[: lines.index("usr") + 1 if "usr" in lines else 12]
    assert "home" not in top, "nothing of the host is seen"
    text = lines[lines.index("of the image") :]
    assert text[:3] == ["of the image", "layer", "changed"]
    assert text[3:9] == ["image /root root", "root", "1", "/proc/self", "/sys/class/net/eth0", "0"], text
    assert text[9:] == ["/work", "."]
    assert (image / "etc" / "mark").read_text() == "of the image\n"
    assert not (image / "new").exists()


async def test_its_own_command_exec_and_copies(client: Client, namespace: str, image: Path) -> None:
    await make(client, namespace, pod("own"))
    await ready(client, namespace, "own")

    async def said() -> bool:
        return await log(client, namespace, "own") == "own command\n"

    await in_time("the image's own command runs", said)
    code, out = await run_command(client, namespace, "own", "sh", "-c", "cat /etc/mark; echo $FROM; ls -d $PWD; exit 3")
    assert (code, out) == (3, "of the image\nimage\n/work/deep\n")
    code, out = await run_command(client, namespace, "own", "tar", "-cf", "-", "/etc/mark")
    assert code == 0
    assert "of the image" in out
    assert (await run_command(client, namespace, "own", "/no/such"))[0] in (126, 127)


async def test_volumes_and_a_root_that_is_read_only(client: Client, namespace: str, image: Path) -> None:
    await client.create(CONFIGMAPS, {"metadata": {"name": "c", "namespace": namespace}, "data": {"k": "value"}})
    script = (
        "cat /data/conf/k; echo; echo x > /scratch/file && cat /scratch/file; (echo y > /etc/refused) 2>/dev/null || echo read-only;"
        "(echo y > /tmp/refused) 2>/dev/null || echo read-only; echo z > /dev/shm/z && cat /dev/shm/z"
    )
    mounts = [{"name": "conf", "mountPath": "/data/conf"}, {"name": "scratch", "mountPath": "/scratch"}]
    volumes = [{"name": "conf", "configMap": {"name": "c"}}, {"name": "scratch", "emptyDir": {}}]
    sealed = {"volumeMounts": mounts, "securityContext": {"readOnlyRootFilesystem": True}}
    for name, used in (("rootfs", IMAGE), ("host", "busybox")):
        command = {"command": ["/bin/sh", "-c"]}
        obj = pod(name, script, image=used, container={**sealed, **command}, volumes=volumes)
        lines = await output(client, namespace, obj)
        assert lines == ["value", "x", "read-only", "read-only", "z"], f"{name}: {lines}"


async def test_users(client: Client, namespace: str, image: Path) -> None:
    script = "id -u; id -g; touch /tmp/mine && stat -c %u /tmp/mine; echo $HOME; (echo x > /etc/mark) && echo writes"
    both = {"runAsUser": 1234, "runAsGroup": 99}
    lines = await output(client, namespace, pod("user", script, container={"securityContext": both}))
    assert lines == ["1234", "99", "1234", "/home/me", "writes"]
    lines = await output(client, namespace, pod("podwide", "id -u; id -g", securityContext={"runAsUser": 1234}))
    assert lines == ["1234", "2345"], "the group is the user's in the image"
    await make(client, namespace, pod("root", "id -u", securityContext={"runAsNonRoot": True}))

    async def refused() -> str:
        waiting = ((await status(client, namespace, "root")).get("containerStatuses") or [{}])[0].get("state", {})
        return str((waiting.get("waiting") or {}).get("message", ""))

    assert "runAsNonRoot" in await in_time("the pod is refused", refused)
    host = pod(
        "host", "id -u", image="busybox", container={"command": ["/bin/sh", "-c"]}, securityContext={"runAsUser": 77}
    )
    assert await output(client, namespace, host) == ["77"]


async def test_what_is_not_given_is_told(client: Client, namespace: str, image: Path) -> None:
    wanted = {"privileged": True, "capabilities": {"add": ["NET_ADMIN", "SYS_ADMIN"]}}
    script = "grep CapEff /proc/self/status"
    lines = await output(client, namespace, pod("mighty", script, container={"securityContext": wanted}))
    assert int(lines[0].split()[1], 16) == 1 << 12
    told = (await events(client, namespace, "mighty"))["NotEnforced"]
    assert "privileged" in told
    assert "SYS_ADMIN" in told
    assert "NET_ADMIN" not in told


async def test_a_folder_is_an_image_and_probes_work_in_it(client: Client, namespace: str, image: Path) -> None:
    probe = {"exec": {"command": ["cat", "/tmp/ready"]}, "periodSeconds": 1}
    main = {"command": ["/bin/sh", "-c"], "readinessProbe": probe, "env": [{"name": "PATH", "value": "/bin"}]}
    obj = pod("folder", "touch /tmp/ready; exec sleep 600", image="example.com/root/folder:any", container=main)
    await make(client, namespace, obj)
    await ready(client, namespace, "folder")


async def test_an_image_can_be_removed_while_pods_run(client: Client, up: Up, namespace: str, image: Path) -> None:
    where = ("--state", str(up.state))
    done = sailctl("image", "add", *where, "--root", str(image), "example.com/root/short", "/bin/sleep", "600")
    assert done.returncode == 0, done.stderr
    await make(client, namespace, pod("short", image="example.com/root/short"))
    await ready(client, namespace, "short")
    assert sailctl("image", "remove", *where, "example.com/root/short").returncode == 0
    assert (await run_command(client, namespace, "short", "/bin/cat", "/etc/mark"))[1] == "of the image\n"
