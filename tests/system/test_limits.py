"""limits, groups, and what is said where this system cannot hold them."""

import grp
import contextlib
import os
from pathlib import Path

import pytest

from api import Api
from harness import (FAIL_AT_ONCE, SLEEP, ordinary_account, python, read_proc, sh, status_of,
                     wait_for, workload)


def limits_of(pid):
    """The soft limits of a process, by the names of proc(5)."""
    lines = read_proc(pid, "limits").decode().splitlines()[1:]
    return {line[:26].strip(): line[26:47].strip() for line in lines}


def test_open_files_and_memory_are_held_by_rlimits(agent):
    pid, = agent.run("app", workload("main", SLEEP, limits={"openFiles": 77, "memory": "64MiB"}))
    limits = limits_of(pid)
    assert limits["Max open files"] == "77"
    state = Api(agent).workload("app", "main")["limits"]
    assert state["openFiles"] == "rlimit"
    if state["memory"] == "rlimit":
        assert limits["Max data size"] == str(64 << 20)


@pytest.mark.as_user
def test_processes_are_held_by_an_rlimit(agent):
    pid, = agent.run("app", workload("main", SLEEP, limits={"processes": 4000}))
    if Api(agent).workload("app", "main")["limits"]["processes"] == "rlimit":
        assert limits_of(pid)["Max processes"] == "4000"


def test_what_cannot_be_held_is_said(agent):
    controllers = Path("/sys/fs/cgroup/unified/cgroup.controllers")
    if not controllers.exists() or "cpu" in controllers.read_text().split():
        pytest.skip("this system has a cgroup controller for it")
    agent.run("app", workload("main", SLEEP, limits={"cpu": 0.5}))
    assert Api(agent).workload("app", "main")["limits"] == {"cpu": "not in force"}
    why = Api(agent).get("/v1/applications/app/why")
    assert any("cpu is not in force" in line for line in why["workloads"][0]["because"])


def test_a_program_past_its_memory_fails(agent):
    agent.deploy("app", workload("main", python("x = bytearray(512 << 20)"),
                                 limits={"memory": "128MiB"}, restart=FAIL_AT_ONCE))
    event = agent.wait_event("failed", "app", "main")
    assert "MemoryError" in event["output"] or event.get("signal") == "SIGKILL"


def test_limits_are_told_by_the_next_agent_too(agent):
    pid, = agent.run("app", workload("main", SLEEP, limits={"openFiles": 77}))
    agent.process.kill()
    agent.wait_exit()
    since = agent.mark()
    agent.start()
    agent.wait_event("adopted", "app", "main", since)
    told = Api(agent).workload("app", "main")
    assert told["pid"] == pid and told["limits"] == {"openFiles": "rlimit"}


@pytest.fixture
def memory_group():
    """A group of the old memory controller, in which the kernel kills for want of memory."""
    group = Path("/sys/fs/cgroup/memory") / f"edgible-test-{os.getpid()}"
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(str(32 << 20))
        with contextlib.suppress(OSError):
            (group / "memory.memsw.limit_in_bytes").write_text(str(32 << 20))
    except OSError as error:
        pytest.skip(f"no memory controller here: {error}")
    yield group
    wait_for(lambda: not (group / "cgroup.procs").read_text(), "the group to be empty")
    group.rmdir()


@pytest.mark.as_root
def test_a_kill_for_want_of_memory_is_told_from_others(agent, memory_group):
    grow = python(f"""
open("{memory_group}/cgroup.procs", "w").write("0")
x = []
while True:
    x.append(bytearray(b"x" * (1 << 20)))
""")
    agent.deploy("app", workload("main", grow, restart=FAIL_AT_ONCE),
                 workload("other", sh("kill -KILL $$"), restart=FAIL_AT_ONCE))
    event = agent.wait_event("exited", "app", "main")
    assert event["oomKilled"] == "true" and "want of memory" in event["message"]
    assert "oomKilled" not in agent.wait_event("exited", "app", "other")
    agent.wait_event("failed", "app", "main")
    agent.wait_event("failed", "app", "other")
    assert Api(agent).workload("app", "main")["lastExit"]["oomKilled"] is True
    assert Api(agent).workload("app", "other")["lastExit"]["oomKilled"] is False


# --- who it runs as ----------------------------------------------------------------------------

@pytest.mark.as_root
def test_user_group_and_groups_and_the_log_of_the_right_owner(agent):
    other = ordinary_account()
    pid, = agent.run("app", workload("main", SLEEP, user=other.name, group="daemon"))
    status = status_of(read_proc(pid, "status").decode())
    assert set(status["Uid"].split()) == {str(other.uid)}
    assert set(map(int, status["Groups"].split())) >= other.groups - {other.gid}
    log = agent.log_file("app", "main")
    wait_for(log.exists, "its log")
    assert (log.stat().st_uid, log.stat().st_gid) == (0, grp.getgrnam("daemon").gr_gid)


@pytest.mark.parametrize("allowed", [False, True])
def test_programs_of_ordinary_users_gain_no_rights(make_agent, allowed):
    agent = make_agent().start()
    extra = {"allowNewPrivileges": True} if allowed else {}
    if agent.account.is_root:
        extra["user"] = ordinary_account().name
    pid, = agent.run("app", workload("main", SLEEP, **extra))
    status = status_of(read_proc(pid, "status").decode())
    assert status["NoNewPrivs"].strip() == ("0" if allowed else "1")


@pytest.mark.as_root
def test_workloads_of_root_may_gain_rights(agent):
    pid, = agent.run("app", workload("main", SLEEP))
    assert status_of(read_proc(pid, "status").decode())["NoNewPrivs"].strip() == "0"


def test_more_open_files_than_there_can_be_keep_nothing_from_running(agent):
    most = int(Path("/proc/sys/fs/nr_open").read_text())
    if most >= 1073741816:
        pytest.skip("the kernel lets a process have as many as a document can ask for")
    own = int(limits_of(agent.pid)["Max open files"])
    agent.run("app", workload("main", SLEEP, limits={"openFiles": most + 1}),
              workload("just", SLEEP, limits={"openFiles": own}))
    told = {w["name"]: w for w in Api(agent).app("app")["workloads"]}
    assert told["main"]["limits"]["openFiles"] == "not in force"
    assert told["just"]["limits"]["openFiles"] == "rlimit"
    assert limits_of(agent.pid)["Max open files"] == str(own)


def test_what_is_above_the_agents_own_limits_keeps_nothing_from_running(make_agent):
    """As under `ulimit` or a container's rules: a lower limit holds already."""
    agent = make_agent().start(prefix=["/usr/bin/prlimit", "--nproc=20000"])
    agent.run("app", workload("main", SLEEP, limits={"processes": 50000}))
    told = Api(agent).workload("app", "main")["limits"]
    may_raise = int(status_of(read_proc(agent.pid, "status").decode())["CapEff"], 16) >> 24 & 1
    assert may_raise or told["processes"] in ("not in force", "cgroup")
