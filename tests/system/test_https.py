"""Desired state from an HTTPS control plane: a scripted one."""

import contextlib
import email.utils
import json
import os
import signal
import socket
import ssl
import subprocess
import threading
import time
from types import SimpleNamespace

import pytest

from api import Api
from control_plane import Authority, ControlPlane, to_text
from harness import (DEADLINE, SLEEP, agent_binary, base_environment, is_alive, read_proc,
                     run_client, wait_for, workload)


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
    return Api(agent).get("/v1/agent")["source"]


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


def test_a_plain_url_is_not_asked_through_a_proxy(plane):
    """The proxy would read the token."""
    assert plane.url.startswith("http://")
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        proxy.setblocking(False)
        url = f"http://127.0.0.1:{proxy.getsockname()[1]}"
        plane.set(plane.agent.app("web", workload("w", SLEEP)))
        plane.agent.start(env={"http_proxy": url, "all_proxy": url})
        plane.agent.wait_started("web", "w")
        with pytest.raises(BlockingIOError):
            proxy.accept()


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
    "204": lambda plane: lambda handler: plane.reply(handler, 204, None),
    "empty": lambda plane: plane.documents(""),
    "white space": lambda plane: plane.documents("\n  \n"),
    "a comment": lambda plane: plane.documents("# nothing\n"),
    "dashes": lambda plane: plane.documents("---\n"),
    "a list in a comment": lambda plane: plane.documents("# none\n---\n# []\n---\n"),
    "cut in a compressed body": lambda plane: plane.gzipped(cut=20),
    "no YAML": lambda plane: plane.documents("{ not: [closed"),
    "a web page": lambda plane: plane.documents("<html><body>Log in</body></html>", "text/html"),
    "other JSON": lambda plane: plane.documents('{"error": "not now"}', "application/json"),
    "a string": lambda plane: plane.documents('"hello"', "application/json"),
    "cut off": lambda plane: plane.cut(),
    "reset": lambda plane: plane.cut(reset=True),
    "too long": lambda plane: plane.documents("#" * (9 << 20)),
    "a bomb": lambda plane: plane.gzipped("# " + "0" * (64 << 20)),
    "compressed": lambda plane: plane.gzipped(),
    "another host": lambda plane: plane.status(302, Location="http://127.0.0.2:1/x"),
    "round and round": lambda plane: plane.status(302, Location=plane.url + "/v3/devices/" +
                                                 plane.device + "/applications"),
}


@pytest.mark.once
@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_answer_changes_nothing(plane, wrong):
    agent = plane.agent
    plane.waits = False
    plane.set(agent.app("web", workload("w", SLEEP)))
    agent.start()
    pid = agent.wait_started("web", "w")
    plane.default = WRONG[wrong](plane)
    lost = agent.wait_event("source-lost")
    assert lost["reason"]
    assert is_alive(pid) and not agent.events("removed")
    state = source(agent)
    assert state["state"] == "lost" and state["error"]
    since = agent.mark()
    plane.default = None
    agent.wait_event("source-back", since=since)
    assert is_alive(pid) and len(agent.events("started")) == 1


@pytest.mark.once
def test_an_unexpected_answer_is_quoted(plane):
    agent = plane.agent
    plane.default = lambda handler: plane.reply(
        handler, 502, b"upstream \x1b[31mis\nawayK\xff" + b"x" * 400)
    agent.start()
    reason = agent.wait_event("source-lost")["reason"]
    assert "status 502" in reason and ': "upstream ?[31mis awayK?x' in reason
    assert 150 < reason.count("x") < 200, reason
    done = run_client("--control-plane", plane.url, "--device", agent.device, "application", "list")
    assert done.returncode == 3 and 'status 502: "upstream ?[31mis awayK?x' in done.stderr


@pytest.mark.once
@pytest.mark.parametrize("status", ["200", "200 in spite of If-None-Match"])
def test_another_body_under_the_same_tag_counts(plane, status):
    agent = plane.agent
    web, job = agent.app("web", workload("w", SLEEP)), agent.app("job", workload("j", SLEEP))
    plane.default = plane.documents(to_text([web]), ETag='"same"')
    agent.start()
    agent.wait_started("web", "w")
    if status != "200":
        wait_for(lambda: plane.polls()[-1].headers.get("If-None-Match") == '"same"', "a tag")
    plane.default = plane.documents(to_text([web, job]), ETag='"same"')
    agent.wait_started("job", "j")
    since = len(plane.polls())
    plane.wait_polls(2, since)
    assert not agent.events("updated")


