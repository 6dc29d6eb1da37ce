"""Health checks: http, tcp and exec, what they cost, and what is made of them."""

import os
import signal
import socket
import time

import pytest

from api import Api
from harness import (RESTART_AT_ONCE, SLEEP, argv_of, cpu_seconds, free_port, is_alive, living_of,
                     parse_record, python, sh, wait_for, workload)

QUICK = {"interval": "100ms", "timeout": "2s", "failures": 2}
# Of what listens some time after its start, which is long on a loaded machine.
SLOW_START = {"startPeriod": "60s"}


def server(port, status_file=None, host="127.0.0.1", delay=0):
    """Answers with the status that stands in the file; 200 without one."""
    return python(f"""
import http.server, socket, time, os
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        time.sleep({delay})
        try:
            status = int(open({str(status_file)!r}).read())
        except (OSError, ValueError):
            status = 200
        self.send_response(status)
        if status in (301, 302):
            self.send_header("Location", "http://example.invalid/")
        self.send_header("Content-Length", "0")
        self.end_headers()
class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6 if ":" in {host!r} else socket.AF_INET
Server(({host!r}, {port}), Handler).serve_forever()
""")


def http(port, **fields):
    return {"http": {"port": port, "path": "/healthz"}, **QUICK, **fields}


def state_of(agent, name="main", app="app"):
    return Api(agent).workload(app, name)


def wait_status(agent, status, name="main", app="app"):
    return agent.wait(lambda: (lambda w: w if w["status"] == status else None)(
        state_of(agent, name, app)), f"{app}/{name} to be {status}")


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_http_makes_it_running_and_healthy(agent, host):
    port = free_port()
    check = http(port, **SLOW_START)
    agent.deploy("app", workload("main", server(port, host=host), healthCheck=check,
                                 ports=[{"containerPort": port}]),
                 workload("next", SLEEP, dependsOn=["main"]))
    agent.wait_event("healthy", "app", "main")
    wait_status(agent, "running")
    agent.wait_started("app", "next")
    kinds = [(e["type"], e["workload"]) for e in agent.events() if e.get("workload")]
    assert kinds.index(("healthy", "main")) < kinds.index(("starting", "next"))


def test_it_is_starting_until_it_passes(agent):
    port, flag = free_port(), agent.work / "status"
    flag.write_text("503")
    agent.deploy("app", workload("main", server(port, flag), ports=[{"containerPort": port}],
                                 healthCheck=http(port, startPeriod="1h")),
                 workload("next", SLEEP, dependsOn=["main"]))
    pid = agent.wait_started("app", "main")
    agent.wait(lambda: "503" in state_of(agent).get("reason", ""), "a check that failed")
    assert state_of(agent)["status"] == "starting" and state_of(agent)["pid"] == pid
    assert state_of(agent, "next")["status"] == "pending"
    flag.write_text("302")  # not followed, and good
    wait_status(agent, "running")
    agent.wait_started("app", "next")
    assert is_alive(pid) and not agent.events("unhealthy")


def test_failures_make_it_unhealthy_and_restart_it_as_an_exit_would(agent):
    port, flag = free_port(), agent.work / "status"
    agent.deploy("app", workload("main", server(port, flag), ports=[{"containerPort": port}],
                                 healthCheck=http(port, startPeriod="5s"),
                                 restart={"initialDelay": "300ms", "maxDelay": "300ms",
                                          "rapidAfter": "1m", "maxRapidFailures": 2}))
    agent.wait_event("healthy", "app", "main")
    flag.write_text("500")
    assert "status 500" in agent.wait_event("unhealthy", "app", "main")["reason"]
    event = agent.wait_event("backoff", "app", "main")
    assert "was unhealthy" in event["reason"] and "status 500" in event["reason"]
    assert "1 rapid failure of 2" in event["reason"]
    # It may fail before it listens again, with another reason.
    assert "was unhealthy" in agent.wait_event("failed", "app", "main")["reason"]
    assert ('edgible_workload_restarts_total{application="app",workload="main",reason="unhealthy"} 1'
            in Api(agent).get("/metrics"))
    assert wait_status(agent, "failed")["restarts"] == 1


def test_why_says_that_the_agent_ended_what_failed_its_check(agent):
    agent.deploy("app", workload("main", SLEEP, healthCheck={
        "exec": {"command": sh("exit 7")}, "interval": "1s", "failures": 1},
        restart={"initialDelay": "1h", "maxDelay": "1h"}))
    agent.wait_event("backoff", "app", "main")
    assert "was unhealthy" in agent.events("exited", "app", "main")[0]["message"]
    ended = "; the agent ended it, as it failed its health check: "
    [cause] = [cause for cause in Api(agent).get("/v1/applications/app/why")["workloads"][0]["because"]
               if cause.startswith("its last run ended at")]
    assert ", killed by SIGTERM" + ended in cause and "status 7" in cause
    assert "status 7" in Api(agent).app("app")["workloads"][0]["lastExit"]["unhealthy"]


