"""Deploys over the API that take several turns of the agent: they come one after the other, each as
a whole, whatever happens meanwhile."""

import array
import fcntl
import json
import re
import signal
import socket
import termios
import threading

import pytest

from api import Answer, Api, Connection
from harness import SLEEP, wait_for, workload

pytestmark = pytest.mark.once
APPS = 100


def long_set(agent, generation):
    """Documents of 600 KiB, without a process."""
    one = {"name": "w", "type": "none-such", "typeSpec": {"generation": generation}}
    return "---\n".join(
        json.dumps(agent.app(f"app-{n}", one, annotations={"a": "x " * 3000})) + "\n"
        for n in range(APPS))


class Deploy(threading.Thread):
    """A client that deploys and waits for the answer."""

    def __init__(self, api, text, method="PUT", path="/v1/applications"):
        super().__init__(daemon=True)
        self.answer = None
        self.connection = Connection(api.socket)
        self.connection.request(method, path, body=text)
        self.start()

    def run(self):
        try:
            self.answer = Answer(self.connection.getresponse())
        except OSError:
            pass

    def wait_arrived(self):
        """All of the request is read by the agent."""
        left = array.array("i", [0])

        def is_read():
            fcntl.ioctl(self.connection.sock, termios.TIOCOUTQ, left)
            return left[0] == 0
        wait_for(is_read, "the request to be read")

    def status(self):
        self.join()
        return self.answer.status if self.answer else None


def applications(api):
    return {app["name"]: app for app in api.get("/v1/applications")}


def generations_in_files(agent):
    return sorted(int(re.search(r'"generation": (\d+)', p.read_text())[1])
                  for p in agent.source.glob("app-*.yaml"))


def test_deploys_of_several_clients_come_one_after_the_other(agent):
    api = Api(agent)
    clients = [Deploy(api, long_set(agent, n)) for n in range(3)]
    clients.append(Deploy(api, json.dumps(agent.app("small", workload("main", SLEEP)))))
    assert [c.status() for c in clients] == [200] * 4
    assert len(applications(api)) == APPS + 1
    agent.wait_started("small", "main")
    assert len(set(generations_in_files(agent))) == 1
    created = [c for c in clients[:3]
               if {app["action"] for app in c.answer.json()} == {"create"}]
    assert len(created) == 1, "the plan of each is of what the one before it left"


def test_what_was_deployed_is_there_with_the_answer(agent):
    api = Api(agent)
    assert Deploy(api, long_set(agent, 1)).status() == 200
    assert len(applications(api)) == APPS
    assert Deploy(api, None, "DELETE", "/v1/applications/app-7").status() == 202
    assert "app-7" not in applications(api)


def test_a_dry_run_of_a_long_set_changes_nothing(agent):
    api = Api(agent)
    client = Deploy(api, long_set(agent, 1), path="/v1/applications?dryRun=true")
    assert client.status() == 200 and len(client.answer.json()) == APPS
    assert list(agent.source.iterdir()) == [] and applications(api) == {}


def test_a_client_that_leaves_stops_nothing(agent):
    api = Api(agent)
    client = Deploy(api, long_set(agent, 1))
    client.wait_arrived()
    client.connection.sock.shutdown(socket.SHUT_RDWR)
    after = api.request("PUT", "/v1/applications",
                        json.dumps(agent.app("after", workload("main", SLEEP))))
    assert after.status == 200
    wait_for(lambda: len(applications(api)) in (1, APPS + 1), "all or nothing")
    client.join()


def test_a_file_that_is_written_by_hand_meanwhile_is_taken(agent):
    api = Api(agent)
    client = Deploy(api, long_set(agent, 1))
    agent.put("hand.yaml", agent.app("hand", workload("main", SLEEP)))
    assert client.status() == 200
    agent.wait_started("hand", "main")
    assert len(applications(api)) == APPS + 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGKILL])
def test_an_agent_that_ends_meanwhile_has_deployed_all_or_nothing(make_agent, number):
    agent = make_agent().start()
    api = Api(agent)
    assert Deploy(api, long_set(agent, 1)).status() == 200
    client = Deploy(api, long_set(agent, 2))
    client.wait_arrived()
    agent.send(number)
    agent.wait_exit()
    assert client.status() in (200, 409, None)
    agent.start()
    api = Api(agent)
    wait_for(lambda: len(applications(api)) == APPS, "all applications")
    assert generations_in_files(agent) in ([1] * APPS, [2] * APPS)
    assert not list(agent.source.glob(".edgible-deploy*"))


def test_an_agent_that_is_replaced_answers_first(agent):
    api = Api(agent)
    client = Deploy(api, long_set(agent, 1))
    client.wait_arrived()
    agent.send(signal.SIGUSR2)
    assert client.status() == 200
    agent.wait(lambda: any("switches to" in line for line in agent.lines()), "the new program")
    wait_for(lambda: len(applications(api)) == APPS, "all applications")
