"""The owner's policy: what a document may not do, however it is written."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import yaml

from api import Api
from harness import (FAIL_AT_ONCE, IS_ROOT, ROOT, SLEEP, TEST_USER, agent_binary, is_alive, kill_and_wait,
                     ordinary_account, run_client, sh, wait_for, workload)

FAIL_NEXT = {**FAIL_AT_ONCE, "maxRapidFailures": 2}


class World:
    """Folders that a policy speaks of, and one outside of them that nothing may run from."""

    def __init__(self, make_agent):
        self.agent = make_agent()
        self.root = self.agent.work / "world"
        for name in ("allowed", "outside", "data", "elsewhere"):
            (self.root / name).mkdir(parents=True)
        self.marker = self.agent.work / "ran"
        self.marker.mkdir()
        os.chown(self.marker, self.agent.account.uid, self.agent.account.gid)
        for folder in ("allowed", "outside"):
            self.script(f"{folder}/touch", "#!/bin/sh\n: > \"$1\"\nexec sleep 1000000\n")
            shutil.copy("/bin/sleep", self.root / folder / "sleep")
        self.link("allowed/link-out", self.root / "outside/touch")
        self.link("allowed/dir-out", self.root / "outside")
        self.link("allowed/two", self.root / "allowed/link-out")
        self.link("allowed/up", "../outside")
        self.link("data/out", self.root / "elsewhere")
        self.link("data/dangling", self.root / "elsewhere/not-there/log")
        self.link("data/log-out", self.root / "elsewhere/log")
        os.link(self.root / "outside/touch", self.root / "elsewhere/touch")
        for folder, folders, files in os.walk(self.root):
            for name in folders + files + [""]:
                os.chown(os.path.join(folder, name), self.agent.account.uid,
                         self.agent.account.gid, follow_symlinks=False)
        self.policy = {
            "commands": [f"{self.root}/allowed/**"],
            "users": [self.agent.account.name],
            "writePaths": [f"{self.root}/data/**"],
            "maxWorkloads": 500,
            "limits": {"memory": "256MiB", "cpu": 0.5, "processes": 64, "openFiles": 1024},
        }
        self.agent.write_config(policy=self.policy)

    def script(self, name, text):
        path = self.root / name
        path.write_text(text)
        path.chmod(0o755)

    def link(self, name, to):
        (self.root / name).symlink_to(to)

    def commands(self, mark):
        """Ways to run what the policy does not allow."""
        r = self.root
        return [
            [f"{r}/outside/touch", mark],
            [f"{r}/allowed/../outside/touch", mark],
            [f"{r}/allowed/./../outside/./touch", mark],
            [f"{r}//allowed//..//outside//touch", mark],
            [f"{r}/allowed/link-out", mark],
            [f"{r}/allowed/two", mark],
            [f"{r}/allowed/dir-out/touch", mark],
            [f"{r}/allowed/up/touch", mark],
            [f"{r}/allowed/dir-out/../allowed/dir-out/touch", mark],
            [f"{r}/allowed/up/../allowed/up/touch", mark],
            [f"/proc/self/root{r}/outside/touch", mark],
            [f"/proc/self/root{r}/allowed/../outside/touch", mark],
            [f"/proc/self/cwd{r}/outside/touch", mark],
            [f"{r}/elsewhere/touch", mark],
            [f"{r}/allowed-not/../outside/touch", mark],
            [f"{r}/allowed", "x"],
            ["/bin/touch", mark],
            ["/usr/bin/touch", mark],
            ["touch", mark],
            ["sh", "-c", f"touch {mark}"],
            ["/bin/sh", "-c", f"touch {mark}"],
            ["/usr/bin/env", f"{r}/allowed/touch", mark],
            ["/lib64/ld-linux-x86-64.so.2", f"{r}/allowed/sleep", "1"],
            ["/proc/self/exe", "--version"],
            ["/proc/1/exe"],
            ["/dev/fd/0"],
            ["/dev/stdin"],
            ["./touch", mark],
            ["../outside/touch", mark],
            ["bin/touch", mark],
            [f"{r}/ALLOWED/touch", mark],
            [f"{r}/allowed\n/touch", mark],
            [f"{r}/allowedx/touch", mark],
            [f"{r}/allowe?/../outside/touch", mark],
            [f"{r}/allowed/**/../outside/touch", mark],
            ["~/touch", mark],
            ["$HOME/touch", mark],
            ["/" + "a" * 300 + "/../bin/touch", mark],
        ]

    def fields(self):
        """Members of a workload that is fine but for them."""
        r = self.root
        good = f"{r}/allowed/touch"
        return [
            {"workingDir": f"{r}/outside"},
            {"workingDir": "/"},
            {"workingDir": "/tmp"},
            {"workingDir": f"{r}/data/out"},
            {"workingDir": f"{r}/data/../elsewhere"},
            {"workingDir": f"{r}/data/out/../outside"},
            {"workingDir": f"/proc/self/root{r}/elsewhere"},
            {"workingDir": f"{r}/data"},
            {"logFile": f"{r}/elsewhere/log"},
            {"logFile": f"{r}/data/out/log"},
            {"logFile": f"{r}/data/log-out"},
            {"logFile": f"{r}/data/dangling"},
            {"logFile": f"{r}/data/../elsewhere/log"},
            {"logFile": f"{r}/data/new/../../elsewhere/log"},
            {"logFile": f"{r}/data/out/new/deep/log"},
            {"logFile": "/etc/cron.d/log"},
            {"logFile": "/proc/self/root/tmp/log"},
            {"workingDir": f"{r}/data/x", "logFile": "../../elsewhere/log"},
            {"user": "root" if not self.agent.account.is_root else "nobody"},
            {"user": "0" if not self.agent.account.is_root else "65534"},
            {"user": "+0"},
            {"user": "00"},
            {"user": "4294967296"},
            {"user": "daemon"},
            {"group": "daemon"},
            {"group": "shadow"},
            {"group": "1"},
            {"env": {"LD_PRELOAD": f"{r}/outside/evil.so"}},
            {"env": {"LD_LIBRARY_PATH": f"{r}/outside"}},
            {"env": {"LD_AUDIT": f"{r}/outside/evil.so"}},
            {"env": {"GCONV_PATH": f"{r}/outside"}},
            {"env": {"GLIBC_TUNABLES": "glibc.malloc.check=3"}},
            *({"env": {name: "x"}} for name in (
                "BASH_ENV", "ENV", "PS4", "PERL5OPT", "PERL5DB", "PERLLIB",
                "PYTHONWARNINGS", "PYTHONPATH", "BROWSER", "RUBYOPT", "NODE_OPTIONS",
                "JAVA_TOOL_OPTIONS", "GIT_SSH_COMMAND", "OPENSSL_CONF", "DOTNET_STARTUP_HOOKS")),
            {"env": {"PATH": f"{r}/outside"}},
            {"env": {"PATH": f"{r}/allowed:"}},
            {"env": {"PATH": f"{r}/allowed:{r}/outside"}},
            {"limits": {"memory": "257MiB"}},
            {"limits": {"cpu": 0.501}},
            {"limits": {"processes": 65}},
            {"limits": {"openFiles": 1025}},
            {"healthCheck": {"exec": ["/bin/touch", "{mark}"]}},
            {"healthCheck": {"exec": [f"{r}/allowed/link-out", "{mark}"]}},
            {"healthCheck": {"exec": {"command": f"{r}/allowed/../outside/touch {{mark}}"}}},
            {"command": ["touch", "{mark}"], "env": {"PATH": f"{r}/outside:{r}/allowed"}},
            {"command": ["touch", "{mark}"], "env": {"PATH": f"{r}/allowed/up"}},
            {"command": ["link-out", "{mark}"], "env": {"PATH": f"{r}/allowed"}},
            {"command": ["./touch", "{mark}"], "workingDir": f"{r}/data/out"},
            {"allowNewPrivileges": True},
            {"env": {"TAR_OPTIONS": "--checkpoint-action=exec=touch {mark}"}},
            {"env": {"HOME": str(self.marker)}},
            {"env": {"HOME": ""}},
            {"env": {"XDG_CONFIG_HOME": str(self.marker)}},
        ], good

    def attempts(self):
        """Documents, by name; each wants to touch a marker of its name."""
        documents, names = [], []
        fields, good = self.fields()
        for number in range(len(self.commands("")) + len(fields)):
            name = f"try-{number}"
            mark = str(self.marker / name)
            if number < len(self.commands("")):
                extra = {"command": self.commands(mark)[number]}
            else:
                extra = fill(fields[number - len(self.commands(""))], mark)
            documents.append(self.agent.app(name, {**workload("w", [good, mark]), **extra}))
            names.append(name)
        return documents, names


def fill(value, mark):
    if isinstance(value, str):
        return value.replace("{mark}", mark)
    if isinstance(value, list):
        return [fill(item, mark) for item in value]
    return {k: fill(v, mark) for k, v in value.items()} if isinstance(value, dict) else value


@pytest.fixture
def world(make_agent):
    return World(make_agent)


def test_none_of_many_ways_around_the_policy_is_taken(world):
    agent = world.agent
    documents, names = world.attempts()
    assert len(names) >= 60
    agent.put("attempts.yaml", documents)
    agent.start()
    agent.run("good", workload("w", [f"{world.root}/allowed/touch", str(world.marker / "good")]))
    wait_for(lambda: (world.marker / "good").exists(), "the one that is allowed")
    for name in names:
        events = [e for e in agent.events() if e.get("application") == name]
        refusals = [e for e in events if e["type"] in ("policy-refused", "rejected")]
        assert refusals, f"{name}: {documents[names.index(name)]}: {events}"
        assert not [e for e in events if e["type"] in ("deployed", "starting", "started")], name
        assert refusals[0]["type"] == "rejected" or "policy." in refusals[0]["reason"], refusals[0]
    assert {p.name for p in world.marker.iterdir()} == {"good"}


def test_what_the_policy_allows_runs(world):
    """Patterns through links, bare names in PATH, scripts and programs, logs where it says."""
    agent, r = world.agent, world.root
    (r / "alias").symlink_to(r / "allowed")
    agent.write_config(policy={**world.policy, "commands": [f"{r}/allowed/**", "/bin/sle*"],
                               "env": ["PATH"]})
    agent.start()
    (r / "data/here").mkdir()
    (r / "data/here/bin").symlink_to(r / "allowed")
    mark = world.marker / "ok"
    agent.run("app",
              workload("script", [f"{r}/alias/touch", str(mark)], logFile=f"{r}/data/new/x.log"),
              workload("bare", ["sleep", "1000000"], env={"PATH": f"{r}/nothing:{r}/allowed"}),
              workload("system", ["sleep", "1000000"]),
              workload("relative", ["bin/sleep", "1000000"],
                       workingDir=f"{r}/data/here"))
    wait_for(mark.exists, "the script")
    assert (r / "data/new/x.log").exists()


def test_variables_that_run_things_are_allowed_where_the_policy_lists_them(world):
    agent, r = world.agent, world.root
    agent.write_config(policy={**world.policy, "env": ["PYTHON*", "PERL5LIB"]})
    agent.start()
    mark = world.marker / "ok"
    agent.run("app", workload("w", [f"{r}/allowed/touch", str(mark)], env={
        "PYTHONPATH": "/x", "PERL5LIB": "/x", "PATH": f"{r}/allowed"}))
    wait_for(mark.exists, "the program with variables that are listed")
    agent.put("other.yaml", [agent.app("other", workload(
        "w", [f"{r}/allowed/touch", str(world.marker / "other")], env={"PERL5OPT": "-d"}))])
    wait_for(lambda: [e for e in agent.events() if e.get("application") == "other"
                      and e["type"] in ("policy-refused", "rejected")
                      and "env.PERL5OPT" in e["reason"]], "the refusal")


def test_a_workload_may_name_the_home_of_its_user(world):
    agent, r = world.agent, world.root
    agent.start()
    own, other = world.marker / "own", world.marker / "other"
    home = pwd.getpwuid(agent.account.uid).pw_dir
    agent.run("own", workload("w", [f"{r}/allowed/touch", str(own)], env={"HOME": home}))
    wait_for(own.exists, "the program with the home of its user")
    agent.write_config(policy={**world.policy, "env": ["HOME"]})
    agent.send(signal.SIGHUP)
    agent.run("other", workload("w", [f"{r}/allowed/touch", str(other)], env={"HOME": "/x"}))
    wait_for(other.exists, "the program with a home that the policy allows")


@pytest.mark.parametrize("key, why", [("commands", "policy.commands"),
                                      ("writePaths", "policy.writePaths")])
def test_a_folder_of_a_pattern_that_becomes_a_link_widens_nothing(world, key, why):
    agent, r = world.agent, world.root
    agent.start()
    agent.wait(lambda: "runs as PID" in "".join(agent.lines()), "the patterns to be read")
    folder, to = ("allowed", "outside") if key == "commands" else ("data", "elsewhere")
    (r / folder).rename(r / "moved")
    world.link(folder, r / to)
    command = [f"{r}/{folder}/touch", str(world.marker / "x")] if key == "commands" else \
        [f"{r}/allowed/touch", str(world.marker / "x")]
    extra = {} if key == "commands" else {"workingDir": f"{r}/data"}
    agent.put("x.yaml", [agent.app("x", workload("w", command, **extra))])
    wait_for(lambda: [e for e in agent.events() if e.get("application") == "x"
                      and why in e.get("reason", "")], "the refusal")
    assert not (world.marker / "x").exists()


def test_a_program_that_becomes_a_link_is_refused_at_its_next_start(world):
    agent, r = world.agent, world.root
    agent.start()
    mark = world.marker / "swapped"
    pid, = agent.run("app", workload("w", [f"{r}/allowed/touch", str(mark)], restart=FAIL_NEXT))
    wait_for(mark.exists, "the program")
    mark.unlink()
    (r / "allowed/touch").unlink()
    (r / "allowed/touch").symlink_to(r / "outside/touch")
    since = agent.mark()
    os.kill(pid, signal.SIGKILL)
    event = agent.wait_event("failed", "app", "w", since)
    assert "policy.commands" in event["reason"] and event["stage"] == "policy"
    assert not mark.exists()


def test_a_working_directory_that_leads_elsewhere_is_refused_at_the_next_start(world):
    agent, r = world.agent, world.root
    (r / "data/here").mkdir()
    agent.start()
    pid, = agent.run("app", workload("w", [f"{r}/allowed/sleep", "1000000"],
                                     workingDir=f"{r}/data/here", restart=FAIL_NEXT))
    (r / "data/here").rmdir()
    (r / "data/here").symlink_to(r / "elsewhere")
    since = agent.mark()
    os.kill(pid, signal.SIGKILL)
    event = agent.wait_event("failed", "app", "w", since)
    assert "policy.writePaths" in event["reason"]


@pytest.mark.as_root
def test_links_of_third_users_are_refused_and_those_of_the_workloads_user_followed(world):
    agent, r = world.agent, world.root
    user = ordinary_account()
    (r / "data/here").mkdir()
    for name, uid in (("theirs", 54321), ("users", user.uid)):
        (r / "data" / name).symlink_to(r / "allowed")
        (r / f"data/{name}-data").symlink_to(r / "data/here")
        for link in (r / "data" / name, r / f"data/{name}-data"):
            os.chown(link, uid, uid, follow_symlinks=False)
    agent.write_config(policy={**world.policy, "users": [user.name]})
    agent.start()
    good = [f"{r}/allowed/sleep", "1000000"]
    for name, link, fields in (
            ("command", "theirs", {"command": [f"{r}/data/theirs/sleep", "1000000"]}),
            ("folder", "theirs-data", {"command": good, "workingDir": f"{r}/data/theirs-data"}),
            ("log", "theirs-data", {"command": good, "logFile": f"{r}/data/theirs-data/new/x"})):
        agent.put(f"{name}.yaml", agent.app(name, {**workload("w", good, restart=FAIL_AT_ONCE),
                                                   "user": user.name, **fields}))
        reason = agent.wait_event("failed", name)["reason"]
        assert f"the link '{r}/data/{link}' is not followed" in reason, reason
        assert "the user with ID 54321" in reason and "policy." in reason, reason
    assert not [e for e in agent.events() if e["type"] == "started"]
    agent.run("users", workload("w", [f"{r}/data/users/sleep", "1000000"], user=user.name,
                                workingDir=f"{r}/data/users-data"))


@pytest.mark.once
def test_paths_through_too_many_folders_are_refused(world):
    """Each of these ends where the policy allows it; the folders on the way would hold the loop.
    What an ordinary path needs is not counted with them."""
    deep = world.root / "data" / "/".join("d" * 120)
    deep.mkdir(parents=True)
    (deep / "touch").symlink_to(world.root / "allowed/touch")
    (deep / "allowed").symlink_to(world.root / "allowed")
    (deep / "again").symlink_to(deep)
    touch, marker = str(world.root / "allowed/touch"), str(world.marker / "x")
    world.agent.start()
    folders = [f"{deep}{'/.' * n}/allowed" for n in range(20)]
    for name, fields in {
            "program": {"command": [str(deep / "again/again/touch"), marker]},
            "search": {"command": ["touch", marker], "env": {"PATH": ":".join(folders)}},
            "folder": {"command": [touch, marker], "workingDir": str(deep / "again/again")},
            "log": {"command": [touch, marker], "logFile": str(deep / "again/again/x.log")}}.items():
        world.agent.deploy(name, workload("main", **fields))
        refused = world.agent.wait_event("policy-refused", name)
        assert "too many folders" in refused["message"] or name == "search"
    world.agent.run("app", workload("main", ["touch", marker], workingDir=str(deep),
                                    env={"PATH": ":".join(folders[:3])}))


@pytest.mark.as_root
def test_a_program_in_a_folder_that_its_user_cannot_enter_is_not_run(world):
    """The policy allows it, and the agent can open it: that gives the user no right."""
    agent, r = world.agent, world.root
    user = ordinary_account()
    closed = r / "data/closed"
    closed.mkdir()
    shutil.copy("/bin/sleep", closed / "sleep")
    (closed / "script").write_text("#!/bin/sh\nexec sleep 1000000\n")
    (closed / "script").chmod(0o755)
    closed.chmod(0o700)
    os.chown(closed, 54321, 54321)
    agent.write_config(policy={**world.policy, "users": [user.name], "commands": [f"{closed}/*"]})
    agent.start()
    for name in ("sleep", "script"):
        agent.deploy(name, workload("w", [f"{closed}/{name}", "1000000"], user=user.name,
                                    restart=FAIL_AT_ONCE))
        reason = agent.wait_event("failed", name)["reason"]
        assert "EACCES" in reason, reason
        assert not agent.events("started", name)
    closed.chmod(0o755)
    agent.run("open", workload("w", [f"{closed}/sleep", "1000000"], user=user.name))


def test_swapping_the_program_while_it_starts_never_runs_the_other(world):
    """A link that changes all the time: what was judged is what runs."""
    agent, r = world.agent, world.root
    mark = world.marker / "raced"
    swap, good, bad = r / "allowed/swap", r / "allowed/sleep", r / "outside/touch"
    flip = sh(f"while :; do ln -sfn {good} {swap}; ln -sfn {bad} {swap}; done")
    agent.write_config(policy={**world.policy, "commands": [f"{r}/allowed/**", "/bin/sh"]})
    agent.start()
    agent.run("flipper", workload("w", flip))
    policy = {"policy": "always", "initialDelay": "1ms", "maxDelay": "1ms", "rapidAfter": "1ms",
              "maxRapidFailures": 0}
    wait_for(lambda: os.path.realpath(swap) == str(good), "the link")
    swap_workload = workload("w", [str(swap), str(mark)], restart=policy)
    for _ in range(20):
        agent.deploy("app", swap_workload)
        if agent.events("deployed", "app"):
            break
    wait_for(lambda: len(agent.events("backoff", "app")) > 200 or
             len(agent.events("policy-refused", "app")) > 0, "some starts")
    assert not mark.exists()


EXCHANGE = """
import ctypes, sys, time
libc, (a, b) = ctypes.CDLL(None), (x.encode() for x in sys.argv[1:])
while True:
    libc.renameat2(-100, a, -100, b, 2)
    time.sleep(0.0002)
