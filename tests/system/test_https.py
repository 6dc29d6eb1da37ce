"""Desired state from an HTTPS control plane: a scripted one."""

import email.utils
import os
import signal
import ssl
import time

import pytest

from api import Api
from control_plane import Authority, ControlPlane, to_text
from harness import SLEEP, is_alive, wait_for, workload


@pytest.fixture
def planes():
    """Makes control planes, and closes them after the test."""
    made = []

    def make(*args, **options):
        made.append(ControlPlane(*args, **options).__enter__())
        return made[-1]

    yield make
    for plane in made:
        plane.close()


def point(agent, plane, **options):
    agent.write_config(controlPlane={"https": {"url": plane.url, "pollInterval": "1s", **options}})
    return agent


@pytest.fixture
def plane(planes, make_agent):
    """A control plane and an agent that asks it, not yet started."""
    agent = make_agent()
    plane = planes(agent.device)
    plane.agent = point(agent, plane)
    return plane


def source(agent):
    return Api(agent).get("/v1/agent").json()["source"]


def test_applications_run_change_and_go(plane):
    agent = plane.agent
    web, job = agent.app("web", workload("w", SLEEP)), agent.app("job", workload("j", SLEEP))
    plane.set(web, job)
    agent.start()
    pid = agent.wait_started("web", "w")
    agent.wait_started("job", "j")
    plane.set(web)
    agent.wait_event("removed", "job")
    assert is_alive(pid)
    since = agent.mark()
    changed = agent.app("web", workload("w", ["/bin/sleep", "999999"]))
    begin = time.monotonic()
    plane.set(changed)
    agent.wait_started("web", "w", since)
    print("a change took", time.monotonic() - begin)
    plane.set()
    agent.wait_event("removed", "web")
    state = source(agent)
    assert (state["type"], state["location"], state["state"]) == ("https", plane.url, "ok")


def test_a_long_poll_brings_a_change_at_once(plane):
    agent = point(plane.agent, plane, pollInterval="30s").start()
    wait_for(lambda: len(plane.polls()) >= 2, "the second request, which is held")
    for number in range(3):
        since = agent.mark()
        begin = time.monotonic()
        plane.set(agent.app("web", workload("w", ["/bin/sleep", str(1000000 + number)])))
        agent.wait_started("web", "w", since)
        assert time.monotonic() - begin < 10  # a poll interval would be 30 s
        wait_for(lambda: plane.polls()[-1].headers.get("If-None-Match") == plane.etag(),
                 "the next request to be held")
    request = plane.polls()[-1]
    assert request.headers["Prefer"] == "wait=50"
    assert request.headers["Accept"] == "application/yaml, application/json"
    assert request.headers["User-Agent"].startswith("edgible-agent/")


@pytest.mark.once
def test_a_server_that_does_not_wait_is_polled_at_the_interval(planes, make_agent):
    agent = make_agent()
    plane = planes(agent.device, waits=False)
    point(agent, plane, pollInterval="1s")
    plane.set(agent.app("web", workload("w", SLEEP)))
    agent.start().wait_started("web", "w")
    polls = plane.wait_polls(6)
    gaps = [b.at - a.at for a, b in zip(polls[2:], polls[3:])]
    assert all(gap > 0.85 for gap in gaps), gaps
    assert source(agent)["mode"] == "poll"


@pytest.mark.once
def test_a_server_without_etags(planes, make_agent):
    agent = make_agent()
    plane = planes(agent.device, waits=False, etags=False)
    point(agent, plane)
    plane.set(agent.app("web", workload("w", SLEEP)))
    agent.start()
    pid = agent.wait_started("web", "w")
    plane.wait_polls(4)
    assert is_alive(pid) and len(agent.events("updated")) == 0
    assert all("If-None-Match" not in p.headers for p in plane.polls())


WRONG = {
    "401": lambda plane: plane.status(401),
    "403": lambda plane: plane.status(403),
    "404": lambda plane: plane.status(404),
    "500": lambda plane: plane.status(500),
    "502": lambda plane: plane.status(502),
    "304 to nothing": lambda plane: lambda handler: plane.reply(handler, 304, None),
    "204": lambda plane: lambda handler: plane.reply(handler, 204, None),
    "empty": lambda plane: plane.documents(""),
    "white space": lambda plane: plane.documents("\n  \n"),
    "a comment": lambda plane: plane.documents("# nothing\n"),
    "no YAML": lambda plane: plane.documents("{ not: [closed"),
    "a web page": lambda plane: plane.documents("<html><body>Log in</body></html>", "text/html"),
    "other JSON": lambda plane: plane.documents('{"error": "not now"}', "application/json"),
    "a string": lambda plane: plane.documents('"hello"', "application/json"),
    "cut off": lambda plane: plane.cut(),
    "reset": lambda plane: plane.cut(reset=True),
    "too long": lambda plane: plane.documents("#" * (9 << 20)),
    "a bomb": lambda plane: plane.gzipped("# " + "0" * (64 << 20)),
    "another host": lambda plane: plane.status(302, Location="http://127.0.0.2:1/x"),
    "round and round": lambda plane: plane.status(302, Location=plane.url + "/v3/devices/" +
                                                 plane.device + "/applications"),
}


@pytest.mark.once
@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_answer_changes_nothing(plane, wrong):
    agent = plane.agent
    plane.set(agent.app("web", workload("w", SLEEP)))
    agent.start()
    pid = agent.wait_started("web", "w")
    plane.default = WRONG[wrong](plane)
    with plane.changed:  # ends the request that is held
        plane.applications = {}
        plane.changed.notify_all()
    plane.applications = {"web": to_text([agent.app("web", workload("w", SLEEP))])}
    plane.polls()
    lost = agent.wait_event("source-lost") if wrong != "none" else None
    assert lost["reason"]
    assert is_alive(pid) and not agent.events("removed")
    state = source(agent)
    assert state["state"] == "lost" and state["error"]
    since = agent.mark()
    plane.default = None
    agent.wait_event("source-back", since=since)
    assert is_alive(pid) and len(agent.events("started")) == 1
