"""What happens to workloads when something happens to the agent: nothing."""

import json
import os
import shutil
import signal
import stat
import subprocess
import time

import pytest

from api import Api
from harness import (IS_ROOT, RESTART_AT_ONCE, SLEEP, agent_binary, helper, is_alive, kill_and_wait,
                     process, python, read_proc, sh, wait_for, workload)
from test_logs import fill_up, mounted


def kill_agent(agent):
    """kill -9, and gone."""
    agent.send(signal.SIGKILL)
    assert agent.wait_exit() == -signal.SIGKILL


def next_agent(agent, **options):
    """Starts the agent that comes after; returns where its log begins."""
    since = agent.mark()
    agent.start(**options)
    return since


def adopted(agent, application, name, since):
    return int(agent.wait_event("adopted", application, name, since)["pid"])


def run_state(agent, application, name):
    """The record of this boot."""
    return json.loads((agent.runtime_dir / "units" / application / f"{name}.json").read_text())


def wait_gone(pid):
    wait_for(lambda: not is_alive(pid), f"process {pid} to end")


# --- adoption ----------------------------------------------------------------------------------

def test_killed_agent_is_followed_by_one_that_adopts(agent):
    workloads = [workload(f"w{i}", SLEEP) for i in range(3)]
    pids = agent.run("app", *workloads)
    started = [run_state(agent, "app", f"w{i}")["startedUnixMs"] for i in range(3)]
    for _ in range(3):
        kill_agent(agent)
        assert all(is_alive(pid) for pid in pids)
        since = next_agent(agent)
        assert [adopted(agent, "app", f"w{i}", since) for i in range(3)] == pids
        assert not agent.events("started", since=since)
        assert not agent.events("deployed", since=since)
    assert [run_state(agent, "app", f"w{i}")["startedUnixMs"] for i in range(3)] == started
    agent.stop()


def test_counters_are_kept(agent):
    policy = {**RESTART_AT_ONCE, "rapidAfter": "1m", "maxRapidFailures": 100}
    pid, = agent.run("app", workload("main", SLEEP, restart=policy))
    for count in (1, 2, 3):
        os.kill(pid, signal.SIGKILL)
        since = agent.mark()
        pid = agent.wait_started("app", "main", since)
        kill_agent(agent)
        since = next_agent(agent)
        event = agent.wait_event("adopted", "app", "main", since)
        assert (int(event["pid"]), int(event["restarts"])) == (pid, count)
    os.kill(pid, signal.SIGKILL)
    event = agent.wait_event("backoff", "app", "main", since)
    assert "4 rapid failures of 100" in event["reason"]


def test_a_boot_id_that_cannot_be_read_is_no_other_boot(agent):
    """Nothing runs twice for it."""
    pid, = agent.run("app", workload("main", SLEEP))
    kill_agent(agent)
    boot_id = agent.runtime_dir / "boot-id"
    if agent.account.is_root:  # who reads whatever mode a file has
        boot_id.unlink()
        boot_id.mkdir()
    else:
        boot_id.chmod(0)
    assert adopted(agent, "app", "main", next_agent(agent)) == pid


@pytest.mark.as_user
def test_records_whose_modes_were_taken_away_are_read_all_the_same(agent):
    """A workload in a sandbox can change modes of what is its user's; nothing runs twice for it."""
    pid, = agent.run("app", workload("main", SLEEP))
    agent.wait(lambda: (agent.state_dir / "units" / "app" / "main.json").exists(), "the record")
    kill_agent(agent)
    for folder in (agent.runtime_dir, agent.state_dir):
        (folder / "units" / "app" / "main.json").chmod(0)
        (folder / "units" / "app").chmod(0)
        (folder / "units").chmod(0)
        (folder / "agent.lock").chmod(0)
    (agent.runtime_dir / "pending").chmod(0)
    assert adopted(agent, "app", "main", next_agent(agent)) == pid


