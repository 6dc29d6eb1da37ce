"""dependsOn: between workloads, and between applications."""

import signal

import pytest

from api import Api
from harness import FAIL_AT_ONCE, SLEEP, helper, sh, wait_for, workload


def state_of(agent, app, name):
    answer = Api(agent).request("GET", f"/v1/applications/{app}").json()
    return next((w for w in answer.get("workloads", []) if w["name"] == name), None)


def wait_state(agent, app, name, status, reason=""):
    def look():
        w = state_of(agent, app, name)
        return w if w and w["status"] == status and reason in w.get("reason", "") else None
    return agent.wait(look, f"{app}/{name} to be {status} as {reason!r}")


def order_of(agent, kind="started"):
    return [f"{e['application']}/{e['workload']}" for e in agent.events(kind)]


def test_workloads_start_in_order_whatever_the_document_says(agent):
    agent.run("app", workload("c", SLEEP, dependsOn=["b"]), workload("b", SLEEP, dependsOn=["a"]),
              workload("a", SLEEP), workload("d", SLEEP, dependsOn=["a"]))
    order = order_of(agent)
    assert order.index("app/a") < order.index("app/b") < order.index("app/c")
    assert order.index("app/a") < order.index("app/d")


def test_a_dependency_that_ends_by_design_is_enough(agent):
    done = agent.work / "done"
    agent.deploy("app", workload("main", SLEEP, dependsOn=["prepare"]),
                 workload("prepare", sh(f"sleep 0.3; : > {done}"),
                          restart={"policy": "never"}))
    agent.wait_started("app", "main")
    assert done.exists()


def test_a_dependency_that_fails_leaves_its_dependents_pending_until_it_comes_back(agent):
    flag = agent.work / "flag"
    agent.deploy("app", workload("main", SLEEP, dependsOn=["db"]),
                 workload("db", sh(f"test -e {flag} || exit 3; exec sleep 1000000"),
                          restart={**FAIL_AT_ONCE, "maxRapidFailures": 1}),
                 workload("last", SLEEP, dependsOn=["main"]))
    agent.wait_event("failed", "app", "db")
    waiting = wait_state(agent, "app", "main", "pending", "failed")
    assert "'db'" in waiting["reason"] and "status 3" in waiting["reason"]
    assert "pid" not in waiting
    wait_state(agent, "app", "last", "pending", "'main', which is pending")
    why = Api(agent).get("/v1/applications/app/why")
    assert any("'db'" in line for w in why["workloads"] for line in w["because"])
    flag.touch()
    assert Api(agent).request("POST", "/v1/applications/app/restart", {"workload": "db"}).status < 300
    agent.wait_started("app", "last")
    wait_state(agent, "app", "main", "running")


def test_applications_wait_for_applications(agent):
    documents = [agent.app("web", workload("main", SLEEP), dependsOn=["api"]),
                 agent.app("api", workload("main", SLEEP), workload("other", SLEEP),
                           dependsOn=["broker"]),
                 agent.app("broker", workload("main", SLEEP), workload("side", sh("sleep 0.3")))]
    documents[2]["spec"]["workloads"][1]["restart"] = {"policy": "never"}
    agent.put("all.yaml", documents)
    agent.wait_started("web", "main")
    order = order_of(agent)
    assert order.index("broker/side") < order.index("api/main") < order.index("web/main")
    assert agent.events("stopped", "broker", "side")  # completed before the next began


def test_an_application_that_is_suspended_keeps_its_dependents_pending(agent):
    agent.run("broker", workload("main", SLEEP))
    assert Api(agent).request("PATCH", "/v1/applications/broker", {"targetState": "suspended"}).status < 300
    wait_state(agent, "broker", "main", "stopped")
    agent.deploy("api", workload("main", SLEEP), dependsOn=["broker"])
    wait_state(agent, "api", "main", "pending", "'broker'")
    assert Api(agent).request("PATCH", "/v1/applications/broker", {"targetState": "running"}).status < 300
    agent.wait_started("api", "main")


def test_an_unknown_application_is_refused_with_its_path(agent):
    agent.deploy("api", workload("main", SLEEP), dependsOn=["broker"])
    event = agent.wait_event("rejected", "api")
    assert "metadata.dependsOn[0]" in event["reason"] and "'broker'" in event["reason"]
    assert "api.yaml:1" in event["reason"]
    agent.run("broker", workload("main", SLEEP))
    agent.wait_started("api", "main")  # the next view has it
    since = agent.mark()
    agent.remove("broker.yaml")
    agent.wait_event("removed", "broker", since=since)
    assert state_of(agent, "api", "main")["status"] == "running"


