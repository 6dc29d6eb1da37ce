"""Desired state from etcd: real servers."""

import contextlib
import gzip
import http.server
import json
import os
import signal
import subprocess
import threading
import time

import pytest
import yaml

from api import Api
from control_plane import Authority
from etcd import Etcd, encode, key
from harness import SLEEP, cpu_seconds, is_alive, run_client, wait_for, workload
from test_https import secret, source


@pytest.fixture
def cluster(tmp_path):
    with Etcd(tmp_path / "etcd") as etcd:
        yield etcd


def point(agent, etcd, **options):
    # The interval bounds the first contact's delay, too.
    section = {"endpoints": etcd.endpoints, "reportInterval": "1s", **options}
    agent.write_config(controlPlane={"etcd": section})
    return agent


def report_of(etcd, agent):
    text = etcd.get(f"/edgible/v3/devices/{agent.device}/report")
    return json.loads(text) if text else None


def test_applications_run_change_and_go(cluster, make_agent):
    agent = point(make_agent(), cluster)
    cluster.put(key(agent.device, "web"), agent.app("web", workload("w", SLEEP)))
    agent.start()
    agent.wait_started("web", "w")
    state = wait_for(lambda: source(agent)["state"] == "ok" and source(agent), "contact")
    assert (state["type"], state["mode"]) == ("etcd", "watch")
    assert state["location"] in cluster.endpoints
    slowest = 0
    for number in range(5):
        since = agent.mark()
        begin = time.monotonic()
        cluster.put(key(agent.device, "job"),
                    agent.app("job", workload("j", ["/bin/sleep", str(1000000 + number)])))
        pid = agent.wait_started("job", "j", since)
        slowest = max(slowest, time.monotonic() - begin)
    print(f"the slowest of 5 changes took {slowest:.3f} s")
    cluster.delete(key(agent.device, "web"))
    agent.wait_event("removed", "web")
    assert is_alive(pid)
    cluster.delete(key(agent.device, "job"))
    agent.wait_event("removed", "job")


@pytest.mark.once
def test_invalid_and_strange_keys_touch_nothing(cluster, make_agent):
    agent = point(make_agent(), cluster)
    cluster.put(key(agent.device, "web"), agent.app("web", workload("w", SLEEP)))
    agent.start()
    pid = agent.wait_started("web", "w")
    base = f"/edgible/v3/devices/{agent.device}"
    for number, (at, value) in enumerate((
            (key(agent.device, "web"), "{ not: [closed"),
            (key(agent.device, "web"), ""),
            (key(agent.device, "web"), b"\xff\xfe\x00"),
            (key(agent.device, "web"), "# nothing\n"),
            (key(agent.device, "web"), agent.app("other", workload("w", SLEEP))),
            (key(agent.device, "web"), agent.app("web", workload("w", SLEEP, restart={"policy": "x"}))),
            (base + "/applications/a/b", agent.app("b", workload("w", SLEEP))),
            (base + "/applications/", agent.app("c", workload("w", SLEEP))),
            (base + "/applications", agent.app("d", workload("w", SLEEP))),
            (base + "x/applications/e", agent.app("e", workload("w", SLEEP))))):
        cluster.put(at, value)
        cluster.put(key(agent.device, f"n{number}"), agent.app(f"n{number}", workload("w", SLEEP)))
        agent.wait_started(f"n{number}", "w")  # which comes after it
        assert is_alive(pid)
    assert not agent.events("removed") and len(agent.events("rejected")) == 6
    names = {a["name"] for a in Api(agent).get("/v1/applications")}
    assert names == {"web"} | {f"n{n}" for n in range(10)}
    # The next agent knows the good version from its records alone.
    since = agent.mark()
    agent.send(signal.SIGKILL)
    agent.wait_exit()
    agent.start()
    agent.wait_event("rejected", "web", since=since)
    agent.wait_event("adopted", "web", "w", since=since)
    cluster.delete(key(agent.device, "n0"))
    agent.wait_event("removed", "n0", since=since)
    assert is_alive(pid)
    cluster.delete(key(agent.device, "web"))
    agent.wait_event("removed", "web", since=since)