def test_counters_of_a_start_that_never_worked_are_kept(agent):
    """No process was ever made: its user is not there, or is another than the agent's."""
    user = "nosuchuser" if agent.account.is_root else "root"
    agent.deploy("app", workload("main", SLEEP, user=user, restart={
        "policy": "always", "initialDelay": "300ms", "maxDelay": "1h", "maxRapidFailures": 1000}))
    agent.wait_event("backoff", "app", "main", count=3)
    kill_agent(agent)
    before = run_state(agent, "app", "main")["machine"]
    since = next_agent(agent)
    event = agent.wait_event("backoff", "app", "main", since)
    assert f"{before['rapidFailures'] + 1} rapid failures of 1000" in event["reason"]


@pytest.mark.parametrize("script, field, value", [
    ("sleep 0.3; exit 7", "code", "7"), ("sleep 0.3; exit 0", "code", "0"),
    ("sleep 0.3; kill -USR1 $$", "signal", "SIGUSR1")])
def test_exit_of_an_adopted_one_is_known(agent, script, field, value):
    """Where the kernel keeps it (PIDFD_GET_INFO), or its zombie was seen."""
    flag = agent.work / "go"
    agent.run("app", workload("main", sh(f"while [ ! -e {flag} ]; do sleep 0.05; done; {script}"),
                              restart={"policy": "never"}))
    kill_agent(agent)
    since = next_agent(agent)
    adopted(agent, "app", "main", since)
    flag.touch()
    assert agent.wait_event("exited", "app", "main", since)[field] == value
    final = "stopped" if value == "0" else "failed"
    agent.wait_event(final, "app", "main", since)


def test_unknown_exit_counts_as_a_failure(agent):
    """The kernel is kept from telling, and the zombie from being seen."""
    pid, = agent.run("app", workload("main", SLEEP, restart={"policy": "never"}))
    kill_agent(agent)
    since = next_agent(agent, prefix=[helper("deny_exit_info")])
    adopted(agent, "app", "main", since)
    agent.send(signal.SIGSTOP)
    os.kill(pid, signal.SIGTERM)
    wait_gone(pid)
    wait_for(lambda: process(pid) is None, "its parent to reap it")
    agent.send(signal.SIGCONT)
    event = agent.wait_event("exited", "app", "main", since)
    assert "code" not in event and "signal" not in event
    assert "not known" in event["message"]
    assert "not known" in agent.wait_event("failed", "app", "main", since)["reason"]


@pytest.mark.parametrize("policy, type", [
    ("always", "started"), ("on-failure", "started"), ("never", "failed")])
def test_one_that_ended_meanwhile_is_seen_as_ended(agent, policy, type):
    pid, = agent.run("app", workload("main", SLEEP,
                                     restart={**RESTART_AT_ONCE, "policy": policy}))
    kill_agent(agent)
    os.kill(pid, signal.SIGKILL)
    wait_gone(pid)
    since = next_agent(agent)
    agent.wait_event("exited", "app", "main", since)
    event = agent.wait_event(type, "app", "main", since)
    assert not agent.events("adopted", since=since)
    if type == "started":
        assert int(event["restarts"]) == 1


def test_one_in_backoff_waits_its_remaining_time(agent):
    policy = {"policy": "always", "initialDelay": "4s", "maxDelay": "4s"}
    agent.deploy("app", workload("main", sh("exit 3"), restart=policy))
    delay = int(agent.wait_event("backoff", "app", "main")["delay_ms"]) / 1000
    began = time.monotonic()
    kill_agent(agent)
    since = next_agent(agent)
    agent.wait_started("app", "main", since)
    waited = time.monotonic() - began
    assert waited > delay - 0.5, f"{waited} s of {delay} s"
    event = agent.wait_event("backoff", "app", "main", since)
    assert "2 rapid failures" in event["reason"]


