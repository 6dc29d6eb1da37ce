"""The local API: what it tells, what it does, who may use it, and what hostile clients get."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import time

import pytest
import yaml

from api import Api, Answer, Connection, connect
from harness import (DEADLINE, FAIL_AT_ONCE, IS_ROOT, RESTART_AT_ONCE, SLEEP, agent_binary, base_environment,
                     cpu_seconds, free_port, is_alive, ordinary_account, parse_record, python, sh, wait_for,
                     workload)


@pytest.fixture
def api(agent):
    return Api(agent)


LISTEN = """
import socket, sys, time
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("127.0.0.1", int(sys.argv[1])))
s.listen()
print("listens", flush=True)
time.sleep(1e6)
"""
COUNT = "i=0; while :; do i=$((i+1)); echo line $i; done"


# --- what it tells -------------------------------------------------------------------------------

def test_the_agent_says_how_it_is(agent, api):
    agent.run("web", workload("main", SLEEP))
    told = api.get("/v1/agent")
    assert told["pid"] == agent.pid and told["device"]["name"] == agent.device
    assert told["source"] == {"type": "directory", "location": str(agent.source), "state": "ok",
                              "mode": "watch", "lastContactAt": told["source"]["lastContactAt"]}
    assert told["applications"] == 1 and told["workloads"] == {"total": 1, "running": 1}
    assert told["configFile"] == str(agent.config_file)


def test_a_workload_that_runs(agent, api):
    port = free_port()
    [pid] = agent.run("web", workload("main", python(LISTEN, str(port)), ports=[
        {"name": "http", "containerPort": port, "protocol": "tcp"},
        {"name": "other", "containerPort": free_port()}]))
    agent.wait_logged("web", "main", "listens")
    told = api.workload("web", "main")
    assert (told["status"], told["pid"], told["pgid"]) == ("running", pid, pid)
    assert [p["listening"] for p in told["ports"]] == [True, False]
    assert told["resources"]["processes"] == 1 and told["resources"]["memoryBytes"] > 1000000
    assert told["log"]["file"] == str(agent.log_file("web", "main"))
    assert told["log"]["bytesWritten"] == len("listens\n")
    assert told["restarts"] == 0 and told["adopted"] is False and "lastExit" not in told
    assert api.app("web")["status"] == "running"


def test_a_listener_of_another_workload_is_not_taken_for_its_own(agent, api):
    port = free_port()
    mine = [{"name": "http", "containerPort": port}]
    agent.run("a", workload("main", python(LISTEN, str(port)), ports=mine))
    agent.wait_logged("a", "main", "listens")
    agent.run("b", workload("main", SLEEP, ports=mine))
    assert api.workload("a", "main")["ports"][0]["listening"] is True
    assert api.workload("b", "main")["ports"][0]["listening"] is False


def test_why_a_workload_failed(agent, api):
    agent.deploy("web", workload("main", sh("echo out of cheese; exit 3"), restart=FAIL_AT_ONCE))
    agent.wait_event("failed", "web", "main")
    told = api.workload("web", "main")
    assert told["status"] == "failed" and "pid" not in told and "nextStartAt" not in told
    assert told["reason"].startswith("exited with status 3 after ")
    assert told["lastExit"]["code"] == 3 and told["lastExit"]["output"] == ["out of cheese"]
    why = api.get("/v1/applications/web/why")
    [w] = why["workloads"]
    assert any("status 3" in cause for cause in w["because"])
    assert "it printed: out of cheese" in w["because"]
    assert "edgible application restart" in w["next"]
    assert [e["type"] for e in why["history"]][-1] == "failed"


def test_a_program_that_cannot_be_executed(agent, api):
    agent.deploy("web", workload("main", ["/nonexistent/program"], restart=FAIL_AT_ONCE))
    agent.wait_event("failed", "web", "main")
    end = api.workload("web", "main")["lastExit"]
    assert (end["stage"], end["errno"]) == ("exec", "ENOENT") and "code" not in end


def test_a_workload_in_backoff_says_when_it_starts(agent, api):
    agent.deploy("web", workload("main", sh("kill -SEGV $$"), restart={
        "initialDelay": "1h", "maxDelay": "1h"}))
    agent.wait_event("backoff", "web", "main")
    told = api.workload("web", "main")
    assert told["status"] == "backoff" and told["rapidFailures"] == 1
    assert told["lastExit"]["signal"] == "SIGSEGV"
    assert told["nextStartAt"] > told["lastExit"]["at"]


def test_the_last_exit_stays_known_while_the_next_process_runs(agent, api):
    script = sh("test -e %s && exec sleep 1000; touch %s; exit 7" % (agent.work / "x",
                                                                     agent.work / "x"))
    agent.deploy("web", workload("main", script, restart=RESTART_AT_ONCE))
    agent.wait_started("web", "main", count=2)
    told = api.workload("web", "main")
    assert told["status"] == "running" and told["restarts"] == 1
    assert told["lastExit"]["code"] == 7
    agent.send(signal.SIGKILL)
    agent.wait_exit()
    agent.start()
    agent.wait_event("adopted", "web", "main")
    again = Api(agent).workload("web", "main")
    assert again["lastExit"] == told["lastExit"] and again["adopted"] is True


def test_what_is_invalid_is_told_with_its_place_and_what_runs_goes_on(agent, api):
    [pid] = agent.run("web", workload("main", SLEEP))
    agent.deploy("web", workload("main", {"not": "a command"}))
    agent.wait_event("rejected", "web")
    told = api.app("web")
    assert told["status"] == "running" and told["workloads"][0]["pid"] == pid
    assert told["errors"][0].startswith(f"{agent.source}/web.yaml:")
    assert "spec.workloads[0].command" in told["errors"][0]
    assert any("web" in reason for reason in api.get("/v1/health", status=503)["reasons"])


def test_an_application_that_was_never_valid(agent, api):
    agent.deploy("web", workload("main", {"not": "a command"}))
    agent.wait_event("rejected", "web")
    told = api.app("web")
    assert told["status"] == "rejected" and "generation" not in told and told["errors"]
    rows = api.get("/v1/application-health")
    assert [(r["application"], r["status"]) for r in rows] == [("web", "rejected")]


def test_a_workload_of_another_type(agent, api):
    agent.deploy("web", {"name": "vm", "type": "virtual-machine"})
    agent.wait_event("deployed", "web")
    told = api.app("web")
    assert told["status"] == "unsupported"
    assert told["workloads"][0]["status"] == "unsupported"
    assert api.get("/v1/health")["status"] == "ok"


def test_an_application_is_found_by_its_id_too(agent, api):
    agent.run("web", workload("main", SLEEP))
    identity = api.app("web")["id"]
    assert identity.startswith("app_") and len(identity) == 16
    assert api.app(identity)["name"] == "web"
    agent.deploy("named", workload("main", SLEEP), id="app_my-own")
    agent.wait_started("named", "main")
    assert api.app("app_my-own")["name"] == "named"


def test_what_another_device_runs_is_not_told(agent, api):
    agent.put("other.yaml", agent.app("other", workload("main", SLEEP), file_device="elsewhere"))
    agent.wait_event("rejected", "other")
    assert api.get("/v1/applications") == []
    api.get("/v1/applications/other", status=404)


def test_health_names_what_is_wrong(agent, api):
    assert api.get("/v1/health") == {"status": "ok", "reasons": []}
    agent.deploy("web", workload("main", sh("exit 1"), restart=FAIL_AT_ONCE))
    agent.wait_event("failed", "web")
    [reason] = api.get("/v1/health", status=503)["reasons"]
    assert reason.startswith("web/main is in status failed: exited with status 1")


def test_a_source_that_is_gone_is_unhealthy(agent, api):
    agent.source.rename(agent.folder / "gone")
    agent.wait_event("source-lost", timeout=100)
    assert api.get("/v1/agent")["source"]["state"] == "lost"
    assert any(str(agent.source) in r for r in api.get("/v1/health", status=503)["reasons"])


# --- changes -------------------------------------------------------------------------------------

def test_suspended_and_resumed(agent, api):
    first, second = agent.run("web", workload("one", SLEEP), workload("two", SLEEP,
                                                                     dependsOn=["one"]))
    since = agent.mark()
    assert api.request("PATCH", "/v1/applications/web", {"targetState": "suspended"}).status == 200
    agent.wait_event("stopped", "web", "one", since)
    # What others depend on stops last.
    order = [e["workload"] for e in agent.events("stopping", "web", since=since)]
    assert order == ["two", "one"]
    wait_for(lambda: api.app("web")["status"] == "suspended", "web to be suspended")
    assert not is_alive(first) and not is_alive(second)
    # It stays so over a restart of the agent and a new version.
    agent.send(signal.SIGUSR1)
    agent.wait_exit()
    agent.start()
    api = Api(agent)
    agent.deploy("web", workload("one", SLEEP + ["1"]), workload("two", SLEEP))
    wait_for(lambda: api.app("web")["generation"] == 2, "the second generation")
    assert api.app("web")["status"] == "suspended"
    assert api.request("POST", "/v1/applications/web/restart").status == 409
    since = agent.mark()
    api.request("PATCH", "/v1/applications/web", {"targetState": "running"})
    pid = agent.wait_started("web", "one", since)
    assert api.workload("web", "one")["pid"] == pid
    assert api.app("web")["targetState"] == "running"


def test_a_failed_workload_that_is_suspended_is_stopped(agent, api):
    agent.deploy("web", workload("main", sh("exit 1"), restart=FAIL_AT_ONCE))
    agent.wait_event("failed", "web")
    api.request("PATCH", "/v1/applications/web", {"targetState": "suspended"})
    assert api.app("web")["status"] == "suspended"
    since = agent.mark()
    api.request("PATCH", "/v1/applications/web", {"targetState": "running"})
    agent.wait_started("web", "main", since)


def test_restarted_as_a_whole_or_one_workload(agent, api):
    one, two = agent.run("web", workload("one", SLEEP), workload("two", SLEEP))
    since = agent.mark()
    assert api.request("POST", "/v1/applications/web/restart", {"workload": "one"}).status == 202
    new = agent.wait_started("web", "one", since)
    assert new != one and is_alive(two)
    assert api.request("POST", "/v1/applications/web/restart").status == 202
    agent.wait_started("web", "two", since)
    assert api.request("POST", "/v1/applications/web/restart", {"workload": "no"}).status == 404


def test_put_writes_what_was_sent_and_applies_it(agent, api):
    text = "# why this is so\n" + yaml.safe_dump(agent.app("web", workload("main", SLEEP)))
    [plan] = api.request("PUT", "/v1/applications?dryRun=true", text).json()
    assert (plan["action"], plan["workloads"][0]["change"]) == ("create", "add")
    assert list(agent.source.iterdir()) == []
    assert api.request("PUT", "/v1/applications", text).status == 200
    assert (agent.source / "web.yaml").read_text() == text
    assert api.app("web")["generation"] == 1
    agent.wait_started("web", "main")
    [plan] = api.request("PUT", "/v1/applications", text).json()
    assert plan["action"] == "unchanged" and api.app("web")["generation"] == 1


@pytest.mark.as_root
@pytest.mark.parametrize("how", ["mount", "chattr"])
def test_a_file_that_cannot_be_replaced_holds_up_no_other_deploy(agent, api, how):
    """And what was refused is not done later."""
    path = agent.source / "one.yaml"
    text = yaml.safe_dump(agent.app("one", workload("main", SLEEP)))
    path.write_text(text)
    agent.wait_started("one", "main")
    do, undo = {"mount": (["mount", "--bind", path, path], ["umount", path]),
                "chattr": (["chattr", "+i", path], ["chattr", "-i", path])}[how]
    if subprocess.run(do, capture_output=True).returncode != 0:
        pytest.skip(f"{how} does not work here")
    try:
        changed = yaml.safe_dump(agent.app("one", workload("main", SLEEP + ["2"])))
        answer = api.request("PUT", "/v1/applications", changed)
        assert answer.status == 409 and "replaced" in answer.json()["detail"]
        assert api.request("PUT", "/v1/applications", yaml.safe_dump(
            agent.app("two", workload("main", SLEEP)))).status in (200, 201)
        agent.wait_started("two", "main")
        assert api.request("DELETE", "/v1/applications/two").status == 202
        agent.wait_event("removed", "two")
    finally:
        subprocess.run(undo, check=True)
    agent.stop()
    agent.start()
    Api(agent)
    assert path.read_text() == text and list(agent.source.iterdir()) == [path]


def test_put_replaces_one_document_of_a_file_and_leaves_the_others(agent, api):
    one, two = agent.app("one", workload("main", SLEEP)), agent.app("two", workload("main", SLEEP))
    before = "# first\n" + yaml.safe_dump(one) + "---\n# second\n" + yaml.safe_dump(two)
    agent.put("both.yaml", before)
    agent.wait_started("two", "main")
    changed = "# new\n" + yaml.safe_dump(agent.app("two", workload("main", SLEEP + ["2"])))
    [plan] = api.request("PUT", "/v1/applications", changed).json()
    assert plan["workloads"] == [{"name": "main", "change": "restart", "fields": ["command"]}]
    after = (agent.source / "both.yaml").read_text()
    assert after.startswith("# first\n" + yaml.safe_dump(one)) and "# new\n" in after
    assert "# second" not in after and list(agent.source.iterdir()) == [agent.source / "both.yaml"]
    assert api.request("DELETE", "/v1/applications/one").status == 202
    agent.wait_event("removed", "one")
    rest = (agent.source / "both.yaml").read_text()
    assert [d["metadata"]["name"] for d in yaml.safe_load_all(rest)] == ["two"]
    assert api.request("DELETE", "/v1/applications/two").status == 202
    agent.wait_event("removed", "two")
    assert list(agent.source.iterdir()) == []
    api.get("/v1/applications/two", status=404)


def test_put_is_all_or_nothing(agent, api):
    good, bad = agent.app("good", workload("main", SLEEP)), agent.app("bad", workload("main", {"not": "a command"}))
    answer = api.request("PUT", "/v1/applications", yaml.safe_dump_all([good, bad]))
    assert answer.status == 422
    [error] = answer.json()["errors"]
    assert error["path"] == "spec.workloads[0].command" and error["line"] > 10
    elsewhere = agent.app("else", workload("main", SLEEP), file_device="elsewhere")
    assert api.request("PUT", "/v1/applications",
                       yaml.safe_dump_all([good, elsewhere])).status == 422
    assert api.request("PUT", "/v1/applications", "").status == 422
    assert api.request("PUT", "/v1/applications", "[]").status == 422
    assert list(agent.source.iterdir()) == [] and api.get("/v1/applications") == []


def test_put_into_a_file_with_errors_is_a_conflict(agent, api):
    agent.put("web.yaml", agent.app("web", workload("main", SLEEP)))
    agent.wait_started("web", "main")
    broken = (agent.source / "web.yaml").read_text() + "---\n{"
    agent.put("web.yaml", broken)
    agent.wait_event("rejected")
    answer = api.request("PUT", "/v1/applications", json.dumps(agent.app("web", workload(
        "main", SLEEP + ["1"]))))
    assert answer.status == 409 and "web.yaml" in answer.json()["detail"]
    assert (agent.source / "web.yaml").read_text() == broken


def test_put_does_not_take_a_file_of_another(agent, api):
    agent.put("web.yaml", agent.app("db", workload("main", SLEEP)))
    agent.wait_started("db", "main")
    answer = api.request("PUT", "/v1/applications", yaml.safe_dump(agent.app("web", workload(
        "main", SLEEP))))
    assert answer.status == 409 and "in the way" in answer.json()["detail"]


def test_a_deploy_that_was_decided_is_finished_by_the_next_agent(make_agent):
    agent = make_agent()
    folder = agent.source / ".edgible-deploy"
    folder.mkdir(mode=0o700)
    os.chown(folder, agent.account.uid, agent.account.gid)
    (folder / "web.yaml").write_text(yaml.safe_dump(agent.app("web", workload("main", SLEEP))))
    agent.put("old.yaml", agent.app("old", workload("main", SLEEP)))
    (folder / "old.yaml.gone").touch()
    prepared = agent.source / ".edgible-deploy.new"
    prepared.mkdir(mode=0o700)
    os.chown(prepared, agent.account.uid, agent.account.gid)
    (prepared / "no.yaml").write_text("garbage")
    agent.start().wait_started("web", "main")
    assert [p.name for p in agent.source.iterdir()] == ["web.yaml"]


@pytest.mark.parametrize("point", ["deploy-prepared", "deploy-decided", "deploy-file-moved"])
def test_killed_in_the_middle_of_a_deploy_it_is_all_or_nothing(make_agent, point):
    agent = make_agent()
    agent.put("b.yaml", agent.app("b", workload("main", SLEEP)))
    agent.start(env={"EDGIBLE_FAULT": point})
    agent.wait_started("b", "main")
    api = Api(agent)
    apps = [agent.app(n, workload("main", SLEEP + ["1"])) for n in "abc"]
    with pytest.raises((OSError, Exception)):
        api.request("PUT", "/v1/applications", yaml.safe_dump_all(apps))
    agent.wait_exit()
    agent.start()
    api = Api(agent)
    decided = point != "deploy-prepared"
    wait_for(lambda: len(api.get("/v1/applications")) == (3 if decided else 1), "all or nothing")
    assert sorted(p.name for p in agent.source.iterdir()) == \
        (["a.yaml", "b.yaml", "c.yaml"] if decided else ["b.yaml"])


@pytest.mark.as_root
def test_put_against_the_policy_is_refused(make_agent):
    agent = make_agent(policy={"users": ["nobody"]}).start()
    api = Api(agent)
    answer = api.request("PUT", "/v1/applications", yaml.safe_dump(agent.app("web", workload(
        "main", SLEEP))))
    assert answer.status == 403 and "policy.users" in answer.json()["detail"]
    assert list(agent.source.iterdir()) == []


def test_the_log_level_is_set(agent, api):
    assert api.request("PATCH", "/v1/agent", {"logLevel": "debug"}).json()["logLevel"] == "debug"
    assert api.request("PATCH", "/v1/agent", {"logLevel": "loud"}).status == 422
    answer = api.request("PATCH", "/v1/agent", {"loglevel": "info"})
    assert answer.status == 422 and "logLevel" in answer.json()["errors"][0]["detail"]
    assert api.request("PATCH", "/v1/agent", "{").status == 422
    assert api.get("/v1/agent")["logLevel"] == "debug"


# --- events --------------------------------------------------------------------------------------

def test_events_outlive_the_agent_and_their_numbers_grow(agent, api):
    agent.run("web", workload("main", SLEEP))
    before = api.get("/v1/events")
    assert [e["type"] for e in before] == ["deployed", "starting", "started"]
    for number in [signal.SIGKILL, signal.SIGUSR1]:
        agent.send(number)
        agent.wait_exit()
        agent.start()
        agent.wait_event("adopted", "web")
    api = Api(agent)
    after = api.get("/v1/events")
    assert after[:3] == before
    numbers = [e["seq"] for e in after]
    assert numbers == sorted(set(numbers))
    assert api.get(f"/v1/events?after={numbers[2]}") == after[3:]
    assert api.get("/v1/events?lines=2") == after[-2:]
    assert api.get(f"/v1/events?after={numbers[-1]}") == []


def test_events_of_one_application(agent, api):
    agent.run("web", workload("main", SLEEP))
    agent.run("db", workload("main", SLEEP))
    assert {e["application"] for e in api.get("/v1/applications/web/events")} == {"web"}
    agent.remove("web.yaml")
    agent.wait_event("removed", "web")
    assert api.get("/v1/applications/web/events")[-1]["type"] == "removed"
    api.get("/v1/applications/nobody/events", status=404)


def test_events_are_followed_through_a_re_exec(agent, api):
    agent.run("web", workload("main", SLEEP))
    follower = api.follow("/v1/events?follow=true")
    assert [follower.event()["type"] for _ in range(3)] == ["deployed", "starting", "started"]
    last = api.get("/v1/events")[-1]["seq"]
    agent.run("db", workload("main", SLEEP))
    assert follower.event()["application"] == "db"
    follower.close()
    since = agent.mark()
    agent.send(signal.SIGUSR2)
    agent.wait_event("adopted", "web", since=since)
    follower = api.follow("/v1/events?follow=true", {"Last-Event-ID": str(last)})
    types = [follower.event() for _ in range(5)]
    assert [(e["application"], e["type"]) for e in types[:3]] == [
        ("db", "deployed"), ("db", "starting"), ("db", "started")]
    assert {e["type"] for e in types[3:]} == {"adopted"}


def test_the_ring_is_bounded(agent, api):
    agent.deploy("web", workload("main", sh("exit 0"), restart={
        **RESTART_AT_ONCE, "initialDelay": "1ms", "maxDelay": "1ms"}))
    wait_for(lambda: api.get("/v1/agent")["lastEvent"] > 300, "300 events")
    events = api.get("/v1/events")
    assert len(events) <= 10000 and events[-1]["seq"] - events[0]["seq"] == len(events) - 1


@pytest.mark.once
def test_a_crash_loop_does_not_fill_the_agents_log_and_its_events_stay_complete(agent, api):
    agent.deploy("web", workload("main", ["/bin/false"], restart={
        **RESTART_AT_ONCE, "initialDelay": "1ms", "maxDelay": "1ms"}))
    wait_for(lambda: api.get("/v1/agent")["lastEvent"] > 1040, "1,040 events")
    agent.remove("web.yaml")
    agent.wait_event("removed", "web")

    # All have a number, each is in the ring, and what the log lacks is told of.
    kept = [e for e in api.get("/v1/events") if e.get("workload")]
    written = [e["seq"] for e in agent.events(application="web", workload="main")]
    told = [r for r in map(parse_record, agent.lines()) if r and "leftOut" in r]
    left_out = sum(int(r["leftOut"]) for r in told)
    assert left_out > 0 and len(kept) == len(written) + left_out
    assert told[0]["level"] == "warn" and "lines about web/main" in told[0]["message"]
    by_type = {e["seq"]: e["type"] for e in kept}
    missing = {type for seq, type in by_type.items() if str(seq) not in written}
    assert missing <= {"starting", "started", "exited", "backoff"}


# --- logs ----------------------------------------------------------------------------------------

def test_the_last_lines_and_no_more(agent, api):
    agent.deploy("web", workload("main", sh("for i in 1 2 3 4 5; do echo line $i; done; sleep 1e6")))
    agent.wait_logged("web", "main", "line 5")
    logs = "/v1/applications/web/workloads/main/logs"
    assert api.get(f"{logs}?lines=2") == "line 4\nline 5\n"
    assert api.get(f"{logs}?lines=0") == ""
    assert api.get(logs) == "".join(f"line {i}\n" for i in range(1, 6))
    api.get(f"{logs}?lines=x", status=400)
    api.get(f"{logs}?line=1", status=400)
    api.get("/v1/applications/web/workloads/nobody/logs", status=404)


def numbers_of(lines):
    return [int(line.split()[1]) for line in lines]


@pytest.mark.once
def test_followers_lose_and_double_nothing_over_rotations(agent, api):
    wide = COUNT.replace("echo line $i", "printf 'line %0180d\\n' $i; sleep 0.001")
    agent.deploy("web", workload("main", sh(wide),
                                 logs={"maxSize": "64KiB", "maxFiles": 3}))
    agent.wait_event("log-rotated", "web")
    followers = [api.follow("/v1/applications/web/workloads/main/logs?lines=20&follow=true")
                 for _ in range(8)]
    for follower in followers:
        numbers = numbers_of(follower.line() for _ in range(1500))
        assert numbers == list(range(numbers[0], numbers[0] + 1500))
        follower.close()


def test_a_slow_follower_is_told_exactly_what_it_missed(agent, api):
    begin = agent.work / "begin"
    agent.run("web", workload("main", sh(
        f"echo line 1; while [ ! -e {begin} ]; do sleep 0.05; done; i=1; "
        "while [ $i -lt 400000 ]; do i=$((i+1)); echo line $i; done; echo the end; sleep 1e6"),
        logs={"maxSize": "64KiB", "maxFiles": 2}))
    follower = api.follow("/v1/applications/web/workloads/main/logs?lines=100000&follow=true")
    first = follower.line()
    begin.touch()
    agent.wait(lambda: "the end" in agent.read_log("web", "main"), "all to be printed")
    lines = [first, *follower.until("the end")]
    missed = [line for line in lines if line.startswith("[edgible: ")]
    assert missed, "it was to be slow"
    told = sum(int(line.split()[1]) for line in missed)
    assert first == "line 1"
    # The file that it had open is read to its end, and files end with whole lines.
    got = sum(len(line) + 1 for line in lines if line not in missed)
    total = sum(len(f"line {i}\n") for i in range(1, 400001)) + len("the end\n")
    assert got + told == total


def test_followed_over_a_new_version_with_another_log_file(agent, api):
    agent.run("web", workload("main", sh("echo one; sleep 1e6")))
    follower = api.follow("/v1/applications/web/workloads/main/logs?follow=true")
    follower.until("one")
    agent.deploy("web", workload("main", sh("echo two; sleep 1e6"),
                                 logFile=str(agent.work / "other.log")))
    follower.until("two")


def test_answers_about_many_workloads_tell_all_of_them(agent, api):
    """More than are looked at in one turn."""
    names = [f"w{n}" for n in range(104)]
    agent.run("many", *(workload(name, SLEEP) for name in names))
    agent.run("web", workload("main", SLEEP))
    many = api.app("many")["workloads"]
    assert sorted(w["name"] for w in many) == sorted(names)
    assert all(w["resources"]["memoryBytes"] > 0 for w in many)
    assert api.app(api.app("web")["id"])["workloads"][0]["resources"]["processes"] == 1
    assert {a["name"]: len(a["workloads"]) for a in api.get("/v1/applications")} == \
        {"many": 104, "web": 1}
    assert api.get("/metrics").count("edgible_workload_processes{") == 105
    assert api.get("/v1/applications/many/why")["application"] == "many"
    assert "no application" in api.get("/v1/applications/none", 404)["detail"]


def test_followed_over_removal_and_a_new_deploy(agent, api):
    agent.run("web", workload("main", sh("echo one; sleep 1e6")))
    follower = api.follow("/v1/applications/web/workloads/main/logs?follow=true")
    follower.until("one")
    agent.remove("web.yaml")
    agent.wait_event("removed", "web")
    agent.run("web", workload("main", sh("echo two; sleep 1e6")))
    assert follower.until("two")[-2:] in (["two"], ["one", "two"])


def test_a_follower_that_never_reads_does_not_slow_the_workload(agent, api):
    agent.run("web", workload("main", sh(COUNT), logs={"maxSize": "1MiB", "maxFiles": 1}))
    followers = [api.follow("/v1/applications/web/workloads/main/logs?follow=true")
                 for _ in range(20)]
    before = api.workload("web", "main")["log"]["rotations"]
    wait_for(lambda: api.workload("web", "main")["log"]["rotations"] > before + 5, "rotations")
    assert api.get("/v1/agent")["resources"]["memoryBytes"] < 250 * 1024 * 1024  # with ASan
    for follower in followers:
        follower.close()


def test_the_agents_own_log(agent, api):
    agent.run("web", workload("main", SLEEP))
    lines = api.get("/v1/agent/logs?lines=1000").splitlines()
    assert any("started with PID" in line for line in lines)
    assert len(api.get("/v1/agent/logs?lines=2").splitlines()) == 2
    assert all('"subsystem":"api"' in line
               for line in api.get("/v1/agent/logs?module=api").splitlines())
    api.get("/v1/agent/logs?level=loud", status=400)
    follower = api.follow("/v1/agent/logs?lines=0&follow=true")
    agent.run("db", workload("main", SLEEP))
    follower.until("db/main started")


# --- metrics -------------------------------------------------------------------------------------

def test_promtool_finds_no_fault_with_the_metrics(agent, api):
    agent.run("web", workload("main", SLEEP), workload("other", SLEEP))
    agent.deploy("bad", workload("main", sh("exit 1"), restart=FAIL_AT_ONCE))
    agent.wait_event("failed", "bad")
    agent.run("checked", workload("main", SLEEP, healthCheck={"exec": ["/bin/true"]}))
    agent.wait_event("healthy", "checked")
    text = api.get("/metrics")
    done = subprocess.run(["promtool", "check", "metrics"], input=text, text=True,
                          capture_output=True)
    assert done.returncode == 0 and done.stdout + done.stderr == ""
    assert 'edgible_workload_state{application="web",workload="main",state="running"} 1' in text
    assert 'edgible_workload_state{application="bad",workload="main",state="failed"} 1' in text
    assert 'edgible_workload_last_exit_status{application="bad",workload="main"} 1' in text
    assert 'edgible_workload_healthy{application="checked",workload="main"} 1' in text
    assert "edgible_source_up 1" in text
    assert "edgible_agent_loop_lag" not in text


def test_reading_the_metrics_does_not_reset_the_longest_turn(agent, api):
    agent.run("web", workload("main", SLEEP))

    def read():
        lines = (line.rsplit(" ", 1) for line in api.get("/metrics").splitlines())
        return {name: float(value) for name, value in lines if name.startswith("edgible_loop_")}

    first, second = read(), read()
    for name in ("edgible_loop_lag_max_seconds", "edgible_loop_cpu_max_seconds"):
        assert 0 < first[name] <= second[name]
    assert second["edgible_loop_lag_seconds_count"] > first["edgible_loop_lag_seconds_count"]
    for each in (first, second):
        assert each['edgible_loop_lag_seconds_bucket{le="+Inf"}'] == \
            each["edgible_loop_lag_seconds_count"]
        assert each["edgible_loop_lag_seconds_sum"] >= each["edgible_loop_lag_max_seconds"]


@pytest.mark.once
def test_a_prometheus_scrapes_it(agent, api, tmp_path):
    agent.run("web", workload("main", SLEEP))
    bridge, server = free_port(), free_port()
    config = tmp_path / "prometheus.yml"
    config.write_text(yaml.safe_dump({"scrape_configs": [{
        "job_name": "edgible", "scrape_interval": "1s",
        "static_configs": [{"targets": [f"127.0.0.1:{bridge}"]}]}]}))
    programs = [
        subprocess.Popen(["socat", f"TCP-LISTEN:{bridge},bind=127.0.0.1,fork,reuseaddr",
                          f"UNIX-CONNECT:{api.socket}"]),
        subprocess.Popen(["prometheus", f"--config.file={config}",
                          f"--storage.tsdb.path={tmp_path}/data",
                          f"--web.listen-address=127.0.0.1:{server}"],
                         stderr=subprocess.DEVNULL)]
    try:
        def scraped():
            with socket.socket() as s:
                if s.connect_ex(("127.0.0.1", server)) != 0:
                    return False
            done = subprocess.run(
                ["curl", "-s", "-g", f"http://127.0.0.1:{server}/api/v1/query?query="
                 'edgible_workload_state{application="web",state="running"}'],
                capture_output=True, text=True)
            with contextlib.suppress(ValueError):  # while it starts it answers something else
                found = json.loads(done.stdout or "{}").get("data", {}).get("result", [])
                return found and found[0]["value"][1] == "1"
            return False
        wait_for(scraped, "Prometheus to have scraped the agent")
    finally:
        for program in programs:
            program.terminate()
            program.wait()


# --- who may -------------------------------------------------------------------------------------

def test_the_socket_is_for_its_owner_alone(agent, api):
    assert api.socket.stat().st_mode & 0o777 == 0o600
    assert api.socket.stat().st_uid == agent.account.uid


@pytest.mark.as_root
def test_members_of_the_group_may_and_nobody_else(make_agent):
    ordinary = ordinary_account()
    agent = make_agent()
    agent.write_config(api={"socket": str(agent.runtime_dir / "agent.sock"),
                            "group": "edgible-test-extra"})
    agent.start()
    api = Api(agent)
    assert api.socket.stat().st_mode & 0o777 == 0o660
    command = [agent_binary(), "--socket", str(api.socket), "agent", "status"]
    member = subprocess.run(command, env=base_environment(ordinary), capture_output=True, text=True,
                            **ordinary.popen_options())
    assert member.returncode == 0, member.stderr
    options = {**ordinary.popen_options(), "extra_groups": []}
    other = subprocess.run(command, env=base_environment(ordinary), capture_output=True, text=True,
                           **options)
    assert other.returncode == 4 and "not for you" in other.stderr
    # Also where the socket's mode would let them in.
    api.socket.chmod(0o666)
    other = subprocess.run(command, env=base_environment(ordinary), capture_output=True, text=True,
                           **options)
    assert other.returncode == 4 and "may not use" in other.stderr


def test_a_stale_socket_is_replaced_and_a_file_is_not(make_agent):
    agent = make_agent().start()
    api = Api(agent)
    agent.send(signal.SIGKILL)
    agent.wait_exit()
    assert api.socket.exists()
    agent.start()
    Api(agent)
    agent.send(signal.SIGTERM)
    agent.wait_exit()
    assert not api.socket.exists()
    api.socket.write_text("precious")
    agent.start()
    agent.run("web", workload("main", SLEEP))  # without the API
    assert api.socket.read_text() == "precious"
    assert any("is no socket" in line for line in agent.lines())


# --- hostile clients -----------------------------------------------------------------------------

def raw(api, data, shut=False):
    s = connect(api.socket)
    got = b""
    try:
        s.sendall(data)
        if shut:
            s.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # answered and closed before all of it was sent
    while True:
        try:
            piece = s.recv(65536)
        except ConnectionResetError:
            return got  # it had not read all that we sent
        if not piece:
            return got
        got += piece


def test_what_is_not_there_and_what_cannot_be_done(agent, api):
    api.get("/v1/nothing", status=404)
    api.get("/", status=404)
    assert api.request("DELETE", "/v1/agent").status == 405
    assert api.request("DELETE", "/v1/agent").headers["Allow"] == "GET, PATCH"
    api.get("/v1/applications/" + "x" * 5000, status=404)
    api.get("/v1/applications/..%2f..%2fetc", status=404)
    assert api.request("HEAD", "/v1/agent").body == b""


@pytest.mark.parametrize("data", [
    b"\x00\xff\xfe garbage\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n",
    b"GET /" + b"a" * 100000 + b" HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + b"A: " + b"b" * 100000 + b"\r\n\r\n",
    b"PUT /v1/applications HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    b"PUT /v1/applications HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nZZZ\r\n",
    b"GET /v1/%00%ff%zz?%00=%ff HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"])
def test_garbage_ends_the_connection_and_nothing_else(agent, api, data):
    raw(api, data, shut=True)
    assert api.get("/v1/agent")["pid"] == agent.pid


def test_pipelined_requests_are_answered_in_order(agent, api):
    one = b"GET /v1/agent HTTP/1.1\r\nHost: x\r\n\r\n"
    last = b"GET /v1/health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    got = raw(api, one * 20 + last)
    assert got.count(b"HTTP/1.1 200") == 21 and got.rindex(b'"reasons"') > got.rindex(b'"pid"')


def test_a_client_that_closes_its_half_gets_its_answer(agent, api):
    got = raw(api, b"GET /v1/health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", shut=True)
    assert b'"status":"ok"' in got


def test_a_body_that_is_too_large(agent, api):
    big = b"x" * (2 * 1024 * 1024 + 1)
    connection = Connection(api.socket)
    try:
        connection.request("PUT", "/v1/applications", body=big)
    except OSError:
        pass  # answered and closed before all of it was sent
    assert Answer(connection.getresponse()).status == 413
    chunked = b"PUT /v1/applications HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + \
        b"100000\r\n" + b"x" * 0x100000 + b"\r\n"
    assert b" 413 " in raw(api, chunked + (b"100000\r\n" + b"x" * 0x100000 + b"\r\n") * 2 +
                           b"0\r\n\r\n")


def test_the_sixty_fifth_connection_is_told_so(agent, api):
    held = [connect(api.socket) for _ in range(72 if IS_ROOT else 64)]
    for s in held:
        s.sendall(b"GET /v1/agent HTTP/1.1\r\nHost: x\r\n")
    answer = api.request("GET", "/v1/agent")
    assert answer.status == 503 and "connections" in answer.json()["detail"]
    for s in held:
        s.close()
    wait_for(lambda: api.request("GET", "/v1/agent").status == 200, "room again")


@pytest.mark.as_user
@pytest.mark.skipif(not IS_ROOT, reason="needs root, too")
def test_root_is_not_locked_out_by_the_connections_of_others(agent, api):
    hold = python("""