def test_reports_and_online(cluster, make_agent):
    agent = point(make_agent(), cluster, reportInterval="2s")
    cluster.put(key(agent.device, "web"), agent.app("web", workload("w", SLEEP)))
    agent.start().wait_started("web", "w")
    report = wait_for(lambda: (r := report_of(cluster, agent)) and r["applications"] and
                      r["status"] == "running" and r, "a report")
    assert int(report["desired"]["etag"]) <= cluster.revision()
    online = f"/edgible/v3/devices/{agent.device}/online"
    wait_for(lambda: cluster.get(online), "the device to be online")
    leases = cluster.call("/v3/lease/leases", {})["leases"]
    assert len(leases) == 1
    time_to_live = cluster.call("/v3/lease/timetolive", {"ID": leases[0]["ID"]})
    assert time_to_live["grantedTTL"] == "6"
    begin = time.monotonic()
    wait_for(lambda: time.monotonic() - begin > 7 and cluster.get(online),
             "it to be online beyond the lease")
    agent.send(signal.SIGKILL)
    agent.wait_exit()
    wait_for(lambda: cluster.get(online) is None, "it to be gone with its device", 30)
    assert report_of(cluster, agent)["applications"], "the last word stays"
    agent.start()
    wait_for(lambda: cluster.get(online), "it to be back")


@pytest.mark.once
def test_online_comes_back_where_it_was_deleted_and_goes_with_an_agent_that_ends(cluster, make_agent):
    agent = point(make_agent(), cluster, reportInterval="1s")
    cluster.put(key(agent.device, "web"), agent.app("web", workload("w", SLEEP)))
    agent.start().wait_started("web", "w")
    online = f"/edgible/v3/devices/{agent.device}/online"
    wait_for(lambda: cluster.get(online), "the device to be online")
    cluster.delete(online)
    wait_for(lambda: cluster.get(online), "it to be online again")
    wait_for(lambda: report_of(cluster, agent), "a report")
    agent.stop()
    assert cluster.get(online) is None
    assert report_of(cluster, agent)["status"] == "ended"
    revision = cluster.revision()
    agent.start()
    wait_for(lambda: cluster.get(online), "it to be online")
    agent.send(signal.SIGKILL)  # without a word
    agent.wait_exit()
    assert cluster.get(online) and cluster.revision() < revision + 10
    agent.start().wait_event("adopted", "web", "w")


@pytest.mark.once
def test_a_lease_that_is_gone_is_taken_anew(cluster, make_agent):
    agent = point(make_agent(), cluster, reportInterval="1s")
    agent.start()
    online = f"/edgible/v3/devices/{agent.device}/online"
    wait_for(lambda: cluster.get(online), "the device to be online")
    cluster.call("/v3/lease/revoke", {"ID": cluster.call("/v3/lease/leases", {})["leases"][0]["ID"]})
    assert cluster.get(online) is None
    wait_for(lambda: cluster.get(online), "it to be online again")


@pytest.mark.once
def test_the_history_is_compacted_while_the_agent_is_away(cluster, make_agent):
    agent = point(make_agent(), cluster)
    cluster.put(key(agent.device, "web"), agent.app("web", workload("w", SLEEP)))
    agent.start()
    pid = agent.wait_started("web", "w")
    member = cluster.members[0]
    wait_for(lambda: source(agent)["state"] == "ok", "contact")
    os.kill(agent.pid, signal.SIGSTOP)
    for number in range(20):
        cluster.put(key(agent.device, f"n{number % 2}"),
                    agent.app(f"n{number % 2}", workload("w", ["/bin/sleep", str(10000 + number)])))
    cluster.delete(key(agent.device, "n0"))
    member.kill()  # the stream breaks, and with it what etcd had to send
    member.start()
    wait_for(cluster.is_up, "etcd")
    cluster.call("/v3/kv/compaction", {"revision": str(cluster.revision())})
    os.kill(agent.pid, signal.SIGCONT)
    agent.wait_started("n1", "w")
    wait_for(lambda: {a["name"] for a in Api(agent).get("/v1/applications")} == {"web", "n1"},
             "exactly what etcd has")
    assert is_alive(pid) and not agent.events("removed", "web")


