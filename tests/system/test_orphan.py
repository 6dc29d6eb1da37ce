"""Whose an orphan is that hides: without cgroups, under root and under an ordinary user."""

import contextlib
import os
import shutil
import signal
import subprocess

import pytest

from harness import (SLEEP, Agent, helper, is_alive, ordinary_account, process, sh, wait_for,
                     workload)

# The agent finds no cgroup file system.
NO_CGROUPS = ["unshare", "--mount", "sh", "-c",
              'mount -t tmpfs none /sys/fs/cgroup && exec "$@"', "sh"]
SHORT = {"gracePeriod": "300ms"}
LINGER = "while :; do sleep 1000; done"
ESCAPES = {
    "nobodys-cookie": "env EDGIBLE_APPLICATION=none",
    "no-environment": "env -i PATH=/usr/bin:/bin",
    "anothers-cookie": "env EDGIBLE_APPLICATION=neighbour",
}


@pytest.fixture
def agent(make_agent, account):
    agent = make_agent().start(prefix=NO_CGROUPS if account.is_root else ())
    os.chmod(agent.work, 0o777)
    return agent


def run(command):
    subprocess.run(list(map(str, command)), check=True)


def escape(agent, how, silent=True, pid_file="orphan.pid", **fields):
    """Leaves a process in a session of its own, with another environment, and runs on. The orphan
    bears the device among its arguments, so that the harness recognises it."""
    pid_path = agent.work / pid_file
    output = ">/dev/null 2>&1" if silent else ""
    orphan = f"sh -c 'echo $$ >\"$1\"; {LINGER}' {agent.device} {pid_path} {output}"
    return workload("main", sh(f"setsid -f {ESCAPES[how]} {orphan}; {LINGER}"), stop=SHORT,
                    **fields)


def wait_orphan(agent, pid_file="orphan.pid"):
    pid = agent.wait_pid_file(pid_file)
    agent.wait(lambda: process(pid).ppid == agent.pid, "it to become the agent's child")
    return pid


def remove(agent, *names):
    for name in names:
        agent.remove(f"{name}.yaml")
    for name in names:
        agent.wait_event("removed", name)


def says(agent, *words):
    return any(all(word in line for word in words) for line in agent.lines())


def users(agent):
    """Two users for two workloads: under root, who can have any, others than root."""
    if not agent.account.is_root:
        return {}, {}
    return {"user": ordinary_account().name}, {"user": "daemon"}


@pytest.mark.parametrize("how", ESCAPES)
def test_an_escape_that_prints_to_its_log_goes_with_its_workload(agent, how):
    """Whatever it calls itself, and although others of the same user are older."""
    [neighbour] = agent.run("neighbour", escape(agent, "no-environment", silent=False,
                                                pid_file="neighbours.pid"))
    neighbours = wait_orphan(agent, "neighbours.pid")
    agent.run("app", escape(agent, how, silent=False))
    orphan = wait_orphan(agent)
    remove(agent, "app")
    assert not is_alive(orphan)
    assert is_alive(neighbour) and is_alive(neighbours)
    agent.stop()
    assert not is_alive(neighbours)


@pytest.mark.parametrize("how", ESCAPES)
def test_a_silent_escape_goes_with_its_only_possible_maker(agent, how):
    """Under root, an older neighbour is another user's; under another, the neighbour is younger."""
    mine, others = users(agent)
    if others:
        [neighbour] = agent.run("neighbour", workload("main", SLEEP, **others))
    agent.run("app", escape(agent, how, **mine))
    orphan = wait_orphan(agent)
    if not others:
        [neighbour] = agent.run("neighbour", workload("main", SLEEP))
    remove(agent, "app")
    assert not is_alive(orphan) and is_alive(neighbour)


