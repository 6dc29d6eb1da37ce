"""When a workload starts again, when it does not, and what an edit of its document restarts."""

import os
import signal
from datetime import datetime

import pytest

from harness import (FAIL_AT_ONCE, RESTART_AT_ONCE, SLEEP, free_port, is_alive, python, sh,
                     wait_for, workload)

# Takes the lock file or says that somebody else runs already: two copies never run at once.
ONE_COPY = """
import fcntl, os, signal, sys, time
lock, note = open(sys.argv[1], "a"), sys.argv[2]
try:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
except OSError:
    note = "two copies"
with open(sys.argv[1] + ".log", "a") as log:
    log.write(note + "\\n")
def slow_end(*_):
    time.sleep(0.3)  # what a program needs to end; the next copy must wait for it
    sys.exit(0)
signal.signal(signal.SIGTERM, slow_end)
while True:
    signal.pause()
"""


def one_copy(agent, note="copy", **fields):
    return workload("main", python(ONE_COPY, str(agent.work / "lock"), note), **fields)


def copies(agent):
    path = agent.work / "lock.log"
    return path.read_text().splitlines() if path.exists() else []


def seconds(event):
    return datetime.fromisoformat(event["time"].replace("Z", "+00:00")).timestamp()


def delays(agent, application):
    return [int(e["delay_ms"]) for e in agent.events("backoff", application)]


# --- policies ----------------------------------------------------------------------------------

@pytest.mark.parametrize("policy, code, restarts", [
    ("always", 0, True), ("always", 3, True),
    ("on-failure", 0, False), ("on-failure", 3, True),
    ("never", 0, False), ("never", 3, False)])
@pytest.mark.once
def test_policy(agent, policy, code, restarts):
    """That nothing starts again is seen beside a workload that has done so three times since."""
    program = workload("main", sh(f"exit {code}"), restart={**RESTART_AT_ONCE, "policy": policy})
    agent.deploy("app", program)
    event = agent.wait_event("exited", "app", "main")
    assert event["code"] == str(code)
    if restarts:
        agent.wait_event("started", "app", "main", count=4)
    else:
        agent.deploy("clock", workload("main", ["/bin/true"], restart=RESTART_AT_ONCE))
        agent.wait_event("started", "clock", "main", count=4)
        assert len(agent.events("started", "app")) == 1
        assert not agent.events("backoff", "app")


def test_a_killed_workload_starts_again_with_a_new_pid(agent):
    [first] = agent.run("app", workload("main", SLEEP, restart=RESTART_AT_ONCE))
    os.kill(first, signal.SIGKILL)
    exited = agent.wait_event("exited", "app", "main")
    assert exited["signal"] == "SIGKILL"
    second = agent.wait_started("app", "main", count=2)
    assert second != first and is_alive(second) and not is_alive(first)


# --- backoff -----------------------------------------------------------------------------------

def test_delays_double_up_to_the_longest(agent):
    agent.deploy("app", workload("main", sh("exit 1"), restart={
        "initialDelay": "100ms", "maxDelay": "800ms", "rapidAfter": "60s",
        "maxRapidFailures": 6}))
    agent.wait_event("failed", "app", "main")
    found = delays(agent, "app")
    assert len(found) == 5, found
    for delay, nominal in zip(found, (100, 200, 400, 800, 800)):
        assert nominal * 0.8 <= delay <= nominal * 1.2, found


def test_the_delay_is_kept(agent):
    agent.deploy("app", workload("main", sh("exit 1"), restart={
        "initialDelay": "300ms", "maxDelay": "300ms", "rapidAfter": "0s"}))
    agent.wait_event("started", "app", "main", count=4)
    for backoff, started in zip(agent.events("backoff", "app"),
                                agent.events("started", "app")[1:]):
        assert seconds(started) - seconds(backoff) >= int(backoff["delay_ms"]) / 1000 - 0.005


def test_delays_fall_back_after_a_stable_run(agent):
    """Two quick failures, then a run longer than stableAfter, then a failure."""
    script = sh("""n=$(cat count 2>/dev/null || echo 0); echo $((n + 1)) > count
                   [ $n -lt 2 ] && exit 1
                   [ $n -eq 2 ] && sleep 1.5
                   exit 1""")
    agent.deploy("app", workload("main", script, workingDir=str(agent.work), restart={
        "initialDelay": "100ms", "maxDelay": "10s", "rapidAfter": "1s", "stableAfter": "1s",
        "maxRapidFailures": 3}))
    agent.wait_event("backoff", "app", "main", count=3)
    found = delays(agent, "app")
    assert 160 <= found[1] <= 240 and 80 <= found[2] <= 120, found


def test_backoff_says_when_the_next_start_is(agent):
    agent.deploy("app", workload("main", sh("exit 1"), restart={"initialDelay": "1h",
                                                                "maxDelay": "2h"}))
    event = agent.wait_event("backoff", "app", "main")
    assert 0.8 * 3600_000 <= int(event["delay_ms"]) <= 1.2 * 3600_000
    assert "status 1" in event["message"]


