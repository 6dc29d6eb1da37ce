"""sandbox: what a workload cannot reach, by Landlock."""

import ctypes
import os
import re
import signal
import socket

import pytest

from api import Api
from harness import (FAIL_AT_ONCE, RESTART_AT_ONCE, SLEEP, is_alive, kill_and_wait,
                     ordinary_account, python, read_proc, wait_for, workload)

SYS_LANDLOCK_CREATE_RULESET = 444
VERSION = max(0, ctypes.CDLL(None).syscall(SYS_LANDLOCK_CREATE_RULESET, None, 0, 1))

pytestmark = pytest.mark.skipif(VERSION < 1, reason="this kernel has no Landlock")


def run(agent, script, **sandbox):
    """Runs the script in the sandbox; each of its lines is tried alone, and says how it went."""
    program = "\n".join(
        f"try:\n    {line}\n    print({number}, 'ok')\nexcept OSError as error:\n"
        f"    print({number}, error.strerror)" for number, line in enumerate(script))
    agent.deploy("app", workload("main", python("import os, socket\n" + program + "\nprint('end')"),
                                 sandbox=sandbox, restart={"policy": "never"}))
    text = agent.wait_logged("app", "main", "end")
    return [line.split(" ", 1)[1] for line in text.splitlines() if line[:1].isdigit()]


def test_files_outside_cannot_be_reached_in_any_way(agent):
    work = agent.work
    for name in ("in", "out"):
        (work / name).mkdir()
        (work / name / "file").write_text("x")
        (work / name).chmod(0o777)
        (work / name / "file").chmod(0o666)
    (work / "in/link").symlink_to(work / "out/file")
    told = run(agent, [
        f"open('{work}/in/file').read()",
        f"open('{work}/in/file', 'w').write('y')",
        f"open('{work}/in/new', 'w').close()",
        f"os.rename('{work}/in/new', '{work}/in/newer')",
        f"os.unlink('{work}/in/newer')",
        "open('/dev/null', 'w').write('x')",
        "os.stat('/etc/passwd'); open('/etc/passwd').read()",
        f"open('{work}/out/file').read()",
        f"open('{work}/in/link').read()",
        f"open('{work}/in/../out/file').read()",
        f"open('/proc/self/root{work}/out/file').read()",
        f"open('{work}/out/new', 'w').close()",
        f"os.unlink('{work}/out/file')",
        f"os.rename('{work}/in/file', '{work}/out/moved')",
        f"os.link('{work}/in/file', '{work}/out/linked')",
        f"os.listdir('{work}/out')",
        "open('/usr/bin/edgible-test', 'w').close()",
        "open('/etc/shadow-edgible-test', 'w').close()",
    ], write=[str(work / "in")])
    assert told[:7] == ["ok"] * 7
    assert "ok" not in told[7:], told
    assert (work / "out/file").read_text() == "x"
    assert Api(agent).workload("app", "main")["sandbox"].startswith(f"landlock {VERSION}")


def test_what_may_be_read_may_not_be_written(agent):
    (agent.work / "data").mkdir()
    (agent.work / "data/file").write_text("x")
    (agent.work / "data/file").chmod(0o666)
    (agent.work / "data").chmod(0o777)
    told = run(agent, [f"open('{agent.work}/data/file').read()",
                       f"open('{agent.work}/data/file', 'w')",
                       f"open('{agent.work}/data/new', 'w')"], read=[str(agent.work / "data")])
    assert told[0] == "ok" and "ok" not in told[1:]


def test_a_file_that_is_renamed_over_is_let_in_by_its_folder(agent):
    """docs/v3.md tells to name the folder of a certificate, and what comes of naming the file."""
    for name in ("folder", "alone"):
        (agent.work / name).mkdir()
        (agent.work / name / "cert").write_text("old")
    script = ("import os, time\n"
              f"while not os.path.exists('{agent.work}/done'): time.sleep(0.02)\n"
              "for name in ('folder', 'alone'):\n"
              f"    try: print(name, open(f'{agent.work}/{{name}}/cert').read())\n"
              "    except OSError as error: print(name, error.strerror)\n"
              "print('end', flush=True)")
    agent.run("app", workload("main", python(script), restart={"policy": "never"}, sandbox={
        "read": [str(agent.work / "folder"), str(agent.work / "alone/cert")]}))
    for name in ("folder", "alone"):
        (agent.work / name / "new").write_text("new")
        (agent.work / name / "new").rename(agent.work / name / "cert")
    (agent.work / "done").touch()
    text = agent.wait_logged("app", "main", "end")
    assert text == "folder new\nalone Permission denied\nend\n"


