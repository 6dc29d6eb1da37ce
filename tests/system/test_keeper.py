"""The keeper of log pipes: a workload's output is write-only, and nobody minds an agent's end."""

import os
import re
import signal
import socket

import pytest

from harness import (is_alive, kill_and_wait, process, processes, python, read_proc, sh, wait_for,
                     workload)

# Counts on its standard output, until there is a file.
COUNT = """
import os, sys, time
n = 0
while not os.path.exists(sys.argv[1]):
    os.write(1, b"line %d\\n" % n)
    n += 1
    time.sleep(0.005)
os.write(1, b"last %d\\n" % n)
"""

# As COUNT, but without any descriptor but these three.
COUNT_ALONE = "import os\nos.closerange(3, 4096)\n" + COUNT


@pytest.fixture
def agent(make_agent):
    """An agent that does not run yet."""
    return make_agent()


def keepers(agent):
    """The keepers of log pipes of this agent, and of those before it."""
    environment = f"EDGIBLE_TEST_AGENT={agent.device}".encode()
    return [p.pid for p in processes() if read_proc(p.pid, "comm") == b"edgible-keeper\n"
            and environment in read_proc(p.pid, "environ").split(b"\0")]


def start(agent, **options):
    since = agent.mark()
    agent.start(env={"EDGIBLE_TEST_AGENT": agent.device}, **options)
    return since


def kill_agent(agent):
    agent.send(signal.SIGKILL)
    assert agent.wait_exit() == -signal.SIGKILL


def lines_of(agent, application, name):
    return agent.read_log(application, name).splitlines()


def check_count(agent, application, name):
    """Each line is there once, in order, and the last one."""
    agent.wait_logged(application, name, "last ")
    lines = lines_of(agent, application, name)
    count = int(lines[-1].split()[1])
    assert lines == [f"line {n}" for n in range(count)] + [f"last {count}"]


def open_mode(pid, number):
    found = re.search(r"flags:\s+0?([0-7]+)", read_proc(pid, f"fdinfo/{number}").decode())
    return int(found.group(1), 8) & os.O_ACCMODE


def test_asyncio_writes_to_its_standard_output(agent):
    script = """
import asyncio, sys
async def main():
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, sys.stdout)
    writer = asyncio.StreamWriter(transport, protocol, None, loop)
    for n in range(3000):
        writer.write(b"line %d\\n" % n)
        await writer.drain()
        await asyncio.sleep(0)
    writer.write(b"last 3000\\n")
    await writer.drain()
asyncio.run(main())
"""
    start(agent)
    agent.deploy("app", workload("main", python(script), restart={"policy": "never"}))
    check_count(agent, "app", "main")
    agent.stop()
    assert not keepers(agent)


def test_output_is_write_only_and_no_other_descriptor_is_given(agent):
    start(agent)
    pid, = agent.run("app", workload("main", sh("echo ready; exec sleep 1000")))
    agent.wait_logged("app", "main", "ready")
    assert open_mode(pid, 1) == open_mode(pid, 2) == os.O_WRONLY
    wait_for(lambda: sorted(os.listdir(f"/proc/{pid}/fd")) == ["0", "1", "2"],
             "its own files to be closed")
    keeper, = keepers(agent)
    assert process(keeper).ppid == agent.pid
    assert b"edgible-agent" not in read_proc(keeper, "cmdline")
    agent.stop()


@pytest.mark.parametrize("script", [COUNT, COUNT_ALONE], ids=["plain", "closes all"])
def test_no_line_is_lost_over_a_killed_agent(agent, script):
    start(agent)
    done = agent.work / "done"
    pid, = agent.run("app", workload("main", python(script, str(done)), restart={"policy": "never"}))
    agent.wait_logged("app", "main", "line 20\n")
    for _ in range(3):
        before = len(lines_of(agent, "app", "main"))
        kill_agent(agent)
        assert is_alive(pid)
        since = start(agent)
        agent.wait_event("adopted", "app", "main", since)
        agent.wait_logged("app", "main", f"line {before + 50}\n")
    wait_for(lambda: len(keepers(agent)) == 1, "the earlier keepers to end")
    done.touch()
    check_count(agent, "app", "main")
    agent.stop()
    assert not keepers(agent)


def test_a_killed_keeper_is_replaced(agent):
    start(agent)
    done = agent.work / "done"
    pid, = agent.run("app", workload("main", python(COUNT_ALONE, str(done)),
                                     restart={"policy": "never"}))
    agent.wait_logged("app", "main", "line 20\n")
    for _ in range(2):
        before, = keepers(agent)
        kill_and_wait(before)
        wait_for(lambda: keepers(agent) not in ([], [before]), "another keeper")
    wait_for(lambda: [f for f in os.listdir(f"/proc/{keepers(agent)[0]}/fd") if int(f) > 3],
             "it to hold the pipe")
    kill_agent(agent)
    wait_for(lambda: is_alive(pid), "the workload")
    since = start(agent)
    agent.wait_event("adopted", "app", "main", since)
    done.touch()
    check_count(agent, "app", "main")
    agent.stop()


def test_what_was_printed_while_no_agent_ran_is_logged(agent):
    """Also where the workload has ended before the next agent looks."""
    start(agent)
    done = agent.work / "done"
    pid, = agent.run("app", workload("main", python(COUNT, str(done)), restart={"policy": "never"}))
    agent.wait_logged("app", "main", "line 20\n")
    kill_agent(agent)
    done.touch()
    wait_for(lambda: not is_alive(pid), "the end of the workload")
    start(agent)
    check_count(agent, "app", "main")
    wait_for(lambda: len(keepers(agent)) <= 1, "the earlier keeper to end")
    agent.stop()
    assert not keepers(agent)


