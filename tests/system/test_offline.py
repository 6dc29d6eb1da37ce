"""A device in a network namespace of its own, whose link is cut."""

import random
import shutil
import socket
import subprocess
import time
import uuid

import pytest
import yaml

from api import Api
from control_plane import ControlPlane
from harness import RESTART_AT_ONCE, SLEEP, is_alive, run_client, wait_for, workload


def ip(*args):
    done = subprocess.run(["ip", *args], capture_output=True, text=True)
    assert done.returncode == 0, f"ip {' '.join(args)}: {done.stderr}"


class Link:
    """A namespace that reaches this one, and nothing else."""

    def __init__(self):
        self.name = "edg-" + uuid.uuid4().hex[:8]
        self.outside, self.inside = self.name[:11] + "o", self.name[:11] + "i"
        net = f"10.{random.randint(64, 250)}.{random.randint(0, 250)}"
        self.host = f"{net}.1"
        ip("netns", "add", self.name)
        ip("link", "add", self.outside, "type", "veth", "peer", "name", self.inside)
        ip("link", "set", self.inside, "netns", self.name)
        ip("addr", "add", f"{net}.1/30", "dev", self.outside)
        ip("link", "set", self.outside, "up")
        for command in (["addr", "add", f"{net}.2/30", "dev", self.inside],
                        ["link", "set", self.inside, "up"], ["link", "set", "lo", "up"]):
            ip("-n", self.name, *command)

    @property
    def prefix(self):
        return ["nsenter", f"--net=/run/netns/{self.name}"]

    def cut(self):
        ip("link", "set", self.outside, "down")

    def restore(self):
        ip("link", "set", self.outside, "up")

    def remove(self):
        subprocess.run(["ip", "link", "del", self.outside], capture_output=True)
        subprocess.run(["ip", "netns", "del", self.name], capture_output=True)


@pytest.fixture
def link():
    made = Link()
    yield made
    made.remove()


def boot(agent, link):
    """The prefix of an agent after a reboot: another boot id, and runtimeDir is gone."""
    shutil.rmtree(agent.runtime_dir)
    other = agent.folder / ("boot_id-" + uuid.uuid4().hex)
    other.write_text(str(uuid.uuid4()) + "\n")
    script = f"mount --bind {other} /proc/sys/kernel/random/boot_id && exec \"$@\""
    return [*link.prefix, "unshare", "--mount", "/bin/sh", "-c", script, "sh"]


@pytest.mark.as_root
@pytest.mark.once
def test_days_without_contact_and_a_reboot(make_agent, link, tmp_path):
    agent = make_agent()
    with ControlPlane(agent.device, host=link.host, waits=False) as plane:
        section = {"https": {"url": plane.url, "insecure": True, "pollInterval": "1s",
                             "reportInterval": "1s"}}
        agent.write_config(controlPlane=section)
        operator = tmp_path / "operator.yaml"
        operator.write_text(yaml.safe_dump({"controlPlane": section}))
        agent.start(prefix=link.prefix)

        # From a laptop to another device, and back.
        file = tmp_path / "stack.yaml"
        chatty = workload("c", ["/bin/sleep", "0.02"], restart=RESTART_AT_ONCE)
        file.write_text(yaml.safe_dump_all([
            agent.app("web", workload("w", SLEEP)), agent.app("chatty", chatty)]))
        done = run_client("--config", operator, "stack", "deploy", "--no-wait", "-f", file)
        assert done.returncode == 0, done.stderr
        pid = agent.wait_started("web", "w")
        wait_for(lambda: run_client(
            "--config", operator, "device", "application-health", "--name", agent.device
        ).stdout.count("running"), "its health to be known here")

        # The link goes. Workloads go on, and so does what happens to them.
        link.cut()
        agent.wait_event("source-lost", timeout=120)
        # Not by the log, which leaves out lines where there are many about one workload.
        api = Api(agent)
        since = api.get("/v1/agent")["lastEvent"]
        agent.wait(lambda: api.get("/v1/agent")["lastEvent"] > since + 1200, "many events")
        assert is_alive(pid)
        reported = len(plane.reports)

        # A reboot meanwhile: everything starts from what was accepted last.
        agent.stop()
        last = max(int(e["seq"]) for e in agent.events())
        since = agent.mark()
        agent.start(prefix=boot(agent, link))
        agent.wait_started("web", "w", since)
        agent.wait_started("chatty", "c", since)
        assert len(plane.reports) == reported and not agent.events("removed")

        # It comes back: all is told, and what is too much is counted.
        link.restore()
        plane.wait_report(lambda r: any(e["seq"] > last for e in r["events"]),
                          "an event of after the reboot")
        told = {e["seq"] for r in plane.reports for e in r["events"]}
        missing = last - len([seq for seq in told if seq <= last])
        lost = sum(r.get("eventsLost", 0) for r in plane.reports)
        # A report that arrived, and whose answer did not, counts as lost: one at most was cut.
        assert 0 < missing <= lost <= missing + 500
        boots = {r["agent"]["bootId"] for r in plane.reports}
        assert len(boots) == 2
        plane.set(agent.app("web", workload("w", SLEEP)))
        agent.wait_event("removed", "chatty", since=since)


@pytest.mark.as_root
@pytest.mark.once
def test_a_name_server_that_says_nothing_holds_up_nothing(make_agent, link):
    agent = make_agent()
    agent.write_config(controlPlane={"directory": str(agent.source)})
    agent.start()
    agent.run("web", workload("w", ["/bin/sleep", "0.05"], restart=RESTART_AT_ONCE))
    agent.stop()
    silent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    silent.bind((link.host, 53))
    resolver = agent.folder / "resolv.conf"
    resolver.write_text(f"nameserver {link.host}\noptions timeout:30 attempts:5\n")
    agent.write_config(controlPlane={"https": {"url": "https://control.example.com",
                                               "pollInterval": "1s"}})
    script = f"mount --bind {resolver} /etc/resolv.conf && exec \"$@\""
    since = agent.mark()
    agent.start(prefix=[*link.prefix, "unshare", "--mount", "/bin/sh", "-c", script, "sh"])
    silent.settimeout(30)
    assert b"control" in silent.recv(512), "the name is being looked up"
    agent.wait(lambda: len(agent.events("exited", "web", since=since)) > 20, "all to go on")
    begin = time.monotonic()
    Api(agent).get("/v1/applications")
    agent.stop()
    assert time.monotonic() - begin < 10  # the look-up takes 150 s
    silent.close()
