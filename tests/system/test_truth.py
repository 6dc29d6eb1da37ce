"""What the agent says, held against what is so: a random sequence of faults, and after each of them
every sentence of status, health, why and the report against /proc, the files and the control plane.

    EDGIBLE_TRUTH_STEPS=500 EDGIBLE_TRUTH_SEED=7 pytest tests/system/test_truth.py
"""

import os
import random
import re
import signal
import time

import pytest

from api import Api
from control_plane import ControlPlane
from harness import FAIL_AT_ONCE, RESTART_AT_ONCE, SLEEP, argv_of, is_alive, sh, wait_for, workload
from test_logs import mounted

STEPS = int(os.environ.get("EDGIBLE_TRUTH_STEPS", "10"))
SEED = int(os.environ.get("EDGIBLE_TRUTH_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 30)
BAD = {"failed", "rejected", "unhealthy", "backoff"}
LIVES = {"running", "unhealthy"}


class World:
    """What was done to the agent, and what must therefore be so."""

    def __init__(self, agent, plane, disk):
        self.agent, self.plane, self.api = agent, plane, Api(agent)
        self.program, self.flag, self.disk = agent.work / "program", agent.work / "flag", disk
        self.ballast = disk / "ballast"
        self.flag.touch()
        self.apps, self.is_away, self.is_full, self.kills = {}, False, False, 0
        self.wanted = {"good/main": "running", "sick/main": "running"}
        self.deploy("good", SLEEP, restart=RESTART_AT_ONCE)
        self.deploy("sick", SLEEP, restart={"policy": "never"}, healthCheck={
            "exec": ["/usr/bin/test", "-e", str(self.flag)], "interval": "100ms", "failures": 1})
        # A page of its log is full soon, and the log is not rotated.
        self.deploy("loud", sh("while :; do printf '%01000d\\n' 0; sleep 0.05; done"),
                    logFile=str(disk / "loud.log"))
        self.wanted["loud/main"] = "running"

    def deploy(self, name, command, **fields):
        self.apps[name] = self.agent.app(name, workload("main", command, **fields))
        self.plane.set(*self.apps.values())

    # what is done

    def kill_workload(self):
        pid = self.told("good")["pid"]
        os.kill(pid, signal.SIGKILL)
        self.kills += 1
        wait_for(lambda: self.told("good").get("pid") not in (None, pid), "its restart")

    def kill_agent(self):
        since = self.agent.mark()
        self.agent.send(signal.SIGKILL)
        self.agent.wait_exit()
        self.agent.start()
        self.agent.wait_event("adopted", "loud", since=since)
        self.api = Api(self.agent)  # waits for it
        if self.is_away:  # what was never accepted is known by the control plane alone
            self.wanted.pop("foreign/main", None)
        wait_for(lambda: self.source()["state"] == ("lost" if self.is_away else "ok"), "its source")

    def program_missing(self):
        """And there a moment later: the reason is that of when it failed."""
        if self.is_away or "lost" in self.apps:
            return
        self.deploy("lost", [str(self.program)], restart=FAIL_AT_ONCE)
        self.agent.wait_event("failed", "lost")
        self.program.write_text("#!/bin/sh\nexec sleep 1000000\n")
        self.program.chmod(0o755)
        self.wanted["lost/main"] = "failed"

    def policy_refuses(self):
        if self.is_away or "foreign" in self.apps:
            return
        self.deploy("foreign", ["/opt/nowhere/x"])
        self.agent.wait_event("policy-refused", "foreign")
        self.wanted["foreign/main"] = "rejected"

    def turn_health(self):
        if self.wanted["sick/main"] == "running":
            self.flag.unlink()
            self.wanted["sick/main"] = "unhealthy"  # its policy is never: it goes on
        else:
            self.flag.touch()
            self.wanted["sick/main"] = "running"

    def turn_plane(self):
        self.is_away = not self.is_away
        if not self.is_away and "foreign" in self.apps:
            self.wanted["foreign/main"] = "rejected"
        with self.plane.changed:
            self.plane.default = self.plane.status(503) if self.is_away else None
            self.plane.report_status = 503 if self.is_away else 204
        wait_for(lambda: self.source()["state"] == ("lost" if self.is_away else "ok"),
                 "the source to be told of", timeout=60)

    def turn_disk(self):
        self.is_full = not self.is_full
        if not self.is_full:
            self.ballast.unlink()
            return
        with open(self.ballast, "wb", buffering=0) as file:
            try:
                while True:
                    file.write(b"x" * 4096)
            except OSError:
                pass

    # what is told

    def told(self, application):
        return self.api.workload(application, "main")

    def source(self):
        return self.api.get("/v1/agent")["source"]

    def check(self):
        apps = self.api.get("/v1/applications")
        names = {app["name"] for app in apps}
        assert names == {name.split("/")[0] for name in self.wanted}, names
        pids = set()
        for app in apps:
            full = self.api.get(f"/v1/applications/{app['name']}")
            why = self.api.get(f"/v1/applications/{app['name']}/why")
            assert why["status"] == full["status"] == app["status"]
            if app["name"] == "foreign":  # no version of it was ever accepted
                assert "/opt/nowhere/x' is not among the policy.commands" in " ".join(why["because"])
                assert full["status"] == "rejected" and not full["workloads"], full
                continue
            assert len(full["workloads"]) == 1, full
            report, = full["workloads"]
            self.check_workload(app["name"], report, why["workloads"][0])
            if "pid" in report:
                pids.add(report["pid"])
        living = {p.pid for p in self.agent.living()}
        assert pids <= living and all(is_alive(pid) for pid in pids), (pids, living)
        self.check_health({app["name"]: app["status"] for app in apps})
        state = self.source()
        assert state["state"] == ("lost" if self.is_away else "ok"), state
        assert ("503" in state.get("error", "")) == self.is_away, state

    def check_workload(self, name, report, why):
        assert report["status"] == why["status"] == self.wanted[f"{name}/main"], (report, why)
        because, following = " ".join(why["because"]), why["next"]
        assert ("pid" in report) == (report["status"] in LIVES), report
        if "pid" in report:
            command = self.apps[name]["spec"]["workloads"][0]["command"]
            assert argv_of(report["pid"]) == command, report
            began = os.stat(f"/proc/{report['pid']}").st_mtime
            assert abs(time.time() - report["uptimeSeconds"] - began) < 2, report
        assert (following == "nothing: it runs") == (report["status"] == "running"), why
        assert ("its log cannot be written" in because) == (name == "loud" and self.is_full), because
        restarts = re.search(r"it was restarted (\d+) times? so far", because)
        assert int(restarts[1] if restarts else 0) == report["restarts"] if "restarts" in report \
            else not restarts, why
        if name == "good":
            assert report["restarts"] == self.kills, report
            assert ("killed by SIGKILL" in because) == (self.kills > 0), because
        elif name == "lost":
            assert "there is no such file (exec: ENOENT)" in report["reason"], report
        elif name == "sick" and report["status"] == "unhealthy":
            assert "health check" in because, because

    def check_health(self, statuses):
        answer = self.api.request("GET", "/v1/health")
        reasons = answer.json()["reasons"]
        bad = {name for name, status in statuses.items() if status in BAD}
        named = {n for n in statuses for r in reasons if r.startswith((f"{n}/", f"{n}:"))}
        assert bad <= named, (bad, reasons)
        assert named - bad <= ({"loud"} if self.is_full else set()), (named, bad, reasons)
        assert any(r.startswith("the source ") for r in reasons) == self.is_away, reasons
        assert answer.status == (503 if reasons else 200)

    def check_report(self):
        def agrees():
            last = self.plane.reports[-1] if self.plane.reports else {"applications": []}
            told = {f"{a['name']}/{w['name']}": (w["status"], w.get("pid"))
                    for a in last["applications"] for w in a["workloads"]}
            return told == {f"{n.split('/')[0]}/main": (s, self.told(n.split("/")[0]).get("pid"))
                            for n, s in self.wanted.items() if s != "rejected"}
        wait_for(agrees, "the report to say the same", timeout=30)


def hold(check, seconds=5):
    """What is told follows what is so at once, or a moment later: but it must come to be true."""
    until = time.monotonic() + seconds
    while True:
        try:
            return check()
        except AssertionError:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)


@pytest.mark.as_root
def test_what_is_said_is_so_after_any_sequence_of_faults(make_agent):
    print(f"EDGIBLE_TRUTH_SEED={SEED}")
    chance = random.Random(SEED)
    agent = make_agent()
    with ControlPlane(agent.device, waits=False) as plane, \
            mounted(agent.folder / "disk", "-t", "tmpfs", "-o", "mode=0755,size=256k", "tmpfs"):
        agent.write_config(
            controlPlane={"https": {"url": plane.url, "pollInterval": "1s", "reportInterval": "5s"}},
            policy={"commands": ["/bin/**", "/usr/bin/**", f"{agent.work}/**"],
                    "writePaths": [f"{agent.folder}/**"]})
        agent.start()
        world = World(agent, plane, agent.folder / "disk")
        for name in ("good", "sick", "loud"):
            agent.wait_started(name, "main")
        hold(world.check)
        faults = [world.kill_workload, world.kill_agent, world.program_missing,
                  world.policy_refuses, world.turn_health, world.turn_plane, world.turn_disk]
        order = chance.sample(faults, len(faults)) + chance.choices(faults, k=STEPS)
        for number, fault in enumerate(order[:STEPS]):
            print(number, fault.__name__)
            fault()
            hold(world.check)
        if world.is_away:
            world.turn_plane()
        hold(world.check_report)
        agent.stop()
