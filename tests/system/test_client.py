"""The client commands, against a real agent."""

import codecs
import contextlib
import json
import os
import pathlib
import pty
import random
import re
import signal
import socket
import subprocess
import termios
import threading

import pytest
import yaml

from api import Api
from harness import (DEADLINE, FAIL_AT_ONCE, IS_ROOT, SLEEP, agent_binary, base_environment,
                     make_folder, own_account, python, run_client, sh, wait_for, workload)


@pytest.fixture
def edgible(agent):
    """Runs a command against the agent, as the agent's user."""
    Api(agent)

    def run(*args, code=0, stdin="", env=None):
        done = subprocess.run(
            [agent_binary(), *map(str, args)], input=stdin, text=True, capture_output=True,
            timeout=DEADLINE, cwd="/",
            env={**base_environment(agent.account), "EDGIBLE_SOCKET":
                 str(agent.runtime_dir / "agent.sock"), **(env or {})},
            **agent.account.popen_options())
        assert done.returncode == code, f"{done.returncode}: {done.stdout}{done.stderr}"
        if code in (2, 3, 4):
            assert done.stderr.startswith("edgible: ") and done.stdout == ""
        return done
    return run


def stack_file(agent, *apps):
    path = agent.folder / "stack.yaml"
    path.write_text(yaml.safe_dump_all(apps, sort_keys=False))
    return path


# --- device, application, agent --------------------------------------------------------------------

def test_health_of_the_device(agent, edgible):
    assert edgible("device", "health").stdout == "Health check OK\n"
    assert edgible("device", "health", "--name", agent.device).stdout == "Health check OK\n"
    assert agent.device in edgible("device", "health", "--name", "other", code=1).stderr
    agent.deploy("web", workload("main", sh("exit 1"), restart=FAIL_AT_ONCE))
    agent.wait_event("failed", "web")
    out = edgible("device", "health", code=1).stdout
    assert out.startswith("web/main is in status failed: exited with status 1")
    told = json.loads(edgible("device", "health", "--json", code=1).stdout)
    assert told["status"] == "unhealthy" and len(told["reasons"]) == 1


def test_health_of_applications(agent, edgible):
    agent.run("web", workload("main", SLEEP))
    lines = edgible("device", "application-health", "--name", agent.device).stdout.splitlines()
    assert lines[0].split() == ["APPLICATION", "WORKLOAD", "STATUS", "RESTARTS", "UPTIME", "REASON"]
    assert lines[1].split()[:4] == ["web", "main", "running", "0"]
    [row] = json.loads(edgible("device", "application-health", "--json").stdout)
    assert row["application"] == "web" and row["status"] == "running"
    agent.deploy("bad", workload("main", sh("exit 1"), restart=FAIL_AT_ONCE))
    agent.wait_event("failed", "bad")
    edgible("device", "application-health", code=1)
    edgible("device", "application-health", "--name", "other", code=1)


def test_tables_fit_80_columns_and_lose_nothing(agent, edgible):
    name = "a" * 63
    agent.deploy(name, workload("b" * 63, ["/nonexistent/" + "c/" * 60], restart=FAIL_AT_ONCE))
    agent.wait_event("failed", name)
    for command in [["device", "application-health"], ["stack", "status"], ["application", "list"]]:
        code = 1 if command[0] == "device" else 0
        out = edgible(*command, code=code).stdout
        assert max(len(line) for line in out.splitlines()) <= 80
        assert out.count("a") >= 63


def test_applications_are_listed_and_shown(agent, edgible):
    assert edgible("application", "list").stdout == "no applications\n"
    assert json.loads(edgible("application", "list", "--json").stdout) == []
    agent.run("web", workload("main", SLEEP))
    [app] = json.loads(edgible("app", "list", "--json").stdout)
    assert "web" in edgible("application", "list").stdout
    for identity in ["web", app["id"]]:
        assert edgible("application", "get", "-i", identity).stdout.startswith(
            f"web ({app['id']}): running")
    assert json.loads(edgible("application", "get", "-i", "web", "--json").stdout)["name"] == "web"
    error = edgible("application", "get", "-i", "nobody", code=1).stderr
    assert "no application" in error and "edgible application list" in error


def test_why_says_the_causes_and_what_comes_next(agent, edgible):
    agent.deploy("web", workload("main", sh("echo no cheese; exit 3"), restart={
        "initialDelay": "1h", "maxDelay": "1h"}))
    agent.wait_event("backoff", "web")
    out = edgible("application", "why", "-i", "web").stdout
    assert "main is backoff" in out and "status 3" in out and "1 rapid failure of 5" in out
    assert "it printed: no cheese" in out and "next: it starts again at 20" in out
    assert "web/main exited with status 3" in out
    assert json.loads(edgible("application", "why", "-i", "web", "--json").stdout)["workloads"]


