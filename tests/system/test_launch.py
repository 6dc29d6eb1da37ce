"""What a workload finds when it starts, and what is said of one that cannot start."""

import grp
import os
import platform
import pwd
import re
import resource
import signal
import stat
import subprocess
from pathlib import Path

import pytest

from harness import (FAIL_AT_ONCE, SLEEP, TEST_GROUP, helper, is_alive, ordinary_account, python,
                     sh, workload)

ONCE = {"policy": "never"}

def state_of(agent, **fields):
    """What the helper show_state prints, as a dict of name to the values of its lines."""
    agent.deploy("state", workload("main", [helper("show_state"), "--no-env"], restart=ONCE,
                                   **fields))
    state = {}
    for line in agent.output_of("state", "main").splitlines():
        name, value = line.split("=", 1)
        state.setdefault(name, []).append(value.strip())
    return state


def groups_in(state):
    return {int(group) for group in state["groups"][0].split()}


def environment_of(agent, **fields):
    agent.deploy("environment", workload("main", ["/usr/bin/env"], restart=ONCE, **fields))
    printed = agent.output_of("environment", "main")
    return dict(line.split("=", 1) for line in printed.splitlines())


# --- what a workload finds ---------------------------------------------------------------------

def test_the_environment_is_exactly_what_is_promised(make_agent, account):
    agent = make_agent().start(env={"AGENT_SECRET": "leaked", "LD_PRELOAD": "", "LANG": "C.UTF-8"})
    found = environment_of(agent, env={"COLOUR": "yes", "EMPTY": "", "NOT_EXPANDED": "$HOME {x}"})
    path = found.pop("PATH")
    assert "/usr/bin" in path.split(":") and "/bin" in path.split(":")
    assert found.pop("LANG")
    assert found == {
        "HOME": account.home, "USER": account.name, "LOGNAME": account.name,
        "SHELL": account.shell, "EDGIBLE_APPLICATION": "environment", "EDGIBLE_WORKLOAD": "main",
        "EDGIBLE_DEVICE": agent.device, "COLOUR": "yes", "EMPTY": "",
        "NOT_EXPANDED": "$HOME {x}"}


def test_without_clone3_workloads_and_checks_run(make_agent):
    """As in a container of Docker, whose filter answers ENOSYS."""
    agent = make_agent().start(prefix=[helper("deny_clone3")])
    check = {"exec": ["/bin/true"], "interval": "100ms"}
    pid, = agent.run("app", workload("main", SLEEP, healthCheck=check))
    agent.wait_event("healthy", "app", "main")
    assert is_alive(pid) and not agent.events("exited", "app", "main")


def test_env_of_the_document_wins(agent):
    found = environment_of(agent, env={"HOME": "/elsewhere", "PATH": "/usr/bin:/bin"})
    assert found["HOME"] == "/elsewhere" and found["PATH"] == "/usr/bin:/bin"


@pytest.mark.once
def test_env_values_are_the_text_written(agent):
    """A plain 8080, yes or 1.0 is not a number or a truth value."""
    text = """\
apiVersion: v3
kind: Application
metadata: {name: environment}
spec:
  placement: {strategy: serving-device, deviceSelector: {deviceName: DEVICE}}
  workloads:
    - name: main
      type: managed-process
      command: [/usr/bin/env]
      restart: {policy: never}
      env: {A: 8080, B: yes, C: 1.0, D: 0x1F, E: "quoted"}
"""
    agent.put("environment.yaml", text.replace("DEVICE", agent.device))
    lines = agent.output_of("environment", "main").splitlines()
    assert {"A=8080", "B=yes", "C=1.0", "D=0x1F", "E=quoted"} <= set(lines)


def odd_surroundings():
    """Things that an agent may inherit, and that no workload may see."""
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM, signal.SIGPIPE])
    os.umask(0o077)
    # The agent raises its own soft limit, and must not pass that on.
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, 4000))