def test_without_restarts_it_stays_unhealthy_and_recovers(agent):
    port, flag = free_port(), agent.work / "status"
    agent.deploy("app", workload("main", server(port, flag), ports=[{"containerPort": port}],
                                 healthCheck=http(port, successes=2, **SLOW_START),
                                 restart={"policy": "never"}))
    pid = agent.wait_started("app", "main")
    agent.wait_event("healthy", "app", "main")
    flag.write_text("404")
    assert "status 404" in wait_status(agent, "unhealthy")["reason"]
    assert Api(agent).app("app")["status"] == "unhealthy"
    assert Api(agent).request("GET", "/v1/health").status == 503
    metrics = Api(agent).get("/metrics")
    assert 'edgible_workload_healthy{application="app",workload="main"} 0' in metrics
    assert 'edgible_workload_health_check_failures{application="app",workload="main"} 0' not in metrics
    flag.write_text("200")
    agent.wait_event("healthy", "app", "main", count=2)
    assert wait_status(agent, "running")["pid"] == pid


def test_tcp(agent):
    port = free_port()
    agent.deploy("app", workload("main", server(port), ports=[{"containerPort": port}],
                                 healthCheck={"tcp": {"port": port}, **QUICK, **SLOW_START}),
                 workload("deaf", SLEEP, healthCheck={"tcp": {"port": free_port()}, **QUICK},
                          restart=RESTART_AT_ONCE))
    agent.wait_event("healthy", "app", "main")
    assert "does not accept connections" in agent.wait_event("unhealthy", "app", "deaf")["reason"]
    agent.wait_started("app", "deaf", count=2)


def test_exec_runs_as_the_workload_does(agent):
    out = agent.work / "out"
    check = sh(f"id -un > {out}; pwd >> {out}; echo $COLOUR$EDGIBLE_WORKLOAD >> {out}")
    agent.deploy("app", workload("main", SLEEP, env={"COLOUR": "blue"}, workingDir="/tmp",
                                 healthCheck={"exec": check, **QUICK}))
    agent.wait_event("healthy", "app", "main")
    assert out.read_text().split() == [agent.account.name, "/tmp", "bluemain"]


def test_exec_says_what_it_printed_and_its_fault(agent):
    agent.deploy("app", workload("main", SLEEP, restart={"policy": "never"}, healthCheck={
        "exec": sh("echo first; echo the database is away; exit 7"), **QUICK}),
        workload("none", SLEEP, restart={"policy": "never"}, healthCheck={
            "exec": ["/does/not/exist"], **QUICK}))
    reason = agent.wait_event("unhealthy", "app", "main")["reason"]
    assert "status 7" in reason and reason.endswith(": the database is away")
    assert "No such file" in agent.wait_event("unhealthy", "app", "none")["reason"]


@pytest.mark.parametrize("command", [
    "sleep 1000000", "trap '' TERM; sleep 1000000", "sleep 1000000 & sleep 1000000",
    "yes", "setsid sleep 1000000 & sleep 1000000"], ids=range(5))
def test_exec_that_hangs_is_ended_with_all_of_it(agent, command):
    pid, = agent.run("app", workload("main", SLEEP, restart={"policy": "never"}, healthCheck={
        "exec": sh(command), "interval": "50ms", "timeout": "200ms", "failures": 3}))
    assert "no answer within" in agent.wait_event("unhealthy", "app", "main")["reason"]
    agent.remove("app.yaml")
    agent.wait_event("removed", "app")
    wait_for(lambda: not living_of(agent.device), "the end of all")
    assert not is_alive(pid)


def test_a_check_that_leaves_daemons_behind_does_not_pile_them_up(agent):
    agent.run("app", workload("main", SLEEP, healthCheck={
        "exec": sh("sleep 1000000 & exit 0"), "interval": "20ms", "timeout": "1s"}))
    agent.wait_event("healthy", "app", "main")
    time.sleep(1)
    assert len(living_of(agent.device)) < 8


