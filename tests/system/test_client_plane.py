"""The commands against a control plane: a scripted one over HTTPS, and a real etcd."""

import email.utils
import http.server
import json
import os
import re
import signal
import threading
import time

import pytest
import yaml

from control_plane import Authority, ControlPlane, to_text
from etcd import Etcd, decode, encode, key
from harness import SLEEP, TEST_USER, is_alive, run_client, wait_for, workload
from test_https import plane, planes, point, secret  # noqa: F401 (fixtures)


@pytest.fixture(params=["https", "etcd"])
def fleet(request, tmp_path, make_agent):
    """A device with its agent, and what an operator gives to the commands."""
    agent = make_agent()
    if request.param == "https":
        with ControlPlane(agent.device) as server:
            agent.write_config(controlPlane={"https": {"url": server.url, "pollInterval": "1s",
                                                       "reportInterval": "1s"}})
            agent.server = server
            yield agent, ["--control-plane", server.url, "--device", agent.device]
    else:
        with Etcd(tmp_path / "etcd") as etcd:
            section = {"etcd": {"endpoints": etcd.endpoints, "reportInterval": "1s"}}
            agent.write_config(controlPlane=section)
            operator = tmp_path / "operator.yaml"
            operator.write_text(yaml.safe_dump({"device": {"name": agent.device},
                                                "controlPlane": section}))
            yield agent, ["--config", operator]


def stack(tmp_path, *documents):
    path = tmp_path / "stack.yaml"
    path.write_text(yaml.safe_dump_all(documents, sort_keys=False))
    return path


@pytest.mark.once
def test_from_a_laptop_to_a_process_and_back(fleet, tmp_path):
    agent, options = fleet
    agent.start()
    web, job = agent.app("web", workload("w", SLEEP)), agent.app("job", workload("j", SLEEP))
    file = stack(tmp_path, web, job)
    done = run_client(*options, "stack", "diff", "-f", file)
    assert done.returncode == 1 and "web: is new" in done.stdout, done.stderr
    begin = time.monotonic()
    done = run_client(*options, "stack", "deploy", "--new-device", "-f", file)
    print("the deploy took", time.monotonic() - begin, done.stdout)
    assert done.returncode == 0, done.stderr + done.stdout
    pid = agent.wait_started("web", "w")
    done = run_client(*options, "stack", "status", "-f", file, "--json")
    assert [(a["name"], a["status"]) for a in json.loads(done.stdout)] == \
        [("job", "running"), ("web", "running")]
    assert run_client(*options, "stack", "diff", "-f", file).returncode == 0
    apps = json.loads(run_client(*options, "application", "list", "--json").stdout)
    assert {a["name"] for a in apps} == {"web", "job"}
    web_id = next(a["id"] for a in apps if a["name"] == "web")
    got = json.loads(run_client(*options, "application", "get", "-i", web_id, "--json").stdout)
    assert got["workloads"][0]["pid"] == pid
    health = run_client(*options, "device", "application-health", "--name", agent.device)
    assert health.returncode == 0 and "running" in health.stdout, health.stderr
    assert re.search(r"web +w +running +0 +\d", health.stdout), health.stdout
    assert run_client(*options, "device", "health", "--name", agent.device).stdout == \
        "Health check OK\n"
    changed = stack(tmp_path, agent.app("web", workload("w", ["/bin/sleep", "77777"])), job)
    done = run_client(*options, "stack", "diff", "-f", changed)
    assert done.returncode == 1 and "restarted" in done.stdout and "command[1]" in done.stdout
    done = run_client(*options, "stack", "deploy", "-f", changed)
    assert done.returncode == 0, done.stderr + done.stdout
    assert not is_alive(pid)
    done = run_client(*options, "stack", "teardown", "-f", changed)
    assert done.returncode == 0, done.stderr + done.stdout
    assert {e["application"] for e in agent.events("removed")} == {"web", "job"}
    assert run_client(*options, "application", "get", "-i", "web").returncode == 1
    assert run_client(*options, "stack", "teardown", "--name", "web").returncode == 1