@pytest.mark.skipif(VERSION < 4, reason="this kernel's Landlock knows no ports")
def test_only_the_ports_given_can_be_connected_to(agent):
    with socket.create_server(("127.0.0.1", 0)) as good, \
            socket.create_server(("127.0.0.1", 0)) as bad:
        lines = [f"socket.create_connection(('127.0.0.1', {s.getsockname()[1]}))"
                 for s in (good, bad)]
        assert run(agent, lines, connect=[good.getsockname()[1]]) == ["ok", "Permission denied"]
        agent.remove("app.yaml")
        agent.wait_event("removed", "app")
        agent.log_file("app", "main").unlink()
        assert run(agent, lines, connect=[]) == ["Permission denied"] * 2
        agent.remove("app.yaml")
        agent.wait_event("removed", "app", count=2)
        agent.log_file("app", "main").unlink()
        assert run(agent, lines, read=[]) == ["ok", "ok"]


@pytest.mark.skipif(VERSION < 6, reason="this kernel's Landlock knows no signals")
def test_nobody_outside_can_be_signalled(agent):
    """Processes of one sandbox signal each other; not the agent, and no other workload."""
    other, = agent.run("other", workload("main", ["/bin/sleep", "1000"]))
    told = run(agent, [
        "child = os.fork() or os.execv('/bin/sleep', ['sleep', '1000'])",
        "os.kill(child, 0)",
        "os.kill(child, 9); os.waitpid(child, 0)",
        "os.kill(os.getpid(), 0)",
        "os.kill(os.getppid(), 0)",
        f"os.kill({agent.pid}, 0)",
        f"os.kill({agent.pid}, 10)",
        f"os.kill({other}, 9)",
    ], read=[])
    assert told == ["ok"] * 4 + ["Operation not permitted"] * 4


@pytest.mark.skipif(VERSION < 6, reason="this kernel's Landlock knows no abstract sockets")
def test_no_abstract_socket_outside_can_be_connected_to(agent):
    with socket.socket(socket.AF_UNIX) as outside:
        outside.bind(b"")
        outside.listen()
        told = run(agent, [
            "own = socket.socket(socket.AF_UNIX); own.bind(''); own.listen()",
            "socket.socket(socket.AF_UNIX).connect(own.getsockname())",
            f"socket.socket(socket.AF_UNIX).connect({outside.getsockname()!r})",
        ], read=[])
    assert told == ["ok", "ok", "Operation not permitted"]


def test_nobody_outside_gets_other_limits_or_priorities(agent):
    """The kernel would kill the agent by a limit of CPU time, which is no signal to Landlock."""
    other, = agent.run("other", workload("main", ["/bin/sleep", "1000"]))
    before = [os.sched_getaffinity(pid) for pid in (agent.pid, other)]
    told = run(agent, [
        "import resource as r; r.prlimit(0, r.RLIMIT_CORE, (0, 0))",
        "r.prlimit(os.getpid(), r.RLIMIT_CORE, (0, 0)); r.setrlimit(r.RLIMIT_CORE, (0, 0))",
        "os.setpriority(os.PRIO_PROCESS, 0, 5); os.nice(1); os.setpriority(os.PRIO_PGRP, 0, 7)",
        "os.sched_setaffinity(0, os.sched_getaffinity(0))",
        "os.sched_setscheduler(os.getpid(), os.SCHED_BATCH, os.sched_param(0))",
        f"agent = {agent.pid}; r.prlimit(agent, r.RLIMIT_CPU, (1, 1))",
        f"r.prlimit({other}, r.RLIMIT_NOFILE, (0, 0))",
        "os.sched_setaffinity(agent, {0})",
        "os.setpriority(os.PRIO_PROCESS, agent, 19)",
        "os.setpriority(os.PRIO_PGRP, os.getpgid(agent), 19)",
        "os.setpriority(os.PRIO_USER, os.getuid(), 19)",
        "os.sched_setscheduler(agent, os.SCHED_IDLE, os.sched_param(0))",
        "os.sched_setparam(agent, os.sched_param(0))",
    ], read=[])
    assert told == ["ok"] * 5 + ["Operation not permitted"] * 8
    for pid, processors in zip((agent.pid, other), before):
        limits = read_proc(pid, "limits").decode()
        assert re.search(r"Max cpu time +unlimited +unlimited", limits), limits
        assert not re.search(r"Max open files +0 ", limits), limits
        assert os.sched_getaffinity(pid) == processors
        assert os.getpriority(os.PRIO_PROCESS, pid) < 19
    assert "system calls" not in Api(agent).workload("app", "main")["sandbox"]