@pytest.mark.once
def test_etcd_is_away_and_comes_back(cluster, make_agent):
    agent = point(make_agent(), cluster)
    cluster.put(key(agent.device, "web"), agent.app("web", workload("w", SLEEP)))
    agent.start()
    pid = agent.wait_started("web", "w")
    cluster.members[0].kill()
    agent.wait_event("source-lost")
    cluster.members[0].start()
    agent.wait_event("source-back")
    wait_for(cluster.is_up, "etcd")
    cluster.put(key(agent.device, "job"), agent.app("job", workload("w", SLEEP)))
    agent.wait_started("job", "w")
    assert is_alive(pid)


@pytest.mark.once
@pytest.mark.parametrize("meanwhile", ["nothing", "another application", "kill -9 of the agent"])
def test_an_etcd_that_lost_this_devices_keys_removes_nothing(tmp_path, make_agent, meanwhile):
    with Etcd(tmp_path / "etcd") as etcd:
        agent = point(make_agent(), etcd, reportInterval="1s")
        etcd.put(key(agent.device, "web"), agent.app("web", workload("w", SLEEP)))
        agent.start()
        pid = agent.wait_started("web", "w")
        wait_for(lambda: report_of(etcd, agent), "a report")
        wait_for(lambda: (agent.state_dir / "etcd" / "known.json").exists(), "the record")
        wait_for(lambda: not (agent.runtime_dir / "pending").stat().st_size, "the disk")
        since = agent.mark()
        if meanwhile == "kill -9 of the agent":
            agent.send(signal.SIGKILL)
            agent.wait_exit()
        etcd.members[0].lose_data()
        wait_for(etcd.is_up, "etcd")
        if meanwhile == "another application":
            etcd.put(key(agent.device, "other"), agent.app("other", workload("w", SLEEP)))
        if not agent.is_running():
            agent.start()
        agent.wait(lambda: "keys are gone" in (source(agent).get("error") or ""), "it to say")
        wait_for(lambda: report_of(etcd, agent), "a report")
        # Also the next agent remembers, although its report is there again.
        agent.send(signal.SIGKILL)
        agent.wait_exit()
        agent.start()
        agent.wait(lambda: "keys are gone" in (source(agent).get("error") or ""), "it to say so again")
        assert is_alive(pid) and not agent.events("removed", since=since)
        assert f"/edgible/v3/devices/{agent.device}/confirm" in source(agent)["error"]
        etcd.put(f"/edgible/v3/devices/{agent.device}/confirm", "yes")
        agent.wait_event("removed", "web")
        if meanwhile == "another application":
            agent.wait_started("other", "w")
        agent.wait(lambda: source(agent)["state"] == "ok", "contact")


@pytest.mark.once
def test_a_device_without_applications_asks_nobody_whether_its_etcd_is_right(tmp_path, make_agent):
    with Etcd(tmp_path / "etcd") as etcd:
        agent = point(make_agent(), etcd, reportInterval="1s")
        agent.start()
        wait_for(lambda: report_of(etcd, agent), "a report")
        etcd.members[0].lose_data()
        wait_for(etcd.is_up, "etcd")
        etcd.put(key(agent.device, "web"), agent.app("web", workload("w", SLEEP)))
        agent.wait_started("web", "w")


@pytest.mark.once
def test_a_cluster_of_which_members_are_killed(tmp_path, make_agent):
    with Etcd(tmp_path / "etcd", size=3) as etcd:
        agent = point(make_agent(), etcd)
        etcd.put(key(agent.device, "web"), agent.app("web", workload("w", SLEEP)))
        agent.start()
        pid = agent.wait_started("web", "w")
        used = next(m for m in etcd.members if m.url == source(agent)["location"])
        number = 0
        for victim in (lambda: used, etcd.leader, etcd.leader):
            member = victim()
            since = agent.mark()
            member.kill()
            for _ in range(3):
                number += 1
                wait_for(lambda: _try(lambda: etcd.put(
                    key(agent.device, "job"),
                    agent.app("job", workload("w", ["/bin/sleep", str(1000 + number)])))),
                    "the two others to take a deploy")
                wait_for(lambda: any(
                    w["status"] == "running" and argv(w["pid"])[1] == str(1000 + number)
                    for a in Api(agent).get("/v1/applications") if a["name"] == "job"
                    for w in a["workloads"] if w.get("pid")), "the deploy to run")
            member.start()
            wait_for(lambda: _try(lambda: etcd.call("/v3/kv/range", {"key": encode("x")}, member)),
                     "the member to be back")
        assert is_alive(pid) and not agent.events("removed")