"""


@pytest.fixture
def own_folder(account):
    """A folder that nobody but root and the account can lead elsewhere, unlike those in /tmp."""
    folder = Path(tempfile.mkdtemp(prefix="edgible-", dir="/var/lib" if IS_ROOT else Path.home()))
    folder.chmod(0o755)
    os.chown(folder, account.uid, account.gid)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.as_user
def test_a_users_workload_swapping_the_folder_never_runs_the_other(own_folder, make_agent):
    """The folder is the agent's user's alone, and so the workload's that exchanges it."""
    for name, text in (("good/bin", "allowed"), ("bad", "refused")):
        (own_folder / name).mkdir(parents=True)
        tool = own_folder / name / "tool"
        tool.write_text(f"#!/bin/sh\necho {text} >> {own_folder}/ran-$1\n")
        tool.chmod(0o755)
    (own_folder / "good/link").symlink_to(own_folder / "bad")
    python = os.path.realpath("/usr/bin/python3")
    agent = make_agent(policy={"commands": [f"{own_folder}/good/**", python]})
    for folder, folders, files in os.walk(own_folder):
        for name in folders + files:
            os.chown(os.path.join(folder, name), agent.account.uid, agent.account.gid,
                     follow_symlinks=False)
    agent.start()
    restart = {"policy": "always", "initialDelay": "1ms", "maxDelay": "1ms", "rapidAfter": "1ms",
               "maxRapidFailures": 0}
    names = "abcd"
    agent.deploy("app", *(workload(n, [f"{own_folder}/good/bin/tool", n], restart=restart)
                          for n in names))
    wait_for(lambda: all((own_folder / f"ran-{n}").exists() for n in names), "a first run of each")
    agent.run("swapper", workload("w", [python, "-c", EXCHANGE, str(own_folder / "good/bin"),
                                        str(own_folder / "good/link")]))
    started, refused = (len(agent.events(t, "app")) for t in ("started", "backoff"))
    wait_for(lambda: len(agent.events("started", "app")) > started + 40 and
             any("refused by the policy" in e["reason"] for e in
                 agent.events("backoff", "app")[refused:]), "starts of one and refusals of the other")
    for name in names:
        assert "refused" not in (own_folder / f"ran-{name}").read_text()