@pytest.mark.once
def test_what_does_not_come_up_is_told_with_its_last_lines(fleet, tmp_path):
    agent, options = fleet
    agent.start()
    broken = workload("w", ["/bin/sh", "-c", "echo it is broken; exit 3"], restart={
        "policy": "always", "initialDelay": "10ms", "rapidAfter": "60s", "maxRapidFailures": 1})
    file = stack(tmp_path, agent.app("web", broken))
    done = run_client(*options, "stack", "deploy", "--new-device", "-f", file)
    assert done.returncode == 1 and "did not come up" in done.stderr
    assert "it is broken" in done.stderr
    health = run_client(*options, "device", "health")
    assert health.returncode == 1 and "web/w is in status failed" in health.stdout


@pytest.mark.once
def test_what_was_rolled_back_is_a_failure(fleet, tmp_path):
    agent, options = fleet
    agent.start()
    good, bad = (agent.app("web", workload("w", command, restart={"maxRapidFailures": 1}))
                 for command in (SLEEP, ["/bin/sh", "-c", "exit 3"]))
    for app in (good, bad):
        app["spec"]["update"] = {"rollback": True, "healthyAfter": "100ms"}
    done = run_client(*options, "stack", "deploy", "--new-device", "-f", stack(tmp_path, good))
    assert done.returncode == 0, done.stderr
    agent.wait_started("web", "w")
    time.sleep(0.3)
    done = run_client(*options, "stack", "deploy", "-f", stack(tmp_path, bad))
    assert done.returncode == 1 and "deployed and up" not in done.stdout, done
    assert "was given up" in done.stderr and "web" in done.stderr


@pytest.mark.once
def test_what_the_devices_policy_refuses_is_a_failure(fleet, tmp_path):
    agent, options = fleet
    agent.write_config(yaml.safe_dump({**yaml.safe_load(agent.config_file.read_text()),
                                       "policy": {"maxWorkloads": 1}}))
    agent.start()
    one, two = workload("w", SLEEP), workload("x", SLEEP)
    new = stack(tmp_path, agent.app("web", one, two))
    done = run_client(*options, "stack", "deploy", "--new-device", "-f", new)
    assert done.returncode == 1 and "deployed and up" not in done.stdout, done
    assert "'web' is refused by the device" in done.stderr and "policy.maxWorkloads" in done.stderr
    done = run_client(*options, "stack", "deploy", "-f", stack(tmp_path, agent.app("web", one)))
    assert done.returncode == 0, done
    pid = agent.wait_started("web", "w")
    new = stack(tmp_path, agent.app("web", one, two))
    done = run_client(*options, "stack", "deploy", "-f", new)
    assert done.returncode == 1 and "the version before stays in force" in done.stderr, done
    assert is_alive(pid)


@pytest.mark.once
def test_a_device_that_is_not_heard_of(fleet, tmp_path):
    agent, options = fleet
    agent.start()
    file = stack(tmp_path, agent.app("web", workload("w", SLEEP)))
    done = run_client(*options, "stack", "deploy", "--new-device", "-f", file)
    assert done.returncode == 0, done.stderr
    agent.send(signal.SIGKILL)
    agent.wait_exit()
    if hasattr(agent, "server"):
        agent.server.reports[-1]["at"] = "2026-01-01T00:00:00.000Z"

    def health():
        done = run_client(*options, "device", "health", "--name", agent.device)
        return done if done.returncode == 1 else None

    done = wait_for(health, "the device to be missed")
    assert "not heard of: its last report is" in done.stdout and " old" in done.stdout
    done = run_client(*options, "device", "application-health", "--name", agent.device)
    assert done.returncode == 1 and "unknown" in done.stdout, done
    assert "it was running then" in done.stdout
    apps = json.loads(run_client(*options, "application", "list", "--json").stdout)
    assert [(a["status"], a["workloads"][0]["status"]) for a in apps] == [("unknown", "unknown")]
    assert "pid" not in apps[0]["workloads"][0]
    done = run_client(*options, "stack", "deploy", "--timeout", "300ms", "-f", file)
    assert done.returncode == 1 and "not heard of" in done.stdout, done
    file = stack(tmp_path, agent.app("web", workload("w", ["/bin/sleep", "7777"])))
    done = run_client(*options, "stack", "deploy", "--timeout", "300ms", "-f", file)
    assert done.returncode == 1 and "not heard of; this version waits" in done.stdout, done
    agent.start().wait_event("adopted", "web")


@pytest.mark.once
@pytest.mark.parametrize("interval, age, is_missed", [
    (60, 100, False), (60, 200, True), (600, 1000, False), (1, 9, False), (1, 40, True),
    (None, 100, False), (None, 200, True)])
