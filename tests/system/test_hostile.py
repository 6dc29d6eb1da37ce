"""Workloads and surroundings that mean no good: the agent goes on, and so do other workloads."""

import os
import re
import resource
import signal
import subprocess

import pytest

from api import Api
from harness import (FAIL_AT_ONCE, RESTART_AT_ONCE, SLEEP, cpu_seconds, helper, is_alive, python, read_proc,
                     sh, status_of, workload)

ONCE = {"policy": "never"}
MIB = 1024 * 1024


def assert_goes_on(agent):
    """A new application runs."""
    agent.run(f"goes-on-{agent.mark()}", workload("main", SLEEP))


def resident_bytes(agent):
    return int(status_of(read_proc(agent.pid, "status").decode())["VmRSS"].split()[0]) * 1024


# --- what a document can ask for ---------------------------------------------------------------

def test_a_huge_environment(agent):
    values = {f"VARIABLE_{n}": "x" * 1000 for n in range(500)}
    agent.deploy("app", workload("main", ["/usr/bin/env"], env=values, restart=ONCE))
    agent.wait_event("exited", "app", "main")
    agent.wait_logged("app", "main", "VARIABLE_499=")
    assert agent.read_log("app", "main").count("VARIABLE_") == 500


@pytest.mark.once
def test_an_environment_that_the_kernel_refuses_says_so(agent):
    """One string may have 128 KiB."""
    agent.deploy("app", workload("main", SLEEP, env={"HUGE": "x" * 200_000}, restart=FAIL_AT_ONCE))
    agent.wait(lambda: agent.events("failed", "app") or agent.events("rejected", "app"),
               "the refusal")
    assert not agent.events("started", "app")
    assert_goes_on(agent)


@pytest.mark.once
def test_an_odd_environment_arrives_as_it_is(agent):
    agent.deploy("app", workload("main", ["/usr/bin/env", "-0"], restart=ONCE,
                                 env={"LINES": "one\ntwo", "EQUALS": "a=b=c", "UMLAUT": "grün",
                                      "BLANK": " x ", "lower_case": "x"}))
    agent.wait_event("exited", "app", "main")
    entries = agent.wait_logged("app", "main", "lower_case=x").split("\0")
    assert {"LINES=one\ntwo", "EQUALS=a=b=c", "UMLAUT=grün", "BLANK= x ",
            "lower_case=x"} <= set(entries)


def test_a_thousand_workloads_start_and_stop(agent):
    for n in range(10):
        agent.deploy(f"app-{n}", *(workload(f"w-{m}", SLEEP) for m in range(100)))
    agent.wait(lambda: len(agent.events("started")) == 1000, "a thousand to run", timeout=300)
    pids = agent.started_pids()
    assert len(pids) == 1000 and all(is_alive(pid) for pid in pids)
    agent.stop(timeout=300)
    assert not any(is_alive(pid) for pid in pids)


@pytest.mark.once
def test_a_thousand_workloads_that_cannot_start_leave_the_agent_idle(agent):
    agent.deploy("broken", *(workload(f"w-{m}", ["/no/such/program"], restart=FAIL_AT_ONCE)
                             for m in range(1000)))
    agent.wait(lambda: len(agent.events("failed")) == 1000, "a thousand to fail", timeout=300)
    assert_goes_on(agent)


# --- what a program can print ------------------------------------------------------------------

def test_output_without_newlines(agent):
    """Ten mebibytes in one line: logs stay within their bounds, nothing is lost or held in memory."""
    before = resident_bytes(agent)
    agent.deploy("app", workload("main", sh("head -c 10485760 /dev/zero | tr '\\0' x"),
                                 restart=ONCE, logs={"maxSize": "1MiB", "maxFiles": 100}))
    agent.wait_event("exited", "app", "main")
    folder = agent.log_dir / "app"

    def bytes_logged():
        return sum(p.stat().st_size for p in folder.iterdir())
    agent.wait(lambda: bytes_logged() >= 10 * MIB, "all of it to be logged")
    after = resident_bytes(agent)
    agent.stop()
    contents = [p.read_bytes() for p in folder.iterdir()]
    assert sum(content.count(b"x") for content in contents) == 10 * MIB
    assert all(len(content) <= MIB for content in contents)
    assert after - before < 64 * MIB