APPEAR = """
import os, sys, time
there, away = sys.argv[1:]
while True:
    os.rename(away, there)
    time.sleep(0.0003)
    os.rename(there, away)
    time.sleep(0.0003)
"""


def test_a_working_directory_that_is_missing_when_it_is_judged_is_not_entered(world):
    """What comes in its place, just then, is a link to where the policy lets nobody write."""
    agent, r = world.agent, world.root
    python = os.path.realpath("/usr/bin/python3")
    restart = {"policy": "always", "initialDelay": "1ms", "maxDelay": "1ms", "rapidAfter": "1ms",
               "maxRapidFailures": 0}
    agent.write_config(policy={**world.policy, "commands": ["/usr/bin/*"], "limits": {}})
    agent.start()
    names = "abcd"
    agent.deploy("app", *(workload(name, ["/usr/bin/readlink", "/proc/self/cwd"], restart=restart,
                                   workingDir=f"{r}/data/wd") for name in names))
    agent.wait_event("backoff", "app")
    agent.run("mover", workload("w", [python, "-c", APPEAR, f"{r}/data/wd", f"{r}/data/out"]))

    def reasons():
        return [e["reason"] for e in agent.events("backoff", "app")]

    wait_for(lambda: sum("policy" in reason for reason in reasons()) > 5 and
             sum("policy" not in reason for reason in reasons()) > 80, "starts of both kinds")
    agent.stop()
    for name in names:
        log = agent.log_file("app", name)
        assert not log.exists() or "elsewhere" not in log.read_text()


