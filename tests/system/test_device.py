"""The device as it is: paths, file systems, kernels and names that are not those of a full host."""

import os

import pytest

from api import Api
from harness import is_alive, run_client, sh, workload


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
