"""A disk that takes nothing: the agent starts all the same, runs what it can read, and says so."""

import contextlib
import subprocess

import pytest

from api import Api
from harness import SLEEP, is_alive, wait_for, workload
from test_logs import mounted

DISKS = {"read-only": 1000, "full": 1000, "without inodes": 40}


def remount(folder, *options):
    subprocess.run(["mount", "-o", ",".join(["remount", *options]), str(folder)], check=True)


def spoil(folder, how):
    """The disk takes nothing any more; returns what makes it whole again."""
    if how == "read-only":
        remount(folder, "ro")
        return lambda: remount(folder, "rw")
    made = [folder / "ballast"]
    with contextlib.suppress(OSError), open(made[0], "wb", buffering=0) as file:
        while how == "full":
            file.write(b"x" * 4096)
    with contextlib.suppress(OSError):
        while how == "without inodes":
            (folder / f"f{len(made)}").touch()
            made.append(folder / f"f{len(made)}")

    def mend():
        for file in made:
            file.unlink(missing_ok=True)
    return mend


@contextlib.contextmanager
def disk_at(agent, folder, how):
    with mounted(folder, "-t", "tmpfs", "-o", f"mode=0755,size=300k,nr_inodes={DISKS[how]}",
                 "tmpfs"):
        yield folder


def api_of(agent):
    return Api(agent, agent.folder / "api" / "agent.sock")


def make(make_agent):
    """Its socket is elsewhere than its records."""
    agent = make_agent()
    agent.write_config(api={"socket": str(agent.folder / "api" / "agent.sock")})
    return agent


def reasons(agent):
    return " ".join(api_of(agent).request("GET", "/v1/health").json()["reasons"])


def is_well(agent):
    return api_of(agent).request("GET", "/v1/health").status == 200


@pytest.mark.as_root
@pytest.mark.parametrize("how", DISKS)
def test_an_agent_starts_without_a_stateDir_that_can_be_written(make_agent, how):
    agent = make(make_agent)
    with disk_at(agent, agent.state_dir, how):
        mend = spoil(agent.state_dir, how)
        agent.start()
        pid, = agent.run("app", workload("main", SLEEP))
        agent.wait(lambda: "records cannot be written" in reasons(agent), "it to be said")
        metrics = api_of(agent).get("/metrics")
        assert 'edgible_records_writable{folder="stateDir"} 0' in metrics
        mend()
        wait_for(lambda: (agent.state_dir / "applications" / "app.json").exists(), "the record")
        wait_for(lambda: is_well(agent), "its health")
        assert is_alive(pid)
        agent.stop()


@pytest.mark.as_root
@pytest.mark.parametrize("how", DISKS)
def test_an_agent_starts_without_a_runtimeDir_that_can_be_written(make_agent, how):
    agent = make(make_agent)
    with disk_at(agent, agent.runtime_dir, how):
        mend = spoil(agent.runtime_dir, how)
        agent.start()
        pid, = agent.run("app", workload("main", SLEEP))
        agent.wait(lambda: "records of this boot cannot be written" in reasons(agent),
                   "it to be said")
        mend()
        wait_for(lambda: (agent.runtime_dir / "units" / "app" / "main.json").exists(),
                 "the record")
        wait_for(lambda: is_well(agent), "its health")
        assert is_alive(pid)
        agent.stop()


@pytest.mark.as_root
def test_what_was_accepted_runs_from_a_stateDir_that_is_read_only_by_now(make_agent):
    agent = make(make_agent)
    with disk_at(agent, agent.state_dir, "read-only"):
        agent.start()
        agent.run("app", workload("main", SLEEP))
        wait_for(lambda: (agent.state_dir / "applications" / "app.json").exists(), "the record")
        agent.stop()
        spoil(agent.state_dir, "read-only")
        agent.source.rename(agent.folder / "away")
        since = agent.mark()
        agent.start()
        agent.wait_started("app", "main", since)
        agent.stop()
