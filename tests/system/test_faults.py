"""The agent ends at a named point between two durable steps, and the next one goes on: no copy too
many, no process left over, no line of log lost, no unit lost, counters kept.

Needs a build with EDGIBLE_FAULT_POINTS, as tests/run makes one."""

import contextlib
import http.client
import json
import re
import subprocess
from pathlib import Path

import pytest

from api import Api, Connection
from harness import (FAIL_AT_ONCE, RESTART_AT_ONCE, SLEEP, agent_binary, is_alive, python, sh,
                     wait_for, workload)

FAULT_EXIT = 86
SOURCES = Path(__file__).resolve().parents[2] / "src"

# Says what it is: one copy at a time, whose lines are numbered on from the copy before.
WRITER = """
import fcntl, os, sys, time
lock = open(sys.argv[1], "a")
try:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
except OSError:
    open(sys.argv[1] + ".twice", "w")
    sys.exit(1)
open(sys.argv[1] + ".pids", "a").write(f"{os.getpid()}\\n")
line = 0
while True:
    text = b"".join(b"line %d %s\\n" % (n, b"x" * (2000 if n % 10 == 9 else n % 90))
                    for n in range(line, line + 10))
    os.write(1, text[:-1000])
    # So that a rotation finds half a line; no line may be rotated out on a slow machine.
    time.sleep(0.002 if line < 20000 else 0.5)
    os.write(1, text[-1000:])
    line += 10
"""


def fault_points():
    found = set()
    for path in SOURCES.rglob("*.c"):
        found.update(re.findall(r'FAULT_POINT\("([a-z-]+)"\)', path.read_text()))
    return sorted(found)


def has_fault_points():
    return b"EDGIBLE_FAULT\0" in Path(agent_binary()).read_bytes()


def play(agent):
    """Things that make the agent come by all points; it may end at any moment."""
    def ended():
        return not agent.is_running()

    def step(what, condition):
        wait_for(lambda: ended() or condition(), what)
        return not ended()

    writer = workload("main", python(WRITER, str(agent.work / "lock")),
                      logs={"maxSize": "100KiB", "maxFiles": 100})
    agent.deploy("lines", writer)
    agent.deploy("crash", workload("main", sh("exit 1"), restart={
        **RESTART_AT_ONCE, "initialDelay": "30ms", "maxRapidFailures": 0}))
    agent.deploy("extra", workload("main", SLEEP))
    if not (step("all to run", lambda: agent.events("started", "extra") and
                 agent.events("started", "lines"))):
        return
    agent.deploy("lines", {**writer, "stop": {"gracePeriod": "3s"}})
    agent.deploy("extra", workload("main", SLEEP, env={"A": "1"}))
    if step("the update", lambda: len(agent.events("started", "extra")) == 2 and
            len(agent.events("started", "crash")) > 3):
        agent.remove("extra.yaml")
        step("the removal", lambda: agent.events("removed", "extra"))
        step("the disk", lambda: not (agent.runtime_dir / "pending").stat().st_size)
        step("rotations", lambda: len(list(
            agent.log_file("lines", "main").parent.glob("main.log.*"))) > 20)
    if not ended():
        deploy_by_api(agent)


def deploy_by_api(agent):
    """Through the API, five times; the agent may end at any of them."""
    with contextlib.suppress(OSError, http.client.HTTPException, AssertionError):
        api = Api(agent)
        for n in range(5):
            api.request("PUT", "/v1/applications", json.dumps(
                agent.app("sent", workload("main", SLEEP, env={"N": str(n)}))))


def numbers_logged(agent):
    """The lines of all files of the log, oldest first, as numbers; a line that is not whole fails,
    but for the last: the writer was ended within it."""
    folder = agent.log_file("lines", "main").parent
    files = sorted(folder.glob("main.log*"), reverse=True,
                   key=lambda p: int(p.suffix[1:]) if p.suffix != ".log" else 0)
    text = b"".join(path.read_bytes() for path in files)
    for line in text.split(b"\n")[:-1]:
        match = re.fullmatch(rb"line (\d+) (x*)", line)
        number = int(match[1]) if match else -1
        length = 2000 if number % 10 == 9 else number % 90
        assert match and len(match[2]) == length, f"torn: {line[:200]}"
        yield number