def test_one_that_was_being_stopped_goes_on_being_stopped(agent):
    agent.run("app", workload("main", [helper("ignore_term")], stop={"gracePeriod": "3s"}))
    pid = agent.started_pids().pop()
    agent.remove("app.yaml")
    agent.wait_event("stopping", "app", "main")
    began = time.monotonic()
    kill_agent(agent)
    assert is_alive(pid)
    since = next_agent(agent)
    agent.wait_event("removed", "app", since=since)
    assert 2 < time.monotonic() - began < 30
    assert not is_alive(pid)
    wait_for(lambda: not (agent.state_dir / "units" / "app").exists(), "the unit to be removed")


def test_failed_stays_failed(agent):
    policy = {"policy": "always", "initialDelay": "1ms", "maxRapidFailures": 2}
    agent.deploy("app", workload("main", sh("exit 3"), restart=policy))
    agent.wait_event("failed", "app", "main")
    agent.run("other", workload("main", SLEEP))
    kill_agent(agent)
    since = next_agent(agent)
    adopted(agent, "other", "main", since)
    agent.run("third", workload("main", SLEEP))
    assert not agent.events("starting", "app", since=since)
    state = run_state(agent, "app", "main")
    assert state["machine"]["state"] == "failed" and state["lastExit"]["code"] == 3


@pytest.mark.parametrize("status, tries", [("failed", 1), ("backoff", 0)])
def test_why_it_could_not_start_is_told_by_the_next_agent(agent, status, tries):
    """The program is missing, so it never had a process."""
    policy = {"initialDelay": "1m", "maxDelay": "1m", "maxRapidFailures": tries}
    agent.deploy("app", workload("main", [str(agent.work / "none")], restart=policy))
    agent.wait_event(status, "app", "main")
    reason = Api(agent).workload("app", "main")["reason"]
    assert "there is no such file (exec: ENOENT)" in reason
    kill_agent(agent)
    next_agent(agent)
    told = Api(agent).workload("app", "main")
    assert (told["status"], told["reason"]) == (status, reason)
    assert agent.is_running()


# --- a source that changed meanwhile -----------------------------------------------------------

def test_specification_changed_while_no_agent_ran_is_applied(agent):
    pids = agent.run("app", workload("same", SLEEP), workload("env", SLEEP),
                     workload("live", SLEEP), workload("gone", SLEEP))
    agent.run("removed", workload("main", SLEEP))
    kill_agent(agent)
    agent.deploy("app", workload("same", SLEEP), workload("env", SLEEP, env={"A": "1"}),
                 workload("live", SLEEP, stop={"gracePeriod": "1s"}), workload("new", SLEEP))
    agent.remove("removed.yaml")
    since = next_agent(agent)
    changed = agent.wait_started("app", "env", since)
    agent.wait_started("app", "new", since)
    agent.wait_event("removed", "removed", since=since)
    assert int(agent.wait_event("updated", "app", since=since)["generation"]) == 2
    wait_gone(pids[3])
    assert changed != pids[1] and not is_alive(pids[1])
    assert is_alive(pids[0]) and is_alive(pids[2])
    assert {e["workload"] for e in agent.events("started", since=since)} == {"env", "new"}


def test_applications_start_without_a_source(agent):
    """A reboot, and the control plane is away."""
    agent.run("one", workload("a", SLEEP), workload("b", SLEEP))
    agent.run("two", workload("main", SLEEP))
    agent.stop()
    shutil.rmtree(agent.source)
    shutil.rmtree(agent.runtime_dir)
    since = next_agent(agent)
    for application, name in (("one", "a"), ("one", "b"), ("two", "main")):
        agent.wait_started(application, name, since)
    assert not agent.events("removed", since=since)


def test_units_alone_are_enough(agent):
    """The records of the applications are lost: a worn SD card."""
    pid, = agent.run("app", workload("main", SLEEP))
    wait_for(lambda: (agent.state_dir / "applications" / "app.json").exists(), "the record")
    wait_for(lambda: not (agent.runtime_dir / "pending").stat().st_size, "the disk")
    kill_agent(agent)
    (agent.state_dir / "applications" / "app.json").write_text("{")
    since = next_agent(agent)
    assert adopted(agent, "app", "main", since) == pid
    assert any("app.json" in line for line in agent.lines()[since:])


