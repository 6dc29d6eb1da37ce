"""Log files where somebody else steers the path: nothing is written, renamed or read there that the
workload's user could not write, rename or read itself."""

import contextlib
import os
import pwd
import signal
import socket
import subprocess

import pytest
import yaml

from api import Api
from harness import FAIL_AT_ONCE, SLEEP, Account, agent_binary, is_alive, ordinary_account, sh, wait_for, workload


def user_of(agent):
    """Who a workload runs as: another user where the agent is root."""
    return ordinary_account() if agent.account.is_root else agent.account


def fields_of(agent):
    return {"user": user_of(agent).name} if agent.account.is_root else {}


def make_folder(agent, name):
    """A folder of the workload's user."""
    folder = agent.work / name
    folder.mkdir()
    os.chown(folder, user_of(agent).uid, user_of(agent).gid)
    return folder


def give(agent, path, mode=0o644):
    os.chown(path, user_of(agent).uid, user_of(agent).gid, follow_symlinks=False)
    if not path.is_symlink():
        path.chmod(mode)


def open_files(agent):
    folder = f"/proc/{agent.pid}/fd"
    found = set()
    for fd in os.listdir(folder):
        with contextlib.suppress(FileNotFoundError):
            found.add(os.readlink(f"{folder}/{fd}"))
    return found


def with_policy(agent, *patterns):
    agent.write_config(policy={"writePaths": list(patterns)})
    return agent


def test_a_log_outside_belongs_to_the_workloads_user(make_agent):
    agent = make_agent()
    folder = make_folder(agent, "own")
    agent.start()
    agent.run("app", workload("main", sh("echo hello; exec sleep 1000000"),
                              logFile=str(folder / "new/x.log"), **fields_of(agent)))
    log = folder / "new/x.log"
    wait_for(lambda: log.exists() and log.read_text() == "hello\n", "the log")
    for path in (log, log.parent):
        assert path.stat().st_uid == user_of(agent).uid


@pytest.mark.as_root
def test_a_link_in_a_users_folder_gives_no_more_than_the_user_has(make_agent):
    """The folder of a log is swapped for a link into a folder of root's while the program runs."""
    agent = make_agent()
    folder, roots = make_folder(agent, "own"), agent.work / "roots"
    roots.mkdir(mode=0o755)
    os.chown(roots, 0, 0)
    (folder / "sub").mkdir()
    give(agent, folder / "sub", 0o755)
    agent.start()
    agent.run("app", workload("main", sh("while :; do echo text; sleep 0.05; done"),
                              logFile=str(folder / "sub/x.log"), **fields_of(agent)))
    wait_for(lambda: (folder / "sub/x.log").exists(), "the log")
    (folder / "sub").rename(folder / "moved")
    (folder / "sub").symlink_to(roots)
    give(agent, folder / "sub")
    agent.wait_event("disk-full", "app")
    assert os.listdir(roots) == []


@pytest.mark.parametrize("user", ["other", "own"])
def test_a_log_is_no_way_out_of_a_sandbox(make_agent, user):
    """The workload makes the folder of its log a link to one that its sandbox may not write to."""
    agent = make_agent()
    fields = fields_of(agent) if user == "other" else {}
    if user == "own" and not agent.account.is_root:
        pytest.skip("the same as the other one")
    own, outside = make_folder(agent, "own"), make_folder(agent, "outside")
    (outside / "x.log").write_text("precious\n")
    give(agent, outside / "x.log")
    script = (f"mkdir {own}/logs/a; mv {own}/logs {own}/old; ln -s {outside} {own}/logs; "
              "while :; do echo text; sleep 0.05; done")
    fields.update(logFile=str(own / "logs/x.log"), sandbox={"write": [str(own)]})
    agent.start()
    agent.deploy("app", workload("main", sh(script), **fields))
    full = agent.wait_event("disk-full", "app")
    assert "in a sandbox can have put it there" in str(full)
    assert (outside / "x.log").read_text() == "precious\n"
    answer = Api(agent).request("GET", "/v1/applications/app/workloads/main/logs")
    assert "precious" not in answer.text
    agent.deploy("app", workload("main", sh("echo text; exec sleep 1000000"), **fields))
    agent.wait_started("app", "main", count=2)
    assert os.listdir(outside) == ["x.log"]
    assert (outside / "x.log").read_text() == "precious\n"