def read_pids(agent):
    file = agent.work / "lock.pids"
    return file.exists() and file.read_text()


def check_after(agent, restarts_before):
    since = agent.mark()
    agent.start()
    agent.wait(lambda: agent.events("adopted", "lines", since=since) or
               agent.events("started", "lines", since=since), "the writer to run")
    started = agent.wait_event("started", "crash", since=since)
    assert int(started["restarts"]) >= restarts_before
    if (agent.source / "extra.yaml").exists():
        agent.wait(lambda: [e for type in ("adopted", "started")
                            for e in agent.events(type, "extra", since=since)], "extra to run")
        agent.remove("extra.yaml")
    agent.wait(lambda: not (agent.state_dir / "units" / "extra").exists() and
               not (agent.state_dir / "applications" / "extra.json").exists(),
               "the records of what was removed to go")
    for name in ("lines", "crash"):
        agent.wait(lambda: (agent.state_dir / "units" / name / "main.json").exists(), "the unit")
    # "started" is said when the writer's program begins: it says its PID a moment later.
    pids = wait_for(lambda: read_pids(agent), "the writer's PID").split()
    assert len(pids) == 1, "the writer was started again"
    assert is_alive(int(pids[0]))
    agent.stop()
    assert not (agent.work / "lock.twice").exists(), "there were two copies"
    numbers = list(numbers_logged(agent))
    assert numbers == list(range(len(numbers)))


@pytest.mark.parametrize("count", [1, 5])
@pytest.mark.parametrize("point", fault_points())
def test_end_at(make_agent, point, count):
    agent = make_agent()
    if not has_fault_points():
        pytest.skip("the binary has no fault points: build with -DEDGIBLE_FAULT_POINTS=ON")
    agent.start(env={"EDGIBLE_FAULT": f"{point}:{count}"})
    play(agent)
    restarts = max((int(e["restarts"]) for e in agent.events("started", "crash")), default=0)
    assert not agent.events("rejected")
    if agent.is_running():
        agent.process.kill()  # it did not come by so often: then any moment will do
    assert agent.wait_exit() in (FAULT_EXIT, -9)
    if count == 1:
        assert agent.process.returncode == FAULT_EXIT, "nothing comes by this point"
    check_after(agent, restarts)


def test_release_builds_have_no_fault_points():
    """The default of the build."""
    text = (SOURCES.parent / "CMakeLists.txt").read_text()
    assert re.search(r"option\(EDGIBLE_FAULT_POINTS .* OFF\)", text)
    assert subprocess.run(["git", "grep", "-q", "EDGIBLE_FAULT_POINTS=ON", "--", "packaging"],
                          cwd=SOURCES.parent).returncode != 0


@pytest.mark.parametrize("how", ["update", "restart"])
@pytest.mark.parametrize("point, count", [("launching", 2), ("forked", 2), ("identity-written", 2)])
def test_what_had_failed_is_started_by_the_next_agent_where_this_one_ends(make_agent, point, count,
                                                                          how):
    """The record in runtimeDir still says `failed`, and the start was under way already."""
    agent = make_agent()
    if not has_fault_points():
        pytest.skip("the binary has no fault points: build with -DEDGIBLE_FAULT_POINTS=ON")
    agent.start(env={"EDGIBLE_FAULT": f"{point}:{count}"})
    flag = agent.work / "good"
    script = sh(f"test -e {flag} && exec sleep 1000000; exit 1")
    agent.deploy("app", workload("main", script, restart=FAIL_AT_ONCE))
    agent.wait_event("failed", "app", "main")
    flag.touch()
    if how == "update":
        agent.deploy("app", workload("main", script, restart=FAIL_AT_ONCE, env={"VERSION": "2"}))
    else:
        connection = Connection(agent.runtime_dir / "agent.sock")
        connection.request("POST", "/v1/applications/app/restart")
    assert agent.wait_exit() == FAULT_EXIT
    since = agent.mark()
    agent.start()
    agent.wait_started("app", "main", since=since)