def test_binary_output(agent):
    data = bytes(range(256)) * 400
    (agent.work / "data").write_bytes(data)
    agent.deploy("app", workload("main", ["/bin/cat", str(agent.work / "data")], restart=ONCE))
    agent.wait_event("exited", "app", "main")
    log = agent.log_file("app", "main")
    agent.wait(lambda: log.exists() and log.stat().st_size >= len(data), "the log")
    assert log.read_bytes().rstrip(b"\n") == data.rstrip(b"\n")


def test_binary_output_in_the_reason_of_a_failure_is_still_json(agent):
    """The log lines are parsed by machines, whatever the program printed."""
    agent.deploy("app", workload("main", sh(r"printf 'a\001\033[31m\377\"\\b\n'; exit 1"),
                                 restart=FAIL_AT_ONCE))
    event = agent.wait_event("failed", "app", "main")
    assert "a" in event["output"] and "b" in event["output"]
    assert "\033" not in "".join(agent.lines())


def test_a_workload_that_closes_its_output_lives_on(agent):
    [pid] = agent.run("app", workload("main", [helper("close_stdout")]))
    agent.wait_logged("app", "main", "ready")
    agent.wait(lambda: not os.path.exists(f"/proc/{pid}/fd/1"), "it to close its output")
    assert_goes_on(agent)
    assert is_alive(pid) and len(agent.events("started", "app")) == 1
    before = cpu_seconds(agent.pid)
    for _ in range(3):
        assert_goes_on(agent)
    assert cpu_seconds(agent.pid) - before < 1, "it spins on the closed pipe"


def test_a_workload_that_reads_its_own_output_pipe_harms_only_itself(agent):
    """It holds the pipe open for both directions, so it could."""
    script = python("import os\nfd = os.open('/proc/self/fd/1', os.O_RDONLY)\nos.set_blocking(1, False)\n"
                    "while True:\n    os.write(1, b'x\\n'); os.read(fd, 1)")
    agent.run("app", workload("main", script, restart=RESTART_AT_ONCE))
    assert_goes_on(agent)


# --- what the surroundings can do --------------------------------------------------------------

NO_DESCRIPTORS = re.compile("descriptor|open files")


def few_descriptors(limit):
    return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))


def test_too_few_descriptors_refuse_workloads_with_that_reason(make_agent):
    """64 descriptors, 100 workloads: as many as fit run, the rest is told why."""
    agent = make_agent().start(preexec_fn=few_descriptors(64))
    agent.deploy("app", *(workload(f"w-{n}", SLEEP, restart={"initialDelay": "100ms"})
                          for n in range(100)))

    def refused():
        return {e["workload"] for e in agent.events(application="app")
                if NO_DESCRIPTORS.search(e["message"]) and e.get("workload")}
    agent.wait(lambda: len(agent.events("started", "app")) + len(refused()) >= 100,
               "each workload to run or to be refused")
    started = {e["workload"]: int(e["pid"]) for e in agent.events("started", "app")}
    assert len(started) >= 8 and not refused() & set(started)
    assert all(is_alive(pid) for pid in started.values())

    # What runs is still supervised: there are descriptors left for the agent itself.
    name, pid = sorted(started.items())[0]
    os.kill(pid, signal.SIGKILL)
    agent.wait_started("app", name, count=2)
    agent.stop()


def test_descriptors_that_are_free_again_are_used(make_agent):
    """By a new application, and by one that was refused: nobody has to edit it for that."""
    agent = make_agent().start(preexec_fn=few_descriptors(64))
    agent.run("first", *(workload(f"w-{n}", SLEEP) for n in range(8)))
    agent.deploy("refused", *(workload(f"w-{n}", SLEEP) for n in range(8)))
    agent.wait(lambda: any(NO_DESCRIPTORS.search(e["message"]) for e in agent.events()),
               "the refusals")
    agent.remove("first.yaml")
    agent.wait_event("removed", "first")
    agent.run("second", workload("main", SLEEP))
    for n in range(8):
        agent.wait_started("refused", f"w-{n}", timeout=60)