def test_why_says_what_a_stop_waits_for(agent, edgible):
    [pid] = agent.run("web", workload("main", sh("trap '' TERM; while :; do sleep 1; done"),
                                      stop={"gracePeriod": "5s"}))
    edgible("application", "update", "-i", "web", "--target-state", "suspended")
    out = edgible("application", "why", "-i", "web").stdout
    assert "was sent SIGTERM; SIGKILL follows in" in out and f"PID {pid} (state" in out


def test_logs(agent, edgible):
    agent.run("web", workload("main", sh("echo one; echo two; sleep 1e6")))
    agent.wait_logged("web", "main", "two")
    assert edgible("application", "logs", "-i", "web").stdout == "one\ntwo\n"
    assert edgible("application", "logs", "-i", "web", "-n1").stdout == "two\n"
    assert edgible("application", "logs", "-i", "web", "-n", "0").stdout == ""
    assert json.loads(edgible("application", "logs", "-i", "web", "--json").stdout) == ["one", "two"]
    edgible("application", "logs", "-i", "web", "-n", "x", code=2)
    edgible("application", "logs", "-i", "web", "--workload", "nobody", code=1)
    agent.run("two", workload("a", SLEEP), workload("b", SLEEP))
    assert "--workload a, b" in edgible("application", "logs", "-i", "two", code=2).stderr


@pytest.mark.once
def test_the_examples_of_restart_are_valid(edgible, agent):
    text = (pathlib.Path(__file__).parents[2] / "docs" / "v3.md").read_text()
    section = text.split("### restart\n")[1].split("\n### ")[0]
    examples = re.findall(r"^ +restart: (\{.*\})", section, re.MULTILINE)
    assert len(examples) == 3
    for example in examples:
        file = stack_file(agent, agent.app("web", workload("main", SLEEP,
                                                           restart=yaml.safe_load(example))))
        assert edgible("stack", "validate", "-f", file).stderr == ""


@pytest.mark.once
def test_the_bounds_of_lines_and_what_never_exits_with_1(edgible, agent):
    agent.run("web", workload("main", sh("echo one; sleep 1e6")))
    agent.wait_logged("web", "main", "one")
    assert edgible("application", "logs", "-i", "web", "-n", "100000").stdout
    assert "from 0 to 100000" in edgible("application", "logs", "-i", "web", "-n", "100001",
                                         code=2).stderr
    agent.put("bad.yaml", "a: [")
    agent.deploy("bad", workload("main", sh("exit 1"), restart=FAIL_AT_ONCE))
    agent.wait_event("failed", "bad")
    for command in [["stack", "status"], ["application", "list"], ["application", "why", "-i", "bad"]]:
        edgible(*command)


def follow(agent, *args):
    return subprocess.Popen([agent_binary(), "--socket", str(agent.runtime_dir / "agent.sock"),
                             *args], stdout=subprocess.PIPE, text=True,
                            env=base_environment(agent.account), **agent.account.popen_options())


def test_logs_and_events_are_followed(agent, edgible):
    agent.run("web", workload("main", sh("echo one; sleep 1e6")))
    logs = follow(agent, "application", "logs", "-i", "web", "-f")
    assert logs.stdout.readline() == "one\n"
    events = follow(agent, "application", "events", "-i", "web", "-n", "1", "-f")
    assert "started with PID" in events.stdout.readline()
    edgible("application", "restart", "-i", "web")
    assert logs.stdout.readline() == "one\n"
    assert "web/main is being stopped" in events.stdout.readline()
    for program in [logs, events]:
        program.terminate()
        program.wait()


COUNTER = python("""
import itertools, time
for i in itertools.count():
    print(f"{i:08} " + "x" * 200, flush=True)
    if i % 20 == 0:
        time.sleep(0.002)
""")


def next_event(events):
    """The next line that is about no rotation; those come at any time."""
    while True:
        line = events.stdout.readline()
        if "log rotated" not in line and "is deployed" not in line:
            return line


@pytest.mark.once
@pytest.mark.parametrize("how", [signal.SIGUSR2, signal.SIGUSR1])
def test_the_agents_own_log_is_followed_into_the_next_agent(agent, edgible, how):
    wait_for(lambda: edgible("agent", "status").returncode == 0, "the agent to listen")
    logs = follow(agent, "agent", "logs", "-f", "-n", "1")
    assert logs.stdout.readline()
    for _ in range(2):
        agent.send(how)
        if how != signal.SIGUSR2:
            agent.wait_exit()
            agent.start()
        lines = iter(logs.stdout.readline, "")
        assert any(f"runs as PID {agent.pid} for device" in line for line in lines)
    assert logs.poll() is None
    logs.terminate()
    logs.wait()