def test_all_that_a_workload_inherits(make_agent, account):
    """Streams and nothing else, default signals, a session of its own, umask 022, the limits that
    the agent was started with: whatever the agent inherited itself or does for itself."""
    given = ["/usr/bin/setpriv", "--inh-caps=+kill", "--ambient-caps=+kill"]
    with open("/dev/null") as inherited:
        agent = make_agent().start(given if account.is_root else (), pass_fds=[inherited.fileno()], restore_signals=False,
                                   preexec_fn=odd_surroundings)
        agent.run("other", workload("main", SLEEP))
        found = state_of(agent)
    groups = found.pop("groups")[0].split()
    assert {int(group) for group in groups} | {account.gid} == account.groups
    found.pop("cgroup", None)  # as the system has it
    nothing = "0000000000000000"
    assert found == {
        "SigBlk": [nothing], "SigIgn": [nothing], "SigCgt": [nothing],
        "CapInh": [nothing], "CapAmb": [nothing],
        "NoNewPrivs": ["0" if account.is_root else "1"],
        "fd": ["0 /dev/null", "1 pipe", "2 pipe"],
        "leader": ["session group"],
        "uid": [f"{account.uid} {account.uid} {account.uid}"],
        "gid": [f"{account.gid} {account.gid} {account.gid}"],
        "nofile": ["200 4000"],
        "umask": ["022"],
        "nice": [str(os.nice(0))],
        "pdeathsig": ["0"],
        "oom_score_adj": [open("/proc/self/oom_score_adj").read().strip()],
        "cwd": ["/"],
        "argv": [found["argv"][0], "--no-env"],
    }


def capabilities(status, kind):
    return int(re.search(rf"^{kind}:\s*(\w+)$", status, re.MULTILINE)[1], 16)


# add_key, request_key, keyctl
KEY_CALLS = {"x86_64": (248, 249, 250), "aarch64": (217, 218, 219), "armv7l": (309, 310, 311)}
KEYS = f"""
import ctypes, os, sys, time
add_key, request_key, keyctl = {KEY_CALLS.get(platform.machine(), (0, 0, 0))}
libc = ctypes.CDLL(None)
def add(name):
    return libc.syscall(add_key, b"user", name.encode(), b"secret", 6, -3) >= 0
def finds(name):
    return libc.syscall(request_key, b"user", name.encode(), None, 0) >= 0
"""
HOLDER = KEYS + """
assert libc.syscall(keyctl, 1, b"session-of-the-agent", 0, 0, 0) >= 0
assert add("agent") and finds("agent")
os.execv(sys.argv[1], sys.argv[1:])
"""
SEEKER = KEYS + """
own, others = sys.argv[2], sys.argv[3:]
assert add(own) and finds(own)
open(sys.argv[1] + own, "w").close()
while not all(os.path.exists(sys.argv[1] + name) for name in others):
    time.sleep(0.02)
found = [name for name in ["agent", *others] if finds(name)]
print("finds", found, "of others", flush=True)
assert not found
"""


@pytest.mark.skipif(platform.machine() not in KEY_CALLS, reason="numbers of system calls")
def test_each_process_has_a_session_keyring_of_its_own(make_agent):
    """It finds no key of the agent's session, of another workload or of its own check."""
    agent = make_agent()
    folder = str(agent.work) + "/"
    probe = subprocess.run(python(HOLDER, "/bin/true"), **agent.account.popen_options())
    if probe.returncode != 0:
        pytest.skip("no keys here")
    agent.start(python(HOLDER))
    check = {"exec": python(SEEKER, folder, "check", "a", "b"), "interval": "1s", "timeout": "60s"}
    stay = SEEKER + "time.sleep(1000)"
    agent.run("app", workload("a", python(stay, folder, "a", "b", "check"), healthCheck=check),
              workload("b", python(stay, folder, "b", "a", "check")))
    for name in "ab":
        agent.wait_logged("app", name, "finds [] of others")
    agent.wait_event("healthy", "app", "a")
    agent.stop()


