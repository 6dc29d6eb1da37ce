"""After a stop nothing of a workload lives: whatever it does with its group, session,
environment and children, under root (cgroups) and under an ordinary user (none)."""

import os
import signal
from pathlib import Path

import pytest

from api import Api
from harness import (RESTART_AT_ONCE, SLEEP, describe, helper, is_alive, living_of, process, python, sh,
                     wait_for, workload)

SHORT = {"gracePeriod": "300ms"}
LONG = {"gracePeriod": "1h"}  # a test that passes has not waited for it

# A daemon as daemons were made: fork, setsid, fork, and the parent's copy of stdout stays open.
# With `clean` it takes another name for its environment: none. It writes its PID and ignores
# what `ignore` says. Its device is its last argument, so that the harness recognises it.
DAEMON = """
import os, signal, sys, time
clean, ignore, pid_file, linger = sys.argv[1:5]
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        if ignore == "ignore":
            for n in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
                signal.signal(n, signal.SIG_IGN)
        program = ["/usr/bin/python3", "-c", "import os, sys, time\\n"
                   "with open(sys.argv[1], 'w') as f: f.write(f'{os.getpid()}\\\\n')\\n"
                   "time.sleep(1000000)", pid_file, sys.argv[5]]
        os.execve(program[0], program, {} if clean == "clean" else dict(os.environ))
    os._exit(0)
os.wait()
while not os.path.exists(pid_file) or not os.path.getsize(pid_file):
    time.sleep(0.01)
time.sleep(float(linger))
"""


def daemon(agent, name="main", clean=False, ignore=False, linger=1000000, pid_file="daemon.pid",
           **fields):
    return workload(name, python(DAEMON, "clean" if clean else "kept",
                                 "ignore" if ignore else "default", str(agent.work / pid_file),
                                 str(linger), agent.device), **fields)


def remove_and_wait(agent, application, workload_name="main"):
    agent.remove(f"{application}.yaml")
    agent.wait_event("stopped", application, workload_name)
    agent.wait_event("removed", application)  # by then its log has been written


def assert_nothing_lives(agent):
    left = agent.living()
    assert not left, describe(left)


# --- signals and the grace period --------------------------------------------------------------

STUBBORN = sh("trap 'echo ignored' TERM; echo ready; while :; do sleep 0.1; done")


def test_a_program_that_ignores_the_signal_is_killed_after_the_grace_period(agent):
    [pid] = agent.run("app", workload("main", STUBBORN, stop=SHORT))
    agent.wait_logged("app", "main", "ready")
    remove_and_wait(agent, "app")
    assert "ignored" in agent.read_log("app", "main"), "it was killed before it was asked"
    assert agent.events("killed", "app", "main") and not is_alive(pid)
    assert_nothing_lives(agent)


def test_a_program_that_ends_when_asked_is_not_killed(agent):
    agent.run("app", workload("main", sh("trap 'exit 0' TERM; echo ready; while :; do sleep 0.1; done"),
                              stop=LONG))
    agent.wait_logged("app", "main", "ready")
    remove_and_wait(agent, "app")
    assert not agent.events("killed", "app")


def test_the_signal_of_the_document_is_sent(agent):
    script = sh("trap 'echo got it; exit 0' USR2; trap '' TERM; echo ready; "
                "while :; do sleep 0.1; done")
    agent.run("app", workload("main", script, stop={"signal": "SIGUSR2", **LONG}))
    agent.wait_logged("app", "main", "ready")
    remove_and_wait(agent, "app")
    assert "got it" in agent.read_log("app", "main")


def test_a_halted_program_still_gets_the_signal(agent):
    """SIGTERM stays pending for a stopped process until SIGCONT."""
    script = sh("trap 'echo ended; exit 0' TERM; echo ready; while :; do sleep 0.1; done")
    [pid] = agent.run("app", workload("main", script, stop=LONG))
    agent.wait_logged("app", "main", "ready")
    os.killpg(pid, signal.SIGSTOP)
    # D: it had just made a child with vfork(2), and waits for that one, which is halted.
    state = agent.wait(lambda: process(pid).state in "TD" and process(pid).state, "it to halt")
    remove_and_wait(agent, "app")
    log = agent.log_file("app", "main")
    assert "ended" in agent.read_log("app", "main"), (state, os.listdir(log.parent), log.stat())


