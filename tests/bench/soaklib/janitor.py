"""Nothing of a soak is left behind, also where it is killed with SIGKILL.

Everything that a soak starts carries SOAK_ID=<id> in its environment: the agent, etcd and each
workload. A process of its own, nobody's child by the time that the soak begins, waits for the end
of the soak and then ends what carries the mark.
"""

import contextlib
import ctypes
import os
import pathlib
import re
import shutil
import signal
import time

MARK = "SOAK_ID"
CLONE_NEWNS = 0x00020000
PR_SET_CHILD_SUBREAPER = 36
MNT_DETACH = 2
libc = ctypes.CDLL(None, use_errno=True)


def become_subreaper():
    """What the agent leaves behind becomes a child of the soak, and can be reaped."""
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "PR_SET_CHILD_SUBREAPER")


def own_mounts():
    """Mounts made from now on go with the last process of the soak; whether that can be had."""
    if os.geteuid() != 0 or libc.unshare(CLONE_NEWNS) != 0:
        return False
    return os.system("mount --make-rprivate / 2>/dev/null") == 0


def marked(ident):
    """The living processes with the mark, but for this one."""
    mark = f"{MARK}={ident}".encode()
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            with open(f"/proc/{entry}/environ", "rb") as file:
                if mark in file.read().split(b"\0"):
                    found.append(int(entry))
    return found


def end_marked(ident, seconds=20):
    """Ends them; returns those that do not die."""
    end = time.monotonic() + seconds
    while (left := marked(ident)) and time.monotonic() < end:
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        time.sleep(0.02)
    return left


def remove_cgroups(folder):
    """Those that the agents below the folder said they made; what is in them has ended."""
    for log in pathlib.Path(folder).glob("*/stderr"):
        for name in set(re.findall(r"cgroups of workloads are in '([^']+)'", log.read_text())):
            for path, _, _ in os.walk(name, topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(path)


def unmount(folder):
    with open("/proc/self/mounts", encoding="utf-8") as mounts:
        points = [line.split()[1] for line in mounts]
    for point in points:
        if point.startswith(f"{folder}/"):
            libc.umount2(point.encode(), MNT_DETACH)


def clean_up(ident, folder):
    """Ends all and removes all; returns the processes that do not die."""
    left = end_marked(ident)
    unmount(folder)
    with contextlib.suppress(OSError):
        remove_cgroups(folder)
    shutil.rmtree(folder, ignore_errors=True)
    return left


def start(ident, folder):
    """Starts the janitor; the soak calls what is returned once it has cleaned up itself."""
    reader, writer = os.pipe()
    middle = os.fork()
    if middle == 0:
        os.setsid()
        if os.fork() == 0:
            os.close(writer)
            _watch(reader, ident, folder)
        os._exit(0)
    os.waitpid(middle, 0)
    os.close(reader)
    os.set_inheritable(writer, False)
    return lambda: os.write(writer, b"!")


def _watch(reader, ident, folder):
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    null = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1, 2):  # or who reads the soak's output would wait for us
        os.dup2(null, fd)
    clean = os.read(reader, 1)
    if not clean:
        clean_up(ident, folder)
    os._exit(0)