TAKER = KEYS + """
# 122 is EDQUOT; -2 its process keyring, which nobody else has
libc = ctypes.CDLL(None, use_errno=True)
number = 0
while libc.syscall(add_key, b"user", b"key-%d" % number, b"x", 1, -2) >= 0:
    number += 1
print("errno", ctypes.get_errno(), flush=True)
time.sleep(1000)
"""


@pytest.mark.as_user
@pytest.mark.skipif(platform.machine() not in KEY_CALLS, reason="numbers of system calls")
def test_who_takes_all_keys_of_its_user_keeps_no_other_workload_from_starting(make_agent):
    agent = make_agent()
    probe = subprocess.run(python(HOLDER, "/bin/true"), **agent.account.popen_options())
    if probe.returncode != 0:
        pytest.skip("no keys here")
    agent.start(python(HOLDER))
    agent.run("taker", workload("w", python(TAKER)))
    agent.wait_logged("taker", "w", "errno 122")
    stay = SEEKER + "time.sleep(1000)"
    seeker = stay.replace("assert add(own) and finds(own)", "")
    agent.run("other", workload("w", python(seeker, str(agent.work) + "/", "w")))
    agent.wait_logged("other", "w", "finds [] of others")
    agent.stop()


FILLER = KEYS + """
libc.syscall(keyctl, 1, None, 0, 0, 0)
ready, full = os.pipe()
if os.fork() == 0:
    libc.prctl(1, 9)  # ends with the agent
    number = 0
    while libc.syscall(add_key, b"user", b"key-%d" % number, b"x", 1, -2) >= 0:
        number += 1
    os.write(full, b".")
    time.sleep(1000)
os.read(ready, 1)
os.execv(sys.argv[1], sys.argv[1:])
"""


@pytest.mark.as_user
@pytest.mark.skipif(platform.machine() not in KEY_CALLS, reason="numbers of system calls")
def test_an_agent_that_begins_without_a_key_left_starts_workloads(make_agent):
    agent = make_agent()
    agent.start(python(FILLER))
    agent.run("app", workload("w", SLEEP))
    agent.stop()


@pytest.mark.as_root
def test_an_agent_of_root_keeps_what_it_needs_and_its_workloads_of_root_are_not_narrowed(agent):
    [pid] = agent.run("narrow", workload("main", SLEEP))
    needed = {"chown": 0, "dac_override": 1, "fowner": 3, "kill": 5, "setgid": 6, "setuid": 7,
              "sys_ptrace": 19, "sys_resource": 24, "lease": 28, "syslog": 34}
    had = capabilities(Path("/proc/self/status").read_text(), "CapPrm")
    kept = sum(1 << number for number in needed.values()) & had
    threads = list(Path(f"/proc/{agent.pid}/task").glob("*/status"))
    assert len(threads) > 1
    for thread in threads:
        try:
            status = thread.read_text()
        except FileNotFoundError:  # of a work that is over
            continue
        assert capabilities(status, "CapPrm") == capabilities(status, "CapEff") == kept
    status = Path(f"/proc/{pid}/status").read_text()
    assert capabilities(status, "CapEff") == capabilities(status, "CapBnd")


def test_working_dir(agent):
    assert state_of(agent, workingDir=str(agent.work))["cwd"] == [str(agent.work)]


@pytest.mark.as_root
def test_user_of_the_document_with_exactly_its_groups(agent):
    user = ordinary_account()
    found = state_of(agent, user=user.name)
    assert found["uid"] == [f"{user.uid} {user.uid} {user.uid}"]
    assert found["gid"] == [f"{user.gid} {user.gid} {user.gid}"]
    assert groups_in(found) == user.groups
    assert grp.getgrnam(TEST_GROUP).gr_gid in user.groups and 0 not in user.groups


