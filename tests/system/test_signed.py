"""controlPlane.trustedKeys: only a signed set is taken, from each of the three sources."""

import signal
import subprocess

import pytest
import yaml

from api import Api
from control_plane import ControlPlane
from etcd import Etcd, key
from harness import SLEEP, agent_binary, workload


def run_checked(*command):
    subprocess.run(command, check=True, capture_output=True)


class Signer:
    """A key of minisign's, and what it signs."""

    def __init__(self, folder, name):
        self.folder, self.name = folder, name
        self.public, self.secret = folder / f"{name}.pub", folder / f"{name}.key"
        run_checked("minisign", "-G", "-W", "-p", str(self.public), "-s", str(self.secret))
        self.key = self.public.read_text().splitlines()[1]

    def sign(self, documents, comment, legacy=False):
        """The set as docs/control-planes.md has it made."""
        path = self.folder / f"{self.name}.yaml"
        text = yaml.safe_dump_all(documents) if documents else "[]\n"
        path.write_text(text)
        run_checked("minisign", "-S", "-W", *(["-l"] if legacy else []), "-s", str(self.secret),
                    "-m", str(path), "-t", comment)
        signature = path.with_suffix(".yaml.minisig").read_text()
        return text + "".join(f"# {line}\n" for line in signature.splitlines())


@pytest.fixture
def signer(tmp_path):
    return Signer(tmp_path, "ours")


@pytest.fixture
def agent(make_agent, signer):
    agent = make_agent()
    agent.write_config(controlPlane={"directory": str(agent.source), "trustedKeys": [signer.key]})
    return agent.start()


def put(agent, text):
    agent.put("applications.yaml", text)


def app(agent, name="app", **env):
    return agent.app(name, workload("main", SLEEP, env=env))


def wait_refused(agent, why, since=0):
    return agent.wait(lambda: next((e for e in agent.events("policy-refused", since=since)
                                    if why in e.get("reason", "")), None), f"a refusal for {why}")


@pytest.mark.parametrize("legacy", [False, True], ids=["prehashed", "legacy"])
def test_a_signed_set_runs_and_the_next_one_replaces_it(agent, signer, legacy):
    put(agent, signer.sign([app(agent), app(agent, "second")], "sequence:1", legacy))
    agent.wait_started("app", "main")
    agent.wait_started("second", "main")
    put(agent, signer.sign([app(agent)], f"sequence:2 device:{agent.device} more:words", legacy))
    agent.wait_event("removed", "second")
    put(agent, signer.sign([], "sequence:2", legacy))  # not lower is enough
    agent.wait_event("removed", "app")


def check(agent):
    return subprocess.run([agent_binary(), "--config", agent.config_file, "--check"],
                          capture_output=True, text=True)


def test_the_check_looks_at_the_signature(agent, signer, tmp_path):
    assert "a signed set is wanted" in check(agent).stderr
    put(agent, signer.sign([app(agent)], "sequence:1"))
    (agent.source / "other.yaml").write_text("not looked at: {")
    done = check(agent)
    assert done.returncode == 0 and "application app" in done.stdout
    put(agent, Signer(tmp_path, "other").sign([app(agent)], "sequence:2"))
    done = check(agent)
    assert done.returncode == 1 and "is not trusted" in done.stderr


@pytest.mark.parametrize("how, why", [
    ("unsigned", "it is not signed"), ("altered", "was altered"), ("appended", "it is not signed"),
    ("prepended", "was altered"), ("comment", "trusted comment"), ("other key", "is not trusted"),
    ("older", "lower than 5"), ("no sequence", "sequence:"), ("other device", "for the device"),
    ("cut", "it is not signed"), ("empty", "not a minisign signature")])
