"""What the agent tells a service manager, read by a stand-in that has the manager's socket."""

import contextlib
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import time
import uuid

import pytest

from harness import (BINARY, SLEEP, RESTART_AT_ONCE, helper, process, run_client, sh, wait_for,
                     workload)

CREDENTIALS = struct.calcsize("3i")


class Manager:
    """The socket that NOTIFY_SOCKET names, and what came in there."""

    def __init__(self, path):
        self.name, self.messages = str(path), []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._socket.setblocking(False)
        self._socket.bind("\0" + self.name[1:] if self.name[0] == "@" else self.name)
        if self.name[0] != "@":
            os.chmod(self.name, 0o666)

    def close(self):
        self._socket.close()

    def environment(self, watchdog_usec=None):
        watchdog = {} if watchdog_usec is None else {"WATCHDOG_USEC": str(watchdog_usec)}
        return {"NOTIFY_SOCKET": self.name, **watchdog}

    def read(self):
        """Takes in what has come: {name: value} and who sent it, in order."""
        with contextlib.suppress(BlockingIOError):
            while True:
                data, extra, _, _ = self._socket.recvmsg(65536, socket.CMSG_SPACE(CREDENTIALS))
                pid = struct.unpack("3i", extra[0][2])[0]
                lines = dict(line.split("=", 1) for line in data.decode().split("\n"))
                self.messages.append({**lines, "from": pid})
        return self.messages

    def mark(self):
        return len(self.read())

    def find(self, since, **wanted):
        """Messages that have these lines; a value of None: any."""
        return [m for m in self.read()[since:]
                if all(k in m and v in (None, m[k]) for k, v in wanted.items())]

    def fill(self):
        """Sends what nobody asked for until the queue takes no more."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s, \
                contextlib.suppress(BlockingIOError):
            s.setblocking(False)
            while True:
                s.sendto(b"X_JUNK=1", self.name)


@pytest.fixture(params=["path", "abstract"])
def manager_kind(request):
    return request.param


@pytest.fixture
def make_manager(tmp_path_factory):
    managers = []

    def make(agent, kind="path"):
        name = f"@edgible-{uuid.uuid4().hex}" if kind == "abstract" else agent.folder / "notify"
        managers.append(Manager(name))
        return managers[-1]

    yield make
    for manager in managers:
        manager.close()


def wait_told(agent, manager, since=0, **wanted):
    """Waits for a message with these lines and returns it."""
    what = " ".join(f"{k}={v}" for k, v in wanted.items())
    return agent.wait(lambda: manager.find(since, **wanted), f"{what} to be told")[0]


def start(agent, manager, watchdog_usec=None):
    agent.start(env=manager.environment(watchdog_usec))
    return wait_told(agent, manager, READY="1")


def running(count):
    is_one = "" if count == 1 else "s"
    return f"{count} workload{is_one}: {count} running; source directory"


# --- ready and how it goes ---------------------------------------------------------------------

def test_ready_is_told_once_the_api_answers(make_agent, make_manager, manager_kind):
    agent = make_agent()
    manager = make_manager(agent, manager_kind)
    told = start(agent, manager)
    assert told["from"] == agent.pid and told["MAINPID"] == str(agent.pid)
    assert told["STATUS"] == "0 workloads; source directory"
    # At once, without a second try:
    assert run_client("agent", "status", "--socket", agent.runtime_dir / "agent.sock",
                      account=agent.account).returncode == 0
    agent.run("app", workload("a", SLEEP), workload("b", SLEEP))
    wait_told(agent, manager, STATUS=running(2))
    agent.remove("app.yaml")
    wait_told(agent, manager, manager.mark(), STATUS="0 workloads; source directory")


def test_ready_of_the_next_agent_counts_what_it_adopted(make_agent, make_manager):
    agent = make_agent()
    manager = make_manager(agent)
    start(agent, manager)
    pids = agent.run("app", workload("a", SLEEP), workload("b", SLEEP))
    since = manager.mark()
    agent.send(signal.SIGUSR1)
    assert agent.wait_exit() == 0
    assert manager.find(since, STOPPING="1")[0]["STATUS"] == "detaches; workloads go on"
    since = manager.mark()
    agent.start(env=manager.environment())
    assert wait_told(agent, manager, since, READY="1")["STATUS"] == running(2)
    assert all(process(pid) for pid in pids)


def test_status_tells_of_failures_and_gathers_changes(make_agent, make_manager):
    agent = make_agent()
    manager = make_manager(agent)
    start(agent, manager)
    agent.deploy("app", workload("flaps", sh("exit 1"), restart=RESTART_AT_ONCE),
                 workload("fails", ["/opt/none"], restart={"policy": "never"}),
                 workload("runs", SLEEP))
    begin = time.monotonic()
    agent.wait_event("exited", "app", "flaps", count=60)
    told = agent.wait(lambda: [m["STATUS"] for m in manager.find(0, STATUS=None)
                               if "1 failed" in m["STATUS"]], "the failure to be told")
    # One that starts again and again may be running at the moment of telling.
    assert re.match("3 workloads: [12] running, ", told[-1])
    # One a second at most, the first one aside; who reads late only sees fewer.
    assert len(manager.find(0, STATUS=None)) <= 2 + (time.monotonic() - begin)


def test_start_that_fails_says_why(make_agent, make_manager):
    agent = make_agent()
    manager = make_manager(agent)
    agent.write_config(text="stateDir: /tmp\n")
    agent.start(env=manager.environment())
    assert agent.wait_exit() == 1
    told = manager.find(0, STATUS=None)
    assert len(told) == 1 and told[0]["STATUS"].startswith("cannot run: ")
    assert not manager.find(0, READY=None)


# --- reload, stop ------------------------------------------------------------------------------

@pytest.mark.parametrize("is_valid", [True, False], ids=["valid", "invalid"])
def test_reload_begins_and_ends(make_agent, make_manager, is_valid):
    agent = make_agent()
    manager = make_manager(agent)
    start(agent, manager)
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    since = manager.mark()
    if not is_valid:
        agent.write_config(text="nonsense: 1\n")
    agent.send(signal.SIGHUP)
    wait_told(agent, manager, since, READY="1")
    kinds = [k for m in manager.read()[since:] for k in ("RELOADING", "READY") if k in m]
    assert kinds == ["RELOADING", "READY"]
    at = int(manager.find(since, RELOADING="1")[0]["MONOTONIC_USEC"])
    assert before <= at <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000


def test_stop_is_told_first(make_agent, make_manager):
    agent = make_agent()
    manager = make_manager(agent)
    start(agent, manager)
    agent.run("app", workload("main", SLEEP))
    since = manager.mark()
    agent.stop()
    told = manager.read()[since:]
    assert told[0]["STOPPING"] == "1" and told[0]["STATUS"].startswith("stops: 1 workload")
    assert not manager.find(since, READY=None)


def test_long_grace_period_extends_the_time_to_stop(make_agent, make_manager):
    """Of each rank in turn: what is stopped last has the longest."""
    agent = make_agent()
    manager = make_manager(agent)
    start(agent, manager)
    agent.run("app", workload("last", [helper("ignore_term")], stop={"gracePeriod": "300s"}),
              workload("first", [helper("ignore_term")], stop={"gracePeriod": "1s"},
                       dependsOn=["last"]))
    since = manager.mark()
    agent.send(signal.SIGTERM)

    def extended():
        return [int(m["EXTEND_TIMEOUT_USEC"]) for m in
                manager.find(since, EXTEND_TIMEOUT_USEC=None)]
    agent.wait(lambda: [us for us in extended() if us >= 300_000_000], "an extension of 300 s")
    assert extended()[0] < 60_000_000
    agent.stop()  # a second signal


# --- the watchdog ------------------------------------------------------------------------------

def test_loop_beats_and_a_stuck_one_does_not(make_agent, make_manager):
    agent = make_agent()
    manager = make_manager(agent)
    start(agent, manager, watchdog_usec=400_000)
    agent.wait(lambda: len(manager.find(0, WATCHDOG="1")) >= 5, "5 beats")
    agent.send(signal.SIGSTOP)
    wait_for(lambda: process(agent.pid).state == "T", "the agent to stand still")
    since = manager.mark()
    # The manager would act after 0.4 s of silence.
    silent_until = time.monotonic() + 2
    wait_for(lambda: time.monotonic() > silent_until, "2 s")
    assert manager.read()[since:] == []
    agent.send(signal.SIGCONT)
    wait_told(agent, manager, since, WATCHDOG="1")


@pytest.mark.parametrize("watchdog", [{}, {"WATCHDOG_USEC": "200000", "WATCHDOG_PID": "1"},
                                      {"WATCHDOG_USEC": "0"}], ids=["no", "another's", "off"])
@pytest.mark.once
def test_no_beat_where_none_is_asked_for(make_agent, make_manager, watchdog):
    agent = make_agent()
    manager = make_manager(agent)
    agent.start(env={**manager.environment(), **watchdog})
    agent.run("app", workload("main", SLEEP))
    wait_told(agent, manager, STATUS=running(1))
    since = manager.mark()
    silent_until = time.monotonic() + 1
    wait_for(lambda: time.monotonic() > silent_until, "1 s")
    assert manager.read()[since:] == []


# --- a manager that does not listen ------------------------------------------------------------

def test_manager_that_does_not_read_holds_nothing_up(make_agent, make_manager):
    agent = make_agent()
    manager = make_manager(agent)
    manager.fill()
    agent.start(env=manager.environment(watchdog_usec=200_000))
    agent.run("app", workload("main", SLEEP))
    assert wait_told(agent, manager, READY="1")["MAINPID"] == str(agent.pid)
    wait_told(agent, manager, WATCHDOG="1")


@pytest.mark.parametrize("name", ["/nonexistent/notify", "nonsense"])
@pytest.mark.once
def test_manager_that_is_not_there_is_said_once(make_agent, name):
    agent = make_agent()
    agent.start(env={"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "100000"})
    agent.run("app", workload("main", SLEEP))
    agent.run("second", workload("main", SLEEP))
    said = [line for line in agent.lines() if "service manager cannot be told" in line]
    assert len(said) == 1 and name in said[0], said
    agent.stop()


# --- what is passed on -------------------------------------------------------------------------

def test_exec_in_place_keeps_the_manager(make_agent, make_manager):
    agent = make_agent()
    manager = make_manager(agent)
    binary = agent.folder / "bin" / "edgible-agent"
    binary.parent.mkdir()
    shutil.copy(BINARY, binary)
    agent.start(binary=binary, env=manager.environment(watchdog_usec=1_000_000))
    wait_told(agent, manager, READY="1")
    pid, = agent.run("app", workload("main", SLEEP))
    for _ in range(2):
        since = manager.mark()
        agent.send(signal.SIGUSR2)
        told = wait_told(agent, manager, since, READY="1")
        assert told["MAINPID"] == str(agent.pid) and told["STATUS"] == running(1)
        wait_told(agent, manager, since, WATCHDOG="1")
        assert process(pid)
        assert not manager.find(since, STOPPING=None)
    shown = agent.mark()
    agent.deploy("shows", workload("main", [helper("show_state")], restart={"policy": "never"}))
    assert "NOTIFY" not in agent.output_of("shows", "main", shown)


def test_workloads_have_nothing_of_it(make_agent, make_manager):
    agent = make_agent()
    manager = make_manager(agent)
    start(agent, manager, watchdog_usec=5_000_000)
    agent.deploy("shows", workload("main", [helper("show_state")], restart={"policy": "never"}))
    shown = agent.output_of("shows", "main")
    assert "env=EDGIBLE_WORKLOAD=main" in shown
    assert "NOTIFY_SOCKET" not in shown and "WATCHDOG_" not in shown


CHOOM = ["/usr/bin/choom", "-n", "-500", "--"]


@pytest.mark.as_root
def test_score_of_the_agent_is_not_inherited(make_agent):
    """OOMScoreAdjust=-500 protects the agent alone."""
    if subprocess.run([*CHOOM, "/bin/true"], capture_output=True).returncode != 0:
        pytest.skip("no leave to lower a score (CAP_SYS_RESOURCE)")
    agent = make_agent()
    agent.start(prefix=CHOOM)
    agent.deploy("shows", workload("main", [helper("show_state")], restart={"policy": "never"}))
    assert "oom_score_adj=0" in agent.output_of("shows", "main").splitlines()