@pytest.mark.parametrize("how", [signal.SIGUSR2, signal.SIGUSR1])
def test_logs_and_events_are_followed_into_the_next_agent(agent, edgible, how):
    """No line is lost or comes twice, over rotations and several agents."""
    agent.run("web", workload("main", COUNTER, logs={"maxSize": "256KiB", "maxFiles": 50}))
    agent.wait_logged("web", "main", "00000000")
    logs = follow(agent, "application", "logs", "-i", "web", "-f", "-n", "10")
    events = follow(agent, "application", "events", "-i", "web", "-n", "1000", "-f")
    assert "is being started" in next_event(events) and "started with PID" in next_event(events)
    last = int(logs.stdout.readline().split()[0])
    for _ in range(2):
        since = agent.mark()
        agent.send(how)
        if how != signal.SIGUSR2:
            agent.wait_exit()
            agent.start()
        agent.wait_event("adopted", "web", since=since)
        wait_for(lambda: "web" in edgible("application", "list").stdout, "the next one answers")
        assert "is adopted" in next_event(events)
        until = last + 5000
        while last < until:
            number = int(logs.stdout.readline().split()[0])
            assert number == last + 1
            last = number
    for program in [logs, events]:
        assert program.poll() is None
        program.terminate()
        program.wait()


def test_a_log_is_followed_from_its_very_beginning(agent, edgible):
    """What follows a log that is not there yet when the agent goes misses nothing of it."""
    agent.run("web", workload("main", sh("while [ ! -e go ]; do sleep 0.1; done; seq 5; sleep 1e6"),
                              workingDir=str(agent.work)))
    logs = follow(agent, "application", "logs", "-i", "web", "-f", "-n", "0")
    since = agent.mark()
    agent.send(signal.SIGUSR2)
    agent.wait_event("adopted", "web", since=since)
    (agent.work / "go").write_text("")
    assert [logs.stdout.readline() for _ in range(5)] == [f"{i}\n" for i in range(1, 6)]
    logs.terminate()
    logs.wait()


@pytest.mark.once
def test_a_place_in_a_log_is_asked_for(agent, edgible):
    agent.run("web", workload("main", sh("echo one; echo two; sleep 1e6")))
    agent.wait_logged("web", "main", "two")
    inode = agent.log_file("web", "main").stat().st_ino
    get = Api(agent).get
    path = "/v1/applications/web/workloads/main/logs?"
    assert get(path + "positions=true") == f"{inode} 0 0\n{inode} 0 8\none\ntwo\n"
    assert get(path + f"from={inode}:4") == "two\n"
    assert get(path + f"from={inode}:8") == ""
    assert get(path + f"from={inode}:9") == get(path + "from=0:0") == "one\ntwo\n"
    for wrong in ["4", "a:4", f"{inode}:", ":", f"{inode}:-1"]:
        assert "INODE:OFFSET" in get(path + "from=" + wrong, status=400)["detail"]


def test_events(agent, edgible):
    agent.run("web", workload("main", SLEEP))
    lines = edgible("application", "events", "-i", "web").stdout.splitlines()
    assert [line.split()[1] for line in lines] == ["deployed", "starting", "started"]
    events = json.loads(edgible("application", "events", "-i", "web", "-n", "1", "--json").stdout)
    assert [e["type"] for e in events] == ["started"]


def test_restart_suspend_and_resume(agent, edgible):
    [pid] = agent.run("web", workload("main", SLEEP))
    since = agent.mark()
    edgible("application", "restart", "-i", "web", "--workload", "main")
    assert agent.wait_started("web", "main", since) != pid
    edgible("application", "update", "-i", "web", "--target-state", "suspended")
    agent.wait_event("stopped", "web", since=since)
    assert "is suspended" in edgible("application", "restart", "-i", "web", code=1).stderr
    since = agent.mark()
    edgible("application", "update", "-i", "web", "--target-state", "running")
    agent.wait_started("web", "main", since)
    edgible("application", "update", "-i", "web", "--target-state", "gone", code=2)


def test_the_agent_itself(agent, edgible):
    out = edgible("agent", "status").stdout
    assert agent.device in out and f"PID {agent.pid}" in out
    assert json.loads(edgible("agent", "status", "--json").stdout)["pid"] == agent.pid
    assert "debug" in edgible("agent", "set-log-level", "debug").stdout
    edgible("agent", "set-log-level", "loud", code=2)
    edgible("agent", "set-log-level", code=2)
    assert "the log level is debug now" in edgible("agent", "logs", "-n", "5", "--module",
                                                   "api").stdout
    edgible("agent", "logs", "--level", "loud", code=2)