@pytest.mark.parametrize("how", ["no-environment", "anothers-cookie"])
def test_what_two_can_have_made_stays_until_the_last_of_them_stops(agent, how):
    if says(agent, "cgroups of workloads are in"):
        pytest.skip("this user has cgroups, which tell whose it is")
    agent.run("neighbour", workload("main", SLEEP))
    agent.run("app", escape(agent, how))
    orphan = wait_orphan(agent)
    remove(agent, "app")
    assert is_alive(orphan), "it may be the neighbour's"
    remove(agent, "neighbour")
    assert not is_alive(orphan)


def test_two_that_stop_together_do_not_leave_it_to_each_other(agent):
    both = [agent.app("neighbour", workload("main", SLEEP)),
            agent.app("app", escape(agent, "no-environment"))]
    agent.put("both.yaml", both)
    orphan = wait_orphan(agent)
    agent.wait_started("neighbour", "main")
    agent.remove("both.yaml")
    for name in ("neighbour", "app"):
        agent.wait_event("removed", name)
    assert not is_alive(orphan)


def test_who_is_adopted_made_no_child_of_this_agent(agent):
    """An older neighbour of the same user is no possible maker: its orphans go to init."""
    [neighbour] = agent.run("neighbour", workload("main", SLEEP))
    agent.send(signal.SIGKILL)
    agent.wait_exit()
    since = agent.mark()
    agent.start(prefix=NO_CGROUPS if agent.account.is_root else ())
    agent.wait_event("adopted", "neighbour", "main", since)
    agent.run("app", escape(agent, "no-environment"))
    orphan = wait_orphan(agent)
    remove(agent, "app")
    assert not is_alive(orphan) and is_alive(neighbour)


def test_an_escape_is_stopped_by_the_program_that_replaced_the_agents(agent):
    agent.run("app", escape(agent, "no-environment"))
    orphan = wait_orphan(agent)
    since = agent.mark()
    agent.send(signal.SIGUSR2)
    agent.wait_event("adopted", "app", "main", since)
    agent.run("neighbour", workload("main", SLEEP))
    remove(agent, "app")
    assert not is_alive(orphan)


def test_an_escape_is_stopped_before_its_workload_starts_again(agent):
    agent.run("app", escape(agent, "nobodys-cookie"))
    orphan = wait_orphan(agent)
    agent.deploy("app", workload("main", SLEEP))
    agent.wait_started("app", "main", count=2)
    assert not is_alive(orphan)


# --- the agent's own end -----------------------------------------------------------------------

# The shell that becomes the agent has made three children: two in sessions of their own, and one in
# the agent's. No workload can have made them.
CHILDREN = """
setsid sh -c 'trap "" TERM; echo $$ >"$1"/stubborn; while :; do sleep 1000; done' $0 "$1" &
setsid sh -c 'trap "echo >\\"$1\\"/asked; exit" TERM; echo $$ >"$1"/obedient
    while :; do sleep 0.1; done' $0 "$1" &
sh -c 'echo $$ >"$1"/own; exec sleep 1000000' $0 "$1" &
shift
exec "$@"
"""


def start_with_children(make_agent):
    agent = make_agent()
    agent.start(prefix=["sh", "-c", CHILDREN, agent.device, agent.work])
    pids = [agent.wait_pid_file(name) for name in ("stubborn", "obedient", "own")]
    agent.wait(lambda: any("runs as PID" in line for line in agent.lines()), "the agent to run")
    assert all(process(pid).ppid == agent.pid for pid in pids)
    return agent, *pids


def test_the_agents_end_leaves_no_child_behind(make_agent):
    """It is asked first; only what the agent's own session holds is not its to end."""
    agent, stubborn, obedient, own = start_with_children(make_agent)
    agent.run("app", workload("main", SLEEP))
    try:
        agent.send(signal.SIGTERM)
        assert agent.wait_exit() == 0
        assert not is_alive(stubborn) and not is_alive(obedient) and is_alive(own)
        assert (agent.work / "asked").exists()
    finally:
        os.kill(own, signal.SIGKILL)


