"""The device as it is: paths, file systems, kernels and names that are not those of a full host."""

import datetime
import json
import os
import subprocess
import time

import pytest

from api import Api
from harness import (FAIL_AT_ONCE, IS_ROOT, SLEEP, helper, is_alive, kill_and_wait,
                     ordinary_account, run_client, sh, workload)
from test_orphan import become_root


def opened(pid):
    found = []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            found.append(os.readlink(f"/proc/{pid}/fd/{fd}"))
        except FileNotFoundError:
            pass
    return found


def test_a_log_of_dev_null_is_no_log(make_agent):
    agent = make_agent(policy={"writePaths": ["/srv/**"]}).start()
    null = opened(agent.pid).count("/dev/null")
    # More than the pipe takes: what is not read would hold it up.
    script = "head -c 3000000 /dev/zero; echo done >&2; touch %s; exec sleep 1000000"
    pid, = agent.run("app", workload("main", sh(script % (agent.work / "written")),
                                     logFile="/dev//null"))
    agent.wait((agent.work / "written").exists, "all output to be taken")
    assert opened(agent.pid).count("/dev/null") == null
    assert not agent.log_file("app", "main").exists()
    api = Api(agent)
    answer = api.request("GET", "/v1/applications/app/workloads/main/logs")
    assert answer.status == 409 and "its logFile is /dev/null" in answer.text
    report, = api.request("GET", "/v1/applications/app").json()["workloads"]
    assert report["status"] == "running" and "log" not in report
    told = run_client("--socket", agent.runtime_dir / "agent.sock", "application", "logs", "-i",
                      "app", "-w", "main", account=agent.account)
    assert told.returncode != 0 and "has no log" in told.stderr + told.stdout
    # It goes on without one after a crash of the agent, and can have one at any time.
    agent.process.kill()
    agent.wait_exit()
    agent.start()
    agent.wait_event("adopted", "app", "main")
    assert is_alive(pid) and not agent.log_file("app", "main").exists()
    agent.deploy("app", workload("main", sh("echo now there is one; exec sleep 1000000")))
    agent.wait_logged("app", "main", "now there is one")


@pytest.mark.parametrize("path", ["/dev/stdout", "/dev/stderr", "/dev/./tty", "/proc/self/fd/1",
                                  "link"])
def test_a_device_is_no_log_and_validate_says_so(make_agent, path):
    agent = make_agent()
    if path == "link":
        path = str(agent.work / "link")
        os.symlink("/dev/full", path)
    agent.put("app.yaml", agent.app("app", workload("main", ["/bin/true"], logFile=path)))
    said = run_client("stack", "validate", "-f", agent.source / "app.yaml", account=agent.account)
    assert said.returncode == 1
    assert "use /dev/null to keep no log" in said.stderr


# What takes from an agent what it could change its identity with.
BOUNDS = {
    "a user namespace": ["unshare", "--user"],
    "a user namespace as its root": ["unshare", "--user", "--map-root-user"],
    "no capabilities": ["setpriv", "--bounding-set=-all", "--inh-caps=-all"],
}


@pytest.mark.parametrize("bound", BOUNDS)
def test_a_workload_runs_where_no_identity_can_be_changed(make_agent, account, bound):
    if bound == "no capabilities" and not account.is_root:
        pytest.skip("an ordinary user has none")
    agent = make_agent()
    agent.start(prefix=BOUNDS[bound])
    script = f"id -u > {agent.work}/uid; id -G > {agent.work}/groups; echo runs; exec sleep 1000000"
    agent.run("app", workload("main", sh(script)))
    agent.wait_logged("app", "main", "runs")
    assert agent.wait_file("uid") == ("65534\n" if bound == "a user namespace" else "0\n")
    assert agent.wait_file("groups")


@pytest.mark.as_root
@pytest.mark.parametrize("asked", [{"user": "edgible-test"}, {"group": "edgible-test"}])
def test_an_identity_that_cannot_be_had_is_never_another(make_agent, asked):
    ordinary_account()
    agent = make_agent().start(prefix=BOUNDS["no capabilities"])
    agent.deploy("app", workload("main", SLEEP, restart=FAIL_AT_ONCE, **asked))
    agent.wait_event("failed", "app", "main")
    assert not agent.started_pids()


def test_a_log_whose_owner_cannot_be_set_is_refused_with_the_way_out(make_agent):
    agent = make_agent().start(prefix=[helper("deny_chown")])
    agent.deploy("app", workload("main", SLEEP, restart=FAIL_AT_ONCE))
    agent.wait_event("failed", "app", "main")
    reason = Api(agent).workload("app", "main")["reason"]
    assert "its file system (vfat, CIFS, NFS with root_squash) does not let the agent" in reason
    agent.run("app", workload("main", SLEEP, restart=FAIL_AT_ONCE, logFile="/dev/null"))


def hosted(name):
    """Starts an agent on a host of that name."""
    return ["unshare", "--uts", "sh", "-c", f'hostname {name}; exec "$@"', "sh"]