@pytest.mark.parametrize("named", [True, False])
def test_a_log_in_the_log_folder_is_no_way_out_of_a_sandbox(make_agent, named):
    """The workload, of the agent's user, makes the agent's log folder a link. The way to that folder
    has a link of the owner's, which counts, and which documents may name."""
    agent = make_agent()
    own, outside, link = agent.work / "own", agent.work / "outside", agent.work / "link"
    for folder in (own, outside, outside / "app"):
        folder.mkdir()
        os.chown(folder, agent.account.uid, agent.account.gid)
    link.symlink_to(own)
    os.chown(link, agent.account.uid, agent.account.gid, follow_symlinks=False)
    agent.log_dir = link / "log"
    agent.write_config()
    agent.start()
    fields = {"logFile": str(link / "log/app/main.log")} if named else {}
    script = (f"echo before; while ! [ -e {own}/go ]; do sleep 0.1; done; "
              f"mv {own}/log {own}/old; ln -s {outside} {own}/log; "
              "while :; do echo text; sleep 0.05; done")
    agent.run("app", workload("main", sh(script), sandbox={"write": [str(own)]}, **fields))
    log = own / "log/app/main.log"
    wait_for(lambda: log.exists() and log.read_text() == "before\n", "the log")
    assert str(log) in Api(agent).request("GET", "/v1/applications/app").text
    (outside / "app/main.log.1").write_text("precious\n")
    (own / "go").touch()
    agent.wait_event("disk-full", "app")
    assert os.listdir(outside / "app") == ["main.log.1"]
    answer = Api(agent).request("GET", "/v1/applications/app/workloads/main/logs")
    assert "precious" not in answer.text


def test_existing_files_are_not_taken_for_logs(make_agent):
    agent = make_agent()
    folder = make_folder(agent, "own")
    files = {"tool": 0o755, "config": 0o644, "second": 0o644}
    for name, mode in files.items():
        (folder / name).write_text("precious\n")
        give(agent, folder / name, mode)
    os.link(folder / "second", folder / "link")
    with_policy(agent, f"{folder}/**").start()
    for name in ("tool", "config", "link"):
        agent.deploy(name, workload("main", ["/bin/echo", "text"], restart=FAIL_AT_ONCE,
                                    logFile=str(folder / name), **fields_of(agent)))
        failed = agent.wait_event("failed", name)
        assert f"{folder / name}" in failed["message"]
    for name in files:
        assert (folder / name).read_text() == "precious\n"


def test_a_policy_without_write_paths_keeps_content_of_others(make_agent):
    """It is neither written to nor read back. What an agent made goes on, of version 0.1.0, too,
    which set no mark."""
    agent = make_agent()
    folder = make_folder(agent, "own")
    keys, older, log = folder / "authorized_keys", folder / "older.log", folder / "new.log"
    for path, text, mode in ((keys, "precious\n", 0o600), (older, "before\n", 0o640)):
        path.write_text(text)
        give(agent, path, mode)
    agent.write_config(policy={"commands": ["/bin/**", "/usr/bin/**"]})
    agent.start()
    fields = {"restart": FAIL_AT_ONCE, **fields_of(agent)}
    agent.deploy("keys", workload("main", sh("echo after"), logFile=str(keys), **fields))
    failed = agent.wait_event("failed", "keys")["message"]
    assert f"'{keys}' has content that the agent did not write" in failed
    answer = Api(agent).request("GET", "/v1/applications/keys/workloads/main/logs")
    assert "precious" not in answer.text
    assert keys.read_text() == "precious\n"
    script = sh("echo after; exec sleep 1000000")
    agent.run("older", workload("main", script, logFile=str(older), **fields))
    agent.run("new", workload("main", script, logFile=str(log), **fields))
    wait_for(lambda: older.read_text() == "before\nafter\n", "the older log to go on")
    wait_for(lambda: log.exists() and log.read_text() == "after\n", "the log")
    log.chmod(0o644)  # from now on it is known by its mark alone
    agent.stop()
    agent.start()
    wait_for(lambda: older.read_text() == "before\nafter\nafter\n", "the older log to go on")
    wait_for(lambda: log.read_text() == "after\nafter\n", "the log to go on")


