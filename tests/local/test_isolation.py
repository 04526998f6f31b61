"""What `docs/security.md` says of pods, tried from inside one: in a cluster of root, and in one of an ordinary user."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sailcloth.lib import namespaces as ns
from sailcloth.local import pod_users

from .pod_sandbox import Pod, in_pod

NOBODY = 65534
ATTACK = Path(__file__).with_name("attack.py")
PROGRAM = "import time; key = 'key-of-the-proxy'; time.sleep(600)"
SENSITIVE = (
    "/etc",
    "/etc/passwd",
    "/usr",
    "/usr/bin",
    "/bin",
    "/opt",
    "/proc/sys/kernel/core_pattern",
    "/proc/sys/kernel/hostname",
    "/proc/sys/net/ipv4/ip_forward",
    "/proc/sys/vm/overcommit_memory",
    "/proc/sysrq-trigger",
    "/proc/kcore",
    "/proc/irq/default_smp_affinity",
    "/sys",
    "/sys/kernel/uevent_helper",
    "/sys/fs/cgroup",
)


@pytest.fixture(params=["this user", "nobody"])
def user(request: pytest.FixtureRequest) -> int:
    """The user whose cluster it is; -1 is this process's."""
    if request.param == "this user":
        return -1
    if os.geteuid() != 0:
        pytest.skip("only root can be another user")
    return NOBODY


@pytest.fixture
def python(user: int) -> str:
    if user < 0:
        return sys.executable
    if not os.access("/usr/bin/python3", os.X_OK):
        pytest.skip("there is no Python that other users may run")
    return "/usr/bin/python3"


@pytest.fixture
def place(user: int) -> Iterator[Path]:
    """A folder of that user's, below folders that everyone may enter."""
    folder = Path(tempfile.mkdtemp(prefix="sailcloth-isolation-"))
    for name in ("pod", "program", "proxy", "secret", "volume"):
        (folder / name).mkdir()
    shutil.copy(ATTACK, folder / "program" / "attack.py")
    (folder / "program" / "source.py").write_text("x = 1\n")
    (folder / "volume" / "private").write_text("of the pod's root\n")
    (folder / "volume" / "private").chmod(0o600)
    (folder / "proxy" / "agent.sock").write_text("")
    (folder / "secret" / "key").write_text("of the host\n")
    if user >= 0:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, user, user)
    yield folder
    shutil.rmtree(folder)


def owner(pid: int) -> int:
    return int(Path(f"/proc/{pid}/status").read_text().split("Uid:")[1].split()[0])


def test_a_pod_cannot_leave_its_bounds(place: Path, python: str, user: int) -> None:
    program = place / "program"
    repository = ATTACK.parents[2]
    folders = [str(program), *([] if user >= 0 else [sys.prefix, sys.base_prefix])]
    sensitive = [*SENSITIVE, *folders, str(program / "source.py")]
    hidden = [
        place / "secret",
        place / "proxy" / "agent.sock",
        place / "pod",
        repository / "pyproject.toml",
        "/boot/grub",
    ]
    hidden += ["/dev/mem", "/dev/kmsg", "/dev/vda", "/var/lib/dpkg", "/proc/1/root/etc", "/proc/self/root/../secret"]
    attack = [python, "-I", "-S", str(program / "attack.py"), *sensitive, "--", *map(str, hidden)]

    async def scenario(pod: Pod) -> None:
        more = {"needed": folders, "mounts": [[str(place / "volume"), "/data", "rw", ""]]}
        proxy = [python, "-I", "-S", "-c", PROGRAM, "key-of-the-proxy"]
        keep = {"needed": [*folders, str(place / "proxy")], "proxy": True, "caps": [ns.CAP_NET_ADMIN, ns.CAP_NET_RAW]}
        uid = pod_users.PROXY if ns_has_many_users() else 0
        pod.start("istio-proxy", proxy, uid=uid, gid=uid, **keep)
        await pod.until("started")
        for caps in ([], [ns.CAP_NET_ADMIN, ns.CAP_NET_RAW]):
            code, lines = await pod.output("main", attack, caps=caps, **more)
            assert code == 0, lines
            result: dict[str, Any] = json.loads(lines[-1].removeprefix("stdout F "))
            wanted = sum(1 << c for c in caps)
            assert result == {
                "written": [],
                "seen": [],
                "calls": [],
                "others": [],
                "signalled": [],
                "capabilities": wanted,
                "bounding": wanted,
                "no_new_privileges": "1",
                "seccomp": "2",
                "raw": bool(caps),
                "network": ["eth0", "lo"],
            }
        script = "cat /data/private; echo x > /data/made; echo x > /tmp/x; mkdir /own /run/own /var/lib/own; echo $?"
        code, lines = await pod.output("own", ["/bin/sh", "-c", script], **more)
        assert lines == ["stdout F of the pod's root", "stdout F 0"], "what is the pod's stays so"
        pod.start("lives", ["/bin/sleep", "60"])
        started = await pod.until("started")
        children = Path(f"/proc/{pod.pid}/task/{pod.pid}/children").read_text().split()
        owners = {owner(int(c)) for c in children if b"sleep" in Path(f"/proc/{c}/cmdline").read_bytes()}
        assert started["pid"]
        assert 0 not in owners or not ns_is_initial(), "a pod's root is not the host's"

    in_pod(place / "pod", scenario, uid=user)
    made = (place / "volume" / "made").stat()
    assert made.st_uid == (user if user >= 0 else os.geteuid()), "files on disk have the owners that the pod sees"
    assert (program / "source.py").read_text() == "x = 1\n"