def test_the_policy_bounds_the_grace_period_and_the_delay(make_agent):
    """A program that ignores SIGTERM and asks for 8,000 hours does not hold up the agent's end."""
    agent = make_agent(policy={"maxGracePeriod": "100ms", "minRestartDelay": "1h"}).start()
    stubborn = agent.work / "ready"
    agent.run("app",
              workload("stubborn", sh(f"trap '' TERM; echo > {stubborn}; sleep 1000000 & "
                                      "while :; do wait; done"),
                       stop={"gracePeriod": "8000h"}),
              workload("rapid", SLEEP, restart={"policy": "always", "initialDelay": "1ms"}))
    agent.deploy("failing", workload("w", ["/bin/false"],
                                     restart={**FAIL_AT_ONCE, "retryFailedAfter": "1ms"}))
    agent.wait_file("ready", "\n")
    os.kill(agent.wait_started("app", "rapid"), signal.SIGKILL)
    backoff = agent.wait_event("backoff", "app", "rapid")
    assert int(backoff["delay_ms"]) >= 0.8 * 3600 * 1000  # less the jitter
    failed = agent.wait_event("failed", "failing", "w")
    [w] = Api(agent).app("failing")["workloads"]
    assert datetime.fromisoformat(w["nextStartAt"]) - datetime.fromisoformat(failed["time"]) > \
        timedelta(minutes=50)
    agent.stop()