@pytest.mark.skipif(VERSION < 4, reason="this kernel's Landlock knows no ports")
def test_no_other_kind_of_connection_goes_round_the_ports(agent):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        told = run(agent, [
            "udp = socket.socket(type=socket.SOCK_DGRAM); udp.sendto(b'x', ('127.0.0.1', 9))",
            "tcp = socket.socket(); tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)",
            f"socket.socket().sendto(b'x', 0x20000000, ('127.0.0.1', {port}))",
            f"socket.socket().sendmsg([b'x'], [], 0x20000000, ('127.0.0.1', {port}))",
            "tcp.setsockopt(socket.IPPROTO_TCP, 30, 1)",
            "socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)",
            "socket.socket(socket.AF_INET6, socket.SOCK_STREAM, 262)",
            "socket.socket(43, socket.SOCK_STREAM, 0)",
            "import ctypes; libc = ctypes.CDLL(None, use_errno=True)",
            "ring = libc.syscall(425, 8, ctypes.create_string_buffer(256))",
            "raise OSError(0, os.strerror(ctypes.get_errno()))",
        ], connect=[])
        server.settimeout(0)
        with pytest.raises(BlockingIOError):
            server.accept()
    refused = "Operation not permitted"
    assert told == ["ok"] * 2 + [refused] * 6 + ["ok"] * 2 + [refused]


def refusal_of(agent, name, command=("/bin/true",), **fields):
    """Why the workload does not start: its document's fault, and the sandbox's."""
    agent.deploy(name, workload("main", list(command), restart=FAIL_AT_ONCE, **fields))
    event = agent.wait_event("failed", name, "main")
    assert event["stage"] == "sandbox"
    return event["reason"]


def test_a_link_that_it_made_does_not_widen_the_sandbox(agent):
    """It may write to a folder, and the next start names something below that."""
    work = agent.work
    for name in ("in", "out"):
        (work / name).mkdir()
        (work / name).chmod(0o777)
    (work / "out/secret").write_text("x")
    own = str(work / "in")
    told = run(agent, [f"os.symlink('{work}/out', '{own}/link')",
                       f"os.makedirs('{own}/deep/deeper')",
                       f"os.symlink('../../../out', '{own}/deep/deeper/link')",
                       f"os.symlink('/bin/true', '{own}/program')",
                       f"os.listdir('{own}/link/')"], write=[own])
    assert told[:4] == ["ok"] * 4 and told[4] != "ok"
    agent.remove("app.yaml")
    (work / "in").chmod(0o755)
    for name in ("link", "link/secret", "deep/deeper/link"):
        path = f"{own}/{name}"
        label = "try-" + name.replace("/", "-")
        for member in ("read", "write"):
            sandbox = {"write": [own]}
            sandbox[member] = [*sandbox.get(member, []), path]
            reason = refusal_of(agent, f"{label}-{member}", sandbox=sandbox)
            assert f"sandbox.{member}[{len(sandbox[member]) - 1}]: " in reason
            assert f"the link '{path.removesuffix('/secret')}'" in reason
    assert "sandbox: workingDir: " in refusal_of(
        agent, "folder", workingDir=f"{own}/link", sandbox={"write": [own]})
    assert "sandbox: command[0]: " in refusal_of(
        agent, "program", [f"{own}/program"], sandbox={"write": [own]})