@pytest.mark.as_root
def test_group_of_the_document_replaces_the_primary_one(agent):
    user, group = ordinary_account(), grp.getgrnam("daemon").gr_gid
    found = state_of(agent, user=user.name, group="daemon")
    assert found["gid"] == [f"{group} {group} {group}"]
    assert groups_in(found) == set(os.getgrouplist(user.name, group))


@pytest.mark.as_root
def test_user_decides_the_environment_and_the_logs_owner(agent):
    user = ordinary_account()
    found = environment_of(agent, user=user.name)
    entry = pwd.getpwnam(user.name)
    assert (found["USER"], found["LOGNAME"]) == (user.name, user.name)
    assert (found["HOME"], found["SHELL"]) == (entry.pw_dir, entry.pw_shell)
    # The log lies in the agent's folder: the agent's, and readable by the workload's group.
    log = agent.log_file("environment", "main").stat()
    assert (log.st_uid, log.st_gid) == (0, user.gid) and stat.S_IMODE(log.st_mode) == 0o640
    folder = agent.log_file("environment", "main").parent.stat()
    assert folder.st_uid == 0 and not folder.st_mode & 0o022


@pytest.mark.as_root
def test_default_user_of_the_configuration(make_agent):
    user = ordinary_account()
    agent = make_agent(defaults={"user": user.name}).start()
    assert state_of(agent)["uid"] == [f"{user.uid} {user.uid} {user.uid}"]


# --- how a command is found --------------------------------------------------------------------

def install(agent, name, text="#!/bin/sh\necho found me\n", mode=0o755):
    path = agent.work / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def test_a_relative_command_with_a_slash_starts_from_the_working_directory(agent):
    install(agent, "bin/tool")
    agent.deploy("app", workload("main", ["bin/tool"], workingDir=str(agent.work), restart=ONCE))
    agent.wait_logged("app", "main", "found me")


def test_a_bare_name_is_looked_up_in_the_workloads_own_path(agent):
    install(agent, "bin/only-in-its-own-path")
    agent.deploy("app", workload("main", ["only-in-its-own-path"], restart=ONCE,
                                 env={"PATH": f"{agent.work}/bin:/usr/bin:/bin"}))
    agent.wait_logged("app", "main", "found me")


def test_the_working_directory_is_never_searched_for_a_bare_name(agent):
    install(agent, "trap-in-cwd")
    agent.deploy("app", workload("main", ["trap-in-cwd"], workingDir=str(agent.work),
                                 restart=FAIL_AT_ONCE, env={"PATH": "/usr/bin:.:/bin"}))
    agent.wait_event("failed", "app", "main")
    assert not agent.events("started", "app")


def test_a_command_as_a_string_is_split_into_words_and_nothing_else(agent):
    agent.deploy("app", workload("main", r"""/usr/bin/printf '%s\n' 'a b' c\ d "e'f" """,
                                 restart=ONCE))
    assert agent.output_of("app", "main") == "a b\nc d\ne'f\n"


# --- what is said of one that cannot start -----------------------------------------------------

def failure_of(agent, command, **fields):
    """The message of `failed` for a command that cannot start, after which the agent goes on."""
    fields.setdefault("restart", FAIL_AT_ONCE)
    agent.deploy("broken", workload("main", command, **fields))
    event = agent.wait_event("failed", "broken", "main")
    assert not agent.events("started", "broken")
    agent.run("fine", workload("main", SLEEP))
    return event["message"]


def test_a_missing_program_is_named(agent):
    message = failure_of(agent, ["/no/such/program", "argument"])
    assert "/no/such/program" in message and "ENOENT" in message


def test_a_missing_bare_name_is_named_with_the_path_searched(agent):
    message = failure_of(agent, ["no-such-program-anywhere"])
    assert "no-such-program-anywhere" in message and "PATH" in message