def test_the_whole_group_is_asked(agent):
    """Not the leader alone: its child would otherwise learn of it only by SIGKILL."""
    script = sh("trap : TERM; sh -c 'trap \"echo child ended; exit\" TERM; echo ready; "
                "while :; do sleep 0.1; done' & wait; wait")
    agent.run("app", workload("main", script, stop=LONG))
    agent.wait_logged("app", "main", "ready")
    remove_and_wait(agent, "app")
    assert "child ended" in agent.read_log("app", "main")


# --- the leader's exit is not the workload's end -----------------------------------------------

def test_the_rest_of_the_group_is_stopped_before_the_restart(agent):
    """The leader ends and leaves a child; two generations of children never live together."""
    script = sh("sleep 1000000 & echo $! >> children; exit 1")
    agent.deploy("app", workload("main", script, workingDir=str(agent.work), stop=LONG,
                                 restart=RESTART_AT_ONCE))
    path = agent.work / "children"

    def children():
        return [int(pid) for pid in path.read_text().split()] if path.exists() else []
    for n in range(1, 6):
        agent.wait(lambda: len(children()) >= n, f"run {n}")
        assert sum(is_alive(pid) for pid in children()) <= 1
    agent.stop()
    assert not any(is_alive(pid) for pid in children())


def test_a_rest_of_the_group_that_ignores_the_signal_is_killed_before_the_restart(agent):
    script = sh("sh -c 'trap \"\" TERM; echo $$ >> children; while :; do sleep 0.1; done' & "
                "while [ ! -s children ]; do sleep 0.01; done; sleep 0.2; exit 1")
    agent.deploy("app", workload("main", script, workingDir=str(agent.work), stop=SHORT,
                                 restart=RESTART_AT_ONCE))
    agent.wait_started("app", "main", count=2)
    first = int((agent.work / "children").read_text().split()[0])
    assert not is_alive(first), "the first run's child lives while the second run does"


def test_a_daemon_left_by_the_leader_is_stopped_before_the_restart(agent):
    agent.deploy("app", daemon(agent, linger=0, stop=SHORT, restart=RESTART_AT_ONCE))
    first = agent.wait_pid_file("daemon.pid")
    agent.wait_started("app", "main", count=2)
    assert not is_alive(first)


@pytest.mark.once
@pytest.mark.parametrize("policy", ["never", "on-failure"])
def test_a_daemon_that_was_stopped_with_its_leader_is_no_completed_workload(agent, policy):
    """As of a server that goes into the background: it does not run, and that is said."""
    agent.deploy("app", daemon(agent, linger=0, stop=SHORT, restart={"policy": policy}))
    reason = agent.wait_event("failed", "app")["reason"]
    assert "exited with status 0" in reason and "left processes running" in reason, reason
    assert not is_alive(agent.wait_pid_file("daemon.pid"))
    told = Api(agent).workload("app", "main")
    assert told["status"] == "failed" and "in the foreground" in told["reason"]
    assert Api(agent).request("GET", "/v1/health").status == 503
    agent.send(signal.SIGKILL)
    agent.wait_exit()
    agent.start()
    agent.wait(lambda: Api(agent).workload("app", "main")["status"] == "failed",
               "the next agent to know")
    assert "in the foreground" in Api(agent).workload("app", "main")["reason"]


def test_a_grandchild_that_holds_the_output_open_does_not_delay_the_exit(agent):
    agent.deploy("app", workload("main", [helper("hold_pipe"), "1000000", "3"], stop=LONG,
                                 restart={"policy": "never"}))
    exited = agent.wait_event("exited", "app", "main", timeout=30)
    assert exited["code"] == "3"
    agent.wait(lambda: not agent.living(), "its child to be stopped too")


# --- escaped descendants -----------------------------------------------------------------------

@pytest.mark.parametrize("ignore", [False, True], ids=["default", "ignores-term"])
@pytest.mark.parametrize("clean", [False, True], ids=["environment", "no-environment"])
def test_a_daemon_of_its_own_session_is_stopped(agent, clean, ignore):
    agent.run("app", daemon(agent, clean=clean, ignore=ignore, stop=SHORT))
    pid = agent.wait_pid_file("daemon.pid")
    wait_for(lambda: process(pid).ppid == agent.pid, "the daemon to become the agent's child")
    remove_and_wait(agent, "app")
    assert not is_alive(pid)
    assert_nothing_lives(agent)