@pytest.mark.as_root
@pytest.mark.parametrize(("user", "policy"), [("root", True), ("other", False)])
def test_what_a_third_user_made_first_is_no_log(make_agent, user, policy):
    """In a folder where all may make files; it is not read back, either."""
    agent = make_agent()
    folder, third = agent.work / "open", pwd.getpwnam("nobody")
    folder.mkdir()
    folder.chmod(0o1777)
    log = folder / "x.log"
    log.touch()
    log.chmod(0o666)
    os.chown(log, third.pw_uid, third.pw_gid)
    if policy:
        with_policy(agent, f"{folder}/**")
    agent.start()
    fields = fields_of(agent) if user == "other" else {}
    agent.deploy("app", workload("main", sh("echo secret"), logFile=str(log), restart=FAIL_AT_ONCE,
                                 **fields))
    assert f"belongs to uid {third.pw_uid}" in agent.wait_event("failed", "app")["message"]
    assert log.read_text() == ""
    log.write_text("forged\n")
    answer = Api(agent).request("GET", "/v1/applications/app/workloads/main/logs")
    assert "forged" not in answer.text


@pytest.mark.as_user
def test_a_log_that_root_made_for_another_goes_on(make_agent):
    if os.geteuid() != 0:
        pytest.skip("only root can make it")
    agent = make_agent()
    folder = make_folder(agent, "own")
    log = folder / "x.log"
    log.write_text("before\n")
    log.chmod(0o666)
    agent.start()
    agent.run("app", workload("main", sh("echo after; exec sleep 1000000"), logFile=str(log)))
    wait_for(lambda: log.read_text() == "before\nafter\n", "the log to go on")


def test_a_file_of_the_kernel_is_no_log(make_agent):
    """Directly, and by a link of the user's. The program prints what the file says already."""
    agent = make_agent()
    folder = make_folder(agent, "own")
    (folder / "logs").symlink_to("/proc/sys/kernel")
    give(agent, folder / "logs")
    agent.start()
    for name, where in (("plain", "/proc/sys/kernel"), ("linked", folder / "logs")):
        agent.deploy(name, workload("main", ["/bin/cat", "/proc/sys/kernel/domainname"],
                                    logFile=f"{where}/domainname", restart=FAIL_AT_ONCE,
                                    **fields_of(agent)))
        assert "holds no data, such as /proc" in agent.wait_event("failed", name)["message"]


def test_a_refused_launch_touches_no_file(make_agent):
    agent = make_agent()
    folder = make_folder(agent, "own")
    agent.write_config(policy={"commands": ["/bin/**", "/usr/bin/**"]})
    agent.start()
    log = folder / "x.log"
    agent.run("app", workload("main", SLEEP, logFile=str(log), **fields_of(agent)))
    wait_for(log.exists, "the log")
    agent.write_config(policy={"commands": ["/nowhere/**"]})
    since = agent.mark()
    os.kill(agent.pid, 1)
    agent.wait(lambda: any("reloaded" in str(line) for line in agent.lines()[since:]),
               "the configuration to be reloaded")
    os.kill(next(iter(agent.started_pids())), 9)
    agent.wait(lambda: str(log) not in open_files(agent), "the log to be closed")


@pytest.mark.as_root
def test_a_log_is_read_back_with_the_users_rights(make_agent):
    agent = make_agent()
    folder, secret = make_folder(agent, "own"), agent.work / "secret"
    secret.write_text("root's secret\n")
    os.chown(secret, 0, 0)
    secret.chmod(0o600)
    log = folder / "main.log"
    agent.start()
    agent.run("app", workload("main", sh("echo hello; exec sleep 1000000"), logFile=str(log),
                              **fields_of(agent)))
    wait_for(lambda: log.exists() and log.read_text(), "the log")
    log.rename(folder / "old")
    log.symlink_to(secret)
    give(agent, log)
    answer = Api(agent).request("GET", "/v1/applications/app/workloads/main/logs")
    assert "secret" not in answer.text


@pytest.mark.once
def test_a_log_that_is_a_link_is_refused_by_what_it_links_to(make_agent):
    agent = make_agent()
    folder = make_folder(agent, "own")
    log = folder / "main.log"
    log.symlink_to("/var/log/elsewhere.log")
    give(agent, log)
    agent.start()
    agent.deploy("app", workload("main", SLEEP, logFile=str(log), restart={"policy": "never"}))
    reason = agent.wait_event("failed", "app")["reason"]
    assert f"'{log}' is a link to '/var/log/elsewhere.log'" in reason, reason
    assert "remove it" in reason and "symbolic" not in reason