def test_documents_that_are_not_taken_are_seen(agent, edgible):
    [pid] = agent.run("old", workload("main", SLEEP))
    agent.put("none.yaml", "a: [not closed\n")
    agent.put("typo.yaml", {**agent.app("typo"), "spec": {"workloads": [
        {"name": "main", "type": "managed-process", "comand": "sleep 1"},
        {"name": "two", "type": "managed-process"}]}})
    agent.deploy("old", workload("main", "sleep | true"), workload("main", "sleep 1"))
    agent.put("far.yaml", agent.app("far", workload("main", SLEEP), file_device="elsewhere"))
    agent.wait_event("rejected", "far")
    wait_for(lambda: len(agent.events("rejected")) >= 4, "all of them are looked at")
    none = f"rejected: {agent.source}/none.yaml:"
    far = f"ignored: far: {agent.source}/far.yaml:1: it is for the device 'elsewhere'"
    status = edgible("agent", "status").stdout
    assert none in status and far in status and "; and 1 more" in status
    assert f"rejected: typo: {agent.source}/typo.yaml:" in status
    told = json.loads(edgible("agent", "status", "--json").stdout)["documents"]
    assert (told["rejected"], told["ignored"]) == (3, 1)
    out = edgible("application", "list").stdout
    assert none in out and far in out and "; and 1 more" in " ".join(out.split())
    out = edgible("stack", "status").stdout
    assert none in out and far in out
    rows = [line.split()[:3] for line in out.splitlines()]
    assert ["old", "main", "running"] in rows and ["old", "-", "rejected"] in rows
    out = edgible("device", "health", code=1).stdout
    assert f"{agent.source}/none.yaml:" in out and far in out
    hint = "spec.workloads[0].comand: warning: unknown key, did you mean 'command'?"
    assert hint in out and hint in edgible("application", "why", "-i", "typo").stdout
    assert hint in edgible("application", "get", "-i", "typo").stdout
    assert [process.pid for process in agent.living()] == [pid]


def test_documents_of_other_devices_are_no_fault(agent, edgible):
    for i in range(25):
        agent.put(f"far{i}.yaml", agent.app(f"far{i}", workload("main", SLEEP),
                                            file_device="elsewhere"))
    wait_for(lambda: len(agent.events("rejected")) == 25, "all of them are looked at")
    lines = edgible("device", "health").stdout.splitlines()
    assert lines[0] == "Health check OK" and len(lines) == 22
    assert lines[-1] == "in all 0 documents are rejected and 25 ignored"


@pytest.mark.as_root
def test_a_refusal_by_the_policy_has_its_place(make_agent):
    agent = make_agent(policy={"users": ["nobody"]}).start()
    Api(agent)
    agent.put("two.yaml", "# first\n---\n" + yaml.safe_dump(agent.app("web", workload("main", SLEEP))))
    agent.wait_event("policy-refused", "web")
    done = run_client("--socket", agent.runtime_dir / "agent.sock", "agent", "status")
    assert f"rejected: web: {agent.source}/two.yaml:3: " in done.stdout and "policy.users" in done.stdout


# --- stacks ----------------------------------------------------------------------------------------

def test_a_stack_from_diff_to_teardown(agent, edgible):
    file = stack_file(agent, agent.app("web", workload("main", SLEEP), dependsOn=["db"]),
                      agent.app("db", workload("main", SLEEP)))
    out = edgible("stack", "diff", "-f", file, code=1).stdout
    assert out.splitlines()[0] == "web: is new"
    out = edgible("stack", "deploy", "-f", file).stdout
    assert out.splitlines()[-1] == "2 applications deployed and up"
    assert "db/main running" in out and "web/main running" in out
    edgible("stack", "diff", "-f", file)
    assert "web" in edgible("stack", "status", "-f", file).stdout
    file = stack_file(agent, agent.app("web", workload("main", SLEEP, env={"A": "1"}),
                                       dependsOn=["db"]),
                      agent.app("db", workload("main", SLEEP, stop={"gracePeriod": "1s"})))
    out = edgible("stack", "diff", "-f", "-", stdin=file.read_text(), code=1).stdout
    assert "main changes, and is restarted\n    env.A" in out
    assert "runs on without a restart\n    stop.gracePeriod" in out
    [web, db] = json.loads(edgible("stack", "diff", "-f", file, "--json", code=1).stdout)
    assert (web["workloads"][0]["change"], db["workloads"][0]["change"]) == ("restart", "live")
    out = edgible("stack", "teardown", "-f", file).stdout
    assert out == "web is removed\ndb is removed\n"  # what others depend on goes last
    assert "not deployed" in edgible("stack", "status", "-f", file, code=1).stderr
    assert list(agent.source.iterdir()) == []


def test_a_deploy_that_does_not_come_up_shows_why(agent, edgible):
    file = stack_file(agent, agent.app("web", workload(
        "main", sh("echo out of cheese; exit 3"), restart=FAIL_AT_ONCE)))
    error = edgible("stack", "deploy", "-f", file, code=1).stderr
    assert "web/main did not come up: exited with status 3" in error and "out of cheese" in error
    slow = stack_file(agent, agent.app("web", workload(
        "main", sh("exit 3"), restart={"initialDelay": "1h", "maxDelay": "1h"})))
    error = edgible("stack", "deploy", "-f", slow, "--timeout", "2s", code=1).stderr
    assert "not everything came up in time" in error
    assert "not waited for" in edgible("stack", "deploy", "-f", slow, "--no-wait").stdout