def silent_listener(host):
    """Takes connections, and never says a word; the test's own, so that it is there at once."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.bind((host, 0))
    listener.listen(64)
    return listener


def test_a_server_that_never_answers_holds_up_nothing(agent):
    with silent_listener("127.0.0.1") as listener:
        port = listener.getsockname()[1]
        agent.deploy("app", workload("main", SLEEP, restart={"policy": "never"},
                                     healthCheck=http(port, timeout="300ms")))
        assert "no answer" in agent.wait_event("unhealthy", "app", "main")["reason"].lower()
        agent.run("other", workload("main", SLEEP))


def test_an_answer_without_an_end_is_good_at_its_status(agent):
    port = free_port()
    flood = python(f"""
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        while True:
            self.wfile.write(b"x" * 65536)
http.server.ThreadingHTTPServer(("127.0.0.1", {port}), Handler).serve_forever()
""")
    agent.deploy("app", workload("main", flood, ports=[{"containerPort": port}],
                                 healthCheck=http(port, timeout="1h", **SLOW_START)))
    agent.wait_event("healthy", "app", "main")


def test_exec_that_prints_without_an_end_costs_little(agent):
    """The program waits for the agent, which reads slowly: both have little to do."""
    counted = agent.work / "counted"
    check = python(f"""
import os
with open({str(counted)!r}, "ab", buffering=0) as counted:
    while True:
        for _ in range(16):
            os.write(1, b"x" * 65536)
        counted.write(b"M")