@pytest.mark.once
def test_a_member_that_stands_still_is_left(tmp_path, make_agent):
    """Its stream is as silent as one of a dead link."""
    with Etcd(tmp_path / "etcd", size=3) as etcd:
        agent = point(make_agent(), etcd)
        etcd.put(key(agent.device, "web"), agent.app("web", workload("w", SLEEP)))
        agent.start()
        pid = agent.wait_started("web", "w")
        used = next(m for m in etcd.members if m.url == source(agent)["location"])
        online = f"/edgible/v3/devices/{agent.device}/online"
        wait_for(lambda: etcd.get(online), "the device to be online")
        os.kill(used.process.pid, signal.SIGSTOP)
        wait_for(lambda: source(agent)["location"] != used.url, "another member to be asked")
        other = next(m for m in etcd.members if m is not used)
        wait_for(lambda: _try(lambda: etcd.call("/v3/kv/put", {
            "key": encode(key(agent.device, "job")), "value": encode(
                yaml.safe_dump(agent.app("job", workload("w", SLEEP))))}, other)), "a deploy")
        agent.wait_started("job", "w")
        # A command asks the next one soon, and does not wait 20 s for each of its requests.
        config = agent.folder / "operator.yaml"
        config.write_text(yaml.safe_dump({"device": {"name": "x"}, "controlPlane": {
            "etcd": {"endpoints": [used.url, *(m.url for m in etcd.members if m is not used)]}}}))
        begin = time.monotonic()
        done = run_client("--config", config, "device", "health", "--name", agent.device)
        assert done.stdout and time.monotonic() - begin < 20, done.stderr
        os.kill(used.process.pid, signal.SIGCONT)
        assert is_alive(pid) and not agent.events("removed")


def _try(do):
    try:
        do()
        return True
    except (OSError, AssertionError):
        return False


def argv(pid):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return (file.read().decode().split("\0") + ["", ""])[:3]
    except OSError:
        return ["", "", ""]


def test_a_user_who_is_confined_to_the_device(cluster, make_agent):
    agent = make_agent()
    prefix = f"/edgible/v3/devices/{agent.device}/"
    cluster.enable_auth("device-user", "right", prefix)
    password = secret(agent, "password", "wrong\n")
    point(agent, cluster, username="device-user", passwordFile=str(password), reportInterval="1s")
    cluster.put(key(agent.device, "web"), agent.app("web", workload("w", SLEEP)))
    agent.start()
    assert "authentication failed" in agent.wait_event("source-lost")["reason"]
    password.write_text("right\n")
    agent.wait_event("source-back")
    pid = agent.wait_started("web", "w")
    wait_for(lambda: report_of(cluster, agent), "a report")
    # The server forgets its tokens: a new one is fetched.
    cluster.members[0].kill()
    cluster.members[0].start()
    wait_for(lambda: _try(cluster.login), "etcd")
    cluster.put(key(agent.device, "job"), agent.app("job", workload("w", SLEEP)))
    agent.wait_started("job", "w")
    assert is_alive(pid)