@pytest.mark.as_root
def test_a_new_user_of_a_workload_has_not_the_log_of_the_one_before(make_agent):
    agent = make_agent()
    folder = agent.work / "roots"
    folder.mkdir()
    folder.chmod(0o700)
    log = folder / "x.log"
    agent.start()
    agent.run("app", workload("main", sh("echo first; exec sleep 1000000"), logFile=str(log)))
    wait_for(lambda: log.exists() and log.read_text() == "first\n", "the log")
    agent.deploy("app", workload("main", sh("echo second; exec sleep 1000000"), logFile=str(log),
                                 user=ordinary_account().name, restart=FAIL_AT_ONCE))
    assert "cannot open its log" in agent.wait_event("failed", "app")["message"]
    assert log.read_text() == "first\n"


@pytest.mark.as_root
def test_an_update_opens_no_log_with_the_rights_of_the_user_before(make_agent):
    """Neither to write nor to read, nor does it make folders, while the run before goes on."""
    agent = make_agent()
    folder = agent.work / "roots"
    folder.mkdir()
    folder.chmod(0o700)
    (folder / "x.log").write_text("secret\n")
    agent.start()
    [pid] = agent.run("app", workload("main", sh("trap '' TERM; echo old; exec sleep 1000000")))
    for where in ("x.log", "new/x.log"):
        since = agent.mark()
        agent.deploy("app", workload("main", SLEEP, logFile=str(folder / where),
                                     stop={"gracePeriod": "10m"}, restart=FAIL_AT_ONCE,
                                     user=ordinary_account().name))
        agent.wait_event("updated", "app", since=since)
        text = Api(agent).request("GET", "/v1/applications/app/workloads/main/logs").text
        assert "old" in text and "secret" not in text
    os.kill(pid, 9)
    assert "cannot open its log" in agent.wait_event("failed", "app")["message"]
    assert os.listdir(folder) == ["x.log"]
    assert (folder / "x.log").read_text() == "secret\n"


@pytest.mark.as_root
def test_a_new_documents_check_does_not_run_as_the_user_before(make_agent):
    """The run before waits for what depends on it to stop, while the new document is in force."""
    agent = make_agent()
    folder = agent.work / "open"
    folder.mkdir()
    folder.chmod(0o777)
    check = {"exec": {"command": ["/bin/sh", "-c", f"id -u > {folder}/$(id -u)"]},
             "interval": "1s"}
    script = sh("trap 'sleep 3; exit 0' TERM; while :; do sleep 0.1; done")
    agent.start()
    agent.run("app", workload("main", SLEEP), workload("last", script, dependsOn=["main"]))
    agent.deploy("app", workload("main", SLEEP, user=ordinary_account().name, healthCheck=check),
                 workload("last", script, dependsOn=["main"], env={"NEW": "1"}))
    wait_for(lambda: os.listdir(folder), "a check")
    agent.wait_started("app", "main", count=2)
    assert os.listdir(folder) == [str(ordinary_account().uid)]


def test_a_log_that_a_new_policy_does_not_allow_is_closed(make_agent):
    agent = make_agent()
    folder = make_folder(agent, "own")
    log = folder / "x.log"
    with_policy(agent, f"{folder}/**").start()
    agent.run("app", workload("main", SLEEP, logFile=str(log), **fields_of(agent)))
    wait_for(log.exists, "the log")
    with_policy(agent, "/nowhere/**").send(1)
    agent.wait(lambda: str(log) not in open_files(agent), "the log to be closed")
    assert agent.events("exited", "app") == []


def test_reading_a_log_is_judged_like_writing_it(make_agent):
    """The folder of a log becomes a link to one of the same user's outside of writePaths; then the
    log a file that no agent wrote."""
    agent = make_agent()
    folder, secrets = make_folder(agent, "own"), make_folder(agent, "secrets")
    log = folder / "logs/x.log"
    with_policy(agent, f"{folder}/**").start()
    agent.run("app", workload("main", sh("echo hello; exec sleep 1000000"), logFile=str(log),
                              **fields_of(agent)))
    wait_for(lambda: log.exists() and log.read_text() == "hello\n", "the log")
    logs = "/v1/applications/app/workloads/main/logs"
    assert "hello" in Api(agent).request("GET", logs).text
    (secrets / "x.log").write_text("secret\n")
    give(agent, secrets / "x.log", 0o600)
    log.parent.rename(folder / "old")
    log.parent.symlink_to(secrets)
    give(agent, log.parent)
    assert "secret" not in Api(agent).request("GET", logs).text
    log.parent.unlink()
    (secrets / "x.log").rename(folder / "x.log")
    log.parent.symlink_to(folder)
    give(agent, log.parent)
    assert "secret" not in Api(agent).request("GET", logs).text