def test_a_deploy_starts_again_what_failed(agent, edgible):
    """What was missing is there now; the document is the same."""
    program = agent.work / "program"
    file = stack_file(agent, agent.app("web", workload("main", [str(program)],
                                                       restart=FAIL_AT_ONCE)))
    edgible("stack", "deploy", "-f", file, code=1)
    program.write_text("#!/bin/sh\nexec sleep 1000\n")
    program.chmod(0o755)
    out = edgible("stack", "deploy", "-f", file).stdout
    assert "web: unchanged\n  main had failed, and is started again\n" in out
    assert agent.events("started", "web", "main")


def test_a_deploy_of_what_is_not_run_here_is_no_success(agent, edgible):
    file = stack_file(agent, agent.app("web", workload("main", SLEEP),
                                       {"name": "vm", "type": "virtual-machine"}))
    error = edgible("stack", "deploy", "-f", file, code=1).stderr
    assert "web/vm is of type 'virtual-machine', which this agent does not run" in error
    assert agent.events("started", "web", "main")


def test_what_is_invalid_is_not_sent(agent, edgible):
    file = stack_file(agent, agent.app("good", workload("main", SLEEP)),
                      agent.app("bad", workload("main", {"no": "command"})))
    error = edgible("stack", "deploy", "-f", file, code=1).stderr
    assert f"{file}:" in error and "spec.workloads[0].command" in error and "nothing was sent" in error
    assert list(agent.source.iterdir()) == []
    edgible("stack", "deploy", "-f", "/nonexistent", code=1)
    edgible("stack", "deploy", code=2)
    edgible("stack", "deploy", "-f", file, "--timeout", "soon", code=2)


def test_the_documents_of_all_files_count_together(agent, edgible):
    folder = agent.folder / "stacks"
    folder.mkdir()
    text = {name: yaml.safe_dump(agent.app(name, workload("main", SLEEP))) for name in "abcd"}
    one, two = agent.folder / "one.yaml", agent.folder / "two.yaml"
    one.write_text(text["a"].rstrip("\n"))
    two.write_bytes(codecs.BOM_UTF8 + b"%YAML 1.2\n# of b\n---\n" + text["b"].encode())
    (folder / "c.json").write_text(json.dumps(agent.app("c", workload("main", SLEEP))))
    (folder / "d.yml").write_text("---\n" + text["d"])
    (folder / ".hidden.yaml").write_text("no: application")
    (folder / "notes.txt").write_text("no: application")
    files = ["-f", one, f"--file={two}", "-f", folder]
    assert edgible("stack", "validate", *files).stdout.splitlines()[0] == "4 applications"
    out = edgible("stack", "deploy", *files).stdout
    assert out.splitlines()[-1] == "4 applications deployed and up"
    assert sorted(file.stem for file in agent.source.iterdir()) == ["a", "b", "c", "d"]
    edgible("stack", "diff", *files)
    out = edgible("stack", "status", "-f", one, "-f", "-", stdin=text["d"]).stdout
    assert [line.split()[0] for line in out.splitlines()[1:]] == ["a", "d"]
    out = edgible("stack", "teardown", "-f", two, "-f", one).stdout
    assert sorted(out.splitlines()) == ["a is removed", "b is removed"]


def test_errors_name_the_file_among_several(agent, edgible):
    good = agent.folder / "good.yaml"
    good.write_text(yaml.safe_dump(agent.app("web", workload("main", SLEEP))))
    bad = agent.folder / "bad.yaml"
    bad.write_text("# a line before\n" + yaml.safe_dump(agent.app("web", workload("main", SLEEP))))
    for command in ["deploy", "validate"]:
        error = edgible("stack", command, "-f", bad, "-f", good, code=1).stderr
        assert f"{good}:1:1: metadata.name: the application 'web' is in '{bad}' too" in error
    bad.write_text("\n\nnot: [closed")
    error = edgible("stack", "deploy", "-f", good, "-f", bad, code=1).stderr
    assert f"{bad}:" in error and "the 2 files are invalid; nothing was sent" in error
    error = edgible("stack", "deploy", "-f", good, "-f", "/nonexistent", code=1).stderr
    assert "cannot read '/nonexistent'" in error
    error = edgible("stack", "deploy", "-f", "-", "-f", "-", code=2).stderr
    assert "standard input can be read once only" in error
    assert list(agent.source.iterdir()) == []


def test_teardown_by_name(agent, edgible):
    agent.run("web", workload("main", SLEEP))
    assert json.loads(edgible("stack", "teardown", "--name", "web", "--json").stdout) == ["web"]
    edgible("stack", "teardown", "--name", "web", code=1)
    edgible("stack", "teardown", code=2)


