"""A process can hold the lock of its own memory, or of a pipe that it writes to, for ever, so that who reads
its environment, or that pipe, waits for ever. The agent does not: it answers, others stop, and it ends.

Alone on the machine: `ps`, and the harness of other tests, wait for such a process."""

import os
import signal
import stat
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "system"))

from api import Api  # noqa: E402
from conftest import *  # noqa: E402,F401,F403
from harness import IS_ROOT, SLEEP, helper, is_alive, process, workload  # noqa: E402

NO_CGROUPS = ["unshare", "--mount", "sh", "-c",
              'mount -t tmpfs none /sys/fs/cgroup && exec "$@"', "sh"]
FUSE = os.makedev(10, 229)


class Holder:
    """A daemon that a workload, or a health check of it, leaves behind."""

    def __init__(self, agent):
        self.agent = agent
        self.node = agent.work / "fuse"
        self.folder = agent.work / "mount"
        self.pid_file = agent.work / "holder.pid"
        if not IS_ROOT:
            pytest.skip("only root makes a node of /dev/fuse")
        os.mknod(self.node, stat.S_IFCHR | 0o666, FUSE)
        os.chmod(self.node, 0o666)
        self.folder.mkdir()
        os.chmod(agent.work, 0o777)

    def command(self, *what):
        return [helper("holdlock"), str(self.node), str(self.folder), str(self.pid_file), *what]

    def wait(self):
        pid = self.agent.wait_pid_file(self.pid_file.name)
        if pid == 0:
            pytest.skip("an ordinary user cannot mount a FUSE file system here")
        self.agent.wait(lambda: process(pid).ppid == self.agent.pid, "it to be the agent's child")
        return pid


@pytest.fixture
def agent(make_agent, account):
    return make_agent().start(prefix=NO_CGROUPS if account.is_root else ())


def user_of(account):
    return {"user": "nobody"} if account.is_root else {}


@pytest.mark.parametrize("how", ["workload", "check", "killed"])
def test_a_process_that_holds_its_memory(agent, account, how):
    holder = Holder(agent)
    api = Api(agent)
    agent.run("good", workload("main", SLEEP, stop={"gracePeriod": "300ms"}))
    if how == "check":
        fields = {"healthCheck": {"exec": holder.command(), "interval": "1s", "timeout": "3s"}}
        agent.run("evil", workload("main", SLEEP, **fields, **user_of(account)))
    else:
        agent.run("evil", workload("main", holder.command(), **user_of(account)))
    pid = holder.wait()
    if how == "killed":
        agent.send(signal.SIGKILL)
        agent.wait_exit()
        agent.start(prefix=NO_CGROUPS if account.is_root else ())
        agent.wait_event("adopted", "good", "main")
    agent.remove("good.yaml")
    agent.wait_event("removed", "good")
    assert api.get("/v1/applications/evil")["workloads"][0]["pid"] > 0
    agent.run("next", workload("main", SLEEP))
    agent.remove("evil.yaml")
    agent.wait_event("removed", "evil")
    agent.stop()
    if how != "killed":  # then nobody can tell whose it is
        assert not is_alive(pid)


@pytest.mark.parametrize("how", ["check", "killed"])
def test_a_process_that_holds_its_output(agent, account, how):
    """Of a check that is read by this agent; of a log, the pipe is taken over by the next one."""
    holder = Holder(agent)
    agent.run("good", workload("main", SLEEP, stop={"gracePeriod": "300ms"}))
    if how == "check":
        fields = {"healthCheck": {"exec": holder.command("output"), "interval": "1s", "timeout": "3s"}}
        agent.run("evil", workload("main", SLEEP, **fields, **user_of(account)))
    else:
        agent.run("evil", workload("main", holder.command("output"), **user_of(account)))
    if agent.wait_pid_file(holder.pid_file.name) == 0:
        pytest.skip("an ordinary user cannot mount a FUSE file system here")
    if how == "killed":
        agent.send(signal.SIGKILL)
        agent.wait_exit()
        since = agent.mark()
        agent.start(prefix=NO_CGROUPS if account.is_root else ())
        agent.wait_event("adopted", "good", "main", since)
    else:
        agent.wait_event("unhealthy", "evil", "main")
    agent.remove("good.yaml")
    agent.wait_event("removed", "good")
    assert Api(agent).get("/v1/applications/evil")["workloads"][0]["name"] == "main"
    agent.run("next", workload("main", SLEEP))
    agent.remove("evil.yaml")
    agent.send(signal.SIGTERM)
    assert agent.wait_exit(60) == 0