def test_a_keeper_without_an_agent_ends_with_its_workloads(agent):
    start(agent)
    done = agent.work / "done"
    pid, = agent.run("app", workload("main", sh(f"until test -e {done}; do sleep 0.1; done")))
    keeper, = keepers(agent)
    kill_agent(agent)
    assert is_alive(keeper)
    done.touch()
    wait_for(lambda: not is_alive(pid), "the end of the workload")
    wait_for(lambda: not is_alive(keeper), "the end of the keeper")


# Gives its standard output to somebody else, and fails.
GIVE = """
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
socket.send_fds(s, [b"x"], [1])
sys.exit(1)
"""


@pytest.mark.once
def test_pipes_that_nobody_adopts_keep_few_keepers_and_none_beyond_the_end(agent):
    """Somebody else has the output of workloads that wait for their next start. What the others
    print goes on, as the newest keeper is always known."""
    done = agent.work / "done"
    path = str(agent.work / "socket")
    taken = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        os.chmod(path, 0o777)
        listener.listen()
        start(agent)
        agent.run("app", workload("main", [*python(COUNT), str(done)]))
        for number in range(11):
            agent.deploy(f"giver{number}", workload("main", [*python(GIVE), path], restart={
                "policy": "always", "initialDelay": "1h", "maxDelay": "1h"}))
            taken.append(socket.recv_fds(listener.accept()[0], 1, 1)[1][0])
            agent.wait_event("backoff", f"giver{number}", "main")
            kill_agent(agent)
            since = start(agent)
            agent.wait_event("adopted", "app", "main", since)
        assert len(keepers(agent)) <= 10
        done.touch()
        check_count(agent, "app", "main")
        agent.stop()
        assert not keepers(agent)
        for fd in taken:
            os.close(fd)


def test_the_log_goes_on_in_the_next_program_of_the_agent(agent):
    start(agent)
    done = agent.work / "done"
    agent.deploy("app", workload("main", python(COUNT_ALONE, str(done)), restart={"policy": "never"}))
    agent.wait_logged("app", "main", "line 20\n")
    since = agent.mark()
    agent.send(signal.SIGUSR2)
    agent.wait_event("adopted", "app", "main", since)
    wait_for(lambda: len(keepers(agent)) == 1, "the earlier keeper to end")
    done.touch()
    check_count(agent, "app", "main")
    agent.stop()


@pytest.mark.as_root
def test_a_workload_of_another_user_opens_its_output_by_name(agent):
    start(agent)
    script = "".join(f"echo to {name} >{name} && " for name in
                     ("/dev/stdout", "/dev/stderr", "/proc/self/fd/1", "/dev/fd/2"))
    agent.deploy("app", workload("main", sh(script + "echo done"), user="nobody",
                                 restart={"policy": "never"}))
    agent.wait_logged("app", "main", "done\n")
    assert len(lines_of(agent, "app", "main")) == 5
    agent.stop()


@pytest.mark.as_root
def test_logs_go_on_without_the_right_to_look_into_processes(agent):
    """As in a container: without CAP_SYS_PTRACE, /proc/PID/fd of another user is closed."""
    narrow = ["/usr/bin/setpriv", "--bounding-set", "-sys_ptrace", "--inh-caps", "-sys_ptrace"]
    start(agent, prefix=narrow)
    done = agent.work / "done"
    agent.work.chmod(0o755)
    pid, = agent.run("app", workload("main", python(COUNT, str(done)), user="nobody",
                                        restart={"policy": "never"}))
    agent.wait_logged("app", "main", "line 20\n")
    kill_agent(agent)
    since = start(agent, prefix=narrow)
    agent.wait_event("adopted", "app", "main", since)
    assert is_alive(pid)
    done.touch()
    check_count(agent, "app", "main")
    agent.stop()


@pytest.mark.as_user
def test_a_user_without_room_for_descriptors_on_their_way_loses_no_pipe(agent):
    """unix(7), ETOOMANYREFS: the kernel counts them for each user, whoever sends them."""
    greedy = """
import os, socket, time
null, kept = os.open("/dev/null", os.O_RDONLY), []
try:
    while True:
        kept.append(socket.socketpair())
        for _ in range(10):
            socket.send_fds(kept[-1][0], [b"x"], [null] * 100)
except OSError as error:
    print(error.errno, flush=True)
time.sleep(1000)
"""
    start(agent, prefix=["/usr/bin/prlimit", "--nofile=1024"])
    done = agent.work / "done"
    counters = [workload(name, python(COUNT, str(done)), restart={"policy": "never"})
                for name in ("first", "second")]
    first, = agent.run("first", counters[0])
    agent.run("greedy", workload("main", python(greedy)))
    agent.wait_logged("greedy", "main", "109\n")
    second, = agent.run("second", counters[1])
    for name in ("first", "second"):
        agent.wait_logged(name, name, "line 20\n")
    kill_agent(agent)
    since = start(agent)
    for name in ("first", "second"):
        agent.wait_event("adopted", name, name, since)
    assert is_alive(first) and is_alive(second)
    done.touch()
    for name in ("first", "second"):
        check_count(agent, name, name)
    agent.stop()