@pytest.mark.parametrize("clean", [False, True], ids=["environment", "no-environment"])
def test_daemons_of_one_workload_go_and_those_of_another_stay(agent, clean):
    """Two workloads leave such daemons; only what belongs to the removed one may be ended."""
    agent.run("one", daemon(agent, clean=clean, pid_file="one.pid", stop=SHORT))
    one = agent.wait_pid_file("one.pid")
    agent.run("two", daemon(agent, clean=False, pid_file="two.pid", stop=SHORT))
    two = agent.wait_pid_file("two.pid")
    remove_and_wait(agent, "one")
    assert not is_alive(one) and is_alive(two)
    agent.stop()
    assert not is_alive(two)


def test_teardown_finds_every_daemon(agent):
    names = [f"app-{n}" for n in range(6)]
    for n, name in enumerate(names):
        agent.run(name, daemon(agent, clean=n % 2, ignore=n % 3 == 0, pid_file=name, stop=SHORT))
    pids = [agent.wait_pid_file(name) for name in names]
    agent.stop()
    assert not any(is_alive(pid) for pid in pids)


def daemons_of_helper(agent):
    path = agent.work / "daemons"
    return [int(pid) for pid in path.read_text().split()] if path.exists() else []


@pytest.mark.parametrize("leader", ["--exit", ""], ids=["leader-ends", "leader-stays"])
@pytest.mark.parametrize("environment", ["--clean-env", ""], ids=["no-environment", "environment"])
def test_many_daemons_at_once(agent, leader, environment):
    options = [option for option in (environment, leader) if option]
    agent.deploy("app", workload("main", [helper("double_fork"), "20", str(agent.work / "daemons"),
                                          *options], restart={"policy": "never"}, stop=SHORT))
    agent.wait(lambda: len(daemons_of_helper(agent)) == 20, "the daemons")
    if leader:
        agent.wait(lambda: not any(map(is_alive, daemons_of_helper(agent))),
                   "the daemons to be stopped after their leader's end")
    agent.stop()
    assert not any(map(is_alive, daemons_of_helper(agent)))


@pytest.mark.parametrize("options", [[], ["--exit"]], ids=["chain", "broken-chain"])
def test_a_fork_bomb_is_stopped(agent, options):
    """60 processes, each in a session of its own, that ignore SIGTERM and fork on and on; with
    --exit the parents end, so that no chain leads from one to the other."""
    agent.deploy("app", workload("main", [helper("forkbomb"), "60", *options], stop=SHORT,
                                 restart={"policy": "never"}))
    # Where the first of them ends at once, what it left is stopped at once.
    agent.wait(lambda: len(agent.living()) > (0 if options else 50) or agent.events("stopped"),
               "the bomb to grow")
    agent.remove("app.yaml")
    agent.wait_event("removed", "app")
    agent.wait(lambda: not agent.living(), "the bomb to be stopped")
    agent.stop()


# --- stops at odd moments ----------------------------------------------------------------------

def test_stop_during_backoff(agent):
    agent.deploy("app", workload("main", ["/bin/false"], restart={"initialDelay": "1h",
                                                                  "maxDelay": "1h"}))
    agent.wait_event("backoff", "app", "main")
    agent.remove("app.yaml")
    agent.wait_event("removed", "app")
    agent.stop()


def test_teardown_during_backoff(agent):
    agent.deploy("app", workload("main", ["/bin/false"], restart={"initialDelay": "1h",
                                                                  "maxDelay": "1h"}))
    agent.wait_event("backoff", "app", "main")
    agent.stop()


def test_teardown_after_failed(agent):
    agent.deploy("app", workload("main", ["/bin/false"], restart={"maxRapidFailures": 1}))
    agent.wait_event("failed", "app", "main")
    agent.stop()


def test_stop_during_start(agent):
    """Removed as soon as it is there, again and again; some of these hit the exec handshake."""
    for n in range(30):
        agent.deploy("app", workload("main", [*SLEEP, agent.device], env={"N": str(n)}))
        agent.wait_event("starting", "app", "main", count=n + 1)
        agent.remove("app.yaml")
        agent.wait_event("removed", "app", count=n + 1)
    agent.wait(lambda: not agent.living(), "the last one to end")


def test_teardown_during_start(make_agent):
    for delay in range(5):
        agent = make_agent()
        for n in range(20):
            agent.deploy(f"app-{n}", workload("main", SLEEP))
        agent.start()
        agent.wait(lambda: len(agent.events("starting")) > 4 * delay, "some to start")
        agent.stop()