def test_a_program_that_may_not_be_executed(agent):
    path = install(agent, "not-executable", mode=0o644)
    message = failure_of(agent, [str(path)])
    assert str(path) in message and "EACCES" in message


def test_a_directory_is_not_a_program(agent):
    message = failure_of(agent, [str(agent.work)])
    assert str(agent.work) in message and "EACCES" in message


def test_a_file_that_is_no_program(agent):
    path = install(agent, "garbage", text="\x01\x02 neither ELF nor script\n")
    message = failure_of(agent, [str(path)])
    assert str(path) in message and "ENOEXEC" in message


def test_a_script_whose_interpreter_is_missing_says_so(agent):
    """The kernel answers ENOENT for the interpreter; a message about the script misleads."""
    path = install(agent, "script", text="#!/no/such/interpreter\n")
    message = failure_of(agent, [str(path)])
    assert str(path) in message and "interpreter" in message


def test_a_missing_working_directory_is_named(agent):
    message = failure_of(agent, SLEEP, workingDir="/no/such/directory")
    assert "/no/such/directory" in message and "ENOENT" in message
    assert re.search("working ?dir|chdir", message, re.IGNORECASE)


@pytest.mark.parametrize("command, fields", [
    (["/proc/self/root/bin/sleep", "1000000"], {}),
    (SLEEP, {"workingDir": "/proc/self/root/tmp"}),
])
def test_no_link_of_proc_is_followed_without_a_policy_either(agent, command, fields):
    message = failure_of(agent, command, **fields)
    assert "link of /proc" in message and "ELOOP" in message


def test_a_missing_user_is_named(agent):
    message = failure_of(agent, SLEEP, user="no-such-user")
    assert "no-such-user" in message and "user" in message


@pytest.mark.as_root
def test_a_missing_group_is_named(agent):
    message = failure_of(agent, SLEEP, group="no-such-group")
    assert "no-such-group" in message and "group" in message


@pytest.mark.as_user
def test_another_user_needs_root_and_the_message_says_so(agent):
    message = failure_of(agent, SLEEP, user="daemon")
    assert "daemon" in message and "root" in message


@pytest.mark.as_user
def test_a_log_that_cannot_be_opened_is_named(agent):
    """Its own workload waits; another one runs."""
    agent.deploy("broken", workload("main", SLEEP, logFile="/proc/no/such.log",
                                    restart=FAIL_AT_ONCE))
    agent.wait(lambda: any("/proc/no" in line for line in agent.lines()), "the log's name")
    agent.run("fine", workload("main", SLEEP))
    assert not agent.events("started", "broken")


def test_a_missing_program_that_appears_is_started_after_an_edit(agent):
    failure_of(agent, [str(agent.work / "late")])
    install(agent, "late", text="#!/bin/sh\nexec sleep 1000000\n")
    agent.run("broken", workload("main", [str(agent.work / "late"), "argument"]))


# --- policy ------------------------------------------------------------------------------------

def test_a_user_that_the_policy_does_not_allow_is_refused(make_agent):
    agent = make_agent(policy={"users": ["somebody-else"]}).start()
    agent.deploy("app", workload("main", SLEEP, user="nobody"))
    event = agent.wait_event("policy-refused", "app")
    assert "user" in event["message"]
    assert not agent.events("started")


def test_a_user_that_the_policy_allows_runs(make_agent, account):
    agent = make_agent(policy={"users": [account.name]}).start()
    [pid] = agent.run("app", workload("main", SLEEP))
    assert is_alive(pid)


def test_a_refused_edit_leaves_the_version_before_it_running(make_agent, account):
    agent = make_agent(policy={"users": [account.name]}).start()
    [pid] = agent.run("app", workload("main", SLEEP))
    agent.deploy("app", workload("main", sh("exec sleep 5"), user="nobody"))
    agent.wait_event("policy-refused", "app")
    agent.run("other", workload("main", SLEEP))
    assert is_alive(pid) and len(agent.events("started", "app")) == 1