def test_who_follows_a_log_is_judged_by_todays_policy(make_agent):
    agent = make_agent()
    folder = make_folder(agent, "own")
    log = folder / "x.log"
    with_policy(agent, f"{folder}/**").start()
    agent.run("app", workload("main", sh("echo hello; exec sleep 1000000"), logFile=str(log),
                              **fields_of(agent)))

    with socket.socket(socket.AF_UNIX) as follower:
        follower.connect(str(agent.runtime_dir / "agent.sock"))
        follower.sendall(b"GET /v1/applications/app/workloads/main/logs?follow=true HTTP/1.1\r\n"
                         b"Host: x\r\n\r\n")
        wait_for(lambda: b"hello" in follower.recv(65536), "what is in the log")
        assert str(log) in open_files(agent)
        with_policy(agent, f"{agent.work}/other/**").send(signal.SIGHUP)
        wait_for(lambda: str(log) not in open_files(agent), "writer and reader to let go of it")


def test_what_others_wrote_is_no_output_of_a_workload(make_agent):
    """Without a policy an existing file is appended to; what it held is nobody's output."""
    agent = make_agent()
    folder = make_folder(agent, "own")
    log = folder / "x.log"
    log.write_text("another's secret\n")
    give(agent, log)
    agent.start()
    [pid] = agent.run("app", workload("main", SLEEP, logFile=str(log), restart=FAIL_AT_ONCE,
                                      **fields_of(agent)))
    agent.send(9)
    agent.wait_exit()
    agent.start()
    agent.wait_event("adopted", "app")
    os.kill(pid, 9)
    failed = agent.wait_event("failed", "app")
    assert "secret" not in str(failed)


@pytest.mark.as_root
def test_folders_of_an_older_agent_are_taken_back(make_agent):
    """Version 0.1.0 gave the folder and the log to the workload's user."""
    agent = make_agent()
    user = ordinary_account()
    folder = agent.log_dir / "app"
    folder.mkdir(parents=True)
    log = folder / "main.log"
    log.write_text("before\n")
    log.chmod(0o640)
    for path in (folder, log):
        os.chown(path, user.uid, user.gid)
    agent.start()
    agent.run("app", workload("main", sh("echo after; exec sleep 1000000"), user=user.name))
    wait_for(lambda: log.read_text() == "before\nafter\n", "the log to go on")
    assert (folder.stat().st_uid, folder.stat().st_mode & 0o7777) == (0, 0o711)
    assert (log.stat().st_uid, log.stat().st_gid) == (0, user.gid)


@pytest.mark.as_root
def test_a_log_that_everybody_could_write_is_closed_to_workloads(make_agent):
    """The folder that a workload of version 0.1.0 opened to others gets no wider."""
    agent = make_agent()
    user = ordinary_account()
    folder = agent.log_dir / "app"
    folder.mkdir(parents=True)
    log = folder / "main.log"
    log.write_text("before\n")
    log.chmod(0o666)
    folder.chmod(0o770)
    os.chown(folder, user.uid, user.gid)
    os.chown(log, 0, user.gid)
    os.setxattr(log, "user.edgible.log", b"1")
    agent.start()
    agent.run("app", workload("main", sh("echo after; exec sleep 1000000"), user=user.name))
    wait_for(lambda: log.read_text() == "before\nafter\n", "the log to go on")
    assert (log.stat().st_uid, log.stat().st_mode & 0o7777) == (0, 0o640)
    assert (folder.stat().st_uid, folder.stat().st_mode & 0o7777) == (0, 0o710)