# --- what is written ---------------------------------------------------------------------------

def test_records_are_where_they_should_be_and_private(agent):
    agent.run("app", workload("main", SLEEP, env={"SECRET": "1"}))
    wait_for(lambda: not (agent.runtime_dir / "pending").stat().st_size, "the disk")
    for path in (agent.state_dir / "units" / "app" / "main.json",
                 agent.state_dir / "applications" / "app.json",
                 agent.runtime_dir / "units" / "app" / "main.json"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
        assert json.loads(path.read_text())["version"] == 1
    unit = json.loads((agent.state_dir / "units" / "app" / "main.json").read_text())
    assert unit["workload"]["command"] == SLEEP and unit["generation"] == 1
    agent.remove("app.yaml")
    agent.wait_event("removed", "app")
    wait_for(lambda: not (agent.runtime_dir / "pending").stat().st_size, "the disk")
    assert not (agent.state_dir / "units" / "app").exists()
    assert not (agent.state_dir / "applications" / "app.json").exists()
    assert not (agent.runtime_dir / "units" / "app").exists()


@pytest.mark.parametrize("where", ["state/units/app/main.json", "state/applications/app.json",
                                   "run/units/app/main.json"])
def test_a_fifo_in_the_place_of_a_record_keeps_no_agent_from_starting(agent, where):
    agent.run("app", workload("main", SLEEP))
    wait_for(lambda: not (agent.runtime_dir / "pending").stat().st_size, "the disk")
    agent.stop()
    path = agent.folder / where
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(path)
    os.chown(path.parent, agent.account.uid, agent.account.gid)
    since = next_agent(agent)
    agent.wait_started("app", "main", since)


SPOILT = {
    "no runtimeDir": lambda agent: shutil.rmtree(agent.runtime_dir),
    "a damaged record": lambda agent: record_of(agent.runtime_dir).write_text("{"),
    "no stateDir": lambda agent: (shutil.rmtree(agent.state_dir), shutil.rmtree(agent.runtime_dir)),
    "damaged records": lambda agent: [
        path.write_text("{") for path in (record_of(agent.runtime_dir), record_of(agent.state_dir),
                                          agent.state_dir / "applications" / "app.json")],
}


def record_of(folder):
    return folder / "units" / "app" / "main.json"


def start_decoy(agent):
    """A process of another user, which does not end when it is asked."""
    script = "trap '' TERM; echo $$; exec sleep 1000 >/dev/null"
    names = {"APPLICATION": "app", "WORKLOAD": "main", "DEVICE": agent.device}
    done = subprocess.Popen(["setpriv", "--reuid=65534", "--clear-groups", "setsid", "--fork", "sh", "-c", script],
                            stdout=subprocess.PIPE, text=True,
                            env={"PATH": "/usr/bin:/bin",
                                 **{f"EDGIBLE_{name}": value for name, value in names.items()}})
    with done:
        pid = int(done.stdout.readline())
    time.sleep(0.05)  # it is older than what starts now, by the kernel's clock of start times
    return pid


@pytest.mark.parametrize("spoil", SPOILT)
def test_two_copies_never_run_even_without_records(agent, spoil):
    """What runs is found by its cgroup or its environment, also where it left its session. Another
    user's process with that environment is not taken for it."""
    decoy = start_decoy(agent) if agent.account.is_root else None
    pid, = agent.run("app", workload("main", sh("setsid sleep 1000 & exec sleep 1000")))

    def own():
        return [process.pid for process in agent.living() if process.pid != decoy]

    agent.wait(lambda: len(own()) == 2, "its child")
    before = own()
    assert pid in before
    wait_for(lambda: not (agent.runtime_dir / "pending").stat().st_size, "the disk")
    kill_agent(agent)
    SPOILT[spoil](agent)
    since = next_agent(agent)
    assert agent.wait_started("app", "main", since) not in before
    assert not any(is_alive(pid) for pid in before)
    assert any(f"PID {pid}" in line for line in agent.lines()[since:])
    if decoy:
        assert is_alive(decoy)
        kill_and_wait(decoy)


def test_a_record_of_a_run_before_makes_no_second_copy(agent):
    """As where there was no room for the record of the current one."""
    first, = agent.run("app", workload("main", SLEEP, restart=RESTART_AT_ONCE))
    record = record_of(agent.runtime_dir)
    old = record.read_text()
    kill_and_wait(first)
    pid = agent.wait(lambda: next((p for p in agent.started_pids() if p != first), None), "a new one")
    kill_agent(agent)
    record.write_text(old)
    since = next_agent(agent)
    assert agent.wait_started("app", "main", since) not in (first, pid)
    assert not is_alive(pid)
    agent.stop()


@pytest.mark.as_root
def test_what_was_started_without_room_for_its_record_is_adopted_once_there_is(make_agent):
    agent = make_agent()
    with mounted(agent.runtime_dir, "-t", "tmpfs", "-o", "size=16m,mode=755", "tmpfs"):
        agent.start()
        Api(agent)
        ballast = fill_up(agent.runtime_dir)
        pid, = agent.run("app", workload("main", SLEEP))
        record = agent.runtime_dir / "units" / "app" / "main.json"
        assert not record.exists()
        ballast.unlink()
        agent.wait(record.exists, "the record")
        kill_agent(agent)
        since = next_agent(agent)
        assert adopted(agent, "app", "main", since) == pid
        agent.stop()


@pytest.mark.parametrize("where", ["unit", "application", "state"])
def test_record_of_a_newer_agent_is_refused_and_left_alone(agent, where):
    pid, = agent.run("app", workload("main", SLEEP))
    agent.run("other", workload("main", SLEEP))
    wait_for(lambda: not (agent.runtime_dir / "pending").stat().st_size, "the disk")
    kill_agent(agent)
    path = {"unit": agent.state_dir / "units" / "app" / "main.json",
            "application": agent.state_dir / "applications" / "app.json",
            "state": agent.runtime_dir / "units" / "app" / "main.json"}[where]
    record = json.loads(path.read_text())
    text = json.dumps({**record, "version": 2, "new": {"things": [1]}})
    path.write_text(text)
    since = next_agent(agent)
    adopted(agent, "other", "main", since)
    event = agent.wait_event("rejected", "app", since=since)
    assert "version 2" in event["message"] and "up to version 1" in event["message"]
    agent.deploy("third", workload("main", SLEEP))
    agent.wait_started("third", "main", since)
    assert not agent.events("starting", "app", since=since)
    assert is_alive(pid)
    agent.stop_leaving([pid])
    assert path.read_text() == text
    kill_and_wait(pid)


# --- signals -----------------------------------------------------------------------------------

def test_detach_leaves_everything_running(agent):
    pids = agent.run("app", workload("a", SLEEP), workload("b", [helper("ignore_term")]))
    agent.send(signal.SIGUSR1)
    assert agent.wait_exit() == 0
    assert all(is_alive(pid) for pid in pids)
    since = next_agent(agent)
    assert [adopted(agent, "app", name, since) for name in "ab"] == pids


def install(agent):
    """A binary of its own for an agent, which can be replaced."""
    path = agent.folder / "edgible-agent"
    shutil.copy(agent_binary(), path)
    path.chmod(0o755)
    return path


def replace(path, content=None):
    new = path.with_suffix(".new")
    if content is None:
        shutil.copy(path, new)
    else:
        new.write_bytes(content)
    new.chmod(0o755)
    new.rename(path)


def test_reexec_keeps_pid_children_and_workloads(make_agent):
    agent = make_agent()
    binary = install(agent)
    agent.start(binary=binary)
    pids = agent.run("app", workload("a", SLEEP), workload("b", SLEEP))
    agent_pid = agent.pid
    for _ in range(3):
        since = agent.mark()
        replace(binary)
        agent.send(signal.SIGUSR2)
        assert [adopted(agent, "app", name, since) for name in "ab"] == pids
        assert agent.is_running() and agent.pid == agent_pid
        assert [process(pid).ppid for pid in pids] == [agent_pid] * 2
        assert os.readlink(f"/proc/{agent_pid}/exe") == str(binary)
    os.kill(pids[0], signal.SIGUSR1)
    assert agent.wait_event("exited", "app", "a", since)["signal"] == "SIGUSR1"
    agent.wait_started("app", "a", since)
    agent.stop()


@pytest.mark.once
def test_reexec_leaks_nothing(make_agent):
    agent = make_agent()
    binary = install(agent)
    agent.start(binary=binary)
    agent.run("app", workload("a", SLEEP), workload("b", SLEEP))
    agent.deploy("done", workload("main", sh("exit 0"), restart={"policy": "never"}))
    agent.wait_event("stopped", "done", "main")

    def upgrade():
        since = agent.mark()
        agent.send(signal.SIGUSR2)
        adopted(agent, "app", "b", since)
        agent.wait(lambda: "listens at" in "".join(agent.lines()[since:]), "the API to be there")
        return len(os.listdir(f"/proc/{agent.pid}/fd"))
    upgrade()
    first = upgrade()
    for _ in range(10):
        last = upgrade()
    assert last - first <= 2  # connections come and go


@pytest.mark.parametrize("content", [b"", b"no program", b"#!/bin/sh\nexit 0\n",
                                     b"#!/bin/sh\necho this is broken >&2\nexit 3\n",
                                     b"#!/bin/sh\nkill -SEGV $$\n", None])
def test_binary_that_fails_its_check_is_not_switched_to(make_agent, content):
    agent = make_agent()
    binary = install(agent)
    agent.start(binary=binary)
    pid, = agent.run("app", workload("main", SLEEP))
    since = agent.mark()
    if content is None:
        binary.unlink()
    else:
        replace(binary, content)
    agent.send(signal.SIGUSR2)
    agent.wait(lambda: any("is not switched to" in line for line in agent.lines()[since:]),
               "the refusal")
    assert agent.is_running() and is_alive(pid)
    agent.run("second", workload("main", SLEEP))
    agent.stop()


def self_check_of(agent):
    """The PID of the check that SIGUSR2 began."""
    for pid in map(int, read_proc(agent.pid, f"task/{agent.pid}/children").split()):
        if b"--self-check" in read_proc(pid, "cmdline"):
            return pid
    return None


@pytest.mark.once
def test_no_signal_is_lost_while_the_program_is_switched(make_agent):
    """It comes just after the check's end: before, during or after the exec."""
    agent = make_agent().start()
    agent.run("app", *[workload(f"w{i}", SLEEP) for i in range(20)])
    for delay in range(8):
        agent.send(signal.SIGUSR2)
        check = agent.wait(lambda: self_check_of(agent), "the check")
        while is_alive(check):
            pass
        until = time.perf_counter() + delay * 0.0005
        while time.perf_counter() < until:
            pass
        agent.send(signal.SIGUSR1)
        assert agent.wait_exit() == 0
        adopted(agent, "app", "w19", next_agent(agent))
    agent.stop()


@pytest.mark.once
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2])
def test_a_signal_does_not_end_an_agent_that_starts(make_agent, number):
    """It waits for its configuration, from a FIFO, when the signal comes."""
    agent = make_agent()
    config = agent.config_file.read_bytes()
    agent.config_file.unlink()
    os.mkfifo(agent.config_file)
    agent.config_file.chmod(0o644)
    agent.start()

    def open_fifo():
        try:
            return os.fdopen(os.open(agent.config_file, os.O_WRONLY | os.O_NONBLOCK), "wb")
        except OSError:
            return None  # nobody reads yet
    with agent.wait(open_fifo, "it to read its configuration") as fifo:
        agent.send(number)
        agent.config_file.unlink()
        agent.config_file.write_bytes(config)
        agent.config_file.chmod(0o644)
        fifo.write(config)
    if number == signal.SIGUSR1:
        assert agent.wait_exit() == 0
        return
    said = "reloaded" if number == signal.SIGHUP else "switches to"
    agent.wait(lambda: any(said in line for line in agent.lines()), said)
    agent.stop()


