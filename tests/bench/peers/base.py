"""What a supervisor has to offer to be measured, and how its processes are found.

A peer runs from a folder of its own and carries its path in the environment; workloads run
programs that lie in that folder. So each process of it is known, however it was started."""

import contextlib
import dataclasses
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time

COOKIE = "EDGIBLE_BENCH_PEER"
GRACE_SECONDS = 2
LOG_FILES = 100


class Failure(Exception):
    """A figure that could not be had; its text says why."""


@dataclasses.dataclass
class Program:
    """A workload: its name, its argv, and the size at which its log is rotated."""

    name: str
    command: list
    log_bytes: int = 1 << 20


def wait_for(condition, what, timeout, pause=0.005):
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise Failure(f"waited {timeout} s for {what}")
        time.sleep(pause)


def memory_folder():
    shm = pathlib.Path("/dev/shm")
    usable = os.access(shm, os.W_OK) and not os.statvfs(shm).f_flag & os.ST_NOEXEC
    return shm if usable else None


def runs(pid):
    """Whether the process is there and not a zombie."""
    with contextlib.suppress(OSError):
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
        return stat[stat.rindex(")") + 2] not in "ZX"
    return False


def pss_bytes(pid):
    """0 of a process that is gone."""
    with contextlib.suppress(OSError):
        for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


class Peer:
    """One supervisor with its programs, from prepare() to close(). Subclasses give the methods
    that raise NotImplementedError, and `missing`."""

    title = ""
    package = None      # Debian's
    loggers_apart = False   # whether logs are processes that can be left out
    holder_apart = False    # whether another process than the main one holds a workload

    def __init__(self, bench):
        self.bench = bench
        # What such programs keep in /run is in memory, logs are on the disk.
        self.home = pathlib.Path(tempfile.mkdtemp(dir=bench.folder, prefix=f"{self.title}-"))
        self.runtime = pathlib.Path(tempfile.mkdtemp(dir=memory_folder() or bench.folder,
                                                     prefix="edgible-bench-"))
        for name in ("workload", "lines"):
            os.link(bench.folder / name, self.home / name)
        self.marks = self.home / "marks"
        self.environment = {**os.environ, COOKIE: str(self.home)}
        self.main = None
        self.children = []

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    # --- what a supervisor gives ---

    @classmethod
    def missing(cls):
        """Why it cannot be measured here, or None."""
        raise NotImplementedError

    @classmethod
    def version(cls):
        raise NotImplementedError

    @classmethod
    def rotating(cls):
        """The class that rotates logs, where that takes more than the plain one."""
        return cls

    def prepare(self, programs, logs=True):
        """Writes its configuration. Without `logs` only where `loggers_apart`."""
        raise NotImplementedError

    def start(self):
        """Starts it, and with it all programs; does not wait for them. Again after a crash."""
        raise NotImplementedError

    def stop(self):
        """Asks for the end of it and of all programs, as its manual says."""
        raise NotImplementedError

    def log_files(self, name):
        """The files of a program's log, from the oldest to the newest."""
        raise NotImplementedError

    def main_pid(self):
        return self.main.pid

    def before_crash(self):
        """What its manual says to do so that a start after a crash brings programs back."""

    # --- common to all ---

    def launch(self, *command, **options):
        """A process that lives until stop(), or a command."""
        out = open(self.home / "output", "ab")
        with out:
            process = subprocess.Popen([str(c) for c in command], env=self.environment,
                                       cwd=self.home, stdin=subprocess.DEVNULL, stdout=out,
                                       stderr=out, **options)
        self.children.append(process)
        return process

    def sleepers(self, count, *arguments):
        return [Program(f"w{i}", [self.home / "workload", self.marks, *arguments])
                for i in range(count)]

    def started(self):
        """(PID, start in ns) of all that workloads have marked so far, in order."""
        if not self.marks.exists():
            return []
        words = self.marks.read_text().split()
        return list(zip(map(int, words[::2]), map(int, words[1::2])))

    def started_count(self):
        return self.marks.stat().st_size // 32 if self.marks.exists() else 0

    def wait_started(self, count, timeout=120):
        def check():
            if self.main and self.main.poll() not in (None, 0):
                raise Failure(f"it ended with {self.main.returncode}: {self.tail()}")
            return self.started_count() >= count
        wait_for(check, f"{count} programs to start", timeout)

    def tail(self):
        return (self.home / "output").read_text(errors="replace").strip()[-300:]

    def all_pids(self):
        """(processes of the supervisor, processes of workloads)."""
        mine, workloads = set(), set()
        cookie = f"{COOKIE}={self.home}".encode()
        programs = {str(self.home / name) for name in ("workload", "lines")}
        for pid in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                if os.readlink(f"/proc/{pid}/exe") in programs:
                    workloads.add(int(pid))
                    continue
                environment = pathlib.Path(f"/proc/{pid}/environ").read_bytes()
                if cookie in environment.split(b"\0"):
                    mine.add(int(pid))
        return mine, workloads

    def own_pss_bytes(self):
        return sum(map(pss_bytes, self.all_pids()[0]))

    def holder(self, pid):
        """The process that a workload is the child of."""
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
        return int(stat[stat.rindex(")") + 2:].split()[1])

    def stop_and_wait(self, timeout):
        """How many seconds stop() takes, until nothing of it runs."""
        known = set.union(*self.all_pids())
        before = time.monotonic()
        self.stop()

        def gone():
            for child in self.children:
                child.poll()
            if any(map(runs, known)):
                return False
            known.update(*self.all_pids())
            return not any(map(runs, known))
        wait_for(gone, "the last process to end", timeout, 0.002)
        return time.monotonic() - before

    def close(self):
        """Ends whatever is left of it, and removes its files."""
        end = time.monotonic() + 30
        while left := set.union(*self.all_pids()):
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            for child in self.children:
                child.poll()
            if time.monotonic() > end:
                break
            time.sleep(0.05)
        shutil.rmtree(self.home, ignore_errors=True)
        shutil.rmtree(self.runtime, ignore_errors=True)


def debian_version(package):
    done = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", package], capture_output=True,
                          text=True, check=False)
    return done.stdout.split("-")[0]


class DebianPeer(Peer):
    programs = ()

    @classmethod
    def missing(cls):
        absent = [p for p in cls.programs if shutil.which(p) is None]
        return f"no {absent[0]}: apt-get install {cls.package}" if absent else None

    @classmethod
    def version(cls):
        return debian_version(cls.package)