@pytest.mark.once
@pytest.mark.parametrize("how", ["the token runs out", "users change"])
def test_a_token_that_ends_costs_neither_reports_nor_the_watch(tmp_path, make_agent, how):
    """A JWT of a few seconds: nothing is lost, and nothing is said to be."""
    for args in (["genrsa", "-out", "jwt.key", "2048"], ["rsa", "-in", "jwt.key", "-pubout", "-out", "jwt.pub"]):
        subprocess.run(["openssl", *args], cwd=tmp_path, check=True, capture_output=True)
    ttl = "2s" if how == "the token runs out" else "10m"
    etcd = Etcd(tmp_path / "etcd")
    etcd.options += ["--auth-token", f"jwt,pub-key={tmp_path}/jwt.pub,priv-key={tmp_path}/jwt.key,"
                                     f"sign-method=RS256,ttl={ttl}"]
    with etcd:
        agent = make_agent()
        etcd.enable_auth("device-user", "right", f"/edgible/v3/devices/{agent.device}/")
        password = secret(agent, "password", "right\n")
        point(agent, etcd, username="device-user", passwordFile=str(password), reportInterval="1s")
        etcd.put(key(agent.device, "web"), agent.app("web", workload("w", SLEEP)))
        agent.start().wait_started("web", "w")

        def sequence():
            etcd.login()
            report = report_of(etcd, agent)
            return report["agent"]["sequence"] if report else 0

        first = wait_for(sequence, "a report")
        if how == "users change":
            etcd.login()
            etcd.call("/v3/auth/user/add", {"name": "other", "password": "x"})
        else:
            begin = time.monotonic()
            wait_for(lambda: time.monotonic() - begin > 5, "tokens to run out")
        since = sequence()
        wait_for(lambda: sequence() > since + 1, "two more reports")
        assert since >= first
        etcd.login()
        online = f"/edgible/v3/devices/{agent.device}/online"
        assert etcd.get(online)
        etcd.put(key(agent.device, "job"), agent.app("job", workload("w", SLEEP)))
        agent.wait_started("job", "w")
        assert not agent.events("source-lost")
        assert not any("report was not taken" in line for line in agent.lines())


def test_client_certificates(tmp_path, make_agent):
    agent = make_agent()
    ca = Authority(tmp_path / "pki")
    with Etcd(tmp_path / "etcd", tls=ca.issue("server"), ca=ca, client_auth=True) as etcd:
        files = {}
        cert, private = ca.issue("device")
        for option, path in (("caFile", ca.file), ("certFile", cert), ("keyFile", private)):
            files[option] = str(secret(agent, option, path.read_text()))
        point(agent, etcd, **files)
        etcd.put(key(agent.device, "web"), agent.app("web", workload("w", SLEEP)))
        agent.start().wait_started("web", "w")
        other = Authority(tmp_path / "pki2")
        stranger = point(make_agent(), etcd, caFile=str(secret(agent, "other", other.file.read_text())))
        (agent.folder / "other").chmod(0o644)
        stranger.start()
        assert "certificate" in stranger.wait_event("source-lost")["reason"]


@pytest.mark.once
def test_what_is_deleted_while_the_agent_is_away_is_removed(cluster, make_agent):
    agent = point(make_agent(), cluster)
    cluster.put(key(agent.device, "web"), agent.app("web", workload("w", SLEEP)))
    agent.start().wait_started("web", "w")
    agent.send(signal.SIGUSR1)
    agent.wait_exit()
    cluster.delete(key(agent.device, "web"))
    since = agent.mark()
    agent.start()
    agent.wait_event("removed", "web", since=since)


# --- a gateway that is none ------------------------------------------------------------------------

class Gateway(http.server.BaseHTTPRequestHandler):
    """Answers a range with the keys of the test, a watch as it says, and all else as done. A single
    key is there, whatever it is."""

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        revision = max([self.server.revision, *(int(kv["mod_revision"]) for kv in self.server.kvs)])
        header = {"cluster_id": "1", "revision": str(revision)}
        self.send_response(200)
        if self.path == "/v3/watch" and self.server.coding:
            self.send_header("Content-Encoding", self.server.coding)
        self.end_headers()
        if self.path == "/v3/kv/range":
            is_one = "range_end" not in asked
            kvs = [{"key": asked["key"], "mod_revision": "1"}] if is_one else self.server.kvs
            answer = {"header": header, "kvs": kvs, "count": str(len(kvs))}
            is_strange = self.server.answer is not None and not is_one
            self.wfile.write((self.server.answer if is_strange else json.dumps(answer)).encode())
            self.server.strange += is_strange
        elif self.path == "/v3/watch":
            self.server.watches += 1
            self.server.asked_with = dict(self.headers)
            created = {"result": {"header": header, "created": True}}
            if not self.server.coding:
                self.wfile.write(json.dumps(created).encode() + b"\n")
            with contextlib.suppress(OSError):
                self.server.watch(self.wfile)
        else:
            done = {"header": header, "ID": "7", "TTL": "60", "succeeded": True}
            self.wfile.write(json.dumps(done).encode())

    def log_message(self, *args):
        pass