""")
    agent.deploy("app", workload("main", SLEEP, restart={"policy": "never"}, healthCheck={
        "exec": check, "interval": "1s", "timeout": "1s", "failures": 1}))
    assert "no answer within" in agent.wait_event("unhealthy", "app", "main")["reason"]
    assert counted.stat().st_size < 32  # MiB; about 3, and hundreds where nothing rests


def test_the_reason_names_both_addresses_where_both_were_tried(agent):
    with silent_listener("::1") as listener:
        port = listener.getsockname()[1]
        agent.deploy("silent", workload("main", SLEEP, restart={"policy": "never"},
                                        healthCheck=http(port, timeout="300ms")))
        reason = agent.wait_event("unhealthy", "silent", "main")["reason"]
        refused, silent = reason.split("; ")
        assert "127.0.0.1" in refused and "refused" in refused, reason
        assert "[::1]" in silent and "no answer" in silent, reason
    agent.deploy("refused", workload("main", SLEEP, restart={"policy": "never"},
                                     healthCheck=http(free_port())))
    reason = agent.wait_event("unhealthy", "refused", "main")["reason"]
    first, second = reason.split("; ")
    assert "127.0.0.1" in first and "[::1]" in second, reason


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGUSR1, signal.SIGUSR2])
def test_health_goes_on_with_the_next_agent(agent, how):
    port, flag = free_port(), agent.work / "status"
    pid, = agent.run("app", workload("main", server(port, flag), ports=[{"containerPort": port}],
                                     healthCheck=http(port, **SLOW_START),
                                     restart=RESTART_AT_ONCE))
    agent.wait_event("healthy", "app", "main")
    since = agent.mark()
    agent.send(how)
    if how != signal.SIGUSR2:
        agent.wait_exit()
        agent.start()
    agent.wait_event("adopted", "app", "main", since)
    # A kill between the event and its record has the next agent ask once more.
    assert wait_status(agent, "running")["pid"] == pid
    flag.write_text("500")
    agent.wait_event("unhealthy", "app", "main", since)
    assert agent.wait_started("app", "main", since) != pid


def test_a_changed_check_counts_at_once_and_restarts_nothing(agent):
    pid, = agent.run("app", workload("main", SLEEP, restart={"policy": "never"}))
    check = {"exec": ["/bin/false"], **QUICK}
    agent.deploy("app", workload("main", SLEEP, restart={"policy": "never"}, healthCheck=check))
    agent.wait_event("unhealthy", "app", "main")
    agent.deploy("app", workload("main", SLEEP, restart={"policy": "never"}))
    assert wait_status(agent, "running")["pid"] == pid


def test_a_stop_while_unhealthy_is_a_stop(agent):
    stubborn = sh("trap '' TERM; while :; do sleep 0.1; done")
    agent.run("app", workload("main", stubborn, stop={"gracePeriod": "2s"},
                              restart=RESTART_AT_ONCE, healthCheck={"exec": ["/bin/false"], **QUICK}))
    agent.wait_event("unhealthy", "app", "main")
    assert wait_status(agent, "unhealthy")["reason"].startswith("fails its health check")
    assert Api(agent).request("PATCH", "/v1/applications/app",
                              {"targetState": "suspended"}).status < 300
    wait_status(agent, "stopped")
    assert len(agent.events("started", "app", "main")) == 1


@pytest.mark.once
def test_a_hundred_checks_are_spread_and_bounded(agent):
    mark = agent.work / "times"
    check = {"exec": sh(f"date +%s%N >> {mark}"), "interval": "2s", "timeout": "2s"}
    agent.run("app", *[workload(f"w{i}", SLEEP, healthCheck=check) for i in range(100)])
    for i in range(100):
        agent.wait_event("healthy", "app", f"w{i}")
    begin = time.time()
    wait_for(lambda: time.time() - begin > 6, "three intervals")
    times = [int(line) / 1e9 - begin for line in mark.read_text().split()]
    later = [t for t in times if 2 < t < 6]
    assert 20 <= len(later) <= 280  # 200 in two intervals; far fewer on a loaded machine
    busiest = max(len([t for t in later if tenth <= t * 10 < tenth + 1])
                  for tenth in range(20, 60))
    assert busiest <= 25  # 5 on average
    assert cpu_seconds(agent.process.pid) < 60
    assert len(os.listdir(f"/proc/{agent.process.pid}/fd")) < 60 + 3 * 100 + 4 * 64


LEAVES = {
    "session": "setsid sleep 1000000 & exit 0",
    "twice": "(setsid sh -c 'setsid sleep 1000000 & setsid sleep 1000000' &); exit 0",
    "hangs": "setsid sleep 1000000 & sleep 1000000",
}


@pytest.mark.parametrize("script", LEAVES.values(), ids=LEAVES.keys())
def test_what_a_command_leaves_in_other_sessions_is_ended(agent, script):
    count = agent.work / "count"
    agent.deploy("app", workload("main", SLEEP, restart={"policy": "never"}, healthCheck={
        "exec": sh(f"echo x >> {count}; {script}"), "interval": "100ms", "timeout": "300ms"}))
    pid = agent.wait_started("app", "main")
    agent.wait(lambda: count.exists() and len(count.read_text().split()) > 15, "many checks")
    agent.wait(lambda: len(agent.living()) < 8, "what they left to end")
    assert is_alive(pid)


def test_a_check_of_an_agent_that_was_killed_is_ended_by_the_next_one(agent):
    """Its process group, and what left that."""
    agent.deploy("app", workload("main", SLEEP, healthCheck={
        "exec": sh("setsid sleep 1111111 & exec sleep 1111111"), "interval": "1h",
        "timeout": "30m"}))
    pid = agent.wait_started("app", "main")
    agent.wait(lambda: len(agent.living()) == 3, "the check")
    old = [p.pid for p in agent.living() if p.pid != pid]
    agent.process.kill()
    agent.wait_exit()
    agent.start()
    agent.wait(lambda: not any(is_alive(p) for p in old), "the old check to end")
    agent.wait_event("adopted", "app", "main")
    agent.wait(lambda: len(agent.living()) == 3, "the check of the new agent")
    assert is_alive(pid)


def test_what_a_workload_itself_starts_in_other_sessions_lives_on(agent):
    agent.deploy("app", workload("main", sh("setsid sleep 1000000 & exec sleep 1000000"),
                                 healthCheck={"exec": sh("setsid true & exit 0"),
                                              "interval": "50ms"}))
    agent.wait_event("healthy", "app", "main")
    daemon, = [p.pid for p in agent.living() if p.pid not in agent.started_pids()
               and "1000000" in " ".join(argv_of(p.pid))]
    agent.deploy("next", workload("main", SLEEP, healthCheck={
        "exec": ["/bin/true"], "interval": "50ms", "successes": 10}))
    agent.wait_event("healthy", "next", "main")
    assert is_alive(daemon)


@pytest.mark.as_root
def test_no_cgroup_is_left_of_a_check_that_was_under_way(agent):
    """What was killed in it is still dying when its group is removed."""
    said = [r["message"] for r in map(parse_record, agent.lines()) if r] if \
        agent.wait(lambda: any("groups" in line for line in agent.lines()), "it to say") else []
    path = next((m.split("'")[1] for m in said if m.startswith("cgroups of workloads")), None)
    if path is None:
        pytest.skip("there are no cgroups here")
    names = [f"w{i}" for i in range(10)]
    agent.deploy("app", *(workload(name, SLEEP, healthCheck={
        "exec": sh("sleep 1000000"), "interval": "1m", "timeout": "1m"}) for name in names))
    groups = [f"{path}/app.{name}.check" for name in names]
    agent.wait(lambda: all(os.path.exists(group) for group in groups), "the checks")
    agent.remove("app.yaml")
    agent.wait_event("removed", "app")
    agent.run("next", workload("main", SLEEP))
    assert not [group for group in groups if os.path.exists(group)]
    agent.stop()
    assert not os.path.exists(path)