def ns_has_many_users() -> bool:
    return pod_users.host_range(0)[1] > 1


def ns_is_initial() -> bool:
    return Path("/proc/self/uid_map").read_text().split() == ["0", "0", "4294967295"]


def test_a_link_does_not_lead_out_of_a_volume(tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    (volume / "in").mkdir(parents=True)
    (volume / "in" / "file").write_text("inside\n")
    (volume / "good").symlink_to("in")
    (tmp_path / "key").mkdir()
    (tmp_path / "key" / "ca.key").write_text("secret\n")
    (volume / "up").symlink_to("../key")
    (volume / "absolute").symlink_to(str(tmp_path / "key"))

    async def scenario(pod: Pod) -> None:
        async def read(inside: str) -> list[str]:
            mount = [str(volume), "/data", "rw", inside]
            return (await pod.output("c", ["/bin/sh", "-c", "cat /data/*"], mounts=[mount]))[1]

        assert await read("good") == ["stdout F inside"]
        for inside in ("up", "absolute", "../key", "in/../../key"):
            lines = await read(inside)
            assert not any("secret" in line for line in lines), (inside, lines)
            assert any("cannot start" in line for line in lines), (inside, lines)

    in_pod(tmp_path, scenario)


def test_no_mount_or_folder_of_a_container_leads_to_the_hosts_root(place: Path, user: int) -> None:
    """While its mounts are made the host's root lies over its own, so that `/..` is the host's `/`."""
    volume, secret = place / "volume", place / "secret"
    (volume / "root").symlink_to("/")
    (volume / "up").symlink_to(f"/..{secret}")
    (place / "above").mkdir()
    (place / "above" / place.name).symlink_to(
        f"/..{secret}"
    )  # a circle in the container, and none from the host's root
    (place / "beside").mkdir()
    (place / "beside" / place.name).symlink_to("/../var")
    if user >= 0:
        os.chown(place / "above", user, user)
        os.chown(place / "beside", user, user)
    data = [str(volume), "/data", "rw", ""]
    inside = "test / -ef /.. && echo own; ls -a /.. | grep -c . >&2"

    async def scenario(pod: Pod) -> None:
        async def output(number: int, **more: Any) -> str:
            return str(await pod.output(f"c{number}", ["/bin/sh", "-c", inside], **more))

        refused = [
            [[str(volume), target, "rw", ""]] for target in ("/", "/proc/self/root", "/proc", "/proc/self/x", "/a/..")
        ]
        refused.append([data, [str(volume), "/data/root", "rw", ""]])
        for number, mounts in enumerate(refused):
            assert "nothing can be mounted at" in await output(number, mounts=mounts)
        above = {"needed": [str(place / "program")], "mounts": [[str(place / "above"), str(place.parent), "rw", ""]]}
        assert "is a circle of links" in await output(len(refused), **above)
        kept: list[dict[str, Any]] = [
            {"cwd": f"/..{secret}/made"},
            {"cwd": "/data/up/made", "mounts": [data]},
            {"mounts": [data, [str(place / "proxy"), "/data/up/made", "rw", ""]]},
            {"needed": [str(place / "program")], "mounts": [[str(place / "beside"), str(place.parent), "rw", ""]]},
        ]
        for number, more in enumerate(kept, len(refused) + 1):
            assert "stdout F own" in await output(number, **more)

    in_pod(place / "pod", scenario, uid=user)
    assert [p.name for p in secret.iterdir()] == ["key"]


def test_an_old_root_that_stays_is_an_error(tmp_path: Path) -> None:
    """The second wall: whatever is mounted over the new root would be unmounted instead of the old one."""
    program = f"""
import os
from sailcloth.lib import namespaces as ns
ns.unshare(ns.NEWNS)
ns.mount("none", "/", None, ns.MS_REC | ns.MS_PRIVATE)
ns.mount("tmpfs", {str(tmp_path)!r}, "tmpfs")
os.mkdir({str(tmp_path / "x")!r})
try:
    ns.pivot_root({str(tmp_path)!r}, lambda: ns.mount("tmpfs", "/", "tmpfs"))
except OSError as error:
    os._exit(7 if "mounted over the new root" in str(error) else 1)
os._exit(0)
"""
    if os.geteuid() != 0:
        pytest.skip("only root has mounts of its own here")
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 7