@pytest.mark.as_root
def test_links_of_others_and_in_folders_of_others_are_not_followed(agent):
    user = ordinary_account()
    work = agent.work
    (work / "theirs").mkdir()
    (work / "theirs/data").mkdir()
    (work / "by-them").symlink_to("theirs")
    os.chown(work / "by-them", user.uid, user.gid, follow_symlinks=False)
    (work / "theirs/by-root").symlink_to("/etc")
    os.chown(work / "theirs", user.uid, user.gid)
    (work / "open").mkdir()
    (work / "open").chmod(0o777)
    (work / "open/by-root").symlink_to("/etc")
    work.chmod(0o755)
    for number, (path, why) in enumerate((("by-them/data", "and not to root or the agent's user"),
                                          ("theirs/by-root", "others can write"),
                                          ("open/by-root/passwd", "others can write"))):
        reason = refusal_of(agent, f"app{number}", user=user.name,
                            sandbox={"read": [str(work / path)]})
        assert "sandbox.read[0]: " in reason and why in reason


def test_who_may_write_everywhere_is_started_by_any_link(agent):
    told = run(agent, ["os.stat('/')", "open('/etc/os-release').read()"], write=["/"])
    assert told[1] == "ok"


def test_links_of_proc_are_refused(agent):
    assert "/proc" in refusal_of(agent, "proc", sandbox={"write": ["/proc/self/root/tmp"]})


def test_links_of_the_device_are_followed(agent):
    """Of root, or of the agent's user, where nobody else can change them."""
    (agent.work / "data").mkdir()
    (agent.work / "data").chmod(0o777)
    (agent.work / "data/file").write_text("x")
    links = agent.work / "links"
    links.mkdir()
    (links / "relative").symlink_to("../data")
    (links / "absolute").symlink_to(agent.work / "links/relative")
    for path in (links, links / "relative", links / "absolute"):
        os.chown(path, agent.account.uid, agent.account.gid, follow_symlinks=False)
    told = run(agent, [f"open('{links}/absolute/file').read()", "open('/proc/version').read()"],
               read=[f"{links}/absolute", "/bin/sh"])
    assert told == ["ok", "ok"]


def test_a_path_that_does_not_exist_is_the_documents_fault(agent):
    agent.deploy("app", workload("main", ["/bin/true"], sandbox={"write": ["/does/not/exist"]},
                                 restart=FAIL_AT_ONCE))
    event = agent.wait_event("failed", "app", "main")
    assert "sandbox.write[0]" in event["reason"] and event["stage"] == "sandbox"


def test_without_a_sandbox_nothing_is_limited(agent):
    agent.deploy("app", workload("main", python("print(open('/proc/self/status').read())")))
    agent.wait_logged("app", "main", "NoNewPrivs")
    assert "sandbox" not in Api(agent).workload("app", "main")


def test_a_folder_of_a_programs_name_is_not_let_in(agent):
    """A bare name that is a folder in the first folder of PATH, and a program in the second."""
    folder = agent.work / "bin/python3"
    folder.mkdir(parents=True)
    (folder / "file").write_text("secret")
    for path in (folder / "file", folder, folder.parent):
        os.chown(path, agent.account.uid, agent.account.gid)
    script = (f"try:\n    print('read', open('{folder}/file').read())\n"
              "except OSError:\n    print('refused')")
    agent.deploy("app", workload("main", ["python3", "-c", script], sandbox={},
                                 env={"PATH": f"{agent.work}/bin:/usr/bin"},
                                 restart={"policy": "never"}))
    agent.wait_logged("app", "main", "re")
    assert agent.read_log("app", "main").strip() == "refused"


@pytest.fixture
def reading(make_agent):
    """An agent whose policy lets documents read two folders, and these with one that it does not."""
    agent = make_agent()
    for name in ("in", "more", "secret"):
        (agent.work / name).mkdir()
        (agent.work / name / "file").write_text(name)
        for path in (agent.work / name / "file", agent.work / name):
            os.chown(path, agent.account.uid, agent.account.gid)
    (agent.work / "in/link").symlink_to(agent.work / "secret")
    os.chown(agent.work / "in/link", agent.account.uid, agent.account.gid, follow_symlinks=False)
    agent.write_config(policy={"readPaths": [f"{agent.work}/in", f"{agent.work}/in/**",
                                             f"{agent.work}/more"]})
    return agent.start()