@pytest.mark.as_root
def test_folders_of_logs_are_not_read_by_others(make_agent):
    """Who can open one can hold its lock, and the log's next rotation would wait for ever. The
    workload's group reads its log by its name; a group that root let in still reads the folder."""
    agent = make_agent()
    user, third = ordinary_account(), Account("nobody")
    given = {"older": (0, 0o755), "roots": (0, 0o755), "group": (third.gid, 0o2750)}
    for name, (gid, mode) in given.items():
        folder = agent.log_dir / name
        folder.mkdir(parents=True)
        os.chown(folder, 0, gid)
        folder.chmod(mode)
    agent.start()
    for name, mode in {**dict.fromkeys(("made", "older", "roots"), 0o711), "group": 0o2750}.items():
        fields = {} if name == "roots" else {"user": user.name}
        agent.run(name, workload("main", sh("echo text; exec sleep 1000000"), **fields))
        log = agent.log_dir / name / "main.log"
        wait_for(lambda log=log: log.exists() and log.read_text() == "text\n", "the log")
        assert log.parent.stat().st_mode & 0o7777 == mode
        assert can_read(log, user) == (name in ("made", "older"))
        assert logs_of(agent, name) == "text\n"


@pytest.mark.as_root
def test_a_file_of_the_owners_in_the_log_folder_is_no_log(make_agent):
    """It has the mode of one; to take it would let the workload's group read it."""
    agent = make_agent()
    agent.log_dir.mkdir()
    notes = agent.log_dir / "notes.txt"
    notes.write_text("before\n")
    notes.chmod(0o640)
    agent.write_config(policy={"writePaths": [f"{agent.log_dir}/**"]})
    agent.start()
    agent.deploy("app", workload("main", sh("echo after; exec sleep 1000000"), logFile=str(notes),
                                 user=ordinary_account().name, restart=FAIL_AT_ONCE))
    assert str(notes) in agent.wait_event("failed", "app")["reason"]
    assert notes.read_text() == "before\n" and notes.stat().st_gid == 0


def logs_of(agent, application):
    return Api(agent).request("GET", f"/v1/applications/{application}/workloads/main/logs").text


def check_files_in_the_log_folder(agent):
    files = {name: agent.log_dir / name / "main.log" for name in ("apt", "dpkg")}
    for path, mode in zip(files.values(), (0o600, 0o644), strict=True):
        path.parent.mkdir(parents=True)
        path.write_text("precious\n")
        path.chmod(mode)
        for part in (agent.log_dir, path.parent, path):
            os.chown(part, agent.account.uid, agent.account.gid)
    agent.start()
    fields = {**fields_of(agent), "restart": FAIL_AT_ONCE}
    for name, path in files.items():
        before = path.stat()
        agent.deploy(name, workload("main", ["/bin/echo", "after"], **fields))
        failed = agent.wait_event("failed", name)["message"]
        assert f"'{path}' has content that the agent did not write" in failed
        assert "precious" not in logs_of(agent, name)
        assert path.read_text() == "precious\n"
        assert (path.stat().st_gid, path.stat().st_mode) == (before.st_gid, before.st_mode)


def test_what_no_agent_wrote_in_the_log_folder_is_no_log(make_agent):
    """An application that is called as the folder of a service there."""
    check_files_in_the_log_folder(with_policy(make_agent(), "/opt/**"))


@pytest.mark.as_root
def test_without_a_policy_content_of_others_in_the_log_folder_is_kept(make_agent):
    """The workload's user cannot read it. An ordinary user's agent and workloads are one."""
    check_files_in_the_log_folder(make_agent())


@pytest.mark.as_root
def test_a_folder_of_another_service_in_the_log_folder_is_not_taken(make_agent):
    agent = make_agent()
    third = pwd.getpwnam("nobody")
    folder = agent.log_dir / "exim4"
    folder.mkdir(parents=True)
    os.chown(folder, third.pw_uid, third.pw_gid)
    folder.chmod(0o2750)
    agent.start()
    agent.deploy("exim4", workload("main", ["/bin/echo", "after"], user=ordinary_account().name,
                                   restart=FAIL_AT_ONCE))
    failed = agent.wait_event("failed", "exim4")["message"]
    assert f"belongs to uid {third.pw_uid} and gid {third.pw_gid} with mode 2750" in failed
    assert folder.stat().st_uid == third.pw_uid and os.listdir(folder) == []