@pytest.mark.as_root
def test_a_deploy_against_the_policy_is_refused(make_agent):
    agent = make_agent(policy={"users": ["nobody"]}).start()
    Api(agent)
    file = stack_file(agent, agent.app("web", workload("main", SLEEP)))
    done = subprocess.run([agent_binary(), "--config", str(agent.config_file), "stack", "deploy",
                           "-f", str(file)], capture_output=True, text=True,
                          env=base_environment(agent.account))
    assert done.returncode == 4 and "policy.users" in done.stderr


@pytest.mark.once
def test_live_progress_on_a_terminal(agent, edgible):
    file = stack_file(agent, agent.app("web", workload("main", SLEEP)))
    master, slave = pty.openpty()
    program = subprocess.Popen(
        [agent_binary(), "--socket", str(agent.runtime_dir / "agent.sock"), "stack", "deploy", "-f",
         str(file)], stdout=slave, stdin=slave, env=base_environment(agent.account),
        **agent.account.popen_options())
    os.close(slave)
    got = []

    def read():
        while True:
            try:
                piece = os.read(master, 4096)
            except OSError:
                return
            if not piece:
                return
            got.append(piece)
    reader = threading.Thread(target=read)
    reader.start()
    assert program.wait(DEADLINE) == 0
    reader.join(DEADLINE)
    os.close(master)
    text = b"".join(got)
    assert b"\x1b[1A" in text and b"\x1b[32m" in text and b"deployed and up" in text


# --- usage and errors ------------------------------------------------------------------------------

def test_help_of_everything(edgible):
    for args in [["--help"], ["stack", "--help"], ["app", "logs", "--help"], ["agent", "-h"]]:
        done = edgible(*args)
        assert "edgible" in done.stdout and done.stderr == ""
    edgible("stack", code=2)
    assert "did you mean 'app logs'" in edgible("app", "log", code=2).stderr
    assert "did you mean '--json'" in edgible("app", "list", "--jsn", code=2).stderr
    assert "needs a value" in edgible("app", "get", "-i", code=2).stderr
    assert "too much" in edgible("app", "list", "web", code=2).stderr


@contextlib.contextmanager
def full_queue(folder):
    """A socket that listens and whose queue has no room."""
    path = str(folder / "full.sock")
    with socket.socket(socket.AF_UNIX) as server, contextlib.ExitStack() as held:
        server.bind(path)
        os.chmod(path, 0o666)
        server.listen(0)
        for _ in range(100):
            s = held.enter_context(socket.socket(socket.AF_UNIX))
            s.setblocking(False)
            try:
                s.connect(path)
            except BlockingIOError:
                break
            s.shutdown(socket.SHUT_WR)
        yield server, path


@pytest.mark.once
def test_an_agent_whose_queue_is_full_is_said_to_be_there(edgible, agent):
    with full_queue(agent.work) as (_, path):
        error = edgible("--socket", path, "agent", "status", code=3).stderr
    assert "others fill its queue" in error and path in error and "is it running" not in error


@pytest.mark.once
def test_a_command_waits_for_room_in_the_queue(agent):
    with full_queue(agent.work) as (server, path):
        command = subprocess.Popen(
            [agent_binary(), "--socket", path, "app", "list", "--json"], text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=base_environment(agent.account))

        def has_socket():
            fds = f"/proc/{command.pid}/fd"
            with contextlib.suppress(FileNotFoundError):  # one that it has closed meanwhile
                return any(os.readlink(f"{fds}/{fd}").startswith("socket:")
                           for fd in os.listdir(fds))
            return False
        wait_for(lambda: command.poll() is not None or has_socket(), "it to connect")
        server.settimeout(DEADLINE)
        request = b""
        while not request:
            with server.accept()[0] as peer:
                peer.settimeout(DEADLINE)
                request = peer.recv(10000)  # nothing from the first ones
                if request:
                    peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                                 b"Content-Length: 20\r\n\r\n{\"applications\": []}")
        output, error = command.communicate(timeout=DEADLINE)
    assert b"GET /v1/applications" in request
    assert command.returncode == 0, output + error


def test_no_agent_and_no_permission(edgible, agent):
    error = edgible("--socket", "/nonexistent/agent.sock", "app", "list", code=3).stderr
    assert "no agent listens at '/nonexistent/agent.sock'" in error and "--socket" in error
    if not agent.account.is_root:
        hidden = make_folder(own_account())
        if IS_ROOT:
            hidden.chmod(0o700)
            edgible("--socket", f"{hidden}/agent.sock", "app", "list", code=4)
        hidden.rmdir()
    done = subprocess.run([agent_binary(), "app", "list"], env={"PATH": "/usr/bin"}, text=True,
                          capture_output=True, **agent.account.popen_options())
    assert done.returncode == 3


def test_the_agent_of_a_configuration(edgible, agent):
    agent.run("web", workload("main", SLEEP))
    out = edgible("--config", agent.config_file, "app", "list", env={"EDGIBLE_SOCKET": "/no"})
    assert "web" in out.stdout
    assert "web" in edgible("app", "list", "--config", agent.config_file,
                            env={"EDGIBLE_SOCKET": "/no"}).stdout