EMPTY_LISTS = ["[]\n", "---\n[]\n", "# none\n--- []\n", "# none\n\n---\n# of them\n[]", "# none\n[]\n"]


@pytest.mark.once
@pytest.mark.parametrize("text", EMPTY_LISTS)
def test_an_empty_list_removes(plane, text):
    agent = plane.agent
    plane.waits = False
    plane.set(agent.app("web", workload("w", SLEEP)))
    agent.start().wait_started("web", "w")
    plane.set_text(text)
    agent.wait_event("removed", "web")
    assert not agent.events("source-lost")


@pytest.mark.once
def test_not_modified_without_anything_before_is_no_answer(plane):
    plane.script = [lambda handler: plane.reply(handler, 304, None)]
    agent = plane.agent
    plane.set(agent.app("web", workload("w", SLEEP)))
    agent.start()
    assert "304" in agent.wait_event("source-lost")["reason"]
    agent.wait_started("web", "w")


@pytest.mark.once
def test_an_invalid_document_is_rejected_alone(plane):
    agent = plane.agent
    good, other = agent.app("good", workload("w", SLEEP)), agent.app("other", workload("w", SLEEP))
    plane.set(good, other)
    agent.start()
    pid = agent.wait_started("other", "w")
    broken = agent.app("other", workload("w", SLEEP, restart={"policy": "perhaps"}))
    plane.set(good, broken, agent.app("third", workload("w", SLEEP)))
    agent.wait_started("third", "w")
    assert "perhaps" in agent.wait_event("rejected", "other")["message"]
    assert is_alive(pid)
    api = Api(agent)
    assert "perhaps" in api.app("other")["errors"][0]
    assert source(agent)["state"] == "ok"
    # An agent that starts anew knows the good version from its records alone.
    since = agent.mark()
    agent.send(signal.SIGKILL)
    agent.wait_exit()
    agent.start()
    agent.wait_event("rejected", "other", since=since)
    agent.wait_event("adopted", "other", "w", since=since)
    plane.set(good, broken)
    agent.wait_event("removed", "third", since=since)
    assert is_alive(pid)
    plane.set(good)
    agent.wait_event("removed", "other", since=since)


@pytest.mark.once
def test_documents_for_others_are_ignored(plane):
    agent = plane.agent
    plane.set(agent.app("mine", workload("w", SLEEP)),
              agent.app("theirs", workload("w", SLEEP), file_device="another"))
    agent.start()
    agent.wait_started("mine", "w")
    assert "another" in agent.wait_event("rejected", "theirs")["message"]
    assert [a["name"] for a in Api(agent).get("/v1/applications")] == ["mine"]


@pytest.mark.once
@pytest.mark.parametrize("how", ["seconds", "date"])
def test_retry_after_is_obeyed(plane, how):
    agent = plane.agent

    def refuse(handler):
        in_4_s = email.utils.formatdate(time.time() + 4, usegmt=True)
        plane.status(429 if how == "date" else 503,
                     Retry_After="3" if how == "seconds" else in_4_s)(handler)

    plane.script = [refuse]
    plane.set(agent.app("web", workload("w", SLEEP)))
    agent.start().wait_started("web", "w")
    first, second = plane.polls()[:2]
    assert 2.5 < second.at - first.at < 20


@pytest.mark.once
def test_a_redirect_on_the_same_host_is_followed(plane):
    agent = plane.agent
    text = to_text([agent.app("web", workload("w", SLEEP))])
    serve = plane._serve
    plane.script = [plane.status(302, Location="/elsewhere")]
    plane._serve = lambda handler: plane.documents(text)(handler) \
        if handler.path == "/elsewhere" else serve(handler)
    agent.start().wait_started("web", "w")


@pytest.mark.once
def test_bodies_without_a_length(plane):
    agent = plane.agent
    web, job = agent.app("web", workload("w", SLEEP)), agent.app("job", workload("j", SLEEP))
    plane.waits = False
    plane.default = plane.documents(to_text([web, job]))
    agent.start()
    pid = agent.wait_started("job", "j")
    # It may have been cut off: it adds, and removes nothing.
    third = agent.app("third", workload("w", SLEEP))
    plane.default = plane.without_length(to_text([web, third]))
    agent.wait_started("third", "w")
    assert is_alive(pid) and not agent.events("removed")
    # The first document of a stream whose others were cut off.
    asked = len(plane.polls())
    plane.default = plane.without_length("[]\n", type="application/yaml")
    wait_for(lambda: len(plane.polls()) > asked + 2, "two polls more")
    assert is_alive(pid) and not agent.events("removed")
    plane.default = plane.without_length("[]")
    agent.wait_event("removed", "job")


