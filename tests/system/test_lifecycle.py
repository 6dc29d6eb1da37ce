"""The binary from start to end: options, --check, signals, the lock, and `stack validate`."""

import json
import re
import signal

import pytest
import yaml

from harness import SLEEP, is_alive, run_client, sh, wait_for, workload

TWO_GOOD = """\
apiVersion: v3
kind: Application
metadata: {name: first}
spec:
  placement: {strategy: serving-device, deviceSelector: {deviceName: somewhere}}
  workloads:
    - {name: one, type: managed-process, command: [/bin/true]}
    - {name: two, type: compose, command: [/bin/true]}
---
apiVersion: v3
kind: Application
metadata: {name: second}
spec:
  placement: {strategy: serving-device, deviceSelector: {deviceName: somewhere}}
  workloads:
    - {name: three, type: managed-process, command: "/bin/echo 'a b'"}
"""

# Three errors, on lines 6, 7 and 8.
THREE_BAD = """\
apiVersion: v3
kind: Application
metadata: {name: broken}
spec:
  workloads:
    - {name: Not_A_Label, type: managed-process, command: [/bin/true]}
    - {name: no-command, type: managed-process}
    - {name: mapping, type: managed-process, command: [/bin/true, {a: b}]}
"""


# --- options -----------------------------------------------------------------------------------

def test_version_names_the_program_and_a_version():
    done = run_client("--version")
    assert done.returncode == 0 and done.stderr == ""
    assert re.fullmatch(r"edgible-agent \d+\.\d+\.\d+\S*\n", done.stdout), done.stdout


def test_help_lists_what_there_is():
    done = run_client("--help")
    assert done.returncode == 0 and done.stderr == ""
    for word in ("--config", "--check", "--version", "stack validate"):
        assert word in done.stdout


@pytest.mark.parametrize("arguments", [
    ["--no-such-option"], ["nonsense"], ["stack"], ["stack", "nonsense"], ["--config"],
    ["stack", "validate"], ["--check"]], ids=" ".join)
def test_wrong_usage_exits_2_and_says_what(arguments):
    done = run_client(*arguments)
    assert done.returncode == 2, done
    assert done.stdout == "" and done.stderr.strip()


# --- --check -----------------------------------------------------------------------------------

def check(agent):
    return run_client("--config", agent.config_file, "--check", account=agent.account)


def test_check_prints_what_would_run_and_starts_nothing(make_agent):
    agent = make_agent()
    marker = agent.work / "ran"
    agent.deploy("app", workload("main", sh(f"touch {marker}")))
    done = check(agent)
    assert done.returncode == 0, done.stderr
    assert "app" in done.stdout and "main" in done.stdout
    assert not marker.exists()


@pytest.mark.once
def test_check_of_an_invalid_configuration_gives_place_and_nearest_name(make_agent):
    agent = make_agent()
    text = yaml.safe_dump(agent.config(), sort_keys=False)
    agent.write_config(text + "stateDri: /tmp\n")
    line = text.count("\n") + 1
    done = check(agent)
    assert done.returncode == 1
    assert re.search(rf"agent\.yaml:{line}:1: .*stateDri.*stateDir\b", done.stderr), done.stderr


@pytest.mark.once
def test_check_lists_every_error_of_the_configuration(make_agent):
    agent = make_agent()
    agent.write_config(yaml.safe_dump(agent.config(), sort_keys=False) +
                       "defaults: {stop: {gracePeriod: soon}, logs: {maxSize: -1}}\nnonsense: 1\n")
    done = check(agent)
    assert done.returncode == 1
    for word in ("gracePeriod", "maxSize", "nonsense"):
        assert word in done.stderr


@pytest.mark.once
def test_check_of_a_missing_configuration_names_the_file(make_agent):
    agent = make_agent()
    agent.config_file.unlink()
    done = check(agent)
    assert done.returncode == 1
    assert str(agent.config_file) in done.stderr and "No such file" in done.stderr


@pytest.mark.once
def test_check_reports_invalid_documents(make_agent):
    agent = make_agent()
    agent.put("broken.yaml", THREE_BAD)
    done = check(agent)
    assert done.returncode == 1
    for line in (6, 7, 8):
        assert f"broken.yaml:{line}:" in done.stdout + done.stderr


@pytest.mark.once
def test_an_agent_with_an_invalid_configuration_does_not_start(make_agent):
    agent = make_agent()
    agent.write_config("controlPlane: {directory: [not, a, path]}\n")
    assert agent.start().wait_exit() == 1
    wait_for(lambda: any("agent.yaml:1:" in line for line in agent.lines()), "the reason")


# --- signals -----------------------------------------------------------------------------------

@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_tears_everything_down_and_exits_0(agent, number):
    pids = agent.run("app", workload("one", SLEEP), workload("two", sh("sleep 1000 & wait")))
    assert all(is_alive(pid) for pid in pids)
    agent.stop(number)
    assert not any(is_alive(pid) for pid in pids)
    assert len(agent.events("stopped", "app")) == 2


def test_an_agent_with_nothing_to_run_ends_too(agent):
    agent.wait(lambda: (agent.state_dir / "agent.lock").exists(), "the lock")
    agent.stop()


def test_a_second_signal_skips_the_grace_period(agent):
    """The program ignores SIGTERM, and its grace period is longer than the test may take."""
    stubborn = workload("main", sh("trap 'echo ignored' TERM; echo ready; while :; do sleep 1; done"),
                        stop={"gracePeriod": "1h"})
    [pid] = agent.run("app", stubborn)
    agent.wait_logged("app", "main", "ready")
    agent.send(signal.SIGTERM)
    agent.wait_logged("app", "main", "ignored")
    assert is_alive(pid) and agent.is_running()
    agent.stop(signal.SIGTERM)
    assert agent.events("killed", "app", "main")