def test_what_a_hostile_workload_prints_does_not_drive_the_terminal(agent, edgible):
    agent.deploy("web", workload("main", sh("printf '\\033[31mred\\007\\n'; exit 1"),
                                 restart=FAIL_AT_ONCE))
    agent.wait_event("failed", "web")
    wait_for(lambda: "red" in edgible("application", "why", "-i", "web").stdout, "its output")
    for command in [["application", "why", "-i", "web"], ["application", "get", "-i", "web"],
                    ["application", "events", "-i", "web"]]:
        assert "\033" not in edgible(*command).stdout


# --- terminals -------------------------------------------------------------------------------------

# Colour, a title, BEL, CR, DEL; CSI of C1 as UTF-8 and as a byte; every control of direction.
HOSTILE = (b"\x1b[31mred \x1b]0;title\x07 \r \x7f \xc2\x9b2J \x9b2J " +
           "".join(map(chr, [0x80, 0x9f, 0x61c, 0x200e, 0x200f, *range(0x202a, 0x202f),
                             *range(0x2066, 0x206a)])).encode())
HARMLESS = "a\ttab, \u00e4 \u00a0 \u0660 \u20ac \u202f \U0001f600".encode()
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


class Terminal:
    """A terminal, what it got so far, and a program on it; its ends of lines are \\n."""

    def __init__(self, account, *args):
        master, slave = pty.openpty()
        settings = termios.tcgetattr(slave)
        settings[1] &= ~termios.OPOST
        termios.tcsetattr(slave, termios.TCSANOW, settings)
        self.program = subprocess.Popen(
            [agent_binary(), *map(str, args)], stdout=slave, stderr=slave, stdin=slave,
            env=base_environment(account), **account.popen_options())
        os.close(slave)
        self.got, self.master = b"", master
        self.reader = threading.Thread(target=self._read)
        self.reader.start()

    def _read(self):
        with contextlib.suppress(OSError):  # EIO: its end
            while piece := os.read(self.master, 4096):
                self.got += piece

    def wait(self, code=0):
        assert self.program.wait(DEADLINE) == code, self.got
        self.reader.join(DEADLINE)
        os.close(self.master)
        return self.got

    def wait_for(self, text):
        wait_for(lambda: text in self.got, f"{text!r} on the terminal")

    def end(self, number=signal.SIGTERM):
        self.program.send_signal(number)
        return self.wait(-number)


def socket_option(agent):
    return "--socket", agent.runtime_dir / "agent.sock"


def on_terminal(agent, *args, code=0):
    """What a terminal gets of a command, on stdout and stderr."""
    return Terminal(agent.account, *socket_option(agent), *args).wait(code)


def own_removed(text):
    """Without the colours and the moves of the program itself."""
    return re.sub("\x1b\\[(?:3[123]m|0m|2K|H|2J|\\d+A)", "", text)


@pytest.fixture
def hostile(agent):
    """An agent that runs a program whose output would drive a terminal."""
    (agent.work / "out").write_bytes(HOSTILE + b"\n" + HARMLESS + b"\nthe end\n")
    agent.deploy("web", workload("main", sh(f"cat {agent.work}/out; exit 1"),
                                 restart=FAIL_AT_ONCE))
    agent.wait_event("failed", "web")
    agent.wait_logged("web", "main", "the end\n")
    return agent


@pytest.mark.once
def test_a_log_does_not_drive_the_terminal(hostile):
    text = on_terminal(hostile, "app", "logs", "-i", "web").decode()
    assert not CONTROL.search(text), text
    assert "?[31mred ?]0;title? ? ? ?2J ?2J ??" in text
    assert HARMLESS.decode() in text and text.endswith("the end\n")


@pytest.mark.once
def test_a_log_is_raw_where_that_is_wanted(hostile, edgible):
    wanted = HOSTILE + b"\n" + HARMLESS + b"\nthe end\n"
    assert on_terminal(hostile, "app", "logs", "-i", "web", "--raw") == wanted
    piped = subprocess.run(
        [agent_binary(), "--socket", str(hostile.runtime_dir / "agent.sock"), "app", "logs", "-i",
         "web"], capture_output=True, env=base_environment(hostile.account),
        **hostile.account.popen_options())
    assert piped.stdout == wanted
    edgible("app", "list", "--raw", code=2)


@pytest.mark.once
@pytest.mark.parametrize("command", [
    ["app", "why", "-i", "web"], ["app", "get", "-i", "web"], ["app", "events", "-i", "web"],
    ["app", "list"], ["app", "list", "--json"], ["app", "get", "-i", "web", "--json"],
    ["app", "why", "-i", "web", "--json"], ["device", "application-health"], ["agent", "status"],
    ["agent", "logs"], ["stack", "status"]], ids=" ".join)