def test_anything_else_changes_nothing_and_is_said(agent, signer, tmp_path, how, why):
    put(agent, signer.sign([app(agent)], "sequence:5"))
    pid = agent.wait_started("app", "main")
    other = [app(agent, "evil"), app(agent, VERSION="2")]
    good = signer.sign(other, "sequence:6")
    text = {
        "unsigned": lambda: yaml.safe_dump_all(other),
        "altered": lambda: good.replace("evil", "good"),
        "appended": lambda: good + yaml.safe_dump_all([app(agent, "added")], explicit_start=True),
        "prepended": lambda: yaml.safe_dump(app(agent, "added")) + "---\n" + good,
        "comment": lambda: good.replace("sequence:6", "sequence:7"),
        "other key": lambda: Signer(tmp_path, "other").sign(other, "sequence:6"),
        "older": lambda: signer.sign(other, "sequence:4"),
        "no sequence": lambda: signer.sign(other, "hello"),
        "other device": lambda: signer.sign(other, "sequence:6 device:somebody-else"),
        "cut": lambda: good[:len(good) // 2],
        "empty": lambda: "# \n# \n# \n",
    }[how]()
    since = agent.mark()
    put(agent, text)
    wait_refused(agent, why, since)
    told = Api(agent).get("/v1/applications")
    assert [a["name"] for a in told] == ["app"] and told[0]["workloads"][0]["pid"] == pid
    assert not agent.events("deployed", since=since) and not agent.events("updated", since=since)
    put(agent, good)
    agent.wait_started("evil", "main")  # and goes on with the next good one


def test_a_replay_is_refused_by_the_next_agent_too(agent, signer):
    old = signer.sign([app(agent, VERSION="1")], "sequence:1")
    put(agent, old)
    agent.wait_started("app", "main")
    put(agent, signer.sign([app(agent, VERSION="2")], "sequence:2"))
    pid = agent.wait_started("app", "main", count=2)
    agent.wait(lambda: (agent.state_dir / "trust/set.json").exists(), "the record")
    agent.process.kill()
    agent.wait_exit()
    put(agent, old)
    since = agent.mark()
    agent.start()
    wait_refused(agent, "lower than 2", since)
    assert Api(agent).workload("app", "main")["pid"] == pid


def test_other_files_are_not_looked_at_and_a_missing_set_removes_nothing(agent, signer):
    put(agent, signer.sign([app(agent)], "sequence:1"))
    agent.wait_started("app", "main")
    agent.put("more.yaml", signer.sign([app(agent, "more")], "sequence:2"))
    wait_refused(agent, "only the signed set")
    agent.remove("more.yaml")
    agent.remove("applications.yaml")
    agent.wait(lambda: any("is gone" in line for line in agent.lines()), "the warning")
    assert [a["name"] for a in Api(agent).get("/v1/applications")] == ["app"]
    put(agent, signer.sign([], "sequence:3"))
    agent.wait_event("removed", "app")


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGUSR1, signal.SIGTERM])
@pytest.mark.parametrize("left", ["nothing", "unsigned", "another file"])
def test_a_set_that_is_gone_when_the_agent_starts_removes_nothing(agent, signer, how, left):
    put(agent, signer.sign([app(agent)], "sequence:1"))
    agent.wait_started("app", "main")
    agent.send(how)
    agent.wait_exit()
    agent.remove("applications.yaml")
    if left != "nothing":
        agent.put("applications.yaml" if left == "unsigned" else "evil.yaml", app(agent, "evil"))
    since = agent.mark()
    agent.start()
    agent.wait(lambda: any("no signed set" in line for line in agent.lines()[since:]), "the warning")
    agent.wait(lambda: Api(agent).workload("app", "main")["status"] == "running", "it to run")
    agent.send(signal.SIGHUP)
    agent.wait(lambda: any("reloaded" in line for line in agent.lines()[since:]), "the reload")
    put(agent, signer.sign([app(agent), app(agent, "second")], "sequence:2"))
    agent.wait_started("second", "main")
    assert [a["name"] for a in Api(agent).get("/v1/applications")] == ["app", "second"]
    assert not agent.events("removed") and not agent.events("stopping", since=since)


@pytest.mark.parametrize("file", ["applications.yaml", "app.yaml"])
def test_keys_that_are_given_by_sighup_remove_nothing(make_agent, signer, file):
    agent = make_agent().start()
    agent.put(file, app(agent))
    pid = agent.wait_started("app", "main")
    agent.write_config(controlPlane={"directory": str(agent.source), "trustedKeys": [signer.key]})
    agent.send(signal.SIGHUP)
    wait_refused(agent, "signed")
    put(agent, signer.sign([app(agent), app(agent, "second")], "sequence:1"))
    agent.wait_started("second", "main")
    assert Api(agent).workload("app", "main")["pid"] == pid