# --- locks ---------------------------------------------------------------------------------------

def test_second_agent_names_the_first(agent):
    agent.run("app", workload("main", SLEEP))
    second = subprocess.run([agent_binary(), "--config", str(agent.config_file)], text=True,
                            capture_output=True, timeout=30, **agent.account.popen_options())
    assert second.returncode == 1
    assert f"PID {agent.pid}" in second.stderr


def test_second_agent_in_the_same_runtime_directory_is_refused(agent):
    agent.wait(lambda: any("runs as PID" in line for line in agent.lines()), "it to have the lock")
    config = agent.folder / "second.yaml"
    config.write_text(json.dumps(agent.config(stateDir=str(agent.folder / "state2"))))
    config.chmod(0o644)
    second = subprocess.run([agent_binary(), "--config", str(config)], text=True,
                            capture_output=True, timeout=30, **agent.account.popen_options())
    assert second.returncode == 1
    assert f"PID {agent.pid}" in second.stderr


# --- whose process is it? ----------------------------------------------------------------------

REUSE = """
import os, signal, sys, time
sys.path.insert(0, sys.argv[1])
import harness
from harness import SLEEP, is_alive, wait_for, workload

agent = harness.Agent(harness.own_account()).start()
pid, = agent.run("app", workload("main", SLEEP))
agent.process.kill()
agent.wait_exit()
os.kill(pid, signal.SIGKILL)
wait_for(lambda: os.waitpid(pid, os.WNOHANG)[0] == pid, "the workload to be reaped")
for _ in range(1000):
    with open("/proc/sys/kernel/ns_last_pid", "w") as last:
        last.write(str(pid - 1))
    stranger = os.fork()
    if stranger == 0:
        if os.getpid() == pid:
            os.setsid()
            signal.pause()
        os._exit(0)
    if stranger == pid:
        break
    os.waitpid(stranger, 0)
assert stranger == pid, "the number could not be had again"
since = agent.mark()
agent.start()
new = agent.wait_started("app", "main", since)
assert new != pid and not agent.events("adopted", since=since)
agent.deploy("app", workload("main", SLEEP, env={"A": "1"}))
agent.wait_started("app", "main", since, count=2)
agent.stop_leaving([pid])
assert is_alive(pid) and os.waitpid(pid, os.WNOHANG) == (0, 0), "the stranger was signalled"
os.kill(pid, signal.SIGKILL)
print("as it should be")
"""