@pytest.mark.once
def test_a_slow_drip_is_ended_and_holds_up_nothing(plane):
    """What is as slow as that is given up after a while; meanwhile all goes on."""
    agent = plane.agent
    plane.set(agent.app("web", workload("w", ["/bin/sleep", "0.2"], restart={
        "policy": "always", "initialDelay": "10ms", "maxDelay": "20ms", "rapidAfter": "0s"})))
    agent.start().wait_started("web", "w")
    since = agent.mark()
    plane.default = plane.drip(pause=0.5)
    with plane.changed:
        plane.waits = False
    plane.set(agent.app("web", workload("w", SLEEP)))
    lost = agent.wait_event("source-lost", since=since, timeout=120)
    assert "stands still" in lost["reason"]
    assert len(agent.events("exited", "web", since=since)) > 20


# --- credentials ---------------------------------------------------------------------------------

def secret(agent, name, text):
    path = agent.folder / name
    path.write_text(text)
    path.chmod(0o600)
    os.chown(path, agent.account.uid, agent.account.gid)
    return path


def test_a_token_and_its_rotation(planes, make_agent):
    agent = make_agent()
    plane = planes(agent.device, token="first", waits=False)
    token = secret(agent, "token", "first\n")
    point(agent, plane, tokenFile=str(token))
    plane.set(agent.app("web", workload("w", SLEEP)))
    agent.start()
    pid = agent.wait_started("web", "w")
    plane.token = "second"
    assert "401" in agent.wait_event("source-lost")["reason"]
    token.write_text("second\n")
    agent.wait_event("source-back")
    assert is_alive(pid)
    token.chmod(0o644)
    lost = agent.wait_event("source-lost", count=2)
    assert "chmod" in lost["reason"]
    token.chmod(0o600)
    agent.wait_event("source-back", count=2)


def test_tls_with_client_certificates_and_their_rotation(planes, make_agent):
    agent = make_agent()
    folder = agent.folder / "pki"
    first = Authority(folder)
    second = Authority(folder, "second")
    server = first.issue("server")
    plane = planes(agent.device, tls=server, client_ca=first.file, waits=False)
    cert, key = first.issue("device")
    for path in folder.iterdir():
        os.chown(path, agent.account.uid, agent.account.gid)
        path.chmod(0o600)
    folder.chmod(0o755)
    ca_file, cert_file, key_file = (agent.folder / n for n in ("ca.pem", "crt.pem", "key.pem"))

    def install(ca, pair):
        for source_file, target in ((ca, ca_file), (pair[0], cert_file), (pair[1], key_file)):
            target.write_bytes(source_file.read_bytes())
            target.chmod(0o600)
            os.chown(target, agent.account.uid, agent.account.gid)

    install(first.file, (cert, key))
    point(agent, plane, caFile=str(ca_file), certFile=str(cert_file), keyFile=str(key_file))
    plane.set(agent.app("web", workload("w", SLEEP)))
    agent.start()
    pid = agent.wait_started("web", "w")
    # The server has another authority now, and wants certificates of it.
    new_server, new_device = second.issue("server2"), second.issue("device2")
    install(second.file, new_device)
    renewed = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    renewed.load_cert_chain(*map(str, new_server))
    renewed.verify_mode = ssl.CERT_REQUIRED
    renewed.load_verify_locations(str(second.file))
    plane.server.socket._context = renewed
    plane.set(agent.app("web", workload("w", SLEEP)), agent.app("more", workload("w", SLEEP)))
    agent.wait_started("more", "w")
    assert is_alive(pid)
    key_file.chmod(0o644)
    assert "chmod" in agent.wait_event("source-lost")["reason"]


UNTRUSTED = {
    "expired": lambda ca: dict(tls=ca.issue("server", days=-1)),
    "another name": lambda ca: dict(tls=ca.issue("server", hosts="DNS:example.com")),
    "another authority": lambda ca: dict(tls=Authority(ca.folder, "other").issue("server")),
    "TLS 1.1": lambda ca: dict(tls=ca.issue("server"), tls_version=ssl.TLSVersion.TLSv1_1),
}


