"""No document, answer or stream within the bounds holds the event loop, or takes much memory.

    EDGIBLE_AGENT=FILE pytest -s tests/late    prints the figures

EDGIBLE_AGENT is the program that people get, without sanitizers. Each case is an agent of its own.
The longest turn is counted in CPU time of the loop's thread (edgible_loop_cpu_max_seconds), and
measured in what this machine takes for a piece of work that takes 100 ms on an idle one, so that a
machine that is slow or shared fails nothing.
"""

import re
import signal
import sys
import time
from pathlib import Path

import pytest

SYSTEM = Path(__file__).resolve().parents[1] / "system"
sys.path.insert(0, str(SYSTEM))

from api import Answer, Api, Connection  # noqa: E402
from conftest import *  # noqa: E402,F401,F403
from control_plane import Authority, ControlPlane  # noqa: E402
from harness import SLEEP, free_port, helper, is_alive, python, wait_for, workload  # noqa: E402
from stream import EtcdStream  # noqa: E402

pytestmark = pytest.mark.once
MIB = 1024 * 1024
MAX_BYTES = 64 * MIB
MAX_TURN_S = 0.1
WORK_ROUNDS = 2_000_000  # take 100 ms on the machine that the bound is for
HEAD = "apiVersion: v3\nkind: Application\nmetadata: {{name: {name}}}\nspec:\n  workloads:\n"
ONE = "  - {name: w, type: managed-process, command: [/usr/bin/true]}\n"


def work_seconds():
    """The CPU time of a piece of work."""
    began = time.thread_time()
    total = 0
    for i in range(WORK_ROUNDS):
        total += i
    return time.thread_time() - began


def slowness():
    return max(1.0, work_seconds() / 0.1)


def document(name, workloads=ONE):
    return HEAD.format(name=name) + workloads


def annotated(name, annotations):
    return document(name).replace(f"{{name: {name}}}",
                                  f"{{name: {name}, annotations: {annotations}}}")


def many_items(name):
    return annotated(name, "{a: [" + "a," * 95000 + "a]}")


def many_keys(name):
    return annotated(name, "{" + ",".join(f"k{i:05}: x" for i in range(47000)) + "}")