def test_hup_with_a_valid_configuration_applies_it_and_touches_no_workload(agent):
    [pid] = agent.run("app", workload("main", SLEEP))
    agent.write_config(log={"level": "info", "format": "text"})
    mark = agent.mark()
    agent.send(signal.SIGHUP)

    def says_so_as_text():
        agent.put("other.yaml", agent.app("other", workload("main", SLEEP)))
        return any("other" in line and not line.startswith("{") for line in agent.lines()[mark:])
    agent.wait(says_so_as_text, "a log line in the new format")
    assert is_alive(pid) and len(agent.events("started", "app")) == 1


def test_hup_reloads_the_defaults_of_workloads(agent):
    agent.write_config(defaults={"restart": {"policy": "always", "initialDelay": "7s"}})
    agent.run("first", workload("main", SLEEP))
    agent.send(signal.SIGHUP)

    def backoff_ms():
        agent.deploy("second", workload("main", ["/bin/false"]))
        return [int(e["delay_ms"]) for e in agent.events("backoff", "second")]
    delays = agent.wait(backoff_ms, "the second application to fail")
    assert 5600 <= delays[0] <= 8400


def test_hup_with_an_invalid_configuration_changes_nothing_and_says_why(agent):
    [pid] = agent.run("app", workload("main", SLEEP))
    agent.write_config("stateDri: /nowhere\nlog: {format: text}\n")
    mark = agent.mark()
    agent.send(signal.SIGHUP)
    agent.wait(lambda: any("agent.yaml:1:1" in line for line in agent.lines()[mark:]),
               "the reason in its log")
    agent.run("other", workload("main", SLEEP))
    assert is_alive(pid) and len(agent.events("started", "app")) == 1


def test_a_second_agent_on_the_same_state_directory_names_the_first(make_agent):
    first = make_agent().start()
    [pid] = first.run("app", workload("main", SLEEP))
    second = make_agent()
    second.write_config(stateDir=str(first.state_dir))
    assert second.start().wait_exit() == 1
    wait_for(lambda: any(str(first.pid) in line for line in second.lines()), "the first's PID")
    assert is_alive(pid) and first.is_running()


def test_a_lock_left_by_a_killed_agent_does_not_stand_in_the_way(make_agent):
    """Without workloads, as a later issue adopts those."""
    first = make_agent().start()
    first.wait(lambda: (first.state_dir / "agent.lock").exists(), "the lock")
    first.process.kill()
    first.wait_exit()
    first.start()
    first.run("app", workload("main", SLEEP))
    first.stop()


# --- stack validate ----------------------------------------------------------------------------

@pytest.fixture
def good(tmp_path):
    path = tmp_path / "good.yaml"
    path.write_text(TWO_GOOD)
    return path


@pytest.fixture
def bad(tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text(THREE_BAD)
    return path


def test_validate_prints_count_names_and_types(good):
    done = run_client("stack", "validate", "-f", good)
    assert done.returncode == 0, done.stderr
    assert re.search(r"\b2\b", done.stdout)
    for word in ("first", "second", "managed-process", "compose"):
        assert word in done.stdout


def test_validate_reads_standard_input():
    done = run_client("stack", "validate", "-f", "-", stdin=TWO_GOOD)
    assert done.returncode == 0 and "second" in done.stdout


def test_validate_accepts_json():
    documents = json.dumps(list(yaml.safe_load_all(TWO_GOOD)))
    done = run_client("stack", "validate", "-f", "-", stdin=documents)
    assert done.returncode == 0 and "second" in done.stdout, done.stderr


def test_validate_lists_every_error_with_its_place(bad):
    done = run_client("stack", "validate", "-f", bad)
    assert done.returncode == 1
    for line, path in ((6, "spec.workloads[0].name"), (7, "spec.workloads[1]"),
                       (8, "spec.workloads[2].command[1]")):
        assert re.search(rf"bad\.yaml:{line}:\d+: {re.escape(path)}", done.stderr), done.stderr


def test_validate_names_the_expected_and_the_found(bad):
    done = run_client("stack", "validate", "-f", bad)
    assert re.search(r"bad\.yaml:8:\d+: spec\.workloads\[2\]\.command\[1\]: expected a string, "
                     r"found a mapping", done.stderr), done.stderr


def test_validate_warns_of_unknown_keys_with_the_nearest_name(tmp_path):
    path = tmp_path / "typo.yaml"
    path.write_text(TWO_GOOD.replace("command: \"/bin/echo 'a b'\"",
                                     "command: [/bin/true], workingDri: /tmp"))
    done = run_client("stack", "validate", "-f", path)
    assert done.returncode == 0
    assert re.search(r"typo\.yaml:16:\d+: .*workingDri: warning: .*workingDir\b", done.stderr), \
        done.stderr


def test_validate_json_prints_one_document_and_nothing_else(good, bad):
    valid = run_client("stack", "validate", "-f", good, "--json")
    assert valid.returncode == 0 and "second" in json.dumps(json.loads(valid.stdout))
    invalid = run_client("stack", "validate", "-f", bad, "--json")
    assert invalid.returncode == 1
    assert "spec.workloads[2].command[1]" in json.dumps(json.loads(invalid.stdout))


def test_validate_of_a_missing_file_names_it(tmp_path):
    done = run_client("stack", "validate", "-f", tmp_path / "none.yaml")
    assert done.returncode == 1
    assert "none.yaml" in done.stderr and "No such file" in done.stderr


def test_validate_of_nothing_is_an_error():
    done = run_client("stack", "validate", "-f", "-", stdin="\n")
    assert done.returncode == 1 and done.stderr.strip()
