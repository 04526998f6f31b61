"""The seccomp profile RuntimeDefault: what a container may ask of the kernel.

Denied are the calls that container runtimes deny without further capabilities, and all that are newer than this list. Tables are
of numbers, since the filter is made for every container in a process that has imported next to nothing. There is no kept package
that brings libseccomp along. Source: the kernel's system call tables, and the documented default profile of container runtimes.
"""

from __future__ import annotations

import ctypes
import errno
import platform
import struct

from sailcloth.lib import namespaces as ns

_NEWEST = 462  # mseal; what follows does not exist for programs, which then do without
_ALIKE = {  # the same number on every processor
    "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427, "open_tree": 428, "move_mount": 429,
    "fsopen": 430, "fsconfig": 431, "fsmount": 432, "fspick": 433, "pidfd_getfd": 438, "mount_setattr": 442,
    "quotactl_fd": 443,
}  # fmt: skip
_X86_64 = {
    "syslog": 103, "ustat": 136, "sysfs": 139, "vhangup": 153, "pivot_root": 155, "_sysctl": 156,
    "chroot": 161, "acct": 163, "settimeofday": 164, "mount": 165, "umount2": 166, "swapon": 167,
    "swapoff": 168, "reboot": 169, "sethostname": 170, "setdomainname": 171, "iopl": 172, "ioperm": 173,
    "create_module": 174, "init_module": 175, "delete_module": 176, "get_kernel_syms": 177, "query_module": 178,
    "quotactl": 179, "nfsservctl": 180, "lookup_dcookie": 212, "clock_settime": 227, "mbind": 237,
    "set_mempolicy": 238, "get_mempolicy": 239, "kexec_load": 246, "add_key": 248, "request_key": 249, "keyctl": 250,
    "migrate_pages": 256, "unshare": 272, "move_pages": 279, "perf_event_open": 298, "fanotify_init": 300,
    "open_by_handle_at": 304, "clock_adjtime": 305, "setns": 308, "kcmp": 312, "finit_module": 313, "kexec_file_load": 320, "bpf": 321, "userfaultfd": 323, "uselib": 134,
}  # fmt: skip
_AARCH64 = {
    "lookup_dcookie": 18, "umount2": 39, "mount": 40, "pivot_root": 41, "nfsservctl": 42, "chroot": 51,
    "vhangup": 58, "quotactl": 60, "acct": 89, "unshare": 97, "kexec_load": 104, "init_module": 105,
    "delete_module": 106, "clock_settime": 112, "syslog": 116, "reboot": 142, "sethostname": 161,
    "setdomainname": 162, "settimeofday": 170, "add_key": 217, "request_key": 218, "keyctl": 219,
    "swapon": 224, "swapoff": 225, "mbind": 235, "get_mempolicy": 236, "set_mempolicy": 237, "migrate_pages": 238,
    "move_pages": 239, "perf_event_open": 241, "fanotify_init": 262, "open_by_handle_at": 265, "clock_adjtime": 266,
    "setns": 268, "kcmp": 272, "finit_module": 273, "bpf": 280,
    "userfaultfd": 282, "kexec_file_load": 294,
}  # fmt: skip
_MACHINES = {  # AUDIT_ARCH, numbers of clone, personality and socket, denied calls
    "x86_64": (0xC000003E, 56, 135, 41, _X86_64),
    "aarch64": (0xC00000B7, 220, 92, 198, _AARCH64),
}
_CLONE3 = 435
_NEW_NAMESPACES = 0x7E020000  # CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET
_PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)
_AF_VSOCK = 40
_LOAD, _EQUAL, _GREATER, _ANY_BIT, _RETURN = 0x20, 0x15, 0x25, 0x45, 0x06
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_NUMBER, _ARCH, _FIRST_ARGUMENT = 0, 4, 16


def program(machine: str) -> bytes:
    """The filter as instructions of BPF. Raises KeyError for a processor without a table."""
    arch, clone, personality, socket, table = _MACHINES[machine]
    none, denied = _ERRNO | errno.ENOSYS, _ERRNO | errno.EPERM
    steps = [
        (_LOAD, 0, 0, _ARCH),
        (_EQUAL, 1, 0, arch),
        (_RETURN, 0, 0, none),
        (_LOAD, 0, 0, _NUMBER),
        (_EQUAL, 0, 1, _CLONE3),  # its flags lie in memory; programs fall back to clone
        (_RETURN, 0, 0, none),
        (_GREATER, 0, 1, _NEWEST),  # the calls of x32 too
        (_RETURN, 0, 0, none),
    ]
    for number in sorted({*table.values(), *_ALIKE.values()}):
        steps += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, denied)]
    steps += [
        (_EQUAL, 0, 4, clone),
        (_LOAD, 0, 0, _FIRST_ARGUMENT),
        (_ANY_BIT, 0, 1, _NEW_NAMESPACES),
        (_RETURN, 0, 0, denied),
        (_RETURN, 0, 0, _ALLOW),
        (_EQUAL, 0, 4, socket),
        (_LOAD, 0, 0, _FIRST_ARGUMENT),
        (_EQUAL, 0, 1, _AF_VSOCK),
        (_RETURN, 0, 0, denied),
        (_RETURN, 0, 0, _ALLOW),
        (_EQUAL, 1, 0, personality),
        (_RETURN, 0, 0, _ALLOW),
        (_LOAD, 0, 0, _FIRST_ARGUMENT),
    ]
    for value in _PERSONALITIES:
        steps += [(_EQUAL, 0, 1, value), (_RETURN, 0, 0, _ALLOW)]
    steps.append((_RETURN, 0, 0, denied))
    return b"".join(struct.pack("=HBBI", *step) for step in steps)


def for_this_machine() -> bytes:
    """The filter; empty on a processor without a table."""
    try:
        return program(platform.machine())
    except KeyError:
        return b""


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


def install(instructions: bytes) -> None:
    """Install a filter for this process and all that it becomes. Raises OSError."""
    if instructions:
        ns.prctl(ns.PR_SET_NO_NEW_PRIVS, 1)
        filter_ = _Program(len(instructions) // 8, instructions)
        ns.prctl(22, 2, ctypes.addressof(filter_))  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER
