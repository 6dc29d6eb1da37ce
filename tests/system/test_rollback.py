"""update.rollback: a version that fails is given up for the one before, once."""

import signal
import subprocess

import pytest
import yaml

from api import Api
from harness import FAIL_AT_ONCE, SLEEP, agent_binary, is_alive, wait_for, workload

FALSE = ["/bin/false"]
UNHEALTHY = {"exec": FALSE, "interval": "50ms", "timeout": "1s", "failures": 2}


def deploy(agent, *workloads, healthy_after="60s", name="app", **update):
    document = agent.app(name, *workloads)
    document["spec"]["update"] = {"rollback": True, "healthyAfter": healthy_after, **update}
    agent.put(f"{name}.yaml", document)


def app(agent, name="app"):
    return Api(agent).app(name)


def good(agent, number=1, **options):
    deploy(agent, workload("main", SLEEP, env={"VERSION": str(number)}, restart=FAIL_AT_ONCE),
           **options)
    return agent.wait_started("app", "main", count=number)


def wait_rolled_back(agent, since=0):
    return agent.wait(lambda: next((e for e in agent.events("updated", "app", since=since)
                                    if "rolledBackTo" in e), None), "the rollback")


@pytest.mark.parametrize("bad", [
    {"command": FALSE}, {"command": ["/does/not/exist"]}, {"healthCheck": UNHEALTHY}],
    ids=["exits", "exec", "unhealthy"])
def test_a_version_that_fails_is_given_up_for_the_one_before(agent, bad):
    good(agent)
    since = agent.mark()
    deploy(agent, {**workload("main", SLEEP, env={"VERSION": "2"}, restart=FAIL_AT_ONCE), **bad})
    event = wait_rolled_back(agent, since)
    assert (event["rolledBackFrom"], event["rolledBackTo"]) == ("2", "1")
    agent.wait(lambda: app(agent)["status"] == "running", "version 1 to run")
    told = app(agent)
    assert told["generation"] == 1
    assert told["rolledBack"]["from"] == 2 and told["rolledBack"]["to"] == 1
    assert "workload 'main' is" in told["rolledBack"]["reason"]
    why = Api(agent).get("/v1/applications/app/why")
    assert any("rolled back from generation 2 to 1" in line for line in why["because"])


def test_it_is_not_tried_again_until_the_document_changes(agent):
    good(agent)
    bad = workload("main", FALSE, restart=FAIL_AT_ONCE)
    deploy(agent, bad)
    wait_rolled_back(agent)
    since = agent.mark()
    agent.put("other.yaml", agent.app("other", workload("main", SLEEP)))  # another view
    agent.wait_started("other", "main")
    agent.send(signal.SIGHUP)
    for how in (signal.SIGKILL, signal.SIGUSR1):
        agent.send(how)
        agent.wait_exit()
        agent.start()
        assert app(agent)["rolledBack"]["from"] == 2
    agent.put("another.yaml", agent.app("another", workload("main", SLEEP)))
    agent.wait_started("another", "main")
    assert not agent.events("deployed", "app", since=since)
    assert not agent.events("updated", "app", since=since)
    deploy(agent, workload("main", SLEEP, env={"VERSION": "3"}))
    agent.wait_event("updated", "app", since=since)
    agent.wait(lambda: app(agent)["status"] == "running", "version 3 to run")
    told = app(agent)
    assert told["generation"] == 3 and "rolledBack" not in told


def test_the_good_document_again_ends_the_matter(agent):
    document = workload("main", SLEEP, env={"VERSION": "1"}, restart=FAIL_AT_ONCE)
    bad = workload("main", FALSE, restart=FAIL_AT_ONCE)
    good(agent)
    deploy(agent, bad)
    wait_rolled_back(agent)
    deploy(agent, document)
    agent.wait(lambda: "rolledBack" not in app(agent), "it to be over")
    since = agent.mark()
    deploy(agent, bad)
    wait_rolled_back(agent, since)


def test_a_deploy_that_is_rolled_back_did_not_come_up(agent, tmp_path):
    good(agent)
    bad = agent.app("app", workload("main", FALSE, restart=FAIL_AT_ONCE))
    bad["spec"]["update"] = {"rollback": True, "healthyAfter": "60s"}
    file = tmp_path / "app.yaml"
    file.write_text(yaml.safe_dump(bad))
    for _ in range(2):
        done = subprocess.run([agent_binary(), "--socket", Api(agent).socket, "stack", "deploy",
                               "-f", file], capture_output=True, text=True)
        assert done.returncode == 1, done.stdout
        wait_rolled_back(agent)
        agent.wait(lambda: app(agent)["status"] == "running", "version 1 to run")
    assert "generation 2 was given up" in done.stderr


def test_one_that_crashes_seldom_is_not_taken_for_good_between_two_crashes(agent):
    restart = {**FAIL_AT_ONCE, "maxRapidFailures": 4}
    good(agent)
    deploy(agent, workload("main", ["/bin/sh", "-c", "sleep 1.3; exit 1"], restart=restart),
           healthy_after="2s")
    wait_rolled_back(agent)
    assert len(agent.events("backoff", "app")) == 3
    agent.wait(lambda: app(agent)["status"] == "running", "version 1 to run")


def test_a_second_bad_version_goes_back_to_the_same_good_one(agent):
    good(agent)
    for number in (2, 3):
        since = agent.mark()
        deploy(agent, workload("main", FALSE, env={"VERSION": str(number)}, restart=FAIL_AT_ONCE))
        event = wait_rolled_back(agent, since)
        assert (event["rolledBackFrom"], event["rolledBackTo"]) == (str(number), "1")
    assert app(agent)["generation"] == 1


def test_once_healthy_for_long_enough_a_failure_is_a_failure(agent):
    flag = agent.work / "flag"
    good(agent)
    command = ["/bin/sh", "-c", f"test ! -e {flag} || exit 3; exec sleep 1000000"]
    deploy(agent, workload("main", command, restart={**FAIL_AT_ONCE, "maxRapidFailures": 2}),
           healthy_after="300ms")
    agent.wait_started("app", "main", count=2)
    record = agent.state_dir / "applications/app.json"
    wait_for(lambda: record.exists() and '"generation":2' in record.read_text().replace(" ", "") and
             "goodDocument" not in record.read_text(), "the end of its trial")
    flag.touch()
    assert Api(agent).request("POST", "/v1/applications/app/restart").status < 300
    agent.wait_event("failed", "app", "main")
    told = app(agent)
    assert told["generation"] == 2 and "rolledBack" not in told and told["status"] == "failed"


def test_a_trial_goes_on_with_the_next_agent(agent):
    flag = agent.work / "flag"
    good(agent)
    command = ["/bin/sh", "-c", f"test ! -e {flag} || exit 3; exec sleep 1000000"]
    deploy(agent, workload("main", command, restart={**FAIL_AT_ONCE, "maxRapidFailures": 2}))
    pid = agent.wait_started("app", "main", count=2)
    agent.send(signal.SIGKILL)
    agent.wait_exit()
    agent.start()
    assert is_alive(pid)
    flag.touch()
    assert Api(agent).request("POST", "/v1/applications/app/restart").status < 300
    wait_rolled_back(agent)
    agent.wait(lambda: app(agent)["status"] == "running", "version 1 to run")


def test_workloads_that_came_with_the_bad_version_go_with_it(agent):
    good(agent)
    deploy(agent, workload("main", SLEEP, env={"VERSION": "1"}, restart=FAIL_AT_ONCE),
           workload("extra", SLEEP), workload("bad", FALSE, restart=FAIL_AT_ONCE))
    wait_rolled_back(agent)
    agent.wait_event("stopped", "app", "extra")
    agent.wait(lambda: [w["name"] for w in app(agent)["workloads"]] == ["main"], "version 1")
    assert len(agent.events("started", "app", "main")) == 1  # it never changed


def test_without_it_and_for_a_first_version_there_is_no_way_back(agent):
    deploy(agent, workload("main", FALSE, restart=FAIL_AT_ONCE), name="first")
    agent.wait_event("failed", "first", "main")
    agent.run("plain", workload("main", SLEEP))
    agent.deploy("plain", workload("main", FALSE, restart=FAIL_AT_ONCE))
    agent.wait_event("failed", "plain", "main")
    assert app(agent, "first")["status"] == app(agent, "plain")["status"] == "failed"
    assert "rolledBack" not in app(agent, "first") and "rolledBack" not in app(agent, "plain")