def test_a_circle_of_applications_is_refused_with_its_path(agent):
    agent.run("a", workload("main", SLEEP))
    agent.put("all.yaml", [agent.app("b", workload("main", SLEEP), dependsOn=["c", "a"]),
                           agent.app("c", workload("main", SLEEP), dependsOn=["d"]),
                           agent.app("d", workload("main", SLEEP), dependsOn=["b"]),
                           agent.app("self", workload("main", SLEEP), dependsOn=["self"]),
                           agent.app("fine", workload("main", SLEEP), dependsOn=["a"])])
    agent.wait_started("fine", "main")
    assert "b -> c -> d -> b" in agent.wait_event("rejected", "b")["reason"]
    for name in ("c", "d", "self"):
        agent.wait_event("rejected", name)
    assert not [e for e in agent.events("starting") if e["application"] in "bcd"]


def test_versions_that_make_a_circle_start_all_the_same(make_agent):
    """a waits for b; its next version, which does not, is refused; so b may wait for a."""
    agent = make_agent(policy={"commands": ["/bin/*", "/usr/bin/*"]}).start()
    agent.put("b.yaml", agent.app("b", workload("main", SLEEP)))
    agent.run("a", workload("main", SLEEP), dependsOn=["b"])
    agent.deploy("a", workload("main", ["/nowhere/program"]))
    agent.wait_event("policy-refused", "a")
    agent.deploy("b", workload("main", SLEEP), dependsOn=["a"])
    agent.wait_event("updated", "b")
    agent.stop()
    since = agent.mark()
    agent.start()
    agent.wait_started("a", "main", since)
    agent.wait_started("b", "main", since)


def test_a_deploy_of_what_waits_for_nothing_known_is_refused(agent):
    answer = Api(agent).request("PUT", "/v1/applications",
                                agent.app("api", workload("main", SLEEP), dependsOn=["broker"]))
    assert answer.status == 422 and "metadata.dependsOn[0]" in answer.json()["detail"]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGUSR1, signal.SIGUSR2])
def test_what_is_pending_stays_so_with_the_next_agent(agent, how):
    flag = agent.work / "flag"
    agent.deploy("app", workload("main", SLEEP, dependsOn=["db"]),
                 workload("db", sh(f"test -e {flag} || exit 3; exec sleep 1000000"),
                          restart={"initialDelay": "100ms", "maxDelay": "100ms",
                                   "maxRapidFailures": 0}))
    agent.wait_event("backoff", "app", "db")
    since = agent.mark()
    agent.send(how)
    if how != signal.SIGUSR2:
        agent.wait_exit()
        agent.start()
    agent.wait(lambda: any("listens at" in line for line in agent.lines()[since:]), "the next one")
    wait_state(agent, "app", "main", "pending", "'db'")
    flag.touch()
    agent.wait_started("app", "main")


def test_a_chain_of_many_starts(agent):
    agent.deploy("app", *[workload(f"w{i}", SLEEP, **({"dependsOn": [f"w{i + 1}"]} if i < 19
                                                      else {})) for i in range(20)])
    agent.wait_started("app", "w0")
    assert order_of(agent) == [f"app/w{i}" for i in range(19, -1, -1)]


def three_in_a_row(version):
    return [workload("c", SLEEP, dependsOn=["b"], env={"V": version}),
            workload("b", SLEEP, dependsOn=["a"], env={"V": version}),
            workload("a", SLEEP, env={"V": version}), workload("apart", SLEEP)]


def wait_renewed(agent, pids, since):
    for name in ("a", "b", "c"):
        agent.wait_started("app", name, since)
    now = {w["name"]: w.get("pid") for w in Api(agent).get("/v1/applications/app")["workloads"]}
    assert not {now[name] for name in ("a", "b", "c")} & set(pids)
    return now


def check_renewed_in_order(agent, pids, since):
    now = wait_renewed(agent, pids, since)
    assert [e["workload"] for e in agent.events("stopped", since=since)
            if e["workload"] in "abc"] == ["c", "b", "a"]
    assert [e["workload"] for e in agent.events("started", since=since)
            if e["workload"] in "abc"] == ["a", "b", "c"]
    return now


