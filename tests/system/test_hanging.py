"""Paths of documents on a file system that does not answer: they hold up their own workload alone."""

import ctypes
import os
import signal
import stat

import pytest

from api import Api
from harness import SLEEP, workload

FUSE = os.makedev(10, 229)
MNT_DETACH = 2
libc = ctypes.CDLL(None, use_errno=True)


class Hanging:
    """A FUSE file system without a server: whoever looks up anything in it waits for its end."""

    def __init__(self, agent):
        node, self.folder = agent.folder / "fuse", agent.folder / "hanging"
        self.fd = -1
        self.folder.mkdir()
        try:
            os.mknod(node, stat.S_IFCHR | 0o600, FUSE)
            self.fd = os.open(node, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            pytest.skip(f"no FUSE file system can be made here: {error.strerror}")
        options = f"fd={self.fd},rootmode=40755,user_id=0,group_id=0,allow_other"
        if libc.mount(b"hanging", bytes(self.folder), b"fuse", 0, options.encode()) < 0:
            self.end()
            pytest.skip("no FUSE file system can be mounted here")

    def end(self):
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
        libc.umount2(bytes(self.folder), MNT_DETACH)

    def __str__(self):
        return str(self.folder)


@pytest.fixture
def hangs(agent_with_policy):
    hanging = Hanging(agent_with_policy)
    yield hanging
    hanging.end()


@pytest.fixture
def agent_with_policy(make_agent):
    return make_agent(policy={"commands": ["/**"], "writePaths": ["/**"]})


def start(agent):
    """LeakSanitizer waits at the end for all threads to stop, which one that hangs does not."""
    options = os.environ.get("ASAN_OPTIONS", "")
    return agent.start(env={"ASAN_OPTIONS": f"{options}:detect_leaks=0"})


def hanging_workloads(hangs):
    return {
        "dir": workload("main", SLEEP, workingDir=f"{hangs}/sub"),
        "program": workload("main", [f"{hangs}/sub/program"]),
        "log": workload("main", SLEEP, logFile=f"{hangs}/sub/main.log"),
        "box": workload("main", SLEEP, sandbox={"read": [f"{hangs}/sub"]}),
    }


def status_of(api, name):
    return api.app(name)["workloads"][0]["status"]


def test_a_path_that_hangs_holds_up_its_own_workload_alone(agent_with_policy, hangs, account):
    agent = start(agent_with_policy)
    api = Api(agent)
    for name, hanging in hanging_workloads(hangs).items():
        agent.deploy(name, hanging)
        agent.wait_event("starting", name, "main")
    if account.is_root:  # of one user, no more than these four are looked up
        agent.run("next", workload("main", SLEEP, user="nobody"))
    agent.remove("dir.yaml")
    agent.wait_event("removed", "dir")
    assert [status_of(api, name) for name in ("program", "log", "box")] == ["starting"] * 3
    agent.stop()


@pytest.mark.once
def test_a_start_that_hangs_says_so_and_goes_on_with_the_answer(agent_with_policy, hangs):
    agent = start(agent_with_policy)
    agent.deploy("box", workload("main", SLEEP, sandbox={"read": [str(hangs)]}))
    failed = agent.wait_event("backoff", "box", "main")
    assert failed["stage"] == "look"
    assert "has not answered for 10 s: its file system hangs" in failed["reason"]
    agent.run("next", workload("main", SLEEP))
    hangs.end()
    agent.wait_started("box", "main")


@pytest.mark.once
def test_a_check_that_hangs_fails_its_own_workload_alone(agent_with_policy, hangs):
    agent = start(agent_with_policy)
    check = {"exec": [f"{hangs}/sub/check"], "interval": "500ms", "timeout": "200ms", "failures": 1}
    agent.run("ill", workload("main", SLEEP, healthCheck=check, restart={"policy": "never"}))
    told = agent.wait_event("unhealthy", "ill", "main")
    assert "its healthCheck's program has not answered" in told["reason"]
    agent.run("next", workload("main", SLEEP))


@pytest.mark.once
def test_who_starts_while_a_path_hangs_follows_its_document(agent_with_policy, hangs):
    """The look that hangs is of the document before: the new one is looked up by itself."""
    agent = start(agent_with_policy)
    agent.deploy("app", workload("main", SLEEP, workingDir=f"{hangs}/sub"))
    agent.wait_event("starting", "app", "main")
    agent.deploy("app", workload("main", SLEEP, workingDir="/"))
    agent.wait_started("app", "main")
    agent.stop()


@pytest.mark.once
def test_who_starts_while_a_path_hangs_follows_the_policy(agent_with_policy, hangs):
    agent = start(agent_with_policy)
    agent.deploy("app", workload("main", SLEEP, workingDir=f"{hangs}/sub"))
    agent.wait_event("starting", "app", "main")
    agent.write_config(policy={"commands": ["/no/such"], "writePaths": ["/**"]})
    agent.send(signal.SIGHUP)
    refused = agent.wait_event("backoff", "app", "main")
    assert refused["stage"] == "policy"
    assert "not among the policy.commands" in refused["reason"]


@pytest.mark.once
def test_an_agent_that_is_killed_meanwhile_leaves_nothing(agent_with_policy, hangs):
    agent = start(agent_with_policy)
    agent.deploy("app", workload("main", SLEEP, workingDir=f"{hangs}/sub"))
    agent.wait_event("starting", "app", "main")
    agent.send(signal.SIGKILL)
    agent.wait_exit()
    assert not agent.living()
    hangs.end()
    agent.deploy("app", workload("main", SLEEP))
    start(agent)
    agent.wait_started("app", "main")