@pytest.mark.once
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("why", UNTRUSTED)
def test_a_server_that_cannot_be_trusted(planes, make_agent, why):
    agent = make_agent()
    ca = Authority(agent.folder / "pki")
    plane = planes(agent.device, **UNTRUSTED[why](ca))
    plane.set(agent.app("web", workload("w", SLEEP)))
    point(agent, plane, caFile=str(ca.file))
    agent.start()
    lost = agent.wait_event("source-lost")
    print(lost["reason"])
    assert not agent.events("started") and not plane.polls()


@pytest.mark.once
def test_a_server_does_not_choose_what_the_exchange_of_keys_costs(planes, make_agent):
    """One of a modulus of 10,000 bits takes a second, at each connection."""
    agent = make_agent()
    ca = Authority(agent.folder / "pki")
    plane = planes(agent.device, tls=ca.issue("server", key=("rsa:2048",)))
    plane.context.maximum_version = ssl.TLSVersion.TLSv1_2
    plane.context.load_dh_params(ca.parameters())
    plane.context.set_ciphers("DHE-RSA-AES128-GCM-SHA256")
    plane.set(agent.app("web", workload("w", SLEEP)))
    point(agent, plane, caFile=str(ca.file))
    agent.start()
    assert "handshake failure" in agent.wait_event("source-lost")["reason"]
    plane.context.set_ciphers("ECDHE-RSA-AES128-GCM-SHA256")
    agent.wait_started("web", "w")


@pytest.mark.once
def test_a_server_does_not_choose_how_long_its_chain_is(planes, make_agent):
    """Each certificate costs a signature, which its key can make dear."""
    agent = make_agent()
    ca = Authority(agent.folder / "pki")
    plane = planes(agent.device, tls=ca.issue_below("server", 8))
    plane.set(agent.app("web", workload("w", SLEEP)))
    point(agent, plane, caFile=str(ca.file))
    agent.start()
    assert "chain too long" in agent.wait_event("source-lost")["reason"]
    plane.context.load_cert_chain(*map(str, ca.issue_below("usual", 3)))
    agent.wait_started("web", "w")