@pytest.mark.as_root
def test_a_folder_that_a_group_writes_to_in_the_log_folder_keeps_that(make_agent):
    """Of root's for a service, of the workload's user for another group, and the log folder itself,
    as /var/log is on some machines."""
    agent = make_agent()
    user, third = ordinary_account(), Account("nobody")
    folders = {"roots": (0, third.gid, 0o2775), "open": (0, 0, 0o1777),
               "users": (user.uid, third.gid, 0o755)}
    agent.log_dir.mkdir()
    for name, (uid, gid, mode) in {**folders, ".": (0, third.gid, 0o775)}.items():
        folder = agent.log_dir / name
        folder.mkdir(exist_ok=True)
        os.chown(folder, uid, gid)
        folder.chmod(mode)
    agent.start()
    for name, (uid, gid, mode) in folders.items():
        folder = agent.log_dir / name
        agent.deploy(name, workload("main", ["/bin/echo", "after"], user=user.name,
                                    restart=FAIL_AT_ONCE))
        failed = agent.wait_event("failed", name)["message"]
        assert f"belongs to uid {uid} and gid {gid} with mode {mode:o}" in failed
        stat = folder.stat()
        assert (stat.st_uid, stat.st_gid, stat.st_mode & 0o7777) == (uid, gid, mode)
        assert os.listdir(folder) == []
    log = agent.log_dir / "app/main.log"
    agent.run("app", workload("main", sh("echo text; exec sleep 1000000"), user=user.name))
    wait_for(lambda: log.exists() and log.read_text() == "text\n", "the log")
    assert agent.log_dir.stat().st_mode & 0o7777 == 0o775


@pytest.mark.as_root
@pytest.mark.parametrize("policy", [True, False])
def test_a_file_of_the_workloads_user_that_no_agent_wrote_is_no_log(make_agent, policy):
    """A service's log in the log folder, of the same user. Version 0.1.0 gave a log mode 0640, and
    the workload's group: that one goes on."""
    agent = make_agent()
    user, third = ordinary_account(), Account("nobody")
    files = {"adm": (third.gid, 0o640), "closed": (user.gid, 0o600), "open": (user.gid, 0o666)}
    for name, (gid, mode) in {**files, "older": (user.gid, 0o640)}.items():
        log = agent.log_dir / name / "main.log"
        log.parent.mkdir(parents=True)
        log.write_text("precious\n")
        log.chmod(mode)
        os.chown(log, user.uid, gid)
    if policy:
        with_policy(agent, f"{agent.log_dir}/**")
    agent.start()
    fields = {"user": user.name, "restart": FAIL_AT_ONCE}
    for name, (gid, mode) in files.items():
        log = agent.log_dir / name / "main.log"
        agent.deploy(name, workload("main", ["/bin/echo", "after"], **fields))
        failed = agent.wait_event("failed", name)["message"]
        assert f"'{log}' has content that the agent did not write" in failed
        assert "precious" not in logs_of(agent, name)
        assert log.read_text() == "precious\n"
        stat = log.stat()
        assert (stat.st_uid, stat.st_gid, stat.st_mode & 0o7777) == (user.uid, gid, mode)
    log = agent.log_dir / "older/main.log"
    agent.run("older", workload("main", sh("echo after; exec sleep 1000000"), **fields))
    wait_for(lambda: log.read_text() == "precious\nafter\n", "the older log to go on")


def can_read(path, account):
    done = subprocess.run(["cat", str(path)], user=account.uid, group=account.gid, extra_groups=[],
                          capture_output=True, check=False)
    return done.returncode == 0


@pytest.mark.as_root
@pytest.mark.parametrize("before", ["other", "root"])
def test_a_log_in_the_log_folder_does_not_pass_to_another_user(make_agent, before):
    """Neither by an update nor by a log file of another application. What it held is the newest
    rotated file, and its group's still. A half line stays there, too."""
    agent = make_agent()
    third = Account("nobody")
    user = {"user": ordinary_account().name} if before == "other" else {}
    gid = ordinary_account().gid if user else 0
    with_policy(agent, f"{agent.log_dir}/**")
    agent.start()
    secret = sh("echo secret; printf half; exec sleep 1000000")
    after = sh("echo after; exec sleep 1000000")
    for name in ("one", "two"):
        log = agent.log_dir / name / "main.log"
        agent.run(name, workload("main", secret, **user))
        wait_for(lambda log=log: log.exists() and log.read_text() == "secret\nhalf", "the log")
    agent.deploy("one", workload("main", after, user=third.name))
    agent.remove("two.yaml")
    agent.wait_event("removed", "two")
    log = agent.log_dir / "two" / "main.log"
    agent.deploy("thief", workload("main", after, user=third.name, logFile=str(log)))
    for name, application in (("one", "one"), ("two", "thief")):
        log = agent.log_dir / name / "main.log"
        old = log.with_name("main.log.1")
        wait_for(lambda log=log: log.read_text() == "after\n", "the new log")
        assert old.read_text() == "secret\nhalf" and old.stat().st_gid == gid
        assert can_read(log, third) and not can_read(old, third)
        assert logs_of(agent, application) == "after\n"