def test_documents_have_read_what_the_policy_lets_them(reading):
    agent, work = reading, reading.work
    told = run(agent, [f"open('{work}/in/file').read()", f"open('{work}/more/file').read()",
                       f"open('{work}/secret/file').read()"],
               read=[f"{work}/in"], write=[f"{work}/more"])
    assert told == ["ok", "ok", "Permission denied"]
    for name, fields, reason in (
            ("none", {}, "sandbox: is required"),
            ("read", {"sandbox": {"read": [f"{work}/in", f"{work}/secret"]}}, "sandbox.read[1]"),
            ("write", {"sandbox": {"write": [f"{work}/secret/file"]}}, "sandbox.write[0]"),
            ("link", {"sandbox": {"read": [f"{work}/in/link"]}}, f"'{work}/secret' is not among"),
            ("all", {"sandbox": {"read": ["/"]}}, "'/' is not among"),
            ("dir", {"sandbox": {}, "workingDir": f"{work}/secret"}, "workingDir")):
        agent.deploy(name, workload("main", ["/bin/true"], **fields))
        told = agent.wait_event("policy-refused", name)["reason"]
        assert reason in told and "policy.readPaths" in told, told


def test_sandboxes_of_many_paths_are_judged_at_the_launch(make_agent):
    """Of a document 512 paths are judged when it comes; a launch judges all of its workload."""
    good, bad = ["/usr"], "/etc"
    agent = make_agent(policy={"readPaths": good}).start()

    def deploy(name, count):
        agent.deploy(name, workload("first", SLEEP, sandbox={"read": good * 250}),
                     workload("second", SLEEP, sandbox={"read": good * 250}),
                     workload("last", SLEEP, sandbox={"read": [*good * count, bad]}, restart=FAIL_AT_ONCE))

    deploy("few", 11)
    assert "sandbox.read[11]" in agent.wait_event("policy-refused", "few")["reason"]
    deploy("many", 12)
    agent.wait_started("many", "first")
    assert "sandbox.read[12]" in str(agent.wait_event("failed", "many", "last"))
    assert not agent.events("policy-refused", "many", None)


def test_reading_is_judged_at_each_start(reading):
    """A folder that becomes a link, and a policy that becomes stricter."""
    agent, work = reading, reading.work
    fields = {"sandbox": {"read": [f"{work}/in/deep"]}, "restart": RESTART_AT_ONCE}
    (work / "in/deep").mkdir()
    pid, = agent.run("app", workload("main", ["/bin/sleep", "1000000"], **fields))
    (work / "in/deep").rmdir()
    (work / "in/deep").symlink_to(work / "secret")

    def refusal(since):
        return next((e for e in agent.events(None, "app", "main", since)
                     if "policy.readPaths" in str(e)), None)

    since = agent.mark()
    os.kill(pid, signal.SIGKILL)
    assert "sandbox.read[0]" in str(agent.wait(lambda: refusal(since), "the refusal"))
    (work / "in/deep").unlink()
    (work / "in/deep").mkdir()
    since = agent.mark()
    pid = agent.wait_started("app", "main", since)
    agent.write_config(policy={"readPaths": []})
    agent.send(signal.SIGHUP)
    agent.wait_event("policy-refused", "app")
    assert is_alive(pid)
    later = agent.mark()
    os.kill(pid, signal.SIGKILL)
    agent.wait(lambda: refusal(later), "the second refusal")


CALL = """
def call():
    with socket.socket(socket.AF_UNIX) as s:
        s.connect({path!r})
        s.sendall(b"GET /v1/agent HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n")
        return s.recv(100).split()[1].decode()
"""


@pytest.mark.parametrize("restarted", [False, True], ids=["", "adopted"])
def test_the_agents_api_is_no_way_out(agent, restarted):
    """Nor by a child, a session of its own, or as an orphan."""
    script = f"""
import os, socket, time
{CALL.format(path=str(Api(agent).socket))}
while not os.path.exists({str(agent.work / "go")!r}):
    time.sleep(0.01)
print("itself", call(), flush=True)
if os.fork() == 0:
    os.setsid()
    print("session", call(), flush=True)
    if os.fork() == 0:
        os.setsid()
        time.sleep(0.2)
        print("orphan", call(), flush=True)
    os._exit(0)
time.sleep(1000)
"""
    agent.run(
        "app", workload("in", python(script), sandbox={"write": [str(agent.work)]}),
        workload("out", python(script)))
    if restarted:
        agent.send(signal.SIGKILL)
        agent.wait_exit()
        agent.start()
        agent.wait_event("adopted", "app", "out")
        Api(agent)  # waits until it listens again
    # Root's has no no_new_privs; of a user's nothing tells whose it is that it cannot choose.
    orphan = "200" if agent.account.is_root else "403"
    (agent.work / "go").touch()
    for name, status, last in (("in", "403", "403"), ("out", "200", orphan)):
        text = agent.wait_logged("app", name, "orphan")
        assert text.split() == ["itself", status, "session", status, "orphan", last]