def test_a_new_generation_waits_for_the_smallest_delay(make_agent):
    """However often a document changes: what it starts is the latest of it, and not at once."""
    agent = make_agent(policy={"minRestartDelay": "1h"}).start()
    agent.run("app", workload("w", SLEEP))
    agent.deploy("app", workload("w", [*SLEEP, "1"]))
    agent.wait_event("starting", "app", "w", count=2)
    agent.deploy("app", workload("w", [*SLEEP, "2"]))
    agent.wait_event("updated", "app", count=2)
    [w] = Api(agent).app("app")["workloads"]
    assert w["status"] == "starting" and "policy.minRestartDelay" in w["reason"]
    started = agent.events("started", "app", "w")
    assert len(started) == 1
    assert datetime.fromisoformat(w["nextStartAt"]) - datetime.fromisoformat(started[0]["time"]) > \
        timedelta(minutes=59)
    agent.stop()


@pytest.mark.once
def test_health_checks_have_a_shortest_interval(make_agent):
    """What a device makes of two documents is the same where both ask for less than it gives."""
    agent = make_agent(policy={"minRestartDelay": "2m"}).start()
    api = Api(agent)

    def check(interval, **probe):
        return yaml.safe_dump(agent.app("app", workload(
            "w", SLEEP, healthCheck={**probe, "interval": interval})))

    for probe, same, longer in (({"exec": ["/bin/true"]}, "119s", "121s"),
                                ({"tcp": {"port": 1}}, "99ms", "101ms")):
        assert api.request("PUT", "/v1/applications", check("1ms", **probe)).status == 200
        for interval, action in ((same, "unchanged"), (longer, "update")):
            [plan] = api.request("PUT", "/v1/applications?dryRun=true",
                                 check(interval, **probe)).json()
            assert plan["action"] == action, (interval, plan)


def test_all_ranks_together_get_the_grace_period_of_the_policy(make_agent):
    """Each waits for the one before. The last is asked to stop only when all time is gone."""
    count = 4
    agent = make_agent(policy={"maxGracePeriod": "1s"}).start()
    script = "trap '' TERM; echo > {}; sleep 1000000 & while :; do wait; done"
    agent.run("app", *(
        workload(f"w{i}", sh(script.format(agent.work / f"ready{i}")),
                 stop={"gracePeriod": "8000h"}, **({"dependsOn": [f"w{i - 1}"]} if i else {}))
        for i in range(count)))
    for i in range(count):
        agent.wait_file(f"ready{i}", "\n")
    agent.stop()
    assert any("policy.maxGracePeriod is over" in line for line in agent.lines())
    over = [line for line in agent.lines() if "is killed: its grace period" in line and
            "is over" in line]
    assert len(over) <= 1, over


def test_the_number_of_workloads_is_bounded(world):
    agent, r = world.agent, world.root
    agent.write_config(policy={**world.policy, "maxWorkloads": 3})
    agent.start()
    good = [f"{r}/allowed/sleep", "1000000"]
    agent.run("a", workload("x", good), workload("y", good))
    agent.deploy("b", workload("x", good), workload("y", good))
    event = agent.wait_event("policy-refused", "b")
    assert "policy.maxWorkloads" in event["reason"] and "3" in event["reason"]
    agent.run("c", workload("x", good))
    agent.remove("a.yaml")
    agent.wait_event("removed", "a")
    agent.deploy("b", workload("x", good))
    agent.wait_started("b", "x")


def test_a_stricter_policy_counts_with_the_next_start(world):
    agent, r = world.agent, world.root
    agent.start()
    pid, = agent.run("app", workload("w", [f"{r}/allowed/sleep", "1000000"], restart=FAIL_NEXT))
    agent.write_config(policy={**world.policy, "commands": ["/nothing/**"]})
    agent.send(signal.SIGHUP)
    agent.wait_event("policy-refused", "app")
    assert is_alive(pid)
    since = agent.mark()
    kill_and_wait(pid)
    assert "policy.commands" in agent.wait_event("failed", "app", "w", since)["reason"]


def test_a_restart_that_the_policy_refuses_stops_nothing(world):
    agent, r = world.agent, world.root
    agent.write_config(policy={**world.policy, "commands": [f"{r}/**"]})
    agent.start()
    good = [f"{r}/allowed/sleep", "1000000"]
    first, second = agent.run("app", workload("a", good), workload("b", [f"{r}/outside/sleep", "1000000"]))
    agent.write_config(policy={**world.policy, "maxWorkloads": 1,
                               "limits": {"openFiles": 100}})
    agent.send(signal.SIGHUP)
    agent.wait_event("policy-refused", "app")
    socket = Api(agent).socket

    def restart(*args):
        return run_client("--socket", socket, "application", "restart", "-i", "app", *args,
                          account=agent.account)

    for args in ((), ("--workload", "b")):
        done = restart(*args)
        assert done.returncode == 4
        assert "spec.workloads[1] ('b').command[0]" in done.stderr, done.stderr
    assert is_alive(first) and is_alive(second)
    since = agent.mark()
    assert restart("--workload", "a").returncode == 0
    agent.wait_started("app", "a", since)
    assert not is_alive(first) and is_alive(second)


def test_a_deploy_that_the_policy_refuses_stops_nothing(world, tmp_path):
    agent, r = world.agent, world.root
    agent.start()
    fine = workload("w", [f"{r}/allowed/sleep", "1000000"])
    pid, = agent.run("app", fine)
    document = agent.app("app", {**fine, "command": [f"{r}/outside/sleep", "1000000"]})
    file = tmp_path / "app.yaml"
    file.write_text(yaml.safe_dump(document))
    done = run_client("--socket", Api(agent).socket, "stack", "deploy", "-f", file)
    assert done.returncode == 4 and "policy.commands" in done.stderr, done
    agent.put("app.yaml", document)  # as does one that comes beside the API
    agent.wait_event("policy-refused", "app")
    since = agent.mark()
    agent.put("app.yaml", agent.app("app", fine))
    agent.write_config(policy={**world.policy, "commands": []})
    agent.send(signal.SIGHUP)
    agent.wait_event("policy-refused", "app", since=since)
    file.write_text(yaml.safe_dump(agent.app("app", fine)))  # nor the same one anew
    done = run_client("--socket", Api(agent).socket, "stack", "deploy", "-f", file)
    assert done.returncode == 4 and "policy.commands" in done.stderr, done
    assert is_alive(pid) and Api(agent).workload("app", "w")["pid"] == pid


@pytest.mark.as_root
@pytest.mark.parametrize("fields, stricter, why", [
    ({"user": TEST_USER}, {"users": ["root"]}, "policy.users"),
    ({"user": TEST_USER, "group": "daemon"}, {"groups": []}, "policy.groups"),
    ({"user": TEST_USER, "allowNewPrivileges": True}, {"allowNewPrivileges": False},
     "policy.allowNewPrivileges"),
    ({"env": {"LD_PRELOAD": "/none"}}, {"commands": ["/bin/*", "/usr/bin/*"]}, "env.LD_PRELOAD")],
    ids=["user", "group", "privileges", "env"])