# --- failed ------------------------------------------------------------------------------------

def test_failed_gives_status_uptime_count_and_last_lines(agent):
    agent.deploy("app", workload("main", sh("seq 1 30; echo to stderr >&2; exit 7"), restart={
        "initialDelay": "10ms", "maxDelay": "20ms", "maxRapidFailures": 3}))
    event = agent.wait_event("failed", "app", "main")
    assert "status 7" in event["message"] and "3 rapid failures" in event["message"]
    assert event["output"].split("\n") == [str(n) for n in range(12, 31)] + ["to stderr"]
    assert len(agent.events("started", "app")) == 3


def test_failed_names_the_signal(agent):
    agent.deploy("app", workload("main", sh("kill -SEGV $$"), restart=FAIL_AT_ONCE))
    assert "SIGSEGV" in agent.wait_event("failed", "app", "main")["message"]


def test_output_of_failed_is_of_the_last_run_alone(agent):
    script = sh("echo run of $$; exit 1")
    agent.deploy("app", workload("main", script, restart={
        "initialDelay": "10ms", "maxDelay": "20ms", "maxRapidFailures": 2}))
    event = agent.wait_event("failed", "app", "main")
    last = agent.events("started", "app")[-1]["pid"]
    assert event["output"] == f"run of {last}"


def test_failed_is_final(agent):
    agent.deploy("app", workload("main", ["/bin/false"], restart=FAIL_AT_ONCE))
    agent.wait_event("failed", "app", "main")
    agent.deploy("clock", workload("main", ["/bin/true"], restart=RESTART_AT_ONCE))
    agent.wait_event("started", "clock", "main", count=5)
    assert len(agent.events("started", "app")) == 1


def test_retry_failed_after_tries_again_that_often(agent):
    agent.deploy("app", workload("main", ["/bin/false"],
                                 restart={**FAIL_AT_ONCE, "retryFailedAfter": "500ms"}))
    agent.wait_event("failed", "app", "main", count=3)
    failed = agent.events("failed", "app")
    assert seconds(failed[1]) - seconds(failed[0]) >= 0.4


def test_a_changed_document_of_a_failed_workload_starts_afresh(agent):
    policy = {"initialDelay": "50ms", "rapidAfter": "60s", "maxRapidFailures": 3}
    agent.deploy("app", workload("main", sh("exit 1"), restart=policy))
    agent.wait_event("failed", "app", "main")
    mark = agent.mark()
    agent.deploy("app", workload("main", sh("exit 2"), restart=policy))
    agent.wait_event("failed", "app", "main", since=mark)
    assert len(agent.events("started", "app", since=mark)) == 3
    assert 40 <= int(agent.events("backoff", "app", since=mark)[0]["delay_ms"]) <= 60


def test_a_changed_document_ends_a_backoff(agent):
    agent.deploy("app", workload("main", sh("exit 1"), restart={"initialDelay": "1h",
                                                                "maxDelay": "1h"}))
    agent.wait_event("backoff", "app", "main")
    agent.run("app", workload("main", SLEEP))


# --- what an edit restarts ---------------------------------------------------------------------

def assert_untouched(agent, application, *pids):
    """Its workloads run as before, after the agent has come as far as a new application."""
    agent.run("barrier", workload("main", SLEEP))
    assert all(is_alive(pid) for pid in pids)
    assert len(agent.events("started", application)) == len(pids)
    assert not agent.events("stopping", application)


def test_a_file_that_is_touched_or_written_anew_without_a_change_restarts_nothing(agent):
    document = agent.app("app", workload("main", SLEEP))
    agent.put("app.yaml", document)
    pid = agent.wait_started("app", "main")
    (agent.source / "app.yaml").touch()
    agent.put("app.yaml", document)
    assert_untouched(agent, "app", pid)
    assert not agent.events("updated", "app")


def test_comments_and_layout_are_no_change(agent):
    agent.run("app", workload("main", SLEEP))
    pid = agent.wait_started("app", "main")
    text = (agent.source / "app.yaml").read_text()
    agent.put("app.yaml", "# a comment\n" + text + "\n\n# another\n")
    assert_untouched(agent, "app", pid)


@pytest.mark.parametrize("change", [
    {"ports": [{"name": "web", "containerPort": 8080, "protocol": "tcp"}]},
    {"restart": {"policy": "never"}},
    {"stop": {"gracePeriod": "3s"}},
    {"logs": {"maxSize": "1MiB", "maxFiles": 2}}], ids=lambda change: next(iter(change)))
def test_a_changed_setting_applies_without_a_restart(agent, change):
    [pid] = agent.run("app", workload("main", SLEEP))
    agent.deploy("app", workload("main", SLEEP, **change))
    agent.wait_event("updated", "app")
    assert_untouched(agent, "app", pid)