@pytest.mark.parametrize("removed", [False, True], ids=["ended", "removed"])
def test_an_orphan_of_an_earlier_agent_stays_refused_without_its_leader(agent, removed):
    """Made while no agent ran: a child of init, of no session that any agent knows."""
    orphan = f"""
import os, socket, time
{CALL.format(path=str(Api(agent).socket))}
for name in ("first", "second"):
    while not os.path.exists({str(agent.work)!r} + "/ask-" + name):
        time.sleep(0.01)
    with open({str(agent.work)!r} + "/said-" + name, "w") as file:
        file.write(call() + " " + str(os.getpid()) + "\\n")
time.sleep(1000)
"""
    leader = f"""
import os, sys, time
agent = os.getppid()
open({str(agent.work)!r} + "/ready", "w").write("ready")
if os.fork() == 0:
    while os.path.exists(f"/proc/{{agent}}"):
        time.sleep(0.01)
    os.setsid()
    if os.fork() == 0:
        null = os.open("/dev/null", os.O_RDWR)
        for number in range(3):
            os.dup2(null, number)
        os.execve(sys.executable, [sys.executable, "-c", sys.argv[1]], {{}})
    open({str(agent.work)!r} + "/left", "w").write("left")
    os._exit(0)
time.sleep(1000)
"""
    pid, = agent.run("app", workload("main", python(leader, orphan), restart={"policy": "never"},
                                     sandbox={"write": [str(agent.work)]}))
    agent.wait_file("ready", "ready")
    agent.send(signal.SIGKILL)
    agent.wait_exit()
    wait_for((agent.work / "left").exists, "the orphan to be left")
    agent.start()
    agent.wait_event("adopted", "app", "main")
    Api(agent)
    (agent.work / "ask-first").touch()
    status, orphan_pid = agent.wait_file("said-first", "\n").split()
    try:
        assert status == "403"
        if removed:
            agent.remove("app.yaml")
            agent.wait_event("removed", "app")
            agent.send(signal.SIGKILL)
            agent.wait_exit()
            agent.start()
            Api(agent)
        else:
            os.kill(pid, signal.SIGKILL)
            agent.wait_event("exited", "app", "main")
        (agent.work / "ask-second").touch()
        said = agent.work / "said-second"
        # Where it is in the workload's cgroup it goes with that.
        agent.wait(lambda: (said.exists() and "\n" in said.read_text()) or
                   not is_alive(int(orphan_pid)), "the second answer")
        assert not said.exists() or said.read_text() in ("", f"403 {orphan_pid}\n")
    finally:
        if is_alive(int(orphan_pid)):
            kill_and_wait(int(orphan_pid))


def test_an_orphan_is_not_believed_what_its_environment_says(agent):
    """As another workload, which has no sandbox, or as nobody's."""
    script = f"""
import os, socket, sys, time
{CALL.format(path=str(Api(agent).socket))}
if len(sys.argv) > 1:
    while os.getppid() == int(sys.argv[2]):
        time.sleep(0.01)
    print(sys.argv[1], call(), flush=True)
    time.sleep(1000)
forged = {{name: value.replace("liar", "out") for name, value in os.environ.items()}}
for name, env in (("forged", forged), ("cleared", {{}})):
    if os.fork() == 0:
        os.setsid()
        pid = os.getpid()
        if os.fork() == 0:
            os.setsid()
            os.execve(sys.executable, [sys.executable, "-c", sys.orig_argv[2], name, str(pid)], env)
        os._exit(0)
time.sleep(1000)
"""
    agent.run("app", workload("out", ["/bin/sleep", "1000"]),
              workload("liar", python(script), sandbox={"write": [str(agent.work)]}))
    for name in ("forged", "cleared"):
        assert f"{name} 403" in agent.wait_logged("app", "liar", name + " ")