def test_a_device_is_missed_by_its_own_interval_and_the_servers_clock(planes, interval, age,  # noqa: F811
                                                                      is_missed):
    server = planes("d1")
    agent = {"reportIntervalSeconds": interval} if interval else {}
    report = {"at": "2031-01-01T00:00:00.000Z", "agent": agent, "status": "running",
              "applications": []}
    server.report_headers = {"Last-Modified": email.utils.formatdate(time.time() - age, usegmt=True)}
    server._serve_report = lambda handler, body: server.reply(
        handler, 200, json.dumps(report).encode(), **server.report_headers)
    done = run_client("--control-plane", server.url, "--device", "d1", "device", "health")
    assert ("not heard of" in done.stdout) == is_missed, done
    del server.report_headers["Last-Modified"]
    report["at"] = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(time.time() - age))
    done = run_client("--control-plane", server.url, "--device", "d1", "device", "health")
    assert ("not heard of" in done.stdout) == is_missed, done


@pytest.mark.once
def test_a_device_that_ended_in_order(fleet, tmp_path):
    agent, options = fleet
    agent.start()
    file = stack(tmp_path, agent.app("web", workload("w", SLEEP)))
    done = run_client(*options, "stack", "deploy", "--new-device", "-f", file)
    assert done.returncode == 0, done.stderr
    agent.stop()
    done = run_client(*options, "device", "health", "--name", agent.device)
    assert done.returncode == 1 and "has ended, " in done.stdout, done
    done = run_client(*options, "stack", "status", "-f", file)
    assert "unknown" in done.stdout and "has ended" in done.stdout, done


@pytest.mark.once
def test_a_server_that_drips_costs_no_more_than_the_timeout(planes, make_agent, tmp_path):  # noqa: F811
    agent, server = make_agent(), planes("d1")
    file = stack(tmp_path, agent.app("web", workload("w", SLEEP), file_device="d1"))
    server.default = server.drip()
    done = run_client("--control-plane", server.url, "--device", "d1", "stack", "deploy",
                      "--timeout", "100ms", "-f", file)
    assert done.returncode == 3 and "no answer" in done.stderr, done


@pytest.mark.once
def test_a_new_device_is_asked_about(planes, make_agent, tmp_path):  # noqa: F811
    agent, server = make_agent(), planes("d1")
    file = stack(tmp_path, agent.app("web", workload("w", SLEEP), file_device="d2"))
    options = ["--control-plane", server.url, "--device", "d2"]
    done = run_client(*options, "stack", "deploy", "--no-wait", "-f", file)
    assert done.returncode == 1 and "no device 'd2'" in done.stderr and "--new-device" in done.stderr
    assert all(r.method == "GET" for r in server.requests)
    assert run_client(*options, "stack", "diff", "-f", file).returncode == 1
    done = run_client(*options, "stack", "deploy", "--no-wait", "--new-device", "-f", file)
    assert any(r.method == "PUT" and "/d2/" in r.path for r in server.requests), done


@pytest.mark.once
def test_what_a_control_plane_cannot_tell_is_said(fleet):
    agent, options = fleet
    for command in (["application", "logs", "-i", "web"], ["application", "events", "-i", "web"],
                    ["application", "why", "-i", "web"], ["application", "restart", "-i", "web"],
                    ["application", "update", "-i", "web", "--target-state", "suspended"],
                    ["agent", "status"], ["agent", "logs"]):
        done = run_client(*options, *command)
        assert done.returncode == 1 and "on the device" in done.stderr, done
        assert not done.stdout
    done = run_client(*options, "device", "health")
    assert done.returncode == 1 and "not reported" in done.stdout


@pytest.mark.once
def test_wrong_usage_and_no_answer(tmp_path):
    done = run_client("--control-plane", "http://example.com", "application", "list")
    assert done.returncode == 2 and "https" in done.stderr
    done = run_client("--control-plane", "https://127.0.0.1:1", "application", "list")
    assert done.returncode == 2 and "--device" in done.stderr
    done = run_client("--control-plane", "https://127.0.0.1:1", "application", "list",
                      "--device", "x")
    assert done.returncode == 3 and "did not answer" in done.stderr
    done = run_client("--control-plane", "https://127.0.0.1:1", "--socket", "/x", "application",
                      "list")
    assert done.returncode == 2