@pytest.mark.as_root
def test_a_device_without_a_name_keeps_the_host_name_of_its_first_start(make_agent):
    agent = make_agent()
    first, later = agent.device, agent.device + "-later"
    agent.write_config(device={})
    agent.start(prefix=hosted("localhost"))
    agent.wait(lambda: Api(agent).is_up(), "the API")
    agent.stop()
    assert not (agent.state_dir / "device-name").exists()
    agent.start(prefix=hosted(first))
    agent.run("app", workload("main", SLEEP))
    agent.stop()
    since = agent.mark()
    agent.start(prefix=hosted(later))
    agent.wait_started("app", "main", since)
    assert Api(agent).get("/v1/agent")["device"]["name"] == first
    assert any(f"keeps the name '{first}'" in line and later in line for line in agent.lines())
    assert not agent.events("removed", "app", since=since)
    # Until told otherwise, in either way.
    agent.stop()
    (agent.state_dir / "device-name").unlink()
    agent.start(prefix=hosted(later))
    agent.wait_event("removed", "app", since=since)
    assert (agent.state_dir / "device-name").read_text() == later + "\n"
    agent.stop()
    agent.write_config()
    since = agent.mark()
    agent.start(prefix=hosted(later))
    agent.wait_started("app", "main", since)


LIMITS = "/proc/sys/user/max_inotify_"


def set_limit(agent, name, value):
    """Of the user namespace that the agent is in."""
    subprocess.run(["nsenter", f"--user=/proc/{agent.pid}/ns/user", "--preserve-credentials", "sh",
                    "-c", f"echo {value} > {LIMITS}{name}"], check=True,
                   **agent.account.popen_options())


@pytest.mark.as_root
@pytest.mark.parametrize("name", ["instances", "watches"])
def test_a_folder_that_cannot_be_watched_is_polled_and_said(make_agent, name):
    agent = make_agent()
    agent.start(prefix=["unshare", "--user", "--map-root-user", "sh", "-c",
                        f'echo 0 > {LIMITS}{name} && exec "$@"', "sh"])
    api = Api(agent)
    agent.wait(api.is_up, "the API")
    limit = f"fs.inotify.max_user_{name}"
    agent.wait(lambda: any(limit in line and "each 5 s" in line for line in agent.lines()),
               "a line about the limit")
    health = api.request("GET", "/v1/health")
    assert health.status == 503 and limit in " ".join(health.json()["reasons"])
    assert api.get("/v1/agent")["source"]["mode"] == "poll"
    if name == "watches":
        return
    began = time.monotonic()
    agent.run("app", workload("main", SLEEP))
    assert time.monotonic() - began < 50  # it was a minute
    set_limit(agent, name, 100)
    agent.wait(lambda: api.request("GET", "/v1/health").status == 200, "it to be watched")
    assert api.get("/v1/agent")["source"]["mode"] == "watch"
    assert sum(limit in line for line in agent.lines()) == 1


def test_a_start_before_the_clock_was_set_is_shown_by_the_clock_of_now(make_agent):
    agent = make_agent().start()
    pid, = agent.run("app", workload("main", SLEEP))
    before = Api(agent).workload("app", "main")["startedAt"]
    agent.process.kill()
    agent.wait_exit()
    # What an agent writes that runs in 1970.
    record = agent.runtime_dir / "units/app/main.json"
    state = json.loads(record.read_text())
    state["startedUnixMs"] = 12345
    record.write_text(json.dumps(state))
    agent.start()
    agent.wait_event("adopted", "app", "main")
    shown = Api(agent).workload("app", "main")["startedAt"]
    moments = [datetime.datetime.fromisoformat(t.replace("Z", "+00:00")) for t in (before, shown)]
    assert abs((moments[1] - moments[0]).total_seconds()) < 5
    family = 'edgible_workload_start_time_seconds{application="app",workload="main"}'
    value, = [line.split()[-1] for line in Api(agent).get("/metrics").splitlines()
              if line.startswith(family)]
    assert abs(float(value) - moments[0].timestamp()) < 5
    assert is_alive(pid)


@pytest.mark.as_user
@pytest.mark.skipif(not IS_ROOT, reason="needs root")
def test_a_signal_that_the_agent_is_not_allowed_to_send_is_never_said_to_be_sent(make_agent):
    agent = make_agent().start()
    os.chmod(agent.work, 0o777)
    agent.deploy("app", workload("main", [become_root(agent), str(agent.work / "root.pid"),
                                          agent.device],
                                 stop={"gracePeriod": "100ms"}, allowNewPrivileges=True))
    stuck = agent.wait_pid_file("root.pid")
    api = Api(agent)
    try:
        api.request("PATCH", "/v1/applications/app", {"targetState": "suspended"})
        agent.wait_event("killed", "app", "main")
        said = f"the agent (uid {agent.account.uid}) is not allowed to signal PID {stuck} of uid 0"
        agent.wait(lambda: said in api.workload("app", "main")["reason"], "the reason")
        why = api.request("GET", "/v1/applications/app/why").text
        assert said in why
        assert said in agent.wait_event("killed", "app", "main")["message"]
        for text in (why, *agent.lines()):
            assert "was sent SIGKILL" not in text and "is killed" not in text
        assert is_alive(stuck)
    finally:
        kill_and_wait(stuck)
    agent.wait_event("stopped", "app", "main")
