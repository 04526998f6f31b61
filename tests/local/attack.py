"""Runs inside a pod and tries to see, reach and change what is not the pod's. Prints one line of JSON: what succeeded or was seen.

Arguments: folders and files of the host that must have no name here, after `--`; before it, files that must not be written.
"""

from __future__ import annotations

import contextlib
import ctypes
import glob
import json
import os
import platform
import socket
import sys

LIBC = ctypes.CDLL(None, use_errno=True)
CALLS = {  # what only an administrator of the machine may ask, in numbers of x86_64 and aarch64
    "mount": (165, 40),
    "umount2": (166, 39),
    "unshare": (272, 97),
    "setns": (308, 268),
    "keyctl": (250, 219),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "init_module": (175, 105),
    "open_by_handle_at": (304, 265),
    "io_uring_setup": (425, 425),
    "mount_setattr": (442, 442),
}


def written(paths: list[str]) -> list[str]:
    out = []
    for path in paths:
        target = f"{path}/planted" if os.path.isdir(path) else path
        with contextlib.suppress(OSError):
            with open(target, "a") as file:
                file.write("")
            out.append(target)
    return out


def permitted() -> list[str]:
    """Calls that did not end in EPERM. All are made with arguments that a permitted call would refuse in another way."""
    number = 0 if platform.machine() == "x86_64" else 1
    out = []
    for name, numbers in CALLS.items():
        ctypes.set_errno(0)
        argument = 0x10000000 if name == "unshare" else -1  # CLONE_NEWUSER, which everyone may ask without a profile
        LIBC.syscall(numbers[number], argument, 0, 0, 0, 0)
        if ctypes.get_errno() != 1:
            out.append(f"{name}: {os.strerror(ctypes.get_errno())}")
    return out


def others() -> list[str]:
    """What other processes give away: files of /proc that can be read and lie behind a permission of tracing."""
    out = []
    for folder in glob.glob("/proc/[0-9]*"):
        if folder == f"/proc/{os.getpid()}":
            continue
        for name in ("environ", "maps", "mem"):
            with contextlib.suppress(OSError), open(f"{folder}/{name}", "rb") as file:
                file.read(1)
                out.append(f"{folder}/{name}")
        for name in ("root", "cwd", "exe"):
            with contextlib.suppress(OSError):
                os.readlink(f"{folder}/{name}")
                out.append(f"{folder}/{name}")
        with open(f"{folder}/cmdline") as file:
            if "key-of-the-proxy" in file.read():
                out.append(f"{folder}/cmdline")
    return out


def signalled() -> list[int]:
    """Processes that can be told apart from none by a signal, beside this one and its PID 1."""
    out = []
    for pid in range(2, 400):
        with contextlib.suppress(ProcessLookupError):
            if pid != os.getpid():
                with contextlib.suppress(PermissionError):
                    os.kill(pid, 0)
                out.append(pid)
    return out


def status(field: str) -> str:
    with open("/proc/self/status") as file:
        return next(line.split()[1] for line in file if line.startswith(field + ":"))


def main() -> None:
    split = sys.argv.index("--")
    sensitive, hidden = sys.argv[1:split], sys.argv[split + 1 :]
    raw = False
    with contextlib.suppress(OSError):
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close()
        raw = True
    print(
        json.dumps(
            {
                "written": written(sensitive),
                "seen": [p for p in hidden if os.path.exists(p)],
                "calls": permitted(),
                "others": others(),
                "signalled": signalled(),
                "capabilities": int(status("CapEff"), 16),
                "bounding": int(status("CapBnd"), 16),
                "no_new_privileges": status("NoNewPrivs"),
                "seccomp": status("Seccomp"),
                "raw": raw,
                "network": sorted(os.listdir("/sys/class/net")),
            }
        )
    )


main()