def test_who_detaches_ends_no_child(make_agent):
    agent, stubborn, obedient, own = start_with_children(make_agent)
    try:
        agent.send(signal.SIGUSR1)
        assert agent.wait_exit() == 0
        assert is_alive(stubborn) and is_alive(obedient) and is_alive(own)
    finally:
        os.kill(own, signal.SIGKILL)
        for pid in (stubborn, obedient):
            os.killpg(pid, signal.SIGKILL)


# --- programs with the set-user-ID bit -----------------------------------------------------------

def become_root(agent):
    """A copy with the set-user-ID bit of root."""
    program = agent.folder / "become_root"
    shutil.copy(helper("become_root"), program)
    os.chown(program, 0, 0)
    program.chmod(0o4755)
    return str(program)


@pytest.mark.as_root
def test_a_daemon_that_a_set_user_id_program_left_goes_with_its_workload(agent):
    mine, others = users(agent)
    path = agent.work / "orphan.pid"
    script = f"{become_root(agent)} {path} {agent.device} --daemon; {LINGER}"
    agent.run("app", workload("main", sh(script), stop=SHORT, allowNewPrivileges=True, **mine))
    orphan = wait_orphan(agent)
    [neighbour] = agent.run("neighbour", workload("main", SLEEP, **others))
    remove(agent, "app")
    assert not is_alive(orphan) and is_alive(neighbour)


# --- what cannot be ended ------------------------------------------------------------------------

@contextlib.contextmanager
def frozen_folder(folder):
    """A file system in which writing hangs; yields a function that freezes it."""
    image = folder.parent / "image"
    folder.mkdir()
    run(["truncate", "-s", "16M", image])
    run(["mkfs.ext4", "-q", image])
    if subprocess.run(["mount", "-o", "loop", image, folder], check=False).returncode != 0:
        pytest.skip("cannot mount")
    frozen = []

    def freeze():
        run(["fsfreeze", "-f", folder])
        frozen.append(folder)
    try:
        yield freeze
    finally:
        for each in frozen:
            run(["fsfreeze", "-u", each])
        run(["umount", "--lazy", folder])


@pytest.mark.as_root
def test_what_cannot_be_ended_does_not_hold_up_the_agents_end(make_agent, tmp_path):
    """A process of root under an ordinary user's agent, and, of root's agent, a log whose file
    system hangs: both are given up, and what they depend on is stopped. The two agents end at the
    same time, since each takes 10 s."""
    tmp_path.chmod(0o755)
    user = Agent(ordinary_account())
    program = become_root(user)
    os.chmod(user.work, 0o777)
    root = make_agent().start()
    chatty = sh("while :; do echo line; sleep 0.01; done")
    try:
        with frozen_folder(tmp_path / "frozen") as freeze:
            user.start()
            base, _ = user.run(
                "app", workload("base", SLEEP),
                workload("main", [program, str(user.work / "root.pid"), user.device], stop=SHORT,
                         dependsOn=["base"], allowNewPrivileges=True))
            stuck = user.wait_pid_file("root.pid")
            log = tmp_path / "frozen/main.log"
            root.run("app", workload("main", chatty, logFile=str(log)))
            root.wait(lambda: log.exists() and log.stat().st_size, "the log")
            freeze()
            root.wait(lambda: says(root, "the file system of its log hangs"), "a write to hang")
            user.send(signal.SIGTERM)
            root.send(signal.SIGTERM)
            assert user.wait_exit() == 0
            assert says(user, "app/main is waited for no longer", f"PID {stuck} ")
            assert is_alive(stuck) and not is_alive(base)
            # Its process has a thread in the kernel, and is gone with the thaw.
            wait_for(lambda: says(root, '"ends"'), "root's agent to end")
            assert says(root, "app/main is waited for no longer", "log")
        assert root.wait_exit() == 0
    finally:
        problems = user.close()  # ends the process of root, too, which is the one left
        assert not any("sanitizer" in problem for problem in problems), problems