@pytest.mark.parametrize("reaped", [True, False], ids=["reaped", "zombie"])
def test_the_end_of_who_connected_opens_nothing(agent, reaped):
    """A child connects and ends, and its parent sends the request, before the agent looks."""
    script = f"""
import os, socket, time
while not os.path.exists({str(agent.work / "go")!r}):
    time.sleep(0.01)
with socket.socket(socket.AF_UNIX) as s:
    child = os.fork()
    if child == 0:
        s.connect({str(Api(agent).socket)!r})
        os._exit(0)
    os.waitid(os.P_PID, child, os.WEXITED | {0 if reaped else "os.WNOWAIT"})
    s.sendall(b"GET /v1/agent HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n")
    open({str(agent.work / "sent")!r}, "w").write("sent")
    print("got", s.recv(100).split()[1].decode(), flush=True)
"""
    agent.run("app", workload("main", python(script), sandbox={"write": [str(agent.work)]},
                              restart={"policy": "never"}))
    agent.send(signal.SIGSTOP)
    (agent.work / "go").touch()
    try:
        agent.wait_file("sent", "sent")
    finally:
        agent.send(signal.SIGCONT)
    assert agent.wait_logged("app", "main", "got").split() == ["got", "403"]


@pytest.mark.as_root
def test_a_process_of_thousands_of_groups_is_judged(agent):
    script = f"""
import os, socket
{CALL.format(path=str(Api(agent).socket))}
os.setgroups(range(1000000, 1003000))
print("got", call(), flush=True)
"""
    agent.deploy("app", workload("main", python(script), sandbox={"write": [str(agent.work)]},
                                 restart={"policy": "never"}))
    assert agent.wait_logged("app", "main", "got").split() == ["got", "403"]


@pytest.mark.as_root
def test_a_member_of_the_group_is_let_in_without_a_sandbox_only(make_agent):
    agent = make_agent()
    agent.write_config(api={"socket": str(agent.runtime_dir / "agent.sock"),
                            "group": "edgible-test-extra"})
    user = ordinary_account()
    agent.start()
    script = f"""
import socket
{CALL.format(path=str(Api(agent).socket))}
print("got", call(), flush=True)
"""
    fields = {"user": user.name, "restart": {"policy": "never"}}
    agent.deploy("app", workload("in", python(script), sandbox={"read": []}, **fields),
                 workload("out", python(script), **fields))
    assert agent.wait_logged("app", "in", "got").split() == ["got", "403"]
    assert agent.wait_logged("app", "out", "got").split() == ["got", "200"]


def test_what_runs_is_judged_and_not_what_will(agent):
    """While what ran in the sandbox stops, its document says that there is none."""
    script = f"""
import os, signal, socket, time
{CALL.format(path=str(Api(agent).socket))}
signal.signal(signal.SIGTERM, lambda *_: print("got", call(), flush=True))
print("ready", flush=True)
while True:
    time.sleep(1)
"""
    stop = {"gracePeriod": "3s"}
    agent.run("app", workload("main", python(script), sandbox={"write": [str(agent.work)]},
                              stop=stop))
    agent.wait_logged("app", "main", "ready")
    agent.deploy("app", workload("main", ["/bin/sleep", "1000"], stop=stop))
    assert "got 403" in agent.wait_logged("app", "main", "got")


def test_a_health_check_in_a_sandbox_is_no_way_out(agent):
    """With an environment that tells nothing of it, either."""
    script = f"""
import os, socket, sys
if "PATH" in os.environ:
    os.execve(sys.executable, [sys.executable, "-c", sys.orig_argv[2]], {{}})
{CALL.format(path=str(Api(agent).socket))}
open({str(agent.work / "told")!r}, "w").write("got " + call())
"""
    agent.run("app", workload("main", ["/bin/sleep", "1000"], sandbox={"write": [str(agent.work)]},
                              healthCheck={"exec": {"command": python(script)},
                                           "interval": "200ms", "timeout": "10s"}))
    assert agent.wait_file("told", "got ") == "got 403"