def test_a_closed_stderr_does_not_stop_the_agent(make_agent):
    agent = make_agent()
    agent.deploy("app", workload("main", sh("echo running > ran; exec sleep 1000"),
                                 workingDir=str(agent.work)))
    agent.start(prefix=["/bin/sh", "-c", 'exec "$@" 2>&-', "sh"])
    agent.wait_file("ran", "running")
    agent.deploy("other", workload("main", sh("echo too > other; exec sleep 1000"),
                                   workingDir=str(agent.work)))
    agent.wait_file("other", "too")
    agent.stop()


def test_a_stderr_that_nobody_reads_any_more_does_not_stop_the_agent(make_agent):
    """The reader is gone: SIGPIPE, or EPIPE."""
    agent = make_agent()
    agent.deploy("app", workload("main", sh("echo running >> ran; exit 1"),
                                 workingDir=str(agent.work), restart=RESTART_AT_ONCE))
    reading, writing = os.pipe()
    agent.start(stderr=writing)
    os.close(writing)
    agent.wait_file("ran", "running")
    os.close(reading)
    agent.wait(lambda: len((agent.work / "ran").read_text().splitlines()) > 20, "more restarts")
    agent.stop()


def test_a_stderr_that_is_full_does_not_stop_the_agent(make_agent):
    """A pipe that nobody empties, as of a terminal after Ctrl-S."""
    agent = make_agent()
    agent.write_config(log={"level": "debug", "format": "json"})
    agent.deploy("app", workload("main", sh("echo running >> ran; exit 1"),
                                 workingDir=str(agent.work), restart=RESTART_AT_ONCE))
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    try:
        while True:
            os.write(writing, b"x" * 4096)
    except BlockingIOError:
        os.set_blocking(writing, True)
    agent.start(stderr=writing)
    os.close(writing)
    agent.wait(lambda: (agent.work / "ran").exists() and
               len((agent.work / "ran").read_text().splitlines()) > 20, "restarts")
    agent.stop()
    os.close(reading)


def test_a_flood_of_edits(agent):
    """A thousand writes to the same file end with the last of them."""
    for n in range(1000):
        agent.deploy("app", workload("main", sh(f"echo {n} >> ran; exec sleep 1000"),
                                     workingDir=str(agent.work)))
    agent.wait_file("ran", "999\n")
    assert_goes_on(agent)
    assert len(agent.living()) == 2


def test_signals_from_others_do_not_confuse_it(agent):
    """A workload of the same user can send any signal; only those with a meaning have one."""
    [pid] = agent.run("app", workload("main", SLEEP))
    for number in (signal.SIGCHLD, signal.SIGPIPE, signal.SIGCONT, signal.SIGURG, signal.SIGWINCH,
                   signal.SIGHUP):
        agent.send(number)
    assert_goes_on(agent)
    assert is_alive(pid)


def test_an_idle_agent_uses_no_processor(agent):
    agent.run("app", *(workload(f"w-{n}", SLEEP) for n in range(20)))
    # A process that runs for two seconds of processor time is the clock: no fixed sleep.
    before = cpu_seconds(agent.pid)
    subprocess.run(python("import time\nwhile time.process_time() < 2: pass"), check=True)
    assert cpu_seconds(agent.pid) - before < 0.3


# --- what the kernel gives a user as a whole ---------------------------------------------------

def test_without_any_epoll_watch_supervision_logs_and_api_go_on(make_agent):
    """fs.epoll.max_user_watches is one for all processes of a user, sandboxed ones as well."""
    agent = make_agent().start(prefix=[helper("deny_epoll")])
    api = Api(agent)
    [pid] = agent.run("app", workload("main", sh("echo one; sleep 1000"), restart=RESTART_AT_ONCE))
    follower = api.follow("/v1/applications/app/workloads/main/logs?lines=20&follow=true")
    assert follower.until("one")
    os.kill(pid, signal.SIGKILL)
    agent.wait_started("app", "main", count=2)
    assert follower.until("one")
    said = "fs.epoll.max_user_watches"
    assert any(said in reason for reason in api.get("/v1/health", status=503)["reasons"])
    assert sum(said in line for line in agent.lines()) == 1
    agent.stop()  # with a follower that waits
    follower.close()