def one_long_word(name, size):
    word = "'" + "x" * 100 + "'"
    return document(name, ONE.replace("[/usr/bin/true]",
                                      "[/usr/bin/true" + f", {word}" * (size // 105) + "]"))


def unknown(count):
    return "".join(f"  - {{name: w{n}, type: none-such, typeSpec: {{}}}}\n" for n in range(count))


def faulty(count):
    return "".join(f"  - {{name: w{n}, type: [7]}}\n" for n in range(count))


def fill(text_of, limit, count=1000):
    """The texts of as many documents as fit."""
    texts = []
    size = 0
    for number in range(count):
        text = text_of(f"app-{number}")
        size += len(text) + 4
        if size > limit:
            break
        texts.append(text)
    return texts


SETS = {
    "small": lambda: fill(document, 8 * MIB),
    "large": lambda: fill(lambda name: one_long_word(name, 8000), 8 * MIB),
    "items": lambda: fill(many_items, 8 * MIB),
    "keys": lambda: fill(many_keys, 8 * MIB),
    "five workloads": lambda: fill(lambda name: document(name, unknown(5)), 8 * MIB),
    "250 workloads of an unknown type": lambda: fill(lambda name: document(name, unknown(250)),
                                                     8 * MIB),
    "100 errors": lambda: fill(lambda name: document(name, faulty(100)), 8 * MIB),
}


class Late:
    def __init__(self, agent):
        self.agent = agent
        self.api = Api(agent)
        self.max_pss = 0

    def metrics(self):
        lines = self.api.get("/metrics").splitlines()
        return {k: float(v) for k, v in (line.rsplit(" ", 1) for line in lines if line[0] != "#")}

    def pss(self):
        text = Path(f"/proc/{self.agent.pid}/smaps_rollup").read_text()
        return int(re.search(r"^Pss: +(\d+) kB", text, re.MULTILINE)[1]) * 1024

    def events(self, *types):
        told = self.metrics()
        return sum(told[f'edgible_events_total{{type="{t}"}}'] for t in types)

    def wait(self, condition, what):
        def check():
            self.max_pss = max(self.max_pss, self.pss())
            return condition()
        wait_for(check, what, timeout=300)

    def wait_judged(self, count):
        self.wait(lambda: self.events("deployed", "rejected", "policy-refused") >= count,
                  f"{count} documents to be judged")

    def check(self, name):
        slow = slowness()
        turn = self.metrics()["edgible_loop_cpu_max_seconds"]
        self.max_pss = max(self.max_pss, self.pss())
        print(f"\n{name}: longest turn {turn * 1000:.0f} ms of CPU on a machine {slow:.1f} times "
              f"as slow, {self.max_pss / MIB:.0f} MiB")
        assert turn <= MAX_TURN_S * slow
        assert self.max_pss <= MAX_BYTES


def start(agent, **plane):
    """With a policy that lets few workloads run, so that it is judging that is measured."""
    config = {"controlPlane": plane} if plane else {}
    agent.write_config(policy={"maxWorkloads": 10}, **config)
    return Late(agent.start())


@pytest.mark.parametrize("name", SETS)
def test_files(make_agent, name):
    late = start(make_agent())
    texts = SETS[name]()
    for number, text in enumerate(texts):
        late.agent.put(f"app-{number}.yaml", text)
    late.wait_judged(len(texts))
    late.check(f"files, {name}")


@pytest.mark.parametrize("name", SETS)
def test_one_file(make_agent, name):
    late = start(make_agent())
    texts = SETS[name]()
    late.agent.put("all.yaml", "---\n".join(texts))
    late.wait_judged(len(texts))
    late.agent.remove("all.yaml")
    late.wait(lambda: late.api.get("/v1/applications") == [], "all to be gone")
    late.check(f"one file, {name}")


@pytest.mark.parametrize("name", SETS)
def test_an_answer(make_agent, name):
    agent = make_agent()
    texts = SETS[name]()
    with ControlPlane(agent.device) as plane:
        plane.set_text("---\n".join(texts))
        late = start(agent, https={"url": plane.url, "pollInterval": "1s"})
        late.wait_judged(len(texts))
        late.check(f"an answer, {name}")


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("how", ["range", "watch"])
def test_etcd(make_agent, name, how):
    agent = make_agent()
    texts = SETS[name]()
    documents = {f"app-{number}": text for number, text in enumerate(texts)}
    with EtcdStream(agent.device) as server:
        server.documents = documents if how == "range" else {}
        server.changes = [documents] if how == "watch" else []
        late = start(agent, etcd={"endpoints": [server.url]})
        late.wait_judged(len(texts))
        late.check(f"etcd's {how}, {name}")


# A key that nobody has the secret of.
TRUSTED = "RWTzKooBK8A4QFb0833eajYbZ5PHMaMX3hjs7f1PTMPPLZFliYpUyugd"
NO_DOCUMENTS = {"a list": "[" + ",".join(["1"] * 1000) + "]", "a stream": "---\n{}\n" * 1000}
ERRORS = "- &a {x: 1, x: 1, x: 1, y: 1, y: 2}\n" + "- *a\n" * 20


def test_keys_beside_the_signed_set(make_agent):
    agent = make_agent()
    with EtcdStream(agent.device) as server:
        server.changes = [{f"k{line}-{n}": "x" for n in range(3000)} for line in range(30)]
        late = start(agent, etcd={"endpoints": [server.url]}, trustedKeys=[TRUSTED])
        late.wait(lambda: late.api.get("/v1/agent")["source"].get("etag") == "35", "all lines")
        assert "that are ignored: 3000" in agent.wait_event("policy-refused")["reason"]
        assert late.events("policy-refused", "rejected") == 1
        late.check("90,000 keys beside the signed set")


@pytest.mark.parametrize("text", ["x", ERRORS], ids=["small", "faulty"])
def test_a_line_of_many_keys(make_agent, text):
    agent = make_agent()
    with EtcdStream(agent.device) as server:
        server.changes = [{f"k{n}": text for n in range(20000)}]
        late = start(agent, etcd={"endpoints": [server.url]})
        late.wait(lambda: agent.events("source-lost"), "the line to be refused")
        assert "more than 1000 documents" in agent.events("source-lost")[0]["reason"]
        late.check("a line of 20,000 keys")


@pytest.mark.parametrize(("how", "name"), [("range", "a list"), ("watch", "a stream")])
def test_a_million_faulty_documents_of_etcd(make_agent, how, name):
    agent = make_agent()
    documents = {f"app-{number}": NO_DOCUMENTS[name] for number in range(1000)}
    with EtcdStream(agent.device) as server:
        server.documents = documents if how == "range" else {}
        server.changes = [documents] if how == "watch" else []
        late = start(agent, etcd={"endpoints": [server.url]})
        late.wait_judged(1000)
        assert late.events("rejected") == 1000
        late.check(f"etcd's {how}, a million faulty documents in {name} a key")


def test_a_million_faulty_documents_of_an_answer(make_agent):
    agent = make_agent()
    with ControlPlane(agent.device) as plane:
        plane.set_text(NO_DOCUMENTS["a stream"] * 1000)
        late = start(agent, https={"url": plane.url, "pollInterval": "1s"})
        late.wait(lambda: agent.events("source-lost"), "the answer to be refused")
        assert "more than 1000 documents" in agent.events("source-lost")[0]["reason"]
        late.check("an answer, a million faulty documents")


def test_a_million_faulty_documents_in_files(make_agent):
    agent = make_agent()
    for number in range(1000):
        agent.put(f"app-{number}.yaml", NO_DOCUMENTS["a list"])
    late = start(agent)
    late.wait_judged(1000 + 999)  # those of one file, and each of the others as a whole
    for number in range(1000):
        agent.remove(f"app-{number}.yaml")
    agent.put("app.yaml", document("app"))
    late.wait(lambda: agent.events("deployed", "app"), "a file after them")
    assert late.events("rejected") < 3000
    late.check("1,000 files, a million faulty documents")


def test_long_answers_of_etcd_that_have_no_documents(make_agent):
    agent = make_agent()
    with EtcdStream(agent.device) as server:
        server.documents = {"app": document("app")}
        server.padding = ["x"] * 500_000
        late = start(agent, etcd={"endpoints": [server.url]})
        assert "is longer than 64 KiB" in agent.wait_event("source-lost")["reason"]
        late.check("long answers of etcd")


def test_tls_messages_without_data(make_agent):
    """Session tickets: the server sends as many as it likes."""
    agent = make_agent()
    ca = Authority(agent.folder / "pki")
    with ControlPlane(agent.device, tls=ca.issue("server")) as plane:
        plane.context.num_tickets = 50000
        plane.set_text(document("app"))
        late = start(agent, https={"url": plane.url, "caFile": str(ca.file)})
        late.wait_judged(1)
        late.check("50,000 session tickets")


def test_what_is_asked_of_many_workloads(make_agent):
    late = start(make_agent())
    late.agent.put("all.yaml", "---\n".join(SETS["five workloads"]()))
    late.wait_judged(1000)
    for path in ("/v1/applications", "/metrics", "/v1/agent", "/v1/events"):
        late.api.get(path)
    late.check("what is asked of 5,000 workloads")


def put(agent, text, query=""):
    connection = Connection(agent.runtime_dir / "agent.sock", timeout=120)
    connection.request("PUT", "/v1/applications" + query, body=text)
    answer = Answer(connection.getresponse())
    assert answer.status == 200, answer.text
    return answer.json()


def test_a_deploy_of_two_mebibytes(make_agent):
    """Within the policy, and with workloads that take no process."""
    late = start(make_agent())
    texts = fill(lambda name: annotated(name, "{a: '" + "x" * 1600 + "'}").replace(
        ONE, unknown(4)), 2 * MIB)
    text = "---\n".join(texts)
    for query in ("?dryRun=true", "", ""):
        assert len(put(late.agent, text, query)) == len(texts)
    assert len(late.api.get("/v1/applications/app-7")["workloads"]) == 4
    late.check(f"a deploy of {len(texts)} documents, {len(text) / MIB:.1f} MiB")


def test_many_starts_updates_and_stops(agent):
    late = Late(agent)
    for version in "12":
        agent.deploy("app", *(workload(f"w{n}", SLEEP, env={"V": version}) for n in range(500)))
        late.wait(lambda: late.events("started") >= 500 * int(version), "500 workloads to start")
    for path in ("/v1/applications", "/v1/applications/app", "/metrics"):
        late.api.get(path)
    agent.remove("app.yaml")
    late.wait(lambda: not agent.living(), "all to be gone")
    late.check("500 workloads")


def deep_folder(agent, **links):
    """As deep as a path may lead, with links in it."""
    deep = agent.work / "/".join("d" * 225)
    deep.mkdir(parents=True)
    for name, target in links.items():
        (deep / name).symlink_to(target)
    return deep


def test_paths_through_many_folders(make_agent):
    """As many as a workload may have, of many workloads that start again and again."""
    agent = make_agent()
    deep = deep_folder(agent, bin="/usr/bin", top=agent._make("data"))
    agent.write_config(policy={"commands": ["/usr/bin/**"], "writePaths": [f"{agent.folder}/**"]})
    late = Late(agent.start())
    agent.deploy("app", *(
        workload(f"w{n}", ["false" if n % 2 else f"{deep}/bin/false"], workingDir=f"{deep}/top",
                 logFile=f"{deep}/top/{n}.log", env={"PATH": f"{deep}/bin"},
                 restart={"initialDelay": "100ms", "maxDelay": "100ms", "rapidAfter": "0s"})
        for n in range(100)))
    late.wait(lambda: late.events("started") >= 300, "300 starts")
    late.check("100 workloads of deep paths")


SOCKETS = """
import os, socket, sys, time
kept = []
for _ in range(int(sys.argv[2])):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    s.bind(("127.0.0.1", int(sys.argv[1])))
    kept.append(s)
null = os.open("/dev/null", os.O_RDONLY)
for _ in range(int(sys.argv[3])):
    os.dup(null)
for _ in range(int(sys.argv[4])):
    if os.fork() == 0:
        break
print("ready", flush=True)
time.sleep(100000)
"""


def test_many_sockets_and_descriptors(agent):
    """One workload has many sockets on a port that another, of many descriptors, says it has."""
    late = Late(agent)
    ports = [{"name": f"p{n}", "containerPort": 40404, "protocol": "udp"} for n in range(10)]
    agent.run("sockets", workload("main", [*python(SOCKETS), "40404", "900", "0", "0"]))
    agent.run("files", workload("main", [*python(SOCKETS), "40404", "0", "900", "30"], ports=ports))
    agent.wait_logged("sockets", "main", "ready")
    agent.wait(lambda: agent.read_log("files", "main").count("ready") == 31, "all of them")
    for _ in range(3):
        [told] = late.api.get("/v1/applications/files")["workloads"]
        assert told["resources"]["processes"] == 31
        assert [port["listening"] for port in told["ports"]] == [False] * 10
    late.check("900 sockets on a port, and 28,000 descriptors beside")


def test_many_ports_are_reported_in_short(make_agent):
    ports = "[" + ",".join(f"{{name: p{n}, containerPort: {n + 1}}}" for n in range(150)) + "]"
    workloads = "".join(
        f"  - {{name: w{n}, type: managed-process, command: [/usr/bin/sleep, '1000'], "
        f"ports: {'&p ' + ports if n == 0 else '*p'}}}\n" for n in range(60))
    agent = make_agent()
    with ControlPlane(agent.device) as plane:
        plane.set_text(document("app", workloads))
        agent.write_config(controlPlane={"https": {"url": plane.url, "pollInterval": "1s"}})
        agent.start()
        report = plane.wait_report(lambda r: r["applications"] and
                                   len(r["applications"][0]["workloads"]) == 60)
        assert "ports" not in report["applications"][0]["workloads"][0]


PROCESSES = 3000


def crowd_of(agent):
    try:
        return [int(line) for line in (agent.work / "crowd").read_text().split()]
    except FileNotFoundError:
        return []


def processes_of(late, application):
    """0 where that is not told."""
    [told] = late.api.get(f"/v1/applications/{application}")["workloads"]
    return told.get("resources", {}).get("processes", 0)


def none_lives(late):
    """Asked again and again, with all that asks for processes."""
    for path in ("/v1/agent", "/v1/applications", "/v1/applications/other"):
        late.api.get(path)
    return not any(is_alive(pid) for pid in crowd_of(late.agent))


@pytest.mark.as_user
@pytest.mark.parametrize("how", ["removed", "adopted", "ended"])
def test_many_processes(agent, how):
    """Daemons that left their session and group, whose agent has no cgroups, so that all processes
    are looked at; beside them, workloads that are not theirs end and start all the time."""
    late = Late(agent)
    agent.deploy("app", workload("main", [helper("crowd"), str(PROCESSES), str(agent.work / "crowd")],
                                 stop={"gracePeriod": "300ms"},
                                 healthCheck={"exec": ["/bin/true"], "interval": "1s"}))
    agent.deploy("other", *(workload(f"w{n}", ["sleep", "0.2"], restart={
        "initialDelay": "100ms", "maxDelay": "100ms", "rapidAfter": "0s"}) for n in range(3)))
    late.wait(lambda: len(crowd_of(agent)) == PROCESSES, "the crowd")
    late.wait(lambda: processes_of(late, "app") > PROCESSES, "all of them to be counted")
    if how == "ended":
        late.check(f"{PROCESSES} processes, before the end")
        agent.stop()
        assert not any(is_alive(pid) for pid in crowd_of(agent))
        return
    if how == "adopted":
        agent.send(signal.SIGKILL)
        agent.wait_exit()
        agent.start()
        agent.wait_event("adopted", "app", "main")
    agent.remove("app.yaml")
    late.wait(lambda: none_lives(late), "the crowd to end")
    agent.wait_event("removed", "app")
    late.check(f"{PROCESSES} processes, {how}")
    assert not [e for e in agent.events("exited", "other") if e.get("code") != "0"]


# What a server can say before the answer: other answers, and header lines.
BEFORE = {"lines": 'b"HTTP/1.1 103 E\\r\\n" + b"X:\\r\\n" * 60000',
          "answers": 'b"HTTP/1.1 103 E\\r\\n\\r\\n" * 12000'}


@pytest.mark.parametrize("name", BEFORE)
def test_checks_whose_server_says_everything_but_a_status(agent, name):
    late = Late(agent)
    port, asked = free_port(), agent.work / "asked"
    server = python(f"""
import socket, threading
def serve(connection):
    try:
        connection.recv(4096)
        with open({str(asked)!r}, "ab") as file:
            file.write(b"x")
        while True:
            connection.sendall(said)
    except OSError:
        connection.close()
said = {BEFORE[name]}
listener = socket.create_server(("127.0.0.1", {port}), backlog=100)
while True:
    threading.Thread(target=serve, args=listener.accept()[:1], daemon=True).start()
""")
    agent.run("server", workload("main", server, ports=[{"containerPort": port}]))
    check = {"http": {"port": port, "path": "/"}, "interval": "100ms", "timeout": "60s",
             "startPeriod": "1h"}
    agent.deploy("app", *(workload(f"w{n}", SLEEP, healthCheck=check) for n in range(60)))
    late.wait(lambda: asked.exists() and asked.stat().st_size >= 300, "300 checks")
    late.wait(lambda: f"http://127.0.0.1:{port}/" in
              late.api.workload("app", "w0").get("reason", ""), "a check to have failed")
    late.check(f"checks, {name}")


def test_sandboxes_of_many_deep_folders(make_agent):
    """At each start and each check: as many as a sandbox may have, and more."""
    agent = make_agent()
    deep = deep_folder(agent, link="/usr/bin")
    data = str(agent._make("data"))
    late = Late(agent.start())
    often = {"initialDelay": "100ms", "maxDelay": "100ms", "rapidAfter": "0s"}
    agent.deploy("app", *(
        workload(name, command, restart=often,
                 sandbox={"read": [str(path)] * count, "write": [data]},
                 healthCheck={"exec": {"command": ["true"]}, "interval": "100ms"})
        for name, command, path, count in (
            ("start", ["false"], deep, 200), ("check", SLEEP, deep, 200),
            ("links", ["false"], deep / "link", 300), ("more", ["false"], deep, 500))))
    late.wait(lambda: late.events("started") >= 30, "30 starts")
    late.check("4 sandboxes of deep paths")


def test_sandboxes_of_many_paths(make_agent):
    """Long ones, by aliases, in many workloads, against many patterns."""
    agent = make_agent(policy={"readPaths": [*(f"/none-{n}/**" for n in range(60)), "/**"]})
    folder = agent._make(f"{'y' * 200}")
    late = Late(agent.start())
    paths = ", ".join([str(folder)] * 250)
    agent.put("app.yaml", document("app", "".join(
        f"  - {{name: w{n}, type: managed-process, command: [/usr/bin/sleep, '1000000'], "
        f"sandbox: {{read: {'*paths' if n else f'&paths [{paths}]'}}}}}\n" for n in range(15))))
    late.wait(lambda: late.events("started") == 15, "15 workloads")
    late.check("15 sandboxes of 250 paths")


def test_checks_in_sandboxes_of_deep_folders(make_agent):
    """Of many workloads, all of which are due again and again."""
    agent = make_agent()
    deep = deep_folder(agent, link="/usr/bin")
    data = str(agent._make("data"))
    late = Late(agent.start())
    for n in range(5):
        agent.deploy(f"app{n}", *(
            workload(f"w{k}", SLEEP, sandbox={"read": [f"{deep}/link"] * 5, "write": [data]},
                     healthCheck={"exec": {"command": ["true"]}, "interval": "100ms",
                                  "timeout": "10s"}) for k in range(8)))
    late.wait(lambda: late.events("healthy") >= 40, "40 workloads that pass their checks")
    late.check("40 workloads with checks in sandboxes")


@pytest.mark.parametrize("letter", ["b", r"\a"], ids=["letters", "control characters"])
def test_the_largest_environment(make_agent, letter):
    """As large as a document may become by its aliases; a control character takes six bytes of a
    record."""
    late = Late(make_agent().start())
    env = "".join(f", V{n}: *text" for n in range(1, 8))
    for generation in range(3):
        late.agent.put("app.yaml", document("app", f"""\
  - name: w
    type: managed-process
    command: [/usr/bin/sleep, "{1000 + generation}"]
    env: {{V0: &text "{letter * (127 * 1024)}"{env}}}
"""))
        late.wait(lambda: late.events("started") > generation, "its start")
    late.check("an environment of 1 MiB")


@pytest.mark.parametrize("path", ["/x" + "/y" * 1900, "/x" + ".1" * 120 + "/y" * 1700 + ".1" * 120],
                         ids=["long", "as rotated files"])
def test_logs_with_long_paths(make_agent, path):
    """Each is compared with those of all others, when it is judged and when it starts."""
    agent = make_agent()
    late = Late(agent.start())
    for number in range(2):
        agent.put(f"app{number}.yaml", document(f"app{number}", "".join(
            f"  - {{name: w{n}, type: managed-process, command: [/usr/bin/true], restart: "
            f"{{policy: never}}, logFile: {path.replace('/x', f'/x{number}-{n}', 1)}}}\n"
            for n in range(200))))
    late.wait(lambda: late.events("failed") >= 400, "400 starts")
    late.check("400 logs with long paths")
