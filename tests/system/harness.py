"""What the system tests share: starting the real agent, and looking at it from outside.

Nothing here sleeps for a fixed time. A test states what it waits for, wait_for() polls until it is
so, and a deadline that only a broken agent misses turns into a failure that says what was missing.
"""

import contextlib
import fcntl
import grp
import json
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections import namedtuple
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
BINARY = Path(os.environ.get("EDGIBLE_AGENT", ROOT / "build" / "edgible-agent")).resolve()
HELPERS = Path(os.environ.get("EDGIBLE_HELPERS", BINARY.parent / "tests" / "system" / "helpers"))

IS_ROOT = os.geteuid() == 0
DEADLINE = 90  # seconds; only a broken agent gets near it
TEST_USER = "edgible-test"
TEST_GROUP = "edgible-test-extra"  # a supplementary group of the user above

PYTHON = "/usr/bin/python3"
SLEEP = ["/bin/sleep", "1000000"]
# Restarts at once and for ever: no exit is rapid, so none leads to `failed`.
RESTART_AT_ONCE = {"policy": "always", "initialDelay": "20ms", "maxDelay": "50ms",
                   "rapidAfter": "0s"}
# Gives up after the first failure, for tests that look at the failure itself.
FAIL_AT_ONCE = {"policy": "always", "initialDelay": "10ms", "rapidAfter": "60s",
                "maxRapidFailures": 1}


# --- waiting -----------------------------------------------------------------------------------

def wait_for(condition, what, timeout=DEADLINE):
    """Polls until condition() is true and returns its value; `what` completes "waited for …"."""
    begin = time.monotonic()
    while True:
        value = condition()
        if value:
            return value
        waited = time.monotonic() - begin
        if waited > timeout:
            raise AssertionError(f"waited {timeout} s for {what}")
        # Often at first, so that a quick answer is seen quickly, then seldom: others run too.
        time.sleep(min(0.2, 0.005 + waited / 20))


# --- processes, from /proc ---------------------------------------------------------------------

Process = namedtuple("Process", "pid state ppid pgid sid")


def read_proc(pid, name):
    """A file of /proc/PID as bytes; empty where the process is gone or not ours to read."""
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


def process(pid):
    """The process, or None where there is none."""
    stat = read_proc(pid, "stat").decode(errors="replace")
    if not stat:
        return None
    state, ppid, pgid, sid = stat[stat.rindex(")") + 2:].split()[:4]
    return Process(int(pid), state, int(ppid), int(pgid), int(sid))


def processes():
    """All living processes; zombies are dead."""
    found = (process(entry) for entry in os.listdir("/proc") if entry.isdigit())
    return [p for p in found if p and p.state not in "ZX"]


def is_alive(pid):
    p = process(pid)
    return p is not None and p.state not in "ZX"


def kill_and_wait(pid):
    """Ends a process that is not ours to wait for; it is gone, or a zombie, when this returns."""
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not is_alive(pid), f"the end of {pid}")


def argv_of(pid):
    return read_proc(pid, "cmdline").decode(errors="replace").split("\0")[:-1]


def status_of(text):
    """The lines of /proc/PID/status as a dict."""
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)


def cpu_seconds(pid):
    stat = read_proc(pid, "stat").decode()
    user, system = stat[stat.rindex(")") + 2:].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def living_of(device, sessions=()):
    """Processes that belong to an agent's workloads: told by the environment that the agent gives
    them, by their session, or by an argument that is the device's name (tests give that to
    programs that clean their environment)."""
    cookie = f"EDGIBLE_DEVICE={device}".encode()
    return [p for p in processes()
            if p.sid in sessions or cookie in read_proc(p.pid, "environ").split(b"\0")
            or device in argv_of(p.pid)]


def describe(found):
    return "; ".join(f"{p.pid} ({p.state}) {' '.join(argv_of(p.pid))[:100]}" for p in found)


# --- documents ---------------------------------------------------------------------------------

def sh(script):
    return ["/bin/sh", "-c", script]


def python(script, *args):
    return [PYTHON, "-c", script, *args]