def test_a_stricter_policy_counts_for_who_it_runs_as_too(make_agent, fields, stricter, why):
    ordinary_account()
    wide = {"users": ["root", TEST_USER], "groups": ["daemon"], "allowNewPrivileges": True}
    agent = make_agent(policy=wide).start()
    pid, = agent.run("app", workload("w", SLEEP, restart=FAIL_NEXT, **fields))
    agent.write_config(policy={**wide, **stricter})
    agent.send(signal.SIGHUP)
    agent.wait_event("policy-refused", "app")
    assert is_alive(pid)
    since = agent.mark()
    kill_and_wait(pid)
    event = agent.wait_event("failed", "app", "w", since)
    assert why in event["reason"] and event["stage"] == "policy"
    assert not agent.events("started", since=since)


@pytest.mark.as_root
def test_a_rollback_does_not_bring_back_what_the_policy_refuses_by_now(make_agent):
    ordinary_account()
    agent = make_agent(policy={"users": ["root", TEST_USER]}).start()

    def deploy(command, **fields):
        document = agent.app("app", workload("w", command, restart=FAIL_AT_ONCE, **fields))
        document["spec"]["update"] = {"rollback": True}
        agent.put("app.yaml", document)

    deploy(SLEEP, user=TEST_USER)
    agent.wait_started("app", "w")
    agent.write_config(policy={"users": ["root"]})
    agent.send(signal.SIGHUP)
    agent.wait_event("policy-refused", "app")
    since = agent.mark()
    deploy(["/bin/false"])
    agent.wait(lambda: [e for e in agent.events("failed", "app", "w", since)
                        if "policy.users" in e["reason"]], "the refusal of the version before")
    assert len(agent.events("started", "app", since=since)) <= 1


def test_a_stricter_policy_that_refuses_the_check_stops_nothing_that_runs(make_agent):
    agent = make_agent(policy={"commands": ["/bin/*", "/usr/bin/*"]}).start()
    pid, = agent.run("app", workload("w", ["/bin/sleep", "1000000"], healthCheck={
        "exec": ["/bin/true"], "interval": "50ms", "failures": 1}))
    agent.wait_event("healthy", "app", "w")
    agent.write_config(policy={"commands": [os.path.realpath("/bin/sleep")]})
    agent.send(signal.SIGHUP)
    agent.wait(lambda: any("cannot be checked" in line for line in agent.lines()), "the checks")
    time.sleep(0.5)  # ten more, of which nothing more is said
    assert sum("cannot be checked" in line for line in agent.lines()) == 1
    w, = Api(agent).get("/v1/applications/app")["workloads"]
    assert "cannot be checked" in w["reason"] and "policy.commands" in w["reason"]
    assert is_alive(pid) and not agent.events("unhealthy")


def test_a_start_is_held_to_the_limits_of_a_stricter_policy(make_agent):
    """The version that runs goes on being started where its new one is refused."""
    agent = make_agent(policy={"limits": {"openFiles": 1000}}).start()
    command = sh("ulimit -n; exec sleep 1000000")
    pid, = agent.run("app", workload("w", command, limits={"openFiles": 900}))
    agent.wait_logged("app", "w", "900")
    agent.write_config(policy={"limits": {"openFiles": 500}})
    agent.send(signal.SIGHUP)
    agent.wait_event("policy-refused", "app")
    assert is_alive(pid)
    since = agent.mark()
    kill_and_wait(pid)
    agent.wait_started("app", "w", since)
    agent.wait_logged("app", "w", "500")


MIB = 1024 * 1024


def test_the_logs_of_all_documents_together_are_bounded(make_agent):
    """New and renewed documents; what is suspended counts, and what a version goes back to."""
    agent = make_agent(policy={"logs": {"maxTotal": "8MiB"}},
                       defaults={"logs": {"maxSize": "1MiB", "maxFiles": 1}}).start()

    def logs(files):
        return workload("w", SLEEP, logs={"maxSize": "1MiB", "maxFiles": files})

    agent.run("a", logs(4))
    agent.run("b", workload("w", SLEEP))  # has the default: 2 MiB
    agent.deploy("c", logs(1))
    reason = agent.wait_event("policy-refused", "c")["reason"]
    for part in ("policy.logs.maxTotal", str(2 * MIB), str(7 * MIB), str(8 * MIB)):
        assert part in reason, reason
    agent.deploy("b", logs(5))  # an update that is too large; what runs goes on
    assert str(6 * MIB) in agent.wait_event("policy-refused", "b")["reason"]
    assert Api(agent).workload("b", "w")["status"] == "running"
    agent.deploy("b", workload("w", SLEEP))
    answer = Api(agent).request("PATCH", "/v1/applications/a", {"targetState": "suspended"})
    assert answer.status == 200
    more = agent.work / "more.yaml"
    more.write_text(yaml.safe_dump(agent.app("d", logs(1))))
    done = run_client("--config", agent.config_file, "stack", "deploy", "-f", more,
                      account=agent.account)
    assert done.returncode == 4 and "policy.logs.maxTotal" in done.stderr, done
    since = agent.mark()
    agent.deploy("a", logs(2))
    agent.wait_event("updated", "a", since=since)
    agent.deploy("c", logs(2))
    agent.wait_started("c", "w", since)


def test_long_lines_count_for_the_bound_of_all_logs(make_agent):
    """A file is as large as one line of 1 MiB may make it, however small maxSize is."""
    agent = make_agent(policy={"logs": {"maxTotal": "2MiB"}}).start()
    small = {"maxSize": "64KiB", "maxFiles": 2}
    agent.deploy("a", workload("w", SLEEP, logs=small))
    reason = agent.wait_event("policy-refused", "a")["reason"]
    assert str(3 * MIB) in reason, reason
    agent.run("b", workload("w", SLEEP, logs={**small, "maxFiles": 1}))


def test_logs_that_a_rollback_brings_back_stay_counted(make_agent):
    agent = make_agent(policy={"logs": {"maxTotal": "8MiB"}}).start()

    def logs(files):
        return workload("w", SLEEP, logs={"maxSize": "1MiB", "maxFiles": files})

    agent.run("a", logs(5))
    since = agent.mark()
    smaller = agent.app("a", logs(1))
    smaller["spec"]["update"] = {"rollback": True, "healthyAfter": "1h"}
    agent.put("a.yaml", smaller)
    agent.wait_event("updated", "a", since=since)
    agent.deploy("b", logs(3))
    assert str(6 * MIB) in agent.wait_event("policy-refused", "b")["reason"]