@pytest.mark.once
def test_deploys_through_the_agent_are_refused(agent):
    answer = Api(agent).request("PUT", "/v1/applications", app(agent))
    assert answer.status == 409 and "minisign" in answer.json()["detail"]


@pytest.mark.once
def test_a_key_that_is_none_is_an_error(make_agent):
    agent = make_agent()
    agent.write_config(controlPlane={"directory": str(agent.source), "trustedKeys": ["RWQ="]})
    done = subprocess.run([agent_binary(), "--config", agent.config_file],
                          capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1 and "trustedKeys[0]" in done.stderr


# --- the other sources ---------------------------------------------------------------------------

def check_remote(agent, signer, set_text, remove):
    """What the two have in common: set_text() puts the set where the agent takes it from."""
    first = signer.sign([app(agent)], "sequence:5")
    set_text(first)
    agent.start()
    pid = agent.wait_started("app", "main")
    evil = [app(agent, "evil"), app(agent, VERSION="2")]
    for text, why in [(yaml.safe_dump_all(evil), "it is not signed"),
                      (signer.sign(evil, "sequence:6").replace("evil", "good"), "was altered"),
                      (signer.sign(evil, "sequence:4"), "lower than 5")]:
        since = agent.mark()
        set_text(text)
        wait_refused(agent, why, since)
    remove()
    told = Api(agent).get("/v1/applications")
    assert [a["name"] for a in told] == ["app"] and told[0]["workloads"][0]["pid"] == pid
    since = agent.mark()
    set_text(signer.sign([app(agent), app(agent, "second")], "sequence:6"))
    agent.wait_started("second", "main", since)
    set_text(first)
    wait_refused(agent, "lower than 6", since)
    set_text(signer.sign([], "sequence:7"))
    agent.wait_event("removed", "app", since=since)


def test_https(make_agent, signer):
    agent = make_agent()
    with ControlPlane(agent.device) as plane:
        agent.write_config(controlPlane={"https": {"url": plane.url, "pollInterval": "1s"},
                                         "trustedKeys": [signer.key]})

        def remove():
            since = agent.mark()
            plane.set_text("[]")
            wait_refused(agent, "it is not signed", since)
        check_remote(agent, signer, plane.set_text, remove)


def test_etcd(make_agent, signer, tmp_path):
    agent = make_agent()
    with Etcd(tmp_path / "etcd") as etcd:
        agent.write_config(controlPlane={"etcd": {"endpoints": etcd.endpoints},
                                         "trustedKeys": [signer.key]})
        place = key(agent.device, "applications.yaml")

        def remove():
            etcd.delete(place)
            agent.wait(lambda: any("is gone" in line for line in agent.lines()), "the warning")
            etcd.put(key(agent.device, "evil"), app(agent, "evil"))
            wait_refused(agent, "only the signed set")
        check_remote(agent, signer, lambda text: etcd.put(place, text), remove)


def test_etcd_whose_set_is_gone_when_the_agent_starts_removes_nothing(make_agent, signer, tmp_path):
    agent = make_agent()
    with Etcd(tmp_path / "etcd") as etcd:
        agent.write_config(controlPlane={"etcd": {"endpoints": etcd.endpoints},
                                         "trustedKeys": [signer.key]})
        place = key(agent.device, "applications.yaml")
        etcd.put(place, signer.sign([app(agent)], "sequence:1"))
        agent.start()
        pid = agent.wait_started("app", "main")
        agent.process.kill()
        agent.wait_exit()
        etcd.delete(place)
        agent.start()
        agent.wait(lambda: any("no signed set" in line for line in agent.lines()), "the warning")
        etcd.put(place, signer.sign([app(agent), app(agent, "second")], "sequence:2"))
        agent.wait_started("second", "main")
        assert Api(agent).workload("app", "main")["pid"] == pid