def helper(name):
    """Path of a test program in C (tests/system/helpers)."""
    path = public_folder() / name
    assert path.exists(), f"{path} is missing: build with -DEDGIBLE_TESTS=ON"
    return str(path)


def workload(name, command, **fields):
    return {"name": name, "type": "managed-process", "command": command, **fields}


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


# --- users -------------------------------------------------------------------------------------

class Account:
    """A user that an agent runs as."""

    def __init__(self, name):
        entry = pwd.getpwnam(name)
        self.name, self.uid, self.gid = name, entry.pw_uid, entry.pw_gid
        self.home, self.shell = entry.pw_dir, entry.pw_shell
        self.groups = set(os.getgrouplist(name, entry.pw_gid))

    @property
    def is_root(self):
        return self.uid == 0

    def popen_options(self):
        if not IS_ROOT:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": sorted(self.groups)}


@contextlib.contextmanager
def exclusively(name):
    """Holds a lock among all test processes: files of tests run in parallel."""
    with open(Path(tempfile.gettempdir()) / f"{name}-{os.geteuid()}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def own_account():
    return Account(pwd.getpwuid(os.geteuid()).pw_name)


def ordinary_account():
    """The user `edgible-test`, made where it is missing; for others than root, themselves."""
    if not IS_ROOT:
        return own_account()
    with exclusively("edgible-test-user"):
        try:
            grp.getgrnam(TEST_GROUP)
        except KeyError:
            subprocess.run(["groupadd", "--system", TEST_GROUP], check=True)
        try:
            pwd.getpwnam(TEST_USER)
        except KeyError:
            subprocess.run(["useradd", "--system", "--user-group", "--groups", TEST_GROUP,
                            "--home-dir", "/tmp", "--shell", "/bin/sh", TEST_USER], check=True)
    return Account(TEST_USER)


# --- folders -----------------------------------------------------------------------------------

_public = None


def public_folder():
    """The agent and the helpers, copied to where the ordinary user can run them too (a build
    folder below /root cannot be entered by others)."""
    global _public
    if _public is None:
        folder = Path(tempfile.mkdtemp(prefix="edgible-bin-"))
        for program in [BINARY, *(HELPERS.iterdir() if HELPERS.is_dir() else [])]:
            if program.is_file() and os.access(program, os.X_OK):
                shutil.copy(program, folder)
        folder.chmod(0o755)
        _public = folder
    return _public


def remove_public_folder():
    if _public is not None:
        shutil.rmtree(_public)


def agent_binary():
    return str(public_folder() / BINARY.name)


def make_folder(account):
    """A fresh folder that belongs to the account, short enough for a socket's path."""
    folder = Path(tempfile.mkdtemp(prefix="edgible-"))
    os.chown(folder, account.uid, account.gid)
    folder.chmod(0o755)
    return folder


# --- running the binary ------------------------------------------------------------------------

def parse_record(line):
    """A line of the agent's log as a dict; None where it is not JSON."""
    with contextlib.suppress(ValueError):
        record = json.loads(line)
        return record if isinstance(record, dict) else None
    return None



SANITIZER_REPORT = re.compile(r"ERROR: \w+Sanitizer|runtime error:|WARNING: ThreadSanitizer")


def base_environment(account):
    passed = {k: v for k, v in os.environ.items() if k.endswith("SAN_OPTIONS")}
    return {**passed, "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": account.home, "USER": account.name, "LOGNAME": account.name,
            "LANG": "C.UTF-8"}


def run_client(*args, account=None, stdin="", cwd="/"):
    """Runs the binary to its end, as for `--version` or `stack validate`."""
    account = account or own_account()
    return subprocess.run([agent_binary(), *map(str, args)], input=stdin, text=True, cwd=cwd,
                          capture_output=True, timeout=DEADLINE, env=base_environment(account),
                          **account.popen_options())


class Agent:
    """One agent in a folder of its own, with a device name that no other test has."""

    def __init__(self, account, **config):
        self.account = account
        self.device = "dev-" + uuid.uuid4().hex[:12]
        self.folder = make_folder(account)
        self.source = self._make("applications.d")
        self.work = self._make("work")  # where workloads leave what tests look at
        self.state_dir, self.runtime_dir = self.folder / "state", self.folder / "run"
        self.log_dir = self.folder / "log"
        self.config_file = self.folder / "agent.yaml"
        self.process = None
        self.all_processes = []
        self._log, self._log_read = self.folder / "stderr", 0
        self._lines, self._records = [], []
        self._log.touch()
        self.write_config(**config)

    def _make(self, name):
        folder = self.folder / name
        folder.mkdir()
        os.chown(folder, self.account.uid, self.account.gid)
        return folder

    # configuration

    def config(self, **changes):
        base = {
            "device": {"name": self.device},
            "stateDir": str(self.state_dir),
            "runtimeDir": str(self.runtime_dir),
            "logDir": str(self.log_dir),
            "controlPlane": {"directory": str(self.source)},
            "api": {"socket": str(self.runtime_dir / "agent.sock")},
            "log": {"level": "info", "format": "json"},
        }
        return {**base, **changes}

    def write_config(self, text=None, **changes):
        text = text if text is not None else yaml.safe_dump(self.config(**changes))
        self.config_file.write_text(text)
        self.config_file.chmod(0o644)

    # the process

    def start(self, prefix=(), env=None, stderr=None, binary=None, **options):
        """Starts it; `prefix` is a command that executes its arguments, such as a shell's. Its
        stderr is a file, which takes every line at once: lines for a full pipe are dropped."""
        assert self.process is None or self.process.poll() is not None, "it runs already"
        options = {**self.account.popen_options(), **options}
        with open(self._log, "ab") as log:
            self.process = subprocess.Popen(
                [*prefix, str(binary or agent_binary()), "--config", str(self.config_file)],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=log if stderr is None else stderr, cwd="/",
                env={**base_environment(self.account), **(env or {})}, **options)
        self.all_processes.append(self.process)
        return self

    def _read_log(self):
        """Takes in what its stderr got since the last look."""
        if not self._log.exists():
            return  # after close()
        with open(self._log, "rb") as log:
            log.seek(self._log_read)
            data = log.read()
        data = data[:data.rfind(b"\n") + 1]
        self._log_read += len(data)
        for line in data.decode(errors="replace").split("\n")[:-1]:
            self._lines.append(line)
            self._records.append(parse_record(line))

    @property
    def pid(self):
        return self.process.pid

    def is_running(self):
        return self.process is not None and self.process.poll() is None

    def send(self, number):
        self.process.send_signal(number)

    def wait_exit(self, timeout=DEADLINE):
        """Waits for its end and returns the exit code."""
        wait_for(lambda: self.process.poll() is not None, "the agent to exit", timeout)
        return self.process.returncode

    # what it says

    def lines(self):
        """Its stderr so far."""
        self._read_log()
        return list(self._lines)

    def mark(self):
        """A place in its log: `since=mark` looks only at what came later."""
        self._read_log()
        return len(self._lines)

    def events(self, type=None, application=None, workload=None, since=0):
        self._read_log()
        wanted = [(k, v) for k, v in (("type", type), ("application", application),
                                      ("workload", workload)) if v is not None]
        return [r for r in self._records[since:] if r and r.get("subsystem") == "event" and
                all(r.get(k) == v for k, v in wanted)]

    def wait(self, condition, what, timeout=DEADLINE):
        """wait_for(), given up at once where the agent is gone."""
        def check():
            value = condition()
            assert value or self.is_running(), \
                f"the agent exited with {self.process.returncode} before {what}"
            return value
        return wait_for(check, what, timeout)

    def wait_event(self, type, application=None, workload=None, since=0, count=1,
                   timeout=DEADLINE):
        """Waits for the count-th such event and returns it."""
        found = self.wait(
            lambda: self.events(type, application, workload, since)[count - 1:count],
            f"event {count} of type {type} of {application}/{workload}", timeout)
        return found[0]

    def wait_started(self, application, workload, since=0, count=1, timeout=DEADLINE):
        """Waits until the workload runs (for the count-th time) and returns its PID."""
        event = self.wait_event("started", application, workload, since, count, timeout)
        return int(event["pid"])

    def started_pids(self):
        return {int(e["pid"]) for e in self.events("started")}

    # what it is told

    def app(self, name, *workloads, file_device=None, **metadata):
        """An Application document for this device."""
        selector = {"deviceName": file_device or self.device}
        return {
            "apiVersion": "v3",
            "kind": "Application",
            "metadata": {"name": name, **metadata},
            "spec": {
                "placement": {"strategy": "serving-device", "deviceSelector": selector},
                "workloads": list(workloads),
            },
        }

    def put(self, file, content):
        """Puts a file into the source folder at once, as `install` or `rsync` would."""
        if not isinstance(content, (str, bytes)):
            documents = content if isinstance(content, list) else [content]
            content = yaml.safe_dump_all(documents, sort_keys=False)
        data = content if isinstance(content, bytes) else content.encode()
        temporary = self.source / f".{file}.tmp"
        temporary.write_bytes(data)
        os.chown(temporary, self.account.uid, self.account.gid)
        temporary.rename(self.source / file)

    def remove(self, file):
        (self.source / file).unlink()

    def deploy(self, name, *workloads, **metadata):
        """Puts one application into <name>.yaml."""
        self.put(f"{name}.yaml", self.app(name, *workloads, **metadata))

    def run(self, name, *workloads, **metadata):
        """Deploys and waits until all its workloads run; their PIDs, in order."""
        since = self.mark()
        self.deploy(name, *workloads, **metadata)
        return [self.wait_started(name, w["name"], since) for w in workloads]

    def log_file(self, application, workload):
        return self.log_dir / application / f"{workload}.log"

    def read_log(self, application, workload):
        path = self.log_file(application, workload)
        try:
            return path.read_text(errors="replace")
        except FileNotFoundError:  # not made yet, or just rotated
            return ""

    def wait_logged(self, application, workload, text):
        """Waits until the workload's log holds the text; returns all of it."""
        self.wait(lambda: text in self.read_log(application, workload),
                  f"{text!r} in the log of {application}/{workload}")
        return self.read_log(application, workload)

    def output_of(self, application, workload, since=0):
        """All that a program printed that ends by itself."""
        self.wait_event("exited", application, workload, since)
        self.wait_logged(application, workload, "\n")
        return self.read_log(application, workload)

    def wait_file(self, name, content=""):
        """Waits until a workload has written work/<name> (with that in it); its text."""
        path = self.work / name
        self.wait(lambda: path.exists() and path.stat().st_size and content in path.read_text(),
                  f"{name} to be written by a workload")
        return path.read_text()

    def wait_pid_file(self, name):
        return int(self.wait_file(name, "\n"))

    # the end

    def living(self):
        """The processes of its workloads that are alive."""
        return living_of(self.device, self.started_pids())

    def stop(self, number=signal.SIGTERM, timeout=DEADLINE):
        """Ends it; it must exit with 0, and nothing of its workloads may live from then on."""
        self.send(number)
        code = self.wait_exit(timeout)
        assert code == 0, f"the agent exited with {code}"
        left = self.living()
        assert not left, f"alive after the agent exited: {describe(left)}"

    def stop_leaving(self, pids):
        """Ends it; of its workloads only these processes may live from then on."""
        self.send(signal.SIGTERM)
        assert self.wait_exit() == 0
        left = [p for p in self.living() if p.pid not in pids]
        assert not left, f"alive after the agent exited: {describe(left)}"

    def close(self):
        """Ends what is left, by force where it must, and checks that nothing was left behind."""
        problems = []
        if self.is_running():
            try:
                self.stop()
            except AssertionError as error:
                problems.append(str(error))
        for started in self.all_processes:
            if started.poll() is None:
                started.kill()
                started.wait()
        left = found = self.living()
        for _ in range(100):  # as what is killed may have forked meanwhile
            for p in found:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(p.pid, signal.SIGKILL)
            found = found and self.living()
        if left and not problems:
            problems.append(f"alive at the test's end: {describe(left)}")
        if any(SANITIZER_REPORT.search(line) for line in self.lines()):
            problems.append("a sanitizer reported an error on stderr")
        shutil.rmtree(self.folder, ignore_errors=True)
        return problems
