"""The real thing: the agent with its folders, its source, its disks, and what is done to them."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import harness
from api import Connection

from . import Violation, sources
from .documents import Writer

LIBRARY = Path(__file__).resolve().parent
DISK_BYTES = {"log": "128m", "state": "16m", "runtime": "64m"}
DEADLINE = 60  # seconds, for what takes an agent a few on a busy machine


def wait_for(condition, what, timeout=2 * DEADLINE):
    try:
        return harness.wait_for(condition, what, timeout)
    except AssertionError as error:
        raise Violation(str(error)) from None


class AgentLog:
    """The agent's stderr, read on; of an hour's only the end is kept."""

    def __init__(self, path):
        self.path, self.offset, self.tail = path, 0, []
        self.counts = {"runs as PID": 0, "nothing was changed": 0}
        self.cgroup = None
        self.sanitizer = None

    def read(self):
        with open(self.path, "rb") as file:
            file.seek(self.offset)
            data = file.read()
        data = data[:data.rfind(b"\n") + 1]
        self.offset += len(data)
        for line in data.decode(errors="replace").splitlines():
            self._take(line)
        self.tail = self.tail[-400:]
        return self

    def _take(self, line):
        self.tail.append(line)
        for text in self.counts:
            self.counts[text] += text in line
        if "cgroups of workloads are in '" in line:
            self.cgroup = Path(line.split("cgroups of workloads are in '")[1].split("'")[0])
        if harness.SANITIZER_REPORT.search(line):
            self.sanitizer = self.sanitizer or line


class World:
    def __init__(self, ident, account, source, rng, has_mounts):
        self.ident, self.account = ident, account
        self.agent = harness.Agent(account)
        self.folder = self.agent.folder
        self.runs = self._make("runs")
        self.sick = self._make("sick")
        self.program = self._compile()
        self.has_disks = has_mounts
        self.disks = {"log": self.agent.log_dir, "state": self.agent.state_dir,
                      "runtime": self.agent.runtime_dir}
        self._mount_disks()
        self.ports = self._find_ports(48)
        self.source = sources.make(source, self, rng)
        self.writer = Writer(self)
        self.level = "info"
        self.write_config()
        self.log = AgentLog(self.folder / "stderr")
        self.downs = []       # [(from, to)] in ns: no agent ran
        self.fulls = []       # the same: a disk was full
        self.unfinished = None  # the rest of a file that is being written

    # what is made once

    def _make(self, name):
        folder = self.folder / name
        folder.mkdir()
        os.chown(folder, self.account.uid, self.account.gid)
        return folder

    def _compile(self):
        folder = self._make("bin")
        program = folder / "workload"
        subprocess.run(["cc", "-O2", "-D_GNU_SOURCE", "-o", program, LIBRARY / "workload.c"],
                       check=True)
        program.chmod(0o755)
        return program

    def _mount_disks(self):
        for name, folder in self.disks.items():
            folder.mkdir()
            if self.has_disks:
                subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES[name]},mode=755",
                                "tmpfs", folder], check=True)
            os.chown(folder, self.account.uid, self.account.gid)

    @staticmethod
    def _find_ports(count):
        """Ports in a row that nobody listens at, below those that the kernel gives to clients."""
        for base in range(20000 + os.getpid() * count % 10000, 32000 - count, count):
            with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
                for port in range(base, base + count):
                    s = stack.enter_context(socket.socket())
                    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    s.bind(("127.0.0.1", port))
                return range(base, base + count)
        raise RuntimeError("no free ports")

    def port(self, app, workload):
        return self.ports[(ord(app[-1]) - ord("a")) * 6 + int(workload[1:])]

    def sick_file(self, app, workload):
        return self.sick / f"{app}.{workload}"

    # the agent

    def write_config(self):
        self.agent.write_config(
            controlPlane=self.source.config(), log={"level": self.level, "format": "json"},
            policy={"commands": [f"{self.program.parent}/**"]})

    def start_agent(self):
        self.agent.start(env={"SOAK_ID": self.ident})
        self.agent.all_processes.clear()
        wait_for(self.answers, "the agent's API to answer")
        if self.downs:
            self.downs[-1][1] = time.monotonic_ns()

    def answers(self):
        if not self.agent.is_running():
            raise Violation(f"the agent exited with {self.agent.process.returncode}")
        with contextlib.suppress(OSError):
            return self.get("/v1/agent")["pid"] == self.agent.pid
        return False

    def _agent_goes(self):
        self.downs.append([time.monotonic_ns(), None])

    def end_agent(self, number, code):
        self._agent_goes()
        self.agent.send(number)
        wait_for(lambda: self.agent.process.poll() is not None, "the agent to end")
        if self.agent.process.returncode != code:
            raise Violation(f"the agent exited with {self.agent.process.returncode}, "
                            f"not {code}, upon {signal.Signals(number).name}")

    def _wait_said(self, text, action):
        before = self.log.read().counts[text]
        action()
        wait_for(lambda: self.log.read().counts[text] > before, f"the agent to say '{text}'")

    def reexec_agent(self):
        self._agent_goes()
        self._wait_said("runs as PID", lambda: self.agent.send(signal.SIGUSR2))
        wait_for(self.answers, "the agent's API to answer after its re-exec")
        self.downs[-1][1] = time.monotonic_ns()

    def reload_agent(self, valid):
        if valid:
            self.level = "debug" if self.level == "info" else "info"
            self.write_config()
            self.agent.send(signal.SIGHUP)
            wait_for(lambda: self.get("/v1/agent")["logLevel"] == self.level, "the new log level")
            return
        self.agent.write_config(text="stateDirectory: [\n")
        self._wait_said("nothing was changed", lambda: self.agent.send(signal.SIGHUP))
        self.write_config()

    # its API

    def request(self, method, path, body=None):
        connection = Connection(self.agent.runtime_dir / "agent.sock", timeout=2 * DEADLINE)
        with contextlib.closing(connection):
            connection.request(method, path, body=json.dumps(body) if body else None)
            answer = connection.getresponse()
            return answer.status, answer.read()

    def get(self, path):
        status, body = self.request("GET", path)
        if status != 200:
            raise Violation(f"GET {path}: {status} {body.decode()}")
        return json.loads(body)

    def ask(self, method, path, body=None):
        status, text = self.request(method, path, body)
        if status not in (200, 202, 204):
            raise Violation(f"{method} {path}: {status} {text.decode()}")

    def recorded_pid(self, app, workload):
        """The process that the next agent would look for."""
        record = self.agent.runtime_dir / "units" / app / f"{workload}.json"
        with contextlib.suppress(OSError, ValueError, KeyError):
            return json.loads(record.read_text())["process"]["pid"]
        return None

    # its size

    def fd_count(self):
        return len(os.listdir(f"/proc/{self.agent.pid}/fd"))

    def pss_bytes(self):
        for line in harness.read_proc(self.agent.pid, "smaps_rollup").decode().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
        raise Violation("the agent's memory cannot be read")

    # disks

    def fill(self, names):
        self.fulls.append([time.monotonic_ns(), None])
        for name in names:
            ballast = self.disks[name] / ".ballast"
            with open(ballast, "wb", buffering=0) as file, contextlib.suppress(OSError):
                while True:
                    file.write(b"x" * 65536)
            with open(ballast, "ab", buffering=0) as file, contextlib.suppress(OSError):
                while True:
                    file.write(b"x" * 512)

    def free(self):
        for folder in self.disks.values():
            (folder / ".ballast").unlink(missing_ok=True)
        self.fulls[-1][1] = time.monotonic_ns()

    def has_written(self):
        """Whether all of the agent's records have reached the disk that was full."""
        return b"records cannot be written" not in self.request("GET", "/v1/health")[1]

    # the end

    def close(self):
        """Ends the agent by force where it still runs; the janitor's rules do the rest."""
        if self.agent.is_running():
            self.agent.process.kill()
            self.agent.process.wait()
        with contextlib.suppress(Exception):  # what it has to say was said before
            self.source.close()

    def keep(self, folder):
        """Copies what tells of a failure: the folders go with the soak."""
        target = folder / f"soak-{self.ident}"
        for part in ("agent.yaml", "stderr", "applications.d", "log", "state", "run", "runs"):
            source = self.folder / part
            with contextlib.suppress(OSError, shutil.Error):
                if source.is_dir():
                    shutil.copytree(source, target / part, dirs_exist_ok=True,
                                    ignore=shutil.ignore_patterns("agent.sock", ".ballast"))
                else:
                    target.mkdir(parents=True, exist_ok=True)
                    shutil.copy(source, target / part)
        return target
