"""What each run of a workload says of itself: the mapped files that workload.c keeps."""

import contextlib
import os
import struct
from dataclasses import dataclass

FORMAT = struct.Struct("=QQqqqiii32i")


@dataclass
class Run:
    slot: str      # application.workload
    name: str      # PID-time
    begun: int     # lines that a write was begun for
    written: int   # lines whose write returned
    first_ns: int
    last_ns: int   # its last sign of life
    pid: int
    line_bytes: int
    kids: tuple

    @property
    def key(self):
        return self.slot, self.name


def read_run(folder, file):
    try:
        data = (folder / file).read_bytes()
    except FileNotFoundError:
        return None
    if len(data) < FORMAT.size:
        return None
    begun, written, first, last, ended, pid, count, size, *kids = FORMAT.unpack_from(data)
    slot, name = file.split("@")
    return Run(slot, name, begun, written, first, max(last, ended), pid,
               size, tuple(k for k in kids[:count] if k))


def read_runs(folder):
    """All runs that have not been forgotten, by their key, oldest first."""
    found = (read_run(folder, name) for name in os.listdir(folder) if "@" in name)
    return {r.key: r for r in sorted(filter(None, found), key=lambda r: r.first_ns)}


def forget_run(folder, run):
    with contextlib.suppress(FileNotFoundError):
        (folder / f"{run.slot}@{run.name}").unlink()