def test_an_update_stops_and_starts_in_order(agent):
    pids = agent.run("app", *three_in_a_row("1"))
    since = agent.mark()
    agent.deploy("app", *three_in_a_row("2"))
    now = check_renewed_in_order(agent, pids, since)
    assert now["apart"] == pids[3]
    for wanted, status in (("suspended", "stopped"), ("running", "running")):
        Api(agent).request("PATCH", "/v1/applications/app", {"targetState": wanted})
        for name in ("a", "b", "c", "apart"):
            wait_state(agent, "app", name, status)
    since = agent.mark()
    agent.deploy("app", *three_in_a_row("2")[1:])
    agent.wait_event("stopped", "app", "c", since=since)
    assert [e["workload"] for e in agent.events("stopped", since=since)] == ["c"]


def test_a_restart_of_all_of_it_is_in_order(agent):
    workloads = three_in_a_row("1")
    # What stops first still stops when the second request comes.
    workloads[0].update(command=helper("ignore_term"), stop={"gracePeriod": "1s"})
    pids = agent.run("app", *workloads)
    since = agent.mark()
    assert Api(agent).request("POST", "/v1/applications/app/restart").status == 202
    assert Api(agent).request("POST", "/v1/applications/app/restart").status == 202
    check_renewed_in_order(agent, pids, since)
    assert all(w["restarts"] == 0 for w in Api(agent).get("/v1/applications/app")["workloads"])


def test_an_update_renews_what_failed_in_order(agent):
    agent.deploy("app", workload("main", SLEEP, dependsOn=["db"]),
                 workload("db", ["/bin/false"], restart=FAIL_AT_ONCE))
    agent.wait_event("failed", "app", "db")
    wait_state(agent, "app", "main", "pending")
    agent.deploy("app", workload("main", SLEEP, dependsOn=["db"]), workload("db", SLEEP))
    agent.wait_started("app", "main")
    assert order_of(agent)[-2:] == ["app/db", "app/main"]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGUSR1, signal.SIGUSR2])
def test_an_update_goes_on_with_the_next_agent(agent, how):
    def slow(version):
        workloads = three_in_a_row(version)
        workloads[0]["command"] = helper("ignore_term")
        workloads[0]["stop"] = {"gracePeriod": "2s"}
        return workloads
    pids = agent.run("app", *slow("1"))
    since = agent.mark()
    agent.deploy("app", *slow("2"))
    agent.wait_event("stopping", "app", "c", since=since)
    agent.send(how)
    if how != signal.SIGUSR2:
        agent.wait_exit()
        agent.start()
    now = wait_renewed(agent, pids, since)
    assert now["apart"] == pids[3]


def test_pending_ends_with_the_application(agent):
    agent.deploy("app", workload("main", SLEEP, dependsOn=["db"]),
                 workload("db", ["/bin/false"], restart=FAIL_AT_ONCE))
    wait_state(agent, "app", "main", "pending")
    agent.remove("app.yaml")
    agent.wait_event("removed", "app")
    wait_for(lambda: Api(agent).get("/v1/applications") == [], "the end of it")


def test_what_waits_at_the_end_of_a_chain_tells_no_endless_story(agent):
    names = [f"application-number-{i:02}" for i in range(30)]
    agent.put("chain.yaml", [agent.app(names[0], workload("main", ["/bin/false"],
                                                          restart=FAIL_AT_ONCE))] +
              [agent.app(name, workload("main", SLEEP), dependsOn=[before])
               for before, name in zip(names, names[1:])])
    told = wait_state(agent, names[-1], "main", "pending", "which is pending")["reason"]
    assert len(told) < 1000 and told.endswith("...")
    near = wait_state(agent, names[1], "main", "pending", "failed")["reason"]
    assert "exited with status 1" in near


@pytest.mark.parametrize("change", ["application", "workload", "logFile"])
def test_a_log_is_nobody_elses_until_its_workload_has_stopped(agent, change):
    log, go = agent.work / "one.log", agent.work / "go"
    script = sh(f"trap '' TERM; echo ready; while [ ! -e {go} ]; do sleep 0.05; done")
    old = workload("old", script, logFile=str(log), stop={"gracePeriod": "60s"})
    agent.run("app", old)
    agent.wait(lambda: log.exists() and "ready" in log.read_text(), "its signal handler")
    new = workload("new", sh("echo new; exec sleep 1000000"), logFile=str(log))
    name, workloads = {"application": ("next", [new]), "workload": ("app", [new]),
                       "logFile": ("app", [new, dict(old, logFile=f"{log}.other", env={"A": "b"})])}[change]
    agent.put("app.yaml", [agent.app(name, *workloads)])
    wait_state(agent, name, "new", "pending", "waits for the end of 'app/old', which has the same log")
    assert "new" not in log.read_text()
    go.touch()
    agent.wait_started(name, "new")
    agent.wait(lambda: "new" in log.read_text(), "its output")