def test_removed_while_it_is_being_restarted(agent):
    agent.run("app", workload("main", STUBBORN, stop=SHORT))
    agent.wait_logged("app", "main", "ready")
    agent.deploy("app", workload("main", STUBBORN, stop=SHORT, env={"NEW": "1"}))
    agent.wait_event("stopping", "app", "main")
    agent.remove("app.yaml")
    agent.wait_event("stopped", "app", "main")
    assert_nothing_lives(agent)


def test_deployed_again_while_it_is_being_stopped(agent):
    """It starts once the old copy is gone, and not beside it."""
    [old] = agent.run("app", workload("main", STUBBORN, stop=SHORT))
    agent.wait_logged("app", "main", "ready")
    agent.remove("app.yaml")
    agent.wait_event("stopping", "app", "main")
    [new] = agent.run("app", workload("main", SLEEP))
    assert not is_alive(old) and is_alive(new)


# --- order, and what is not ours ---------------------------------------------------------------

def test_teardown_is_in_the_reverse_order_of_dependencies(agent):
    """web needs api, api needs database. The database ends last although it would end first."""
    slow = sh("trap 'sleep 0.3; exit 0' TERM; while :; do sleep 0.05; done")
    agent.run("app",
              workload("database", SLEEP),
              workload("api", slow, dependsOn=["database"]),
              workload("web", slow, dependsOn=["api"]))
    agent.stop()
    assert [e["workload"] for e in agent.events("stopped", "app")] == ["web", "api", "database"]


def test_teardown_follows_dependencies_between_applications(agent):
    slow = sh("trap 'sleep 0.3; exit 0' TERM; while :; do sleep 0.05; done")
    agent.run("broker", workload("main", SLEEP))
    agent.run("client", workload("main", slow), dependsOn=["broker"])
    agent.stop()
    assert [e["application"] for e in agent.events("stopped")] == ["client", "broker"]


def test_workloads_of_another_agent_with_the_same_names_are_untouched(make_agent):
    one, two = make_agent().start(), make_agent().start()
    for each in (one, two):
        each.run("app", daemon(each, stop=SHORT), workload("plain", SLEEP))
        each.wait_pid_file("daemon.pid")
    theirs = {p.pid for p in two.living()}
    one.stop()
    assert theirs == {p.pid for p in living_of(two.device, two.started_pids())}
    assert len(theirs) == 3


def test_even_with_the_same_device_name(make_agent):
    one, two = make_agent().start(), make_agent()
    two.device = one.device
    two.write_config()
    two.start()
    [first] = one.run("app", workload("main", SLEEP))
    [second] = two.run("app", workload("main", SLEEP))
    one.remove("app.yaml")
    one.wait_event("stopped", "app", "main")
    assert not is_alive(first) and is_alive(second)
    one.device = "nobody"  # its own name is not told from the other's at the end
    one.stop()


def test_a_process_that_is_not_ours_is_untouched(agent):
    """One that carries the cookie in its environment and is no descendant of the agent."""
    [pid] = agent.run("app", workload("main", SLEEP))
    stranger = os.spawnve(os.P_NOWAIT, "/bin/sleep", ["sleep", "1000000"], {
        "EDGIBLE_DEVICE": agent.device, "EDGIBLE_APPLICATION": "app", "EDGIBLE_WORKLOAD": "main"})
    try:
        remove_and_wait(agent, "app")
        assert not is_alive(pid) and is_alive(stranger)
    finally:
        os.kill(stranger, signal.SIGKILL)
        os.waitpid(stranger, 0)


@pytest.mark.parametrize("ended", [False, True], ids=["killed", "ended"])
def test_threads_that_made_the_agent_their_tracer_hold_up_no_stop(agent, ended):
    """Each stays when it has ended until its tracer waits for it, and its process with it."""
    pid, = agent.run("app", workload("main", python(f"""
import ctypes, os, threading, time
thread = threading.Thread(target=lambda: print("traced", ctypes.CDLL(None).ptrace(0, 0, 0, 0)))
thread.start()
thread.join()
print("ready", flush=True)
time.sleep({0 if ended else 1000})
"""), restart={"policy": "never"}, stop=SHORT))
    assert "traced 0" in agent.wait_logged("app", "main", "ready")
    if ended:
        agent.wait(lambda: Path(f"/proc/{pid}/stat").read_text().split(") ")[1][0] == "Z",
                   "its first thread to end")
    agent.remove("app.yaml")
    agent.wait_event("removed", "app")
    assert not is_alive(pid)