@contextlib.contextmanager
def gateway(watch, kvs=(), coding=None):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Gateway)
    server.daemon_threads = True
    server.watch, server.kvs, server.watches, server.coding = watch, list(kvs), 0, coding
    server.answer, server.strange, server.revision = None, 0, 7
    threading.Thread(target=server.serve_forever, daemon=True).start()
    server.endpoints = [f"http://127.0.0.1:{server.server_port}"]
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.once
def test_a_watch_that_begins_well_and_goes_on_without_an_end_is_asked_ever_less_often(make_agent):
    def endless(out):
        while True:
            out.write(b"x" * (1 << 20))

    with gateway(endless) as server:
        agent = point(make_agent(), server).start()
        wait_for(lambda: server.watches >= 3, "three watches")
        begin = server.watches
        until = time.monotonic() + 10
        wait_for(lambda: time.monotonic() > until, "ten seconds")
        # Without growing pauses of at most a second each it would be 20 and more.
        assert server.watches - begin <= 10
        lost = agent.wait_event("source-lost")["reason"]
        assert "line of more than 12 MiB" in lost


PROGRESS = json.dumps({"result": {"header": {"revision": "7"}}}).encode() + b"\n"


@pytest.mark.once
def test_a_compressed_watch_is_not_decoded(make_agent):
    """64 KiB of it would be two million lines in one turn of the loop."""
    packed = gzip.compress(PROGRESS * ((64 << 20) // len(PROGRESS)))

    def watch(out):
        out.write(packed)
        time.sleep(600)  # a thread of a daemon; the agent does not wait for it

    with gateway(watch, coding="gzip") as server:
        agent = point(make_agent(), server).start()
        assert "Content-Encoding" in agent.wait_event("source-lost")["reason"]
        assert "Accept-Encoding" not in server.asked_with


@pytest.mark.once
def test_a_watch_that_never_ends_takes_a_part_of_one_processor(make_agent):
    """Lines that are all well, as fast as they are taken."""
    taken = [0]

    def endless(out):
        while True:
            out.write(PROGRESS * 1000)
            out.flush()
            taken[0] += 1000 * len(PROGRESS)

    with gateway(endless) as server:
        agent = point(make_agent(), server).start()
        wait_for(lambda: taken[0] > 1 << 20, "1 MiB to be taken")
        before, begin = cpu_seconds(agent.pid), time.monotonic()
        wait_for(lambda: taken[0] > 4 << 20, "4 MiB to be taken")
        assert cpu_seconds(agent.pid) - before < 0.7 * (time.monotonic() - begin)
        assert server.watches == 1
        agent.stop()


@pytest.mark.once
@pytest.mark.parametrize("answer", [
    '{"header":{}}', '{"header":{"cluster_id":"999","revision":"200"}}'],
    ids=["no revision", "another cluster"])
def test_an_answer_that_is_not_whole_removes_nothing(make_agent, answer):
    agent, end = make_agent(), threading.Event()
    kvs = [key_of(agent, "app", 7, workload("w", SLEEP))]

    def watch(out):
        if server.answer:
            canceled = {"header": {"revision": "8"}, "canceled": True, "compact_revision": "8"}
            out.write(json.dumps({"result": canceled}).encode() + b"\n")
            return
        end.wait(600)

    with gateway(watch, kvs) as server:
        point(agent, server).start()
        pid = agent.wait_started("app", "w")
        server.answer = answer
        end.set()  # the stream ends, and all is asked anew
        wait_for(lambda: server.strange >= 2, "two such answers")
        assert source(agent)["state"] == "lost"
        server.answer = None
        agent.wait_event("source-back")
        assert is_alive(pid) and not agent.events("removed")


@pytest.mark.once
def test_changes_of_another_cluster_are_not_taken(make_agent):
    """Its endpoint is asked for changes once the known one is gone."""
    agent = make_agent()
    kvs = [key_of(agent, "app", 7, workload("w", SLEEP))]

    def watch(out):
        if server.watches % 2 == 1:  # the next one is asked
            return
        header = {"cluster_id": "2", "revision": "9"}
        gone = {"type": "DELETE", "kv": {"key": kvs[0]["key"], "mod_revision": "9"}}
        out.write(json.dumps({"result": {"header": header, "events": [gone]}}).encode() + b"\n")
        time.sleep(600)

    with gateway(watch, kvs) as server:
        point(agent, server).start()
        pid = agent.wait_started("app", "w")
        wait_for(lambda: server.watches >= 5, "two such changes")
        assert is_alive(pid) and not agent.events("removed")


@pytest.mark.once
def test_a_watch_that_refuses_all_the_time_does_not_fill_the_log(make_agent):
    """An empty value is an event each time, and not each is a line."""
    agent, end, number = make_agent(), threading.Event(), [0]

    def watch(out):
        while not end.is_set():
            number[0] += 1
            kv = {"key": encode(key(agent.device, f"app-{number[0] % 3}")),
                  "mod_revision": str(number[0] + 7)}
            send_event(out, kv)

    with gateway(watch) as server:
        point(agent, server).start()
        api = Api(agent)
        wait_for(lambda: api.get("/v1/agent")["lastEvent"] > 1500, "1,500 events", 120)
        agent.stop()
        end.set()
        assert len(agent.events("rejected")) <= 1100
        assert any("left out" in line and "about the device" in line for line in agent.lines())


def key_of(agent, name, revision, *workloads, filler=0):
    app = agent.app(name, *workloads)
    app["metadata"]["annotations"] = {"filler": "x" * filler}
    return {"key": encode(key(agent.device, name)), "value": encode(json.dumps(app)),
            "mod_revision": str(revision)}


def send_event(out, kv, **event):
    line = {"result": {"header": {"revision": kv["mod_revision"]}, "events": [{"kv": kv, **event}]}}
    out.write(json.dumps(line).encode() + b"\n")
    out.flush()


def send_changes(out, agent, texts, revision):
    events = [{"kv": {"key": encode(key(agent.device, name)), "value": encode(text),
                      "mod_revision": str(revision)}} for name, text in texts.items()]
    line = {"result": {"header": {"revision": str(revision)}, "events": events}}
    out.write(json.dumps(line).encode() + b"\n")
    out.flush()


def test_a_line_of_more_keys_than_a_device_may_have_is_not_read(make_agent):
    """Not one of its values: then all is asked for, as some may be gone by now."""
    agent = make_agent()
    end = threading.Event()
    ours = [key_of(agent, "app-1", 7, workload("w", SLEEP))]

    def stream(out):
        if server.watches == 1:
            send_changes(out, agent, {f"k{n}": "x" for n in range(1000)}, 8)
        end.wait(600)

    with gateway(stream, ours) as server:
        point(agent, server).start()
        agent.wait_started("app-1", "w")
        lost = agent.wait_event("source-lost")
        assert "there are more than 1000 documents" in lost["reason"]
        wait_for(lambda: server.watches >= 2, "the next watch")
        assert not agent.events("rejected")
        end.set()


def test_changes_within_the_bounds_do_not_end_the_watch(make_agent):
    """A line of more than 1,000 changes, after which there are fewer keys than before."""
    agent = make_agent()
    end = threading.Event()
    ours = [key_of(agent, name, 7, workload("w", SLEEP)) for name in ("one", "two")]

    def stream(out):
        gone = [{"type": "DELETE", "kv": {"key": kv["key"], "mod_revision": "8"}}
                for kv in ours[:1] + [key_of(agent, f"k{n}", 8) for n in range(1500)]]
        line = {"result": {"header": {"revision": "8"}, "events": gone}}
        out.write(json.dumps(line).encode() + b"\n")
        send_event(out, key_of(agent, "three", 9, workload("w", SLEEP)))
        end.wait(600)

    with gateway(stream, ours) as server:
        point(agent, server).start()
        agent.wait_started("three", "w")
        agent.wait_event("removed", "one")
        assert server.watches == 1 and not agent.events("source-lost")
        end.set()


def test_a_key_holds_one_document(make_agent):
    agent = make_agent()
    end = threading.Event()
    good = json.dumps(agent.app("web", workload("w", SLEEP)))

    def stream(out):
        if server.watches == 1:
            send_changes(out, agent, {"web": f"---\n{good}\n---\n{good}", "list": "[1, 1, 1]"}, 8)
        end.wait(600)

    with gateway(stream) as server:
        point(agent, server).start()
        for name in ("web", "list"):
            agent.wait(lambda name=name: any(
                f"/{name}' holds more than one document" in e["errors"]
                for e in agent.events("rejected")), f"{name} to be refused")
        assert len(agent.events("rejected")) == 2 and not agent.events("started")
        end.set()


@pytest.mark.once
def test_what_a_watch_has_gathered_is_bounded(make_agent):
    """Ten applications of 900 KB, of which the tenth no longer fits until another one has gone."""
    agent = make_agent()
    kvs = [key_of(agent, f"app-{number}", number + 7, workload("w", SLEEP), filler=900 * 1000)
           for number in range(1, 11)]
    end = threading.Event()

    def stream(out):
        for kv in kvs if server.watches == 1 else ():
            server.kvs.append(kv)
            send_event(out, kv)
        end.wait(600)

    with gateway(stream) as server:
        point(agent, server).start()
        agent.wait_started("app-9", "w")
        lost = agent.wait_event("source-lost")
        assert "the documents have more than 8 MiB" in lost["reason"]
        assert not agent.events("started", "app-10") and not agent.events("removed")
        server.kvs.pop(0)
        agent.wait_started("app-10", "w")
        agent.wait_event("removed", "app-1")
        end.set()


@pytest.mark.once
def test_documents_that_change_all_at_once_count_as_they_are_then(make_agent):
    """One grows by what another one shrinks, and a third has another name."""
    agent = make_agent()
    big, small, w = 800 * 1000, 10, workload("w", SLEEP)
    names = [f"app-{number}" for number in range(10)]
    first = [key_of(agent, name, 7, w, filler=big if i else small) for i, name in enumerate(names)]
    second = [key_of(agent, name, 8, w, workload("v", SLEEP), filler=small if i == 9 else big)
              for i, name in enumerate(names[:8] + ["other", "app-9"])]
    end = threading.Event()

    def stream(out):
        if server.watches == 1:
            server.kvs = second
            canceled = {"header": {"revision": "8"}, "canceled": True, "compact_revision": "8"}
            out.write(json.dumps({"result": canceled}).encode() + b"\n")
            return
        end.wait(600)

    with gateway(stream, first) as server:
        point(agent, server).start()
        for name in ["app-0", "app-9", "other"]:
            agent.wait_started(name, "v")
        agent.wait_event("removed", "app-8")
        assert not agent.events("rejected")
        end.set()


def many(prefix):
    return [{"name": f"{prefix}-{number}", "type": "other"} for number in range(1000)]


@pytest.mark.once
def test_an_application_that_did_not_fit_runs_when_others_are_gone(make_agent):
    agent = make_agent()
    kvs = [key_of(agent, f"app-{number}", 7, *many("w")) for number in range(5)]
    kvs.append(key_of(agent, "late", 7, workload("w", SLEEP)))
    end = threading.Event()

    def stream(out):
        if server.watches == 1:
            agent.wait_event("rejected", "late")
            server.kvs.pop(0)
            server.revision = 8
            send_event(out, {**kvs[0], "mod_revision": "8"}, type="DELETE")
        end.wait(600)

    with gateway(stream, kvs) as server:
        point(agent, server).start()
        errors = agent.wait_event("rejected", "late")["errors"]
        assert "with these the source has more than 5000 workloads" in errors
        agent.wait_started("late", "w")
        end.set()