def test_nothing_else_drives_the_terminal(hostile, command):
    code = 1 if command[0] == "device" else 0
    text = on_terminal(hostile, *command, code=code).decode()
    assert not CONTROL.search(own_removed(text)), text


@pytest.mark.once
def test_errors_do_not_drive_the_terminal(hostile):
    file = hostile.work / "bad.yaml"
    document = hostile.app("web\u202e\u009b2J", workload("main", SLEEP))
    file.write_text(yaml.safe_dump(document, allow_unicode=False))
    for command in [["stack", "validate", "-f", file], ["stack", "deploy", "-f", file]]:
        text = on_terminal(hostile, *command, code=1).decode()
        assert text and not CONTROL.search(text), text
    text = on_terminal(hostile, "app", "get", "-i", "\u202eweb\x1b[2J", code=1).decode()
    assert text and not CONTROL.search(text), text


@pytest.mark.once
def test_a_failed_deploy_shows_the_log_without_controls(hostile):
    (hostile.work / "out").write_bytes(HOSTILE + b"\n")
    document = hostile.app("web", workload("main", sh(f"cat {hostile.work}/out; exit 2"),
                                           restart=FAIL_AT_ONCE))
    text = on_terminal(hostile, "stack", "deploy", "--plain", "-f",
                       stack_file(hostile, document), code=1).decode()
    assert "The last lines of its log:" in text
    assert not CONTROL.search(text), text


@pytest.mark.once
@pytest.mark.parametrize("command,text", [
    (["app", "logs", "-i", "web", "-f"], b"the end\n"), (["agent", "status", "--watch"], b"\x1b[H"),
    (["app", "events", "-i", "web", "-f"], b"failed"), (["agent", "logs", "-f"], b"failed")],
    ids=["logs", "status", "events", "agent logs"])
def test_what_goes_on_does_not_drive_the_terminal(hostile, command, text):
    terminal = Terminal(hostile.account, *socket_option(hostile), *command)
    terminal.wait_for(text)
    got = terminal.end().decode()
    assert not CONTROL.search(own_removed(got)), got


@pytest.mark.once
def test_a_wrong_option_does_not_drive_the_terminal(account):
    for args in [["--\u009b2J\u202e"], ["app", "\u009b2J"], ["app", "logs", "--\u202ex"]]:
        text = Terminal(account, *args).wait(2).decode()
        assert "edgible: " in text and not CONTROL.search(text), text


@pytest.mark.once
def test_the_daemon_does_not_drive_the_terminal(make_agent):
    agent = make_agent()
    agent.put("bad.yaml", agent.app("web\u202e\u009b2J", workload("main", SLEEP)))
    agent.put("good.yaml", agent.app("good", workload("main", ["/none\u202e\u009b2J\x7f"],
                                                      restart=FAIL_AT_ONCE)))
    text = Terminal(agent.account, "--config", agent.config_file, "--check").wait(1).decode()
    assert "good" in text and not CONTROL.search(text), text
    for form in ("text", "json"):
        agent.write_config(log={"level": "debug", "format": form})
        terminal = Terminal(agent.account, "--config", agent.config_file)
        terminal.wait_for(b"failed")
        terminal.program.send_signal(signal.SIGTERM)
        text = terminal.wait().decode()
        assert "/none??2J" in text and not CONTROL.search(text), text


@pytest.mark.once
def test_random_bytes_reach_a_terminal_as_the_rule_says(agent):
    seed = random.randrange(1 << 32)
    rng = random.Random(seed)
    pieces = [lambda: bytes([rng.randrange(256)]), lambda: bytes([rng.randrange(0x20, 0x7f)]),
              lambda: chr(rng.randrange(0x2000, 0x2070)).encode(),
              lambda: chr(rng.randrange(0x80, 0x700)).encode(),
              lambda: chr(rng.randrange(0x10000, 0x110000)).encode()]
    data = b"".join(rng.choice(pieces)() for _ in range(60000)).replace(b"\n", b"")
    cut_off = b"\xf0\x9f\x98"
    (agent.work / "out").write_bytes(data + b"\nthe end\n" + cut_off)
    agent.deploy("web", workload("main", sh(f"cat {agent.work}/out; exec sleep 100000")))
    agent.wait_logged("web", "main", "the end\n")
    agent.wait(lambda: agent.log_file("web", "main").read_bytes().endswith(cut_off), "its last bytes")
    command = ["app", "logs", "-i", "web"]
    stored = subprocess.run([agent_binary(), *map(str, socket_option(agent)), *command],
                            capture_output=True, env=base_environment(agent.account),
                            **agent.account.popen_options()).stdout
    assert stored.endswith(data[-1000:] + b"\nthe end\n" + cut_off), seed
    codecs.register_error("each-byte", lambda e: ("?" * (e.end - e.start), e.end))
    wanted = CONTROL.sub("?", stored.decode(errors="each-byte")).encode()
    assert on_terminal(agent, *command) == wanted, seed
