"""What a cgroup tells of whose a process is, where a workload may write to it: as root, and as an
ordinary user whom a group is delegated to."""

import ctypes
import os
import signal
import struct
from pathlib import Path

import pytest

from api import Api
from harness import (IS_ROOT, SLEEP, TEST_GROUP, TEST_USER, is_alive, ordinary_account, python,
                     wait_for, workload)
from test_sandbox import CALL, VERSION

pytestmark = [pytest.mark.skipif(VERSION < 1, reason="this kernel has no Landlock"),
              pytest.mark.skipif(not IS_ROOT, reason="only root can delegate a group")]

SYS_CLONE3 = 435
CLONE_INTO_CGROUP = 0x200000000


def group_of(pid):
    """Its folder, by the mount of version 2."""
    own = next(line[3:] for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines()
               if line.startswith("0::"))
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split(" ")
        if " - cgroup2 " in line and (fields[3] == "/" or own.startswith(fields[3])):
            return Path(fields[4] + (own if fields[3] == "/" else own[len(fields[3]):]))
    return pytest.skip("there is no cgroup of version 2")


def move(pid, group):
    (group / "cgroup.procs").write_text(str(pid))


@pytest.fixture
def delegated(account):
    """A group for the agent; root's needs none of its own."""
    if account.is_root:
        yield None
        return
    group = group_of("self") / f"edgible-test-{os.getpid()}"
    folders = [group, group / "agent"]
    try:
        for folder in folders:
            folder.mkdir()
            for path in (folder, folder / "cgroup.procs"):
                os.chown(path, account.uid, account.gid)
    except OSError as error:
        pytest.skip(f"no group can be made: {error}")
    yield folders[1]
    for folder in reversed(folders):
        wait_for(lambda: not (folder / "cgroup.procs").read_text(), "the group to be empty")
        for below in folder.iterdir():
            if below.is_dir():
                below.rmdir()
        folder.rmdir()


@pytest.fixture
def agent(account, delegated, make_agent):
    agent = make_agent()
    if delegated is None:
        agent.start()
    else:
        enter = f'echo $$ >{delegated}/cgroup.procs && exec setpriv --reuid={account.uid} ' \
            f'--regid={account.gid} --init-groups "$@"'
        agent.start(["/bin/sh", "-c", enter, "sh"], user=None, group=None, extra_groups=None)
    agent.wait(lambda: any("cgroups" in line for line in agent.lines()), "it to say")
    if any("runs without cgroups" in line for line in agent.lines()):
        pytest.skip("there are no cgroups here")
    return agent


def test_a_sandbox_makes_no_process_in_the_group_of_another(agent):
    """A descriptor that reads and writes nothing names the group; all that makes processes and
    threads in other ways works."""
    open_pid, = agent.run("open", workload("main", SLEEP))
    script = f"""
import ctypes, os, struct, subprocess, threading
libc = ctypes.CDLL(None, use_errno=True)
group = os.open({str(group_of(open_pid))!r}, os.O_PATH)
args = struct.pack("11Q", {CLONE_INTO_CGROUP}, 0, 0, 0, {int(signal.SIGCHLD)}, 0, 0, 0, 0, 0, group)
pid = libc.syscall({SYS_CLONE3}, args, len(args))
if pid == 0:
    os._exit(0)
print("clone3", pid > 0 or os.strerror(ctypes.get_errno()), flush=True)
thread = threading.Thread(target=print, args=("thread",))
thread.start()
thread.join()
print(subprocess.run(["/bin/echo", "program"], capture_output=True, text=True).stdout, end="")
print(os.waitpid(os.posix_spawnp("true", ["true"], os.environ), 0)[1])
if os.fork() == 0:
    os._exit(0)
os.wait()
print("end")
"""
    agent.deploy("app", workload("main", python(script), restart={"policy": "never"},
                                 sandbox={"write": [str(agent.work)]}))
    assert agent.wait_logged("app", "main", "end").splitlines() == \
        ["clone3 Function not implemented", "thread", "program", "0", "end"]


ORPHAN = """
import os, socket, time
{call}
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.setsid()
        print("orphan", os.getpid(), flush=True)
        while not os.path.exists({go!r}):
            time.sleep(0.01)
        print("answer", call(), flush=True)
        time.sleep(1000)
    os._exit(0)
os.wait()
time.sleep(1000)
"""