@pytest.mark.once
def test_the_operators_credentials(planes, make_agent, tmp_path):  # noqa: F811
    agent = make_agent()
    ca = Authority(tmp_path / "pki")
    server = planes(agent.device, tls=ca.issue("server"), client_ca=ca.file, token="operator")
    cert, private = ca.issue("operator")
    private.chmod(0o600)
    token = tmp_path / "token"
    token.write_text("operator\n")
    token.chmod(0o600)
    options = ["--control-plane", server.url, "--device", agent.device, "--ca-file", ca.file,
               "--cert-file", cert, "--key-file", private]
    file = stack(tmp_path, agent.app("web", workload("w", SLEEP)))
    done = run_client(*options, "stack", "deploy", "--no-wait", "-f", file)
    assert done.returncode == 4 and "401" in done.stderr
    done = run_client(*options, "--token-file", token, "stack", "deploy", "--no-wait", "-f", file)
    assert done.returncode == 0, done.stderr
    assert yaml.safe_load(server.applications["web"])["metadata"]["name"] == "web"
    done = run_client("--control-plane", server.url, "--device", agent.device, "application", "list")
    assert done.returncode == 3 and "certificate" in done.stderr


class Racing(http.server.BaseHTTPRequestHandler):
    """etcd in which somebody else is always a little faster."""

    def log_message(self, *args):
        pass

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        answer = {"header": {"cluster_id": "1", "revision": "7"}}
        if self.path == "/v3/kv/txn":
            document = yaml.safe_dump(self.server.theirs)
            where = body["compare"][0]["key"]
            answer["responses"] = [{"response_range": {"header": {"revision": "7"}, "kvs": [
                {"key": where, "mod_revision": "7", "value": encode(document)}]}}]
        if self.path == "/v3/kv/range" and self.server.strange:
            answer["kvs"] = [{"key": encode(key), "mod_revision": "7", "value": "e30="}
                             for key in self.server.strange]
        data = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@pytest.mark.once
def test_keys_that_were_not_asked_for_are_passed_over(tmp_path):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Racing)
    server.strange = ["x", "/edgible/v3/devices/d1/applications/a/b"]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    operator = tmp_path / "operator.yaml"
    operator.write_text(yaml.safe_dump({"controlPlane": {"etcd": {
        "endpoints": [f"http://127.0.0.1:{server.server_port}"]}}}))
    done = run_client("--config", str(operator), "--device", "d1", "application", "list", "--json")
    server.shutdown()
    server.server_close()
    assert done.returncode == 0 and json.loads(done.stdout) == [], done


@pytest.mark.once
def test_two_people_deploy_at_once(make_agent, tmp_path):
    agent = make_agent()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Racing)
    server.theirs = agent.app("web", workload("w", ["/bin/sleep", "1"]))
    server.strange = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    operator = tmp_path / "operator.yaml"
    operator.write_text(yaml.safe_dump({"controlPlane": {"etcd": {
        "endpoints": [f"http://127.0.0.1:{server.server_address[1]}"]}}}))
    file = stack(tmp_path, agent.app("web", workload("w", ["/bin/sleep", "2"])))
    done = run_client("--config", operator, "stack", "deploy", "--new-device", "-f", file)
    server.shutdown()
    server.server_close()
    assert done.returncode == 1, done
    assert "somebody else" in done.stderr and "web/w differs in command[1]" in done.stderr


@pytest.mark.once
def test_a_swap_counts_only_on_what_was_seen(make_agent, tmp_path):
    agent = make_agent()
    with Etcd(tmp_path / "etcd") as etcd:
        operator = tmp_path / "operator.yaml"
        operator.write_text(yaml.safe_dump({"controlPlane": {"etcd": {
            "endpoints": etcd.endpoints}}}))
        file = stack(tmp_path, agent.app("web", workload("w", SLEEP)))
        deploy = ["--config", operator, "stack", "deploy", "--no-wait", "-f", file]
        done = run_client(*deploy)
        assert done.returncode == 1 and "--new-device" in done.stderr, done
        assert agent.device in done.stderr and etcd.get(key(agent.device, "web")) is None
        for more in (["--new-device"], []):
            done = run_client(*deploy, *more)
            assert done.returncode == 0, done.stderr
        assert yaml.safe_load(etcd.get(key(agent.device, "web")))["metadata"]["name"] == "web"
        done = run_client("--config", operator, "--device", agent.device, "stack", "teardown",
                          "--no-wait", "--name", "web")
        assert done.returncode == 0 and etcd.get(key(agent.device, "web")) is None
