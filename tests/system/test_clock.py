"""A clock that is not set (rule 47): the agent goes on, judges certificates by what it knows, and
says so."""

import calendar
import os
import struct
import time

import pytest

from api import Api
from control_plane import Authority, ControlPlane
from harness import SLEEP, helper, is_alive, wait_for, workload

YEAR = 365 * 24 * 3600


class Clock:
    """The time of day of an agent, in seconds beside the real one."""

    def __init__(self, folder, offset):
        self.file = folder / "clock"
        self.file.write_bytes(struct.pack("=q", int(offset)))
        self.file.chmod(0o644)

    def set(self, offset):
        with open(self.file, "r+b") as file:
            file.write(struct.pack("=q", int(offset)))

    def environment(self):
        sanitizer = os.environ.get("ASAN_OPTIONS", "")
        return {"LD_PRELOAD": helper("other_clock.so"), "OTHER_CLOCK": str(self.file),
                "ASAN_OPTIONS": f"{sanitizer}:verify_asan_link_order=0".lstrip(":")}


def in_1970(agent):
    return Clock(agent.folder, -time.time() + 3600)


def floor(agent):
    state = Api(agent).get("/v1/agent")["clock"]
    return state["state"], state.get("reason", "")


@pytest.fixture
def plane(make_agent):
    agent = make_agent()
    authority = Authority(agent.folder / "tls")
    with ControlPlane(agent.device, waits=False, tls=authority.issue("server")) as plane:
        plane.agent = agent
        agent.write_config(controlPlane={"https": {
            "url": plane.url, "pollInterval": "1s", "caFile": str(authority.file)}})
        yield plane


@pytest.mark.once
def test_a_control_plane_is_heard_in_1970(plane):
    """The floor is that of the newest record at first, then the control plane's own Date, which a
    later agent knows as well."""
    agent, clock = plane.agent, in_1970(plane.agent)
    plane.set(agent.app("web", workload("w", SLEEP)))
    # An agent that ran at the right time has left a record: the certificate is valid by then.
    agent.start()
    pid = agent.wait_started("web", "w")
    agent.wait(lambda: (agent.state_dir / "clock" / "floor.json").exists(), "the record")
    agent.send(9)
    agent.wait_exit()
    for path in agent.state_dir.rglob("*.json"):
        os.utime(path, (0, 0))  # the control plane's word alone counts now
    since = agent.mark()
    agent.start(env=clock.environment())
    agent.wait_event("adopted", "web", since=since)
    plane.set(agent.app("web", workload("w", SLEEP)), agent.app("new", workload("n", SLEEP)))
    agent.wait_started("new", "n", since)
    state, reason = floor(agent)
    assert state == "unset" and "1970-01-01" in reason and "the control plane" in reason, reason
    health = Api(agent).request("GET", "/v1/health")
    assert health.status == 503 and "clock: unset" in " ".join(health.json()["reasons"])
    assert "edgible_clock_set 0" in Api(agent).get("/metrics")
    because = " ".join(Api(agent).get("/v1/applications/web/why")["because"])
    assert "clock: unset" in because
    assert any("clock: unset" in line for line in agent.lines())
    clock.set(0)
    wait_for(lambda: floor(agent) == ("set", ""), "the clock to be set")
    assert "edgible_clock_set 1" in Api(agent).get("/metrics")
    assert Api(agent).request("GET", "/v1/health").status == 200
    assert is_alive(pid) and not agent.events("removed")
    assert len(agent.events("started", "web")) == 1


@pytest.mark.once
def test_an_expired_certificate_is_refused_in_1970_as_well(plane):
    """A clock that is put back does not make it valid again."""
    agent = plane.agent
    clock = Clock(agent.folder, calendar.timegm((2020, 1, 15, 0, 0, 0)) - time.time())
    authority = Authority.__new__(Authority)
    authority.folder, authority.name = agent.folder / "tls", "ca"
    plane.set(agent.app("web", workload("w", SLEEP)))
    agent.start().wait_started("web", "w")
    agent.wait(lambda: (agent.state_dir / "clock" / "floor.json").exists(), "the record")
    agent.send(9)
    agent.wait_exit()
    plane.context.load_cert_chain(*map(str, authority.issue("old", days=-1)))
    since = agent.mark()
    agent.start(env=clock.environment())
    assert "expired" in agent.wait_event("source-lost", since=since)["reason"]


@pytest.mark.once
def test_the_newest_record_tells_of_a_clock_that_is_not_set(make_agent):
    agent = make_agent()
    agent.start()
    pid, = agent.run("app", workload("main", SLEEP))
    record = agent.state_dir / "applications" / "app.json"
    agent.wait(record.exists, "the record")
    agent.send(9)
    agent.wait_exit()
    future = time.time() + YEAR
    os.utime(record, (future, future))
    agent.start()
    agent.wait(lambda: floor(agent)[0] == "unset", "it to be said")
    assert "the newest record in stateDir" in floor(agent)[1]
    agent.send(9)
    agent.wait_exit()
    os.utime(record)  # the way out
    agent.start()
    agent.wait(lambda: floor(agent)[0] == "set", "the clock to be trusted again")
    assert is_alive(pid) and not agent.events("removed")


@pytest.mark.once
def test_what_plain_http_says_of_the_time_does_not_count(make_agent):
    agent = make_agent()
    with ControlPlane(agent.device, waits=False) as plane:
        agent.write_config(controlPlane={"https": {"url": plane.url, "pollInterval": "1s"}})
        plane.set(agent.app("web", workload("w", SLEEP)))
        agent.start().wait_started("web", "w")
        plane.wait_polls(2)
        assert not (agent.state_dir / "clock").exists()