def run_orphan(agent, name, **fields):
    """Its PID. It asks the API once work/go is there."""
    script = ORPHAN.format(call=CALL.format(path=str(Api(agent).socket)),
                           go=str(agent.work / "go"))
    agent.run(name, workload("main", python(script), **fields))
    words = agent.wait_logged(name, "main", "orphan ").split()
    wait_for(lambda: os.stat(f"/proc/{words[1]}") and "PPid:\t%d\n" % agent.pid in
             Path(f"/proc/{words[1]}/status").read_text(), "it to be an orphan")
    return int(words[1])


def answer_to(agent, name):
    (agent.work / "go").touch()
    return agent.wait_logged(name, "main", "answer ").split()[3]


def test_a_group_that_a_sandbox_may_write_to_is_no_proof(agent):
    """As by a kernel without seccomp, or a sandbox that may write there: the API does not answer,
    and it goes with its workload."""
    open_pid, = agent.run("open", workload("main", SLEEP))
    orphan = run_orphan(agent, "app", sandbox={"write": [str(agent.work)]})
    move(orphan, group_of(open_pid))
    assert answer_to(agent, "app") == "403"
    agent.remove("app.yaml")
    agent.wait_event("removed", "app")
    assert not is_alive(orphan)
    assert is_alive(open_pid)


@pytest.mark.as_root
def test_a_group_that_no_sandbox_may_write_to_is_proof(make_agent, account):
    ordinary_account()
    agent = make_agent()
    agent.write_config(api={"socket": str(agent.runtime_dir / "agent.sock"), "group": TEST_GROUP})
    agent.start()
    agent.wait(lambda: any("cgroups" in line for line in agent.lines()), "it to say")
    if any("runs without cgroups" in line for line in agent.lines()):
        pytest.skip("there are no cgroups here")
    agent.work.chmod(0o777)
    agent.run("app", workload("main", SLEEP, user=TEST_USER, sandbox={}))
    run_orphan(agent, "open", user=TEST_USER)
    assert answer_to(agent, "open") == "200"


def become(pid, command):
    """Runs the command as a process of that PID, once nothing else has it."""
    libc = ctypes.CDLL(None, use_errno=True)
    number = ctypes.c_int(pid)
    args = struct.pack("11Q", 0, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, ctypes.addressof(number), 1, 0)
    child = libc.syscall(SYS_CLONE3, args, len(args))
    if child == 0:
        try:
            os.execv(command[0], command)
        finally:
            os._exit(127)
    if child < 0:
        pytest.skip(f"no process can be given a PID: {os.strerror(ctypes.get_errno())}")
    assert child == pid
    return child


@pytest.mark.as_root
def test_a_pid_that_is_another_processs_by_now_opens_nothing(make_agent):
    """The first process of a workload without a sandbox has ended, and a daemon that it left keeps
    the workload from ending, while another process has got its PID."""
    agent = make_agent().start()
    daemon = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); " \
        "print('daemon', flush=True); time.sleep(1000)"
    script = f"""
import os, subprocess, sys, time
subprocess.Popen([sys.executable, "-c", {daemon!r}], start_new_session=True)
while not os.path.exists({str(agent.work / "end")!r}):
    time.sleep(0.01)
"""
    pid, = agent.run("open", workload("main", python(script), restart={"policy": "never"},
                                      stop={"gracePeriod": "100s"}))
    agent.run("app", workload("main", SLEEP, sandbox={}))
    agent.wait_logged("open", "main", "daemon")
    agent.send(signal.SIGKILL)
    agent.wait_exit()
    agent.start()
    agent.wait_event("adopted", "open", "main")
    agent.wait_event("adopted", "app", "main")
    path = Api(agent).socket
    (agent.work / "end").touch()
    wait_for(lambda: not os.path.exists(f"/proc/{pid}"), "its PID to be free")
    ask = f"import socket\n{CALL.format(path=str(path))}\n" \
        f"open({str(agent.work / 'said')!r}, 'w').write(call())"
    child = become(pid, ["/usr/bin/setpriv", "--no-new-privs", *python(ask)])
    os.waitpid(child, 0)
    assert (agent.work / "said").read_text() == "403"
    agent.send(signal.SIGTERM)
    agent.wait_event("stopping", "app", "main")  # else the second signal is one with the first
    agent.stop()