@pytest.mark.once
def test_a_server_does_not_choose_a_large_group(make_agent):
    """As TLS 1.3 lets it: ffdhe8192 takes a tenth of a second, at each connection."""
    agent = make_agent()
    ca = Authority(agent.folder / "pki")
    file, key = map(str, ca.issue("server"))
    with subprocess.Popen(
            ["openssl", "s_server", "-accept", "127.0.0.1:0", "-cert", file, "-key", key,
             "-tls1_3", "-groups", "ffdhe8192", "-www"],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        try:
            accepts = next(line for line in server.stdout if line.startswith("ACCEPT"))
            port = accepts.strip().rsplit(":", 1)[1]
            agent.write_config(controlPlane={"https": {"url": f"https://localhost:{port}",
                                                       "caFile": str(ca.file)}})
            agent.start()
            assert "handshake failure" in agent.wait_event("source-lost")["reason"]
        finally:
            server.kill()


@pytest.mark.once
def test_a_name_that_does_not_resolve_holds_up_nothing(make_agent):
    agent = make_agent()
    agent.write_config(controlPlane={"https": {"url": "https://no-such-host.invalid"}})
    agent.start()
    agent.wait_event("source-lost")
    assert source(agent)["state"] == "lost"


@pytest.mark.once
def test_check_asks_the_control_plane(planes, make_agent):
    agent = make_agent()
    plane = planes(agent.device, token="right")
    token = secret(agent, "token", "right\n")
    point(agent, plane, tokenFile=str(token))
    plane.set(agent.app("web", workload("w", SLEEP)))

    def check():
        return run_client("--config", agent.config_file, "--check")

    done = check()
    assert done.returncode == 0 and "w: /bin/sleep" in done.stdout and "OK:" in done.stdout
    token.write_text("wrong\n")
    done = check()
    assert done.returncode == 1 and "401" in done.stderr
    token.chmod(0o644)
    assert "chmod" in check().stderr
    plane.token = None
    token.chmod(0o600)
    plane.set_text("kind: [")
    assert check().returncode == 1
    plane.close()
    done = check()
    assert done.returncode == 0 and "did not answer" in done.stdout


@pytest.mark.once
def test_reload_and_upgrade_with_a_control_plane(plane):
    agent = plane.agent
    plane.set(agent.app("web", workload("w", SLEEP)))
    agent.start()
    pid = agent.wait_started("web", "w")
    # SIGUSR2: the same process, another program; the connections are made anew.
    since = agent.mark()
    polls = len(plane.polls())
    agent.send(signal.SIGUSR2)
    agent.wait_event("adopted", "web", "w", since=since)
    plane.wait_polls(since=polls)
    Api(agent)  # waits until it listens again
    count = len(os.listdir(f"/proc/{agent.pid}/fd"))
    for _ in range(8):
        again, polls = agent.mark(), len(plane.polls())
        agent.send(signal.SIGUSR2)
        agent.wait_event("adopted", "web", "w", since=again)
        plane.wait_polls(since=polls)
    # Connections come and go, some while it was counted: a switch that leaves one open leaves eight.
    wait_for(lambda: len(os.listdir(f"/proc/{agent.pid}/fd")) < count + 8,
             "no more descriptors than before")
    # SIGHUP: another control plane, a directory.
    agent.put("job.yaml", agent.app("job", workload("j", SLEEP)))
    agent.put("web.yaml", agent.app("web", workload("w", SLEEP)))
    agent.write_config()
    agent.send(signal.SIGHUP)
    agent.wait_started("job", "j", since)
    assert is_alive(pid) and source(agent)["type"] == "directory"
    # And back: what it has not is removed, what it has goes on.
    point(agent, plane)
    agent.send(signal.SIGHUP)
    agent.wait_event("removed", "job", since=since)
    assert is_alive(pid) and source(agent)["type"] == "https"


@pytest.mark.once
def test_versions_that_stay_in_force_count(plane):
    """Documents that become invalid keep what they said: with new ones each time beside them the
    agent would grow without a bound."""
    agent = plane.agent

    def text(name, count, extra=""):
        """With 24 workloads some 4.5 MiB of memory."""
        loads = ", ".join("{name: w%d, type: other, command: [x%s]}" % (n, ",x" * 3900)
                          for n in range(count))
        return (f"apiVersion: v3\nkind: Application\nmetadata: {{name: {name}{extra}}}\n"
                f"spec: {{workloads: [{loads}]}}\n---\n")

    plane.set_text(text("one", 24))
    agent.start()
    agent.wait_event("deployed", "one")
    plane.set_text(text("one", 0, ", name: twice") + text("two", 24))
    told = agent.wait_event("rejected", "two")
    assert "stay in force" in told["errors"]
    since = agent.mark()
    plane.set_text(text("two", 24))
    agent.wait_event("deployed", "two", since=since)


def size_of(report):
    return len(json.dumps(report, separators=(",", ":")))


@pytest.mark.once
def test_errors_of_many_documents_are_told_in_short(plane):
    """9 KB in which 41 errors stood in each of 901 documents."""
    double = ", ".join(f"{'k' * 9}{n}: 1, {'k' * 9}{n}: 1" for n in range(25))
    plane.set_text(f"- &a {{{double}, apiVersion: v3, kind: Application, metadata: {{name: a}}}}\n"
                   + "- *a\n" * 900)
    agent = plane.agent.start()
    agent.wait_event("rejected", "a")
    report = plane.wait_report(lambda r: r["applications"])
    assert size_of(report) < 900 * 1024
    assert sum(map(len, agent.lines())) < 2_000_000
    lines = agent.events("rejected", "a")
    assert len(lines[0]["errors"].splitlines()) <= 21 and "\n" not in lines[0]["message"]
    assert lines[0]["message"].endswith("more")
    assert len(lines[-1]["errors"].splitlines()) == 2


@pytest.mark.once
def test_a_report_of_everything_refused_is_short(plane):
    """5,000 workloads, each with a reason: they are told of by the names of their applications."""
    agent = plane.agent
    agent.write_config(controlPlane={"https": {"url": plane.url, "pollInterval": "1s"}},
                       policy={"commands": ["/none/of/" + "x" * 200]})
    one = workload("w", ["/bin/" + "y" * 250])
    apps = [agent.app(f"{'a' * 50}-{n}", *[dict(one, name=f"{'w' * 50}-{i}") for i in range(5)])
            for n in range(990)]
    plane.set(*apps)
    agent.start()
    report = plane.wait_report(lambda r: len(r["applications"]) == 990)
    assert size_of(report) < 900 * 1024
    assert {a["status"] for a in report["applications"]} == {"rejected"}


# --- reports -------------------------------------------------------------------------------------

def test_reports_say_how_the_device_is(plane):
    agent = point(plane.agent, plane, reportInterval="2s")
    plane.set(agent.app("web", workload("w", SLEEP)))
    agent.start().wait_started("web", "w")
    report = plane.wait_report(lambda r: r["applications"] and r["status"] == "running")
    assert report["reportVersion"] == 1 and report["device"]["name"] == agent.device
    assert report["agent"]["bootId"] and report["agent"]["sequence"] >= 1
    assert report["desired"]["etag"] == plane.etag() and report["desired"]["appliedAt"]
    assert report["applications"][0]["workloads"][0]["status"] == "running"
    assert {"load1", "memoryBytes", "memoryAvailableBytes", "diskFreeBytes"} <= \
        report["resources"].keys()
    wait_for(lambda: len(plane.reports) >= 3, "reports at their interval")
    numbers = [e["seq"] for r in plane.reports for e in r["events"]]
    assert numbers == list(range(1, len(numbers) + 1)), "each event once, and in order"
    sequences = [r["agent"]["sequence"] for r in plane.reports]
    assert sequences == sorted(set(sequences))


@pytest.mark.once
def test_a_report_of_many_errors_is_told_in_short(plane):
    """300 documents of 20 errors of a kilobyte would be 6 MB, which servers refuse for ever."""
    agent = plane.agent
    wrong = workload("w", SLEEP, env={"K" * 800 + str(n): ["x"] for n in range(22)})
    plane.set(*(agent.app(f"app-{n}", wrong) for n in range(300)))
    agent.start()
    report = plane.wait_report(lambda r: len(r["applications"]) == 300, "a report of all")
    assert len(json.dumps(report)) < 900 * 1024
    assert {a["status"] for a in report["applications"]} == {"rejected"}
    assert all(a["errors"] for a in report["applications"])


@pytest.mark.once
def test_reports_survive_failures_and_agents(plane):
    agent = plane.agent
    plane.report_status = 500
    plane.set(agent.app("web", workload("w", SLEEP)))
    agent.start().wait_started("web", "w")
    wait_for(lambda: [r for r in plane.requests if r.method == "PUT"], "a report")
    agent.send(signal.SIGKILL)
    agent.wait_exit()
    agent.start()
    agent.wait_event("adopted", "web")
    plane.report_status = 204
    wait_for(lambda: any(e["type"] == "adopted" for r in plane.reports for e in r["events"]),
             "the last event in a report")
    numbers = [e["seq"] for r in plane.reports for e in r["events"]]
    assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.once
def test_a_server_without_reports_is_told_none(planes, make_agent):
    agent = make_agent()
    plane = planes(agent.device, reports=False)
    point(agent, plane, reportInterval="1s")
    plane.set(agent.app("web", workload("w", SLEEP)))
    agent.start().wait_started("web", "w")
    wait_for(lambda: source(agent)["reports"]["state"] == "unwanted", "the answer to a report")
    plane.set()
    agent.wait_event("removed", "web")
    assert len([r for r in plane.requests if r.method == "PUT"]) == 1


@pytest.mark.once
def test_the_local_api_refuses_a_deploy(plane):
    agent = plane.agent
    plane.set(agent.app("web", workload("w", SLEEP)))
    agent.start().wait_started("web", "w")
    api = Api(agent)
    for method, path in (("PUT", "/v1/applications"), ("DELETE", "/v1/applications/web")):
        answer = api.request(method, path, to_text([agent.app("x", workload("w", SLEEP))]))
        assert answer.status == 409 and plane.url in answer.json()["detail"]


# --- proxies -----------------------------------------------------------------------------------

@pytest.fixture
def proxy():
    """A proxy on loopback that records what it is sent, and serves nothing."""
    seen, closing = [], threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        while not closing.is_set():
            with contextlib.suppress(OSError):
                connection, _ = listener.accept()
                with connection:
                    connection.settimeout(DEADLINE)
                    seen.append(connection.recv(65536).decode(errors="replace"))
                    connection.sendall(b"HTTP/1.1 502 no\r\nContent-Length: 0\r\n\r\n")

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    yield SimpleNamespace(seen=seen, url=url, env={
        name: url for name in ("http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")})
    closing.set()
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.0.0.2"])
def test_no_proxy_sees_what_stays_on_the_machine(planes, make_agent, proxy, host):
    agent = make_agent()
    plane = planes(agent.device, token="secret-token")
    plane.set(agent.app("web", workload("w", SLEEP)))
    if host == "127.0.0.2":  # nobody listens there: a refused connection, and no proxy
        refused = socket.create_server((host, 0))
        url = f"http://{host}:{refused.getsockname()[1]}"
        refused.close()
    else:
        url = f"http://{host}:{plane.port}"
    token = agent.folder / "token"
    token.write_text("secret-token")
    token.chmod(0o600)
    os.chown(token, agent.account.uid, agent.account.gid)
    agent.write_config(controlPlane={"https": {
        "url": url, "tokenFile": str(token), "pollInterval": "1s"}})
    agent.start(env=proxy.env)
    if host == "127.0.0.2":
        agent.wait_event("source-lost")
    else:
        agent.wait_started("web", "w")
        plane.wait_report()
    status = subprocess.run(
        [agent_binary(), "--control-plane", url, "--device", agent.device, "--token-file", token,
         "application", "list"], capture_output=True, text=True, timeout=DEADLINE,
        env={**base_environment(agent.account), **proxy.env}, **agent.account.popen_options())
    assert status.returncode == (3 if host == "127.0.0.2" else 0), status.stderr
    assert not proxy.seen


def test_a_tls_connection_to_loopback_has_no_proxy(planes, make_agent, proxy, tmp_path):
    agent = make_agent()
    authority = Authority(tmp_path / "ca")
    plane = planes(agent.device, tls=authority.issue("server"))
    plane.set(agent.app("web", workload("w", SLEEP)))
    ca = agent.folder / "ca.pem"
    ca.write_bytes(authority.file.read_bytes())
    agent.write_config(controlPlane={"https": {
        "url": plane.url, "caFile": str(ca), "pollInterval": "1s"}})
    agent.start(env=proxy.env)
    agent.wait_started("web", "w")
    assert not proxy.seen


def connects_to(pid, address, port):
    """Whether a TCP socket of the network of this process is on its way to that address."""
    wanted = f"{int.from_bytes(socket.inet_aton(address), 'little'):08X}:{port:04X}"
    return any(line.split()[2] == wanted
               for line in read_proc(pid, "net/tcp").decode().splitlines()[1:])


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_another_host_is_asked_through_the_proxy_over_tls_alone(make_agent, proxy, scheme):
    # 192.0.2.1 (RFC 5737) is nobody's: only a proxy answers for it.
    agent = make_agent()
    agent.write_config(controlPlane={"https": {
        "url": f"{scheme}://192.0.2.1:1", "insecure": True, "pollInterval": "1s"}})
    if scheme == "https":
        agent.start(env=proxy.env)
        wait_for(lambda: proxy.seen, "the proxy to be asked")
        assert proxy.seen[0].startswith("CONNECT 192.0.2.1:1 ")
        reason = agent.wait_event("source-lost")["reason"]
        assert f"through the proxy '{proxy.url.removeprefix('http://')}'" in reason, reason
        assert not any("Authorization" in text for text in proxy.seen)
    else:
        agent.start(env=proxy.env)
        agent.wait(lambda: connects_to(agent.pid, "192.0.2.1", 1) or agent.events("source-lost"),
                   "the agent to turn to the host itself")
        assert not proxy.seen


def test_a_proxy_that_is_reached_by_tls_is_refused(make_agent, proxy):
    """Neither the agent nor --check speaks to it, and both say why, without its password."""
    agent = make_agent()
    host = proxy.url.removeprefix("http://")
    env = {"https_proxy": f"https://name:secret@{host}/"}
    agent.write_config(controlPlane={"https": {"url": "https://192.0.2.1:1", "pollInterval": "1s"}})
    agent.start(env=env)
    reason = agent.wait_event("source-lost")["reason"]
    check = subprocess.run(
        [agent_binary(), "--config", agent.config_file, "--check"], capture_output=True, text=True,
        timeout=DEADLINE, env={**base_environment(agent.account), **env},
        **agent.account.popen_options())
    for text in (reason, check.stdout + check.stderr):
        assert "a proxy must be reached by http://" in text
        assert f"'https://{host}'" in text and "https_proxy" in text and "secret" not in text
    assert not any(proxy.seen)