@pytest.mark.as_root
@pytest.mark.once
def test_reused_pid_is_neither_adopted_nor_signalled(account):
    here = os.path.dirname(os.path.abspath(__file__))
    done = subprocess.run(["unshare", "--pid", "--fork", "--mount-proc", "--kill-child",
                           *python(REUSE, here)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and "as it should be" in done.stdout, done.stdout + done.stderr


@pytest.mark.as_root
@pytest.mark.once
def test_nothing_is_adopted_after_a_reboot(agent):
    """With another boot id, and runtimeDir as it was: on a disk."""
    pid, = agent.run("app", workload("main", SLEEP))
    kill_agent(agent)
    other = agent.folder / "boot_id"
    other.write_text("01234567-89ab-cdef-0123-456789abcdef\n")
    script = f"mount --bind {other} /proc/sys/kernel/random/boot_id && exec \"$@\""
    since = next_agent(agent, prefix=["unshare", "--mount", "/bin/sh", "-c", script, "sh"])
    assert agent.wait_started("app", "main", since) != pid
    assert not agent.events("adopted", since=since)
    if is_alive(pid):
        kill_and_wait(pid)


def test_daemons_of_an_adopted_workload_end_with_it(agent):
    """Double fork and setsid under an agent that is dead by now: nobody's children."""
    agent.deploy("app", workload("main", [helper("double_fork"), "3", str(agent.work / "daemons")]))
    agent.wait_started("app", "main")
    agent.wait(lambda: (agent.work / "daemons").exists() and
               len((agent.work / "daemons").read_text().split()) == 3, "the daemons")
    daemons = [int(pid) for pid in (agent.work / "daemons").read_text().split()]
    kill_agent(agent)
    since = next_agent(agent)
    adopted(agent, "app", "main", since)
    agent.remove("app.yaml")
    agent.wait_event("removed", "app", since=since)
    assert not [pid for pid in daemons if is_alive(pid)]


def test_workload_of_the_same_names_under_another_agent_is_left_alone(make_agent):
    """Two agents that believe to be the same device, both killed and followed by another."""
    one, two = make_agent(), make_agent()
    two.write_config(device={"name": one.device})
    pids = {}
    for agent in (one, two):
        agent.start()
        document = agent.app("app", workload("main", [helper("double_fork"), "2",
                                                      str(agent.work / "daemons")]),
                             file_device=one.device)
        agent.put("app.yaml", document)
        pids[agent] = [agent.wait_started("app", "main")]
        agent.wait(lambda: (agent.work / "daemons").exists() and
                   len((agent.work / "daemons").read_text().split()) == 2, "the daemons")
        pids[agent] += [int(pid) for pid in (agent.work / "daemons").read_text().split()]
    for agent in (one, two):
        kill_agent(agent)
        since = next_agent(agent)
        adopted(agent, "app", "main", since)
    since = one.mark()
    one.remove("app.yaml")
    one.wait_event("removed", "app", since=since)
    assert not [pid for pid in pids[one] if is_alive(pid)]
    assert all(is_alive(pid) for pid in pids[two])
    two.stop()
    one.stop()


# --- logs ----------------------------------------------------------------------------------------

@pytest.mark.once  # it takes a minute; test_keeper.py has it for both, with fewer kills
def test_no_line_is_lost_over_a_hundred_kills(agent):
    """A program that prints numbered lines as fast as it can, and an agent that is killed a
    hundred times."""
    go = agent.work / "go"
    size, kills = 20, 100
    script = f"{helper('flood')} 100000000 {size} & while [ ! -e {go} ]; do sleep 0.1; done; kill $!"
    agent.run("app", workload("main", sh(script), restart={"policy": "never"},
                              logs={"maxSize": "5MiB", "maxFiles": 100}))
    for kill in range(kills):
        time.sleep(0.001 * (kill * 7919 % 60))
        kill_agent(agent)
        since = next_agent(agent)
        adopted(agent, "app", "main", since)
    go.touch()
    agent.wait_event("exited", "app", "main", since)
    agent.stop()
    folder = agent.log_file("app", "main").parent
    parts = sorted(folder.glob("main.log*"), reverse=True,
                   key=lambda p: int(p.suffix[1:]) if p.suffix != ".log" else 0)
    expected = 0
    for part in parts:
        content = part.read_bytes()
        assert content.endswith(b"\n") and len(content) % size == 0, f"{part}: a torn line"
        numbers = [int(content[at:at + 8]) for at in range(0, len(content), size)]
        assert numbers == list(range(expected, expected + len(numbers))), f"{part}: not exact"
        expected += len(numbers)
    assert expected > 1000 and len(parts) > 1, f"{expected} lines in {len(parts)} files"


def test_without_an_agent_the_program_waits(agent):
    """Back-pressure, not SIGPIPE; and all of it lands in the log later."""
    lines = 200000
    pid, = agent.run("app", workload("main", [helper("flood"), str(lines), "20", "5"],
                                     restart={"policy": "never"}))
    kill_agent(agent)
    wait_for(lambda: process(pid).state == "S", "the pipe to be full")
    time.sleep(0.5)
    assert is_alive(pid)
    since = next_agent(agent)
    agent.wait_event("exited", "app", "main", since)
    agent.stop()
    text = agent.read_log("app", "main")
    assert [int(line[:8]) for line in text.splitlines()] == list(range(lines))