@pytest.mark.once
def test_check_adds_up_the_logs_of_all_documents(make_agent):
    agent = make_agent(policy={"logs": {"maxTotal": "2GiB"}})
    agent.put("a.yaml", agent.app("a", workload("w", SLEEP)))
    done = check(agent)
    assert done.returncode == 0 and f"policy.logs.maxTotal: {2048 * MIB} bytes" in done.stdout, done
    agent.put("b.yaml", agent.app("b", workload("w", SLEEP)))
    done = check(agent)
    assert done.returncode == 1 and "policy.logs.maxTotal" in done.stderr, done


def check(agent):
    return run_client("--config", agent.config_file, "--check", account=agent.account)


@pytest.mark.once
def test_check_warns_of_what_this_device_does_not_have(make_agent):
    agent = make_agent()
    own = agent.account.name
    here, empty = agent.work / "here", agent.work / "empty"
    for folder in (here, empty):
        folder.mkdir()
    (here / "a[b]").write_text("")
    agent.write_config(policy={
        "users": ["nosuch-user", own], "groups": ["nosuch-group", "root"],
        "commands": ["/nosuch/*", "/nosuch/program", f"{here}/a[*", f"{empty}/*", "/bin/sh", "/usr/**"],
        "writePaths": ["/nosuch/log/**", f"{here}/new.log", f"{empty}/**", "/nosuch/x.log"]},
        defaults={"user": own}, api={"socket": str(agent.runtime_dir / "agent.sock")})
    agent.deploy("good", workload("w", ["/bin/sh", "-c", "true"]))
    agent.deploy("poor", workload("a", ["/usr/nosuch-program"]),
                 workload("b", ["/bin/sh"], workingDir="/nosuch/log/folder"))
    done = check(agent)
    told = {line.removeprefix(f"{agent.config_file}: ") for line in done.stderr.splitlines()
            if "run what their arguments say" not in line}
    poor = f"{agent.source}/poor.yaml:1:1: spec.workloads"
    assert told == {
        "policy.users[0]: warning: there is no user 'nosuch-user' here",
        "policy.groups[0]: warning: there is no group 'nosuch-group' here",
        "policy.commands[0]: warning: '/nosuch/*' matches nothing that is here",
        "policy.commands[1]: warning: '/nosuch/program' does not exist",
        f"policy.commands[3]: warning: '{empty}/*' matches nothing that is here",
        "policy.writePaths[0]: warning: '/nosuch/log/**' matches nothing that is here",
        "policy.writePaths[3]: warning: '/nosuch/x.log' matches nothing that is here",
        f"{poor}[0]: warning: there is no program '/usr/nosuch-program' here",
        f"{poor}[1]: warning: workingDir '/nosuch/log/folder' does not exist"}, done
    assert done.returncode == 0, done
    agent.write_config(policy={"users": ["nosuch-user"], "readPaths": [f"{here}/nosuch", f"{here}/**"]},
                       defaults={"user": own})
    told = check(agent).stderr
    assert (f"defaults.user: warning: policy.users does not list '{own}': each workload without "
            "`user` is refused") in told
    assert f"policy.readPaths[0]: warning: '{here}/nosuch' does not exist" in told
    assert "policy.readPaths[1]" not in told


@pytest.mark.once
def test_check_shows_the_policy(make_agent):
    agent = make_agent(policy={"users": ["me"], "maxWorkloads": 7,
                               "access": {"hostnames": ["*.example.com"], "auth": ["mtls"]}})
    lines = check(agent).stdout.splitlines()
    for line in ("policy.users: me", "policy.maxWorkloads: 7",
                 "policy.access.hostnames: *.example.com (in force once", "policy.access.auth: mtls",
                 "policy.remoteActions: logs why events (in force once"):
        assert any(told.startswith(line) for told in lines), (line, lines)
    agent.write_config(policy={"remoteActions": []})
    assert "policy.remoteActions: none" in check(agent).stdout
    agent.write_config(policy={"remoteActions": ["exec"]})
    done = check(agent)
    assert done.returncode == 1 and "policy.remoteActions[0]: unknown action 'exec'" in done.stderr


@pytest.mark.once
def test_the_packaged_policy_is_valid_and_explained(make_agent):
    agent = make_agent()
    packaged = yaml.safe_load((ROOT / "packaging/agent.yaml").read_text())
    agent.write_config(policy=packaged["policy"])
    done = check(agent)
    assert done.returncode == 0 and "policy.logs.maxTotal" in done.stdout, done
    page = (ROOT / "docs/security.md").read_text().split("## The packaged policy")[1]
    rows = {line.split("`")[1] for line in page.split("\n## ")[0].splitlines()
            if line.startswith("| `")}
    for key, value in packaged["policy"].items():
        names = [f"{key}.{name}" for name in value] if isinstance(value, dict) else [key]
        assert set(names) <= rows, names


ANYTHING = "documents can run anything"


@pytest.mark.parametrize("commands, told, untold", [
    (["/usr/bin/**"], ["bash", "dash", "env", "find", "sh", "xargs"], []),
    (["/bin/sh"], ["dash", "sh"], ["bash", "env"]),
    (["/opt/tool/bin/python3.11"], ["python3.11"], ["sh"]),
    (["{work}/tools/*"], ["lua5.4"], ["sh"]),
    (["/usr/bin/*a*h"], ["bash", "dash"], ["env"]),
    (["/opt/**", "/usr/bin/true"], None, None),
    ([], None, None),
])
@pytest.mark.once
def test_interpreters_that_the_policy_allows_are_named(make_agent, commands, told, untold):
    agent = make_agent()
    (agent.work / "tools").mkdir()
    shutil.copy("/bin/true", agent.work / "tools/lua5.4")
    agent.write_config(policy={"commands": [c.format(work=agent.work) for c in commands]})
    done = check(agent)
    assert done.returncode == 0, done
    lines = [line for line in done.stderr.splitlines() if ANYTHING in line]
    assert len(lines) == (1 if told else 0), done
    if told:
        names = lines[0].rsplit(": ", 1)[1].split(", ")
        assert set(told) <= set(names) and not set(untold) & set(names), names


def test_the_agent_says_at_its_start_that_it_allows_interpreters(make_agent):
    agent = make_agent(policy={"commands": ["/usr/bin/env"]}).start()
    line = agent.wait(lambda: next((line for line in agent.lines() if ANYTHING in line), None),
                      "the warning")
    assert "policy.commands" in line and line.rstrip('"}\n').endswith(": env"), line