def test_the_log_of_another_whose_name_ends_with_a_high_number_stays(agent):
    """No rotated file has that number."""
    folder = agent.work / "logs"
    folder.mkdir()
    os.chown(folder, agent.account.uid, agent.account.gid)
    script = "echo {}; exec sleep 1000"
    agent.run("victim", workload("main", sh(script.format("precious")), logFile=f"{folder}/a.log.101"))
    wait_for(lambda: (folder / "a.log.101").exists(), "the log")
    agent.run("attacker", workload("main", sh(script.format("new")), logFile=f"{folder}/a.log",
                                   logs={"maxFiles": 100}))
    wait_for(lambda: "new" in (folder / "a.log").read_text(), "its output")
    assert "precious" in (folder / "a.log.101").read_text()


def test_no_two_workloads_have_one_log(agent):
    """The one that came later is refused until the log is free; what runs is left alone."""
    log = agent.work / "one.log"
    twice = f"/{log.parent}/.//one.log"
    [pid] = agent.run("first", workload("main", SLEEP, logFile=str(log)))
    agent.deploy("later", workload("main", SLEEP, logFile=twice))
    agent.deploy("both", workload("a", SLEEP, logFile="/nowhere/x"), workload("b", SLEEP, logFile="/nowhere/./x"))
    agent.deploy("default", workload("main", SLEEP, logFile=str(agent.log_file("default", "other"))),
                 workload("other", SLEEP))
    for name, other in (("later", "first/main"), ("both", "both/b"), ("default", "default/other")):
        assert f"as has '{other}'" in agent.wait_event("rejected", name)["reason"]
    for apps, other in (([("later", log)], "first/main"), ([("x", "/nowhere/x"), ("y", "/nowhere/x")], "y/main")):
        documents = [agent.app(name, workload("main", SLEEP, logFile=str(path))) for name, path in apps]
        answer = Api(agent).request("PUT", "/v1/applications", documents)
        assert answer.status == 422 and f"as has '{other}'" in answer.json()["detail"]
    assert not agent.events("started", "later")
    for name, path in (("r1", f"{log}.1"), ("r2", f"{log}.100"), ("r3", f"{log}.1.3")):
        agent.deploy(name, workload("main", SLEEP, logFile=path))
        assert "as has 'first/main'" in agent.wait_event("rejected", name)["reason"]
    agent.run("beside", workload("main", SLEEP, logFile=f"{log}.101"))
    agent.deploy("first", workload("main", SLEEP, logFile=str(agent.work / "another.log")))
    agent.wait_started("later", "main")
    assert is_alive(pid) and len(agent.events("started", "first")) == 1


def test_documents_of_which_two_have_one_log_are_not_valid(agent):
    def validate(*apps):
        file = agent.folder / "stack.yaml"
        file.write_text(yaml.safe_dump_all(apps))
        return subprocess.run([agent_binary(), "stack", "validate", "-f", file], text=True, capture_output=True)

    def app(name, path, **options):
        return agent.app(name, workload("main", SLEEP, logFile=path), **options)
    done = validate(app("a", "/nowhere/x"), app("b", "/nowhere//x"), app("c", "/nowhere/y"))
    assert done.returncode != 0 and "its workload 'main' has the log '/nowhere/x', as has 'a/main'" in done.stderr
    done = validate(app("a", "/nowhere/x"), app("b", "/nowhere/x.101"), app("c", "/nowhere/x.01"))
    assert done.returncode == 0, done.stderr
    done = validate(app("a", "/nowhere/x"), app("b", "/nowhere/x", file_device="another"))
    assert done.returncode == 0, done.stderr
    for paths in (("/nowhere/x", "/nowhere/x.7"), ("/nowhere/x.7", "/nowhere/x")):
        done = validate(*(app(name, path) for name, path in zip("ab", paths)))
        assert done.returncode != 0 and "as has 'a/main'" in done.stderr
    done = validate(agent.app("a", *(workload(name, SLEEP, logFile="/nowhere/x") for name in "ab")))
    assert done.returncode != 0 and "as has 'a/b'" in done.stderr