def test_changed_access_applies_without_a_restart(agent):
    main = workload("main", SLEEP, ports=[{"name": "web", "containerPort": 8080,
                                           "protocol": "tcp"}])
    [pid] = agent.run("app", main)
    document = agent.app("app", main)
    document["spec"]["access"] = [{
        "name": "web", "type": "https", "target": {"workload": "main", "port": "web"},
        "hostname": {"custom": "web.example.com"}, "tls": {"managedBy": "edgible"},
        "policies": {"auth": {"mode": "api-key"}}}]
    agent.put("app.yaml", document)
    agent.wait_event("updated", "app")
    assert_untouched(agent, "app", pid)


def test_a_changed_restart_policy_counts_from_the_next_exit(agent):
    [pid] = agent.run("app", workload("main", SLEEP, restart=RESTART_AT_ONCE))
    agent.deploy("app", workload("main", SLEEP, restart={"policy": "never"}))
    agent.wait_event("updated", "app")
    os.kill(pid, signal.SIGKILL)
    agent.wait_event("exited", "app", "main")
    agent.run("barrier", workload("main", SLEEP))
    assert len(agent.events("started", "app")) == 1


def test_a_changed_stop_setting_counts_for_the_next_stop(agent):
    script = sh("trap 'echo interrupted; exit' INT; trap '' TERM; echo ready; "
                "while :; do sleep 0.1; done")
    agent.run("app", workload("main", script))
    agent.wait_logged("app", "main", "ready")
    agent.deploy("app", workload("main", script, stop={"signal": "SIGINT", "gracePeriod": "1h"}))
    agent.wait_event("updated", "app")
    agent.remove("app.yaml")
    agent.wait_event("stopped", "app", "main")
    agent.wait_logged("app", "main", "interrupted")


def test_a_changed_log_file_applies_without_a_restart(agent):
    script = sh("echo first; while [ ! -e go ]; do sleep 0.05; done; echo second; exec sleep 1000")
    fields = {"workingDir": str(agent.work)}
    [pid] = agent.run("app", workload("main", script, **fields))
    agent.wait_logged("app", "main", "first")
    elsewhere = agent.work / "elsewhere.log"
    agent.deploy("app", workload("main", script, logFile=str(elsewhere), **fields))
    agent.wait_event("updated", "app")
    (agent.work / "go").touch()
    agent.wait_file("elsewhere.log", "second")
    assert is_alive(pid)
    assert agent.read_log("app", "main") == "first\n" and elsewhere.read_text() == "second\n"


@pytest.mark.parametrize("change", ["env", "command"])
def test_a_changed_workload_restarts_alone_and_the_old_copy_is_gone_first(agent, change):
    neighbour = workload("neighbour", SLEEP)
    old_pid, neighbour_pid = agent.run("app", one_copy(agent), neighbour)
    agent.wait_file("lock.log", "copy")
    for n in range(3):
        mark = agent.mark()
        changed = (one_copy(agent, env={"N": str(n)}) if change == "env"
                   else one_copy(agent, note=f"copy {n}"))
        agent.deploy("app", changed, neighbour)
        new_pid = agent.wait_started("app", "main", since=mark)
        assert not is_alive(old_pid) and new_pid != old_pid
        wait_for(lambda: len(copies(agent)) == n + 2, "the new copy to run")
        old_pid = new_pid
    assert "two copies" not in copies(agent)
    assert is_alive(neighbour_pid) and len(agent.events("started", "app", "neighbour")) == 1


def test_edits_that_come_faster_than_restarts_end_with_the_last_one(agent):
    """Each edit comes while the one before it is still being put into force."""
    agent.run("app", one_copy(agent))
    agent.wait_file("lock.log", "copy")
    for n in range(20):
        agent.deploy("app", one_copy(agent, note=f"copy {n}"))
    wait_for(lambda: "copy 19" in copies(agent), "the last edit to run")
    assert copies(agent)[-1] == "copy 19" and "two copies" not in copies(agent)


def test_a_server_gets_its_port_back_after_an_edit(agent):
    port = free_port()
    server = ["/usr/bin/python3", "-m", "http.server", str(port), "--bind", "127.0.0.1"]
    agent.run("app", workload("main", server, workingDir=str(agent.work), restart=FAIL_AT_ONCE))
    for n in range(3):
        mark = agent.mark()
        agent.deploy("app", workload("main", server, workingDir=str(agent.work),
                                     restart=FAIL_AT_ONCE, env={"N": str(n)}))
        agent.wait_started("app", "main", since=mark)
    agent.run("barrier", workload("main", SLEEP))
    assert not agent.events("failed", "app")


def test_a_workload_added_or_removed_leaves_the_others_alone(agent):
    one, two, three = (workload(name, SLEEP) for name in ("one", "two", "three"))
    [one_pid, two_pid] = agent.run("app", one, two)
    agent.deploy("app", one, three)
    agent.wait_started("app", "three")
    agent.wait_event("stopped", "app", "two")
    assert is_alive(one_pid) and not is_alive(two_pid)
    assert len(agent.events("started", "app", "one")) == 1