@pytest.mark.parametrize("mode", [0o777, 0o1777])
def test_a_pattern_that_leads_elsewhere_by_anybodys_link_is_named(make_agent, mode):
    """Where the folder is sticky, others can move a link of root's there that lay in theirs. A plain
    folder of root's they cannot: links in that one count."""
    agent = make_agent()
    shared = agent.work / "shared"
    (agent.work / "real").mkdir()
    shared.mkdir()
    shared.chmod(mode)
    (shared / "plain").mkdir()
    for link in (shared / "link", shared / "plain/link"):
        link.symlink_to(agent.work / "real")
    agent.write_config(policy={key: [f"{agent.work}/real/**", f"{shared}/link/**",
                                     f"{shared}/plain/link/**"]
                               for key in ("commands", "writePaths", "readPaths")})
    told = check(agent).stderr
    for key in ("commands", "writePaths", "readPaths"):
        is_named = f"policy.{key}[2]: warning" in told
        assert is_named == (mode == 0o777), told
        assert f"policy.{key}[1]: warning: '{shared}/link/**' matches nothing" in told, told
        assert f"policy.{key}[0]" not in told, told


def test_a_pattern_is_not_widened_by_a_link_behind_a_link(own_folder, make_agent):
    """The first one is the owner's, and the second one lies where anybody can replace it."""
    shared, real = own_folder / "shared", own_folder / "real"
    for folder in (shared, real):
        folder.mkdir()
    shared.chmod(0o777)
    (shared / "next").symlink_to(real)
    (own_folder / "owners").symlink_to("shared/next")
    (own_folder / "good").symlink_to("../" + own_folder.name + "/real")
    agent = make_agent()
    agent.write_config(policy={"commands": [f"{own_folder}/owners/**", f"{own_folder}/good/**"]})
    for path in own_folder.rglob("*"):
        os.chown(path, agent.account.uid, agent.account.gid, follow_symlinks=False)
    told = check(agent).stderr
    assert f"policy.commands[0]: warning: '{shared}/next/**' matches nothing" in told, told
    assert "policy.commands[1]" not in told, told


@pytest.mark.once
def test_check_names_what_the_policy_refuses(world):
    agent = world.agent
    agent.put("app.yaml", agent.app("app", workload("w", ["/bin/sh", "-c", "true"])))
    done = subprocess.run([agent_binary(), "--config", agent.config_file, "--check"], text=True,
                          capture_output=True)
    assert done.returncode == 1 and "policy.commands" in done.stderr


def test_all_that_a_document_violates_is_named_with_the_file_to_change(world):
    agent, r = world.agent, world.root
    agent.start()
    bad = {"env": {"LD_PRELOAD": "/x.so"}, "user": "daemon", "workingDir": f"{r}/elsewhere",
           "limits": {"openFiles": 4096}, "allowNewPrivileges": True}
    agent.deploy("app", workload("a", ["/bin/true"], **bad), workload("b", [f"{r}/outside/sleep", "1"]))
    found = ["('a').user", "('a').limits.openFiles", "('a').allowNewPrivileges", "('a').command[0]",
             "('a').env.LD_PRELOAD", "('a').workingDir", "('b').command[0]"]
    file = str(agent.config_file)
    event = agent.wait_event("policy-refused", "app")["reason"]
    why = " ".join(Api(agent).get("/v1/applications/app/why")["because"])
    answer = Api(agent).request("PUT", "/v1/applications", (agent.source / "app.yaml").read_bytes())
    assert answer.status == 403
    check = subprocess.run([agent_binary(), "--config", file, "--check"], text=True, capture_output=True)
    for text in (event, why, answer.json()["detail"], check.stderr):
        assert [name for name in found if name not in text] == [], text
        assert f"policy.users in {file} does not list" in text, text


def test_of_many_violations_the_first_and_their_number_are_named(world):
    agent, r = world.agent, world.root
    agent.start()
    agent.deploy("app", *(workload(f"w{i}", [f"{r}/outside/sleep", "1"]) for i in range(25)))
    reason = agent.wait_event("policy-refused", "app")["reason"]
    assert "('w19').command[0]" in reason and "('w20')" not in reason
    assert reason.endswith("; and 5 more violations of the policy")


def test_a_start_names_all_that_a_stricter_policy_refuses_of_who_runs(world):
    agent, r = world.agent, world.root
    agent.write_config(policy={**world.policy, "env": ["LD_BIND_NOW"]})
    agent.start()
    pid, = agent.run("app", workload("w", [f"{r}/allowed/sleep", "1000000"], restart=FAIL_NEXT,
                                     env={"LD_BIND_NOW": "1"}))
    agent.write_config(policy={**world.policy, "users": []})
    agent.send(signal.SIGHUP)
    agent.wait_event("policy-refused", "app")
    since = agent.mark()
    kill_and_wait(pid)
    reason = agent.wait_event("failed", "app", "w", since)["reason"]
    assert f"policy.users in {agent.config_file} does not list" in reason, reason
    assert f"policy.env in {agent.config_file} does not list" in reason, reason


def test_what_is_refused_when_the_agent_starts_says_so_and_starts_once_it_may(make_agent):
    """As many as maxWorkloads lets run, the others are told as rejected, until there is room."""
    agent = make_agent(policy={"maxWorkloads": 4}).start()
    names = [f"app{i}" for i in range(4)]
    for name in names:
        agent.run(name, workload("w", SLEEP))
    agent.stop()
    agent.write_config(policy={"maxWorkloads": 3})
    since = agent.mark()
    agent.start()
    for i in range(3):
        agent.wait_event("started", since=since, count=i + 1)
    told = {app["name"]: app for app in Api(agent).get("/v1/applications")}
    refused, = [name for name in names if told[name]["status"] != "running"]
    assert told[refused]["status"] == "rejected"
    assert "maxWorkloads" in told[refused]["workloads"][0]["reason"]
    for state in ("suspended", "running"):  # neither gets around it
        answer = Api(agent).request("PATCH", f"/v1/applications/{refused}", {"targetState": state})
        assert answer.status == 200
    Api(agent).request("POST", f"/v1/applications/{refused}/restart")
    assert Api(agent).workload(refused, "w")["status"] == "rejected"
    agent.write_config(policy={"maxWorkloads": 4})
    agent.send(signal.SIGHUP)
    agent.wait_started(refused, "w", since)
    assert Api(agent).app(refused)["status"] == "running"