import socket, sys
held = [socket.socket(socket.AF_UNIX) for _ in range(64)]
for s in held:
    s.connect(sys.argv[1])
    s.sendall(b"GET /v1/agent HTTP/1.1\\r\\nHost: x\\r\\n")
print("all", flush=True)
sys.stdin.read()
""", str(api.socket))
    with subprocess.Popen(hold, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          **agent.account.popen_options()) as holder:
        assert holder.stdout.readline() == b"all\n"
        other = subprocess.run([agent_binary(), "--socket", str(api.socket), "agent", "status"],
                               capture_output=True, text=True, timeout=DEADLINE,
                               **agent.account.popen_options())
        assert other.returncode == 3 and "connections" in other.stderr
        assert api.request("GET", "/v1/agent").status == 200
        holder.stdin.close()


def test_ten_thousand_connections(agent, api):
    [pid] = agent.run("web", workload("main", SLEEP))
    held = []
    for _ in range(10000):
        s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        s.setblocking(False)
        try:
            s.connect(str(api.socket))
        except BlockingIOError:
            time.sleep(0.001)
            s.close()
            continue
        held.append(s)
        if len(held) > 500:
            held.pop(0).close()
    since = agent.mark()
    os.kill(pid, signal.SIGKILL)
    agent.wait_started("web", "main", since)  # supervision goes on
    for s in held:
        s.close()
    wait_for(lambda: api.request("GET", "/v1/agent").status == 200, "room again")
    assert api.get("/v1/agent")["resources"]["openFiles"] < 100


def test_a_follower_that_is_gone_leaves_nothing_behind(agent, api):
    agent.run("web", workload("main", SLEEP))
    before = api.get("/v1/agent")["resources"]["openFiles"]
    for _ in range(100):
        for path in ["/v1/events?follow=true", "/v1/agent/logs?follow=true",
                     "/v1/applications/web/workloads/main/logs?follow=true"]:
            api.follow(path).close()
    wait_for(lambda: api.request("GET", "/v1/agent").status == 200 and
             api.get("/v1/agent")["resources"]["openFiles"] <= before + 2, "all to be closed")


@pytest.mark.once
def test_a_request_that_drips_is_ended_after_its_time(agent, api):
    s = connect(api.socket)
    begun = time.monotonic()
    got = b""
    s.settimeout(1)
    while time.monotonic() - begun < 60:
        try:
            s.sendall(b"G" if time.monotonic() - begun < 1 else b"a")
            got += s.recv(65536)
        except socket.timeout:
            continue
        except OSError:
            break
        if got:
            break
    assert b" 408 " in got and 25 < time.monotonic() - begun < 45
    assert api.get("/v1/agent")["pid"] == agent.pid


@pytest.mark.once
def test_a_connection_that_libmicrohttpd_does_not_end_costs_nothing(agent, api):
    """An Expect header without a body: 0.9.75 asked to be called at once, for ever."""
    got = raw(api, b"PUT /v1/applications HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n\r\n"
                   b"5\r\nhello\r\n", shut=True)
    assert b" 400 " in got
    before = cpu_seconds(agent.pid)
    time.sleep(1)
    assert cpu_seconds(agent.pid) - before < 0.5
