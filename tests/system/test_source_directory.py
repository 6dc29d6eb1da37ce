"""The directory source: what is done to its files, and what of that reaches the workloads."""

import json
import os
import shutil
import signal
import time

import pytest
import yaml

from harness import SLEEP, cpu_seconds, is_alive, run_client, sh, wait_for, workload

MAIN = workload("main", SLEEP)


def assert_still_running(agent, pid, application="app"):
    """Its workload is the same process as ever, after the agent has come as far as a new file."""
    name = f"barrier-{agent.mark()}"
    agent.run(name, MAIN)
    assert is_alive(pid)
    assert not agent.events("stopping", application)


def text_of(agent, name, *workloads):
    return yaml.safe_dump(agent.app(name, *workloads), sort_keys=False)


# --- files that come and go --------------------------------------------------------------------

def test_files_that_were_there_before_the_agent(make_agent):
    agent = make_agent()
    agent.deploy("one", MAIN)
    agent.deploy("two", MAIN)
    agent.start()
    agent.wait_started("one", "main")
    agent.wait_started("two", "main")


def test_a_file_added_changed_and_removed(agent):
    [one] = agent.run("app", MAIN)
    assert agent.wait_event("deployed", "app")
    [two] = agent.run("app", workload("main", SLEEP, env={"CHANGED": "yes"}))
    assert agent.wait_event("updated", "app")
    assert not is_alive(one)
    agent.remove("app.yaml")
    agent.wait_event("removed", "app")
    agent.wait(lambda: not is_alive(two), "the workload to end")


def test_a_file_renamed_over_another(agent):
    agent.run("app", MAIN)
    agent.put("later.yaml", text_of(agent, "other", MAIN))
    agent.wait_started("other", "main")
    (agent.source / "later.yaml").rename(agent.source / "app.yaml")
    agent.wait_event("removed", "app")
    assert not agent.events("removed", "other")
    assert len(agent.events("started", "other")) == 1


def test_a_file_that_gets_another_name_is_no_change(agent):
    [pid] = agent.run("app", MAIN)
    (agent.source / "app.yaml").rename(agent.source / "renamed.yaml")
    assert_still_running(agent, pid)
    assert not agent.events("removed", "app")


def test_several_documents_in_a_file(agent):
    one, two, three = (agent.app(name, MAIN) for name in ("one", "two", "three"))
    agent.put("all.yaml", [one, two])
    one_pid = agent.wait_started("one", "main")
    agent.wait_started("two", "main")
    agent.put("all.yaml", [one, three])
    agent.wait_started("three", "main")
    agent.wait_event("removed", "two")
    assert is_alive(one_pid) and len(agent.events("started", "one")) == 1


@pytest.mark.parametrize("name", ["app.yaml", "app.yml", "app.json"])
@pytest.mark.once
def test_names_that_are_read(agent, name):
    document = agent.app("app", MAIN)
    agent.put(name, document if not name.endswith("json") else json.dumps(document))
    agent.wait_started("app", "main")


@pytest.mark.parametrize("name", [
    ".hidden.yaml", ".app.yaml.swp", "app.yaml~", "#app.yaml#", "app.yaml.bak", "app.yaml.orig",
    "app.yaml.dpkg-old", "README", "app.txt"])
@pytest.mark.once
def test_names_that_are_not_read(agent, name):
    agent.put(name, text_of(agent, "backup", MAIN))
    agent.run("app", MAIN)
    assert not agent.events(application="backup")


@pytest.mark.once
def test_a_file_that_did_not_fit_is_read_when_another_one_is_gone(agent):
    """Of workloads of any type there are 5,000 at most in all files together."""
    others = [{"name": f"w-{number}", "type": "other"} for number in range(1000)]
    for number in range(5):
        agent.put(f"app-{number}.yaml", json.dumps(agent.app(f"app-{number}", *others)))
        agent.wait_event("deployed", f"app-{number}")
    agent.put("late.yaml", text_of(agent, "late", MAIN))
    errors = agent.wait_event("rejected", "late")["errors"]
    assert "with these the source has more than 5000 workloads" in errors
    (agent.source / "app-3.yaml").unlink()
    agent.wait_started("late", "main")


@pytest.mark.once
def test_the_documents_of_all_files_are_bounded_with_those_that_are_none(agent):
    """There are 1,000 of them, and one that did not fit is read when others are gone."""
    agent.put("many.json", json.dumps([1] * 998))
    agent.wait(lambda: len(agent.events("rejected")) >= 998, "all to be refused")
    for name in ("one", "two"):
        agent.deploy(name, MAIN)
        agent.wait_started(name, "main")
    agent.deploy("late", MAIN)
    agent.wait(lambda: any("with this the source has more than 1000 documents" in e["errors"]
                           for e in agent.events("rejected")), "the last one to be refused")
    assert not agent.events(application="late")
    agent.remove("many.json")
    agent.wait_started("late", "main")


@pytest.mark.once
def test_a_sub_folder_is_not_read(agent):
    folder = agent.source / "disabled.yaml"
    folder.mkdir()
    (folder / "app.yaml").write_text(text_of(agent, "nested", MAIN))
    agent.run("app", MAIN)
    assert not agent.events(application="nested")


def test_a_symbolic_link_is_followed_and_noticed_when_it_points_elsewhere(agent):
    for name in ("one", "two"):
        (agent.work / f"{name}.yaml").write_text(text_of(agent, name, MAIN))
    link = agent.source / "link.yaml"
    link.symlink_to(agent.work / "one.yaml")
    agent.wait_started("one", "main")
    temporary = agent.source / ".link"
    temporary.symlink_to(agent.work / "two.yaml")
    temporary.rename(link)
    agent.wait_started("two", "main")
    agent.wait_event("removed", "one")


def test_a_symbolic_link_that_dangles_keeps_what_runs(agent):
    target = agent.work / "app.yaml"
    target.write_text(text_of(agent, "app", MAIN))
    (agent.source / "link.yaml").symlink_to(target)
    pid = agent.wait_started("app", "main")
    target.unlink()
    assert_still_running(agent, pid)


def test_a_change_takes_less_than_a_second(agent):
    """The quickest of a few, as the machine that runs this may be busy."""
    def latency(n):
        mark = agent.mark()
        begin = time.monotonic()
        agent.deploy(f"app-{n}", MAIN)
        agent.wait_started(f"app-{n}", "main", since=mark)
        return time.monotonic() - begin
    agent.run("first", MAIN)
    assert min(latency(n) for n in range(5)) < 1


@pytest.mark.once
def test_documents_for_another_device_are_ignored(agent):
    agent.put("other.yaml", agent.app("other", MAIN, file_device="some-other-device"))
    agent.run("app", MAIN)
    [event] = agent.events("rejected", "other")
    assert "some-other-device" in event["message"] and "ignored" in event["message"]
    assert not agent.events("started", "other")


def test_a_document_that_moves_to_another_device_is_removed_here(agent):
    [pid] = agent.run("app", MAIN)
    agent.put("app.yaml", agent.app("app", MAIN, file_device="some-other-device"))
    agent.wait_event("removed", "app")
    agent.wait(lambda: not is_alive(pid), "the workload to end")


@pytest.mark.once
def test_another_organizations_application_is_refused(make_agent):
    agent = make_agent()
    agent.write_config(device={"name": agent.device, "organization": "org_ours"})
    agent.start()
    agent.deploy("theirs", MAIN, organization="org_theirs")
    agent.run("ours", MAIN, organization="org_ours")
    agent.wait(lambda: agent.events("rejected", "theirs") or
               agent.events("policy-refused", "theirs"), "the refusal")
    assert not agent.events("started", "theirs")


# --- files that are being written --------------------------------------------------------------

def test_a_half_written_file_is_not_applied(agent):
    """The half is a valid document by itself, with one of the two workloads. Who writes may be
    another user than the agent's, and goes on writing (comments, here) meanwhile."""
    text = text_of(agent, "app", workload("one", SLEEP), workload("two", SLEEP))
    half = text.rindex("\n", 0, text.index("name: two")) + 1
    with open(agent.source / "app.yaml", "w", buffering=1) as file:
        file.write(text[:half])
        agent.deploy("barrier", MAIN)

        def barrier_runs():
            file.write("# more\n")
            return agent.events("started", "barrier")
        agent.wait(barrier_runs, "the barrier")
        assert not agent.events(application="app")
        file.write(text[half:])
    agent.wait_started("app", "one")
    agent.wait_started("app", "two")
    assert not agent.events("updated", "app")


def test_an_edit_in_place_removes_nothing_while_it_is_half_written(agent):
    """As editors and `cp` do it: cut off to nothing first, then written piece by piece."""
    text = text_of(agent, "app", workload("one", SLEEP), workload("two", SLEEP))
    agent.put("app.yaml", text)
    one, two = agent.wait_started("app", "one"), agent.wait_started("app", "two")
    with open(agent.source / "app.yaml", "w") as file:
        agent.run("barrier-0", MAIN)
        file.write(text[:text.index("- name: two")])
        file.flush()
        agent.run("barrier-1", MAIN)
        file.write(text[text.index("- name: two"):])
    assert_still_running(agent, one)
    assert is_alive(two)


def test_a_writer_that_never_closes_is_applied_once_it_is_quiet(agent):
    with open(agent.source / "app.yaml", "w") as file:
        file.write(text_of(agent, "app", MAIN))
        file.flush()
        agent.wait_started("app", "main")


def test_copies_that_arrive_while_the_agent_looks(agent):
    """Many files written in place, in small pieces, all at once."""
    texts = {f"app-{n}": text_of(agent, f"app-{n}", MAIN) for n in range(20)}
    files = {name: open(agent.source / f"{name}.yaml", "w") for name in texts}
    for begin in range(0, max(map(len, texts.values())), 40):
        for name, file in files.items():
            file.write(texts[name][begin:begin + 40])
            file.flush()
    for file in files.values():
        file.close()
    for name in texts:
        agent.wait_started(name, "main")
    assert not agent.events("rejected") and not agent.events("updated")


# --- files with errors -------------------------------------------------------------------------

def test_an_invalid_edit_keeps_the_last_good_version_and_says_where(agent):
    [pid] = agent.run("app", MAIN)
    agent.put("app.yaml", text_of(agent, "app", {**MAIN, "command": [{"a": "mapping"}]}))
    event = agent.wait_event("rejected", "app")
    assert "app.yaml:" in event["message"] and "command[0]" in event["message"]
    assert_still_running(agent, pid)


@pytest.mark.parametrize("content", [
    "metadata: {name: app\n", "", " \n\n", "null", "just words", b"\xff\xfe\x00binary",
    "apiVersion: v3\nkind: Application\n"],
    ids=["syntax", "empty", "blank", "null", "words", "binary", "nameless"])
def test_nonsense_in_the_place_of_a_document_keeps_what_runs(agent, content):
    [pid] = agent.run("app", MAIN)
    agent.put("app.yaml", content)
    assert_still_running(agent, pid)
    assert not agent.events("removed", "app")
    agent.run("app", workload("main", SLEEP, env={"GOOD": "again"}))


@pytest.mark.parametrize("content", ["# all is commented out\n", "[]"], ids=["comment", "list"])
def test_a_valid_file_without_documents_removes_what_was_in_it(agent, content):
    """Unlike an empty one, which is what a failed write leaves."""
    agent.run("app", MAIN)
    agent.put("app.yaml", content)
    agent.wait_event("removed", "app")


def test_one_invalid_document_does_not_keep_its_neighbours_from_running(agent):
    agent.put("both.yaml", [agent.app("good", MAIN), agent.app("bad", {"name": "main"})])
    agent.wait_started("good", "main")
    agent.wait_event("rejected", "bad")
    assert not agent.events("started", "bad")


def test_a_name_that_stands_in_two_files_keeps_the_first_and_names_both(agent):
    [pid] = agent.run("app", MAIN)
    agent.put("second.yaml", text_of(agent, "app", workload("main", sh("exit 1"))))
    agent.wait(lambda: any("app.yaml" in line and "second.yaml" in line
                           for line in agent.lines()), "both files to be named")
    assert_still_running(agent, pid)


def test_a_rejected_document_that_is_mended_runs(agent):
    agent.put("app.yaml", text_of(agent, "app", {"name": "main"}))
    agent.wait_event("rejected", "app")
    agent.run("app", MAIN)


@pytest.mark.once
def test_an_error_is_said_once_and_not_at_every_look(agent):
    agent.put("app.yaml", text_of(agent, "app", {"name": "main"}))
    agent.wait_event("rejected", "app")
    for n in range(5):
        agent.run(f"barrier-{n}", MAIN)
    assert len(agent.events("rejected", "app")) == 1


@pytest.mark.as_user
def test_an_unreadable_file_keeps_what_runs(agent):
    [pid] = agent.run("app", MAIN)
    path = agent.source / "app.yaml"
    path.chmod(0)
    path.touch()
    agent.wait(lambda: any("app.yaml" in line and "ermission denied" in line
                           for line in agent.lines()), "the reason")
    assert_still_running(agent, pid)
    path.chmod(0o644)
    agent.run("app", workload("main", SLEEP, env={"READABLE": "again"}))


@pytest.mark.once
def test_a_file_that_is_no_file_does_not_stop_the_agent(agent):
    """A FIFO blocks whoever opens it, a link to itself cannot be opened."""
    os.mkfifo(agent.source / "pipe.yaml")
    (agent.source / "loop.yaml").symlink_to("loop.yaml")
    (agent.source / "endless.yaml").symlink_to("/dev/zero")
    agent.run("app", MAIN)


@pytest.mark.once
def test_a_document_past_the_bound_is_refused(agent):
    [pid] = agent.run("app", MAIN)
    agent.put("huge.yaml", text_of(agent, "huge", MAIN) + "# " + "x" * (1024 * 1024) + "\n")
    agent.wait(lambda: any("huge.yaml" in line for line in agent.lines()), "the refusal")
    assert_still_running(agent, pid)
    assert not agent.events("started", "huge")


# --- the directory itself ----------------------------------------------------------------------

def test_a_removed_directory_keeps_everything_running_and_is_found_again(agent):
    [pid] = agent.run("app", MAIN)
    moved = agent.folder / "moved"
    agent.source.rename(moved)
    agent.wait_event("source-lost")
    assert is_alive(pid)
    moved.rename(agent.source)
    agent.wait_event("source-back")
    assert_still_running(agent, pid)


def test_a_deleted_directory_that_comes_back_with_other_files(agent):
    """Files that are there again, readable and without the old one, remove it: that is an answer."""
    [pid] = agent.run("app", MAIN)
    shutil.rmtree(agent.source)
    agent.wait_event("source-lost")
    assert is_alive(pid)
    replacement = agent._make("replacement")
    (replacement / "other.yaml").write_text(text_of(agent, "other", MAIN))
    replacement.rename(agent.source)
    agent.wait_event("source-back")
    agent.wait_started("other", "main")
    agent.wait_event("removed", "app")


def test_a_directory_that_is_missing_at_the_start_is_waited_for(make_agent):
    agent = make_agent()
    agent.source.rmdir()
    agent.start()
    agent.wait_event("source-lost")
    agent._make("applications.d")
    agent.wait_event("source-back")
    agent.run("app", MAIN)


@pytest.mark.as_user
def test_an_unreadable_directory_keeps_everything_running(agent):
    [pid] = agent.run("app", MAIN)
    agent.source.chmod(0)
    agent.wait_event("source-lost", timeout=30)  # long before the minute's rescan
    assert is_alive(pid)
    agent.source.chmod(0o755)
    agent.wait_event("source-back")
    assert_still_running(agent, pid)


@pytest.mark.once
@pytest.mark.parametrize("spoil", ["invalid", "nameless", "no yaml", "empty", "unreadable"])
def test_what_a_spoilt_file_held_runs_on_over_a_restart(agent, spoil):
    """The good version is known from the records alone."""
    [pid], [other] = agent.run("app", MAIN), agent.run("other", MAIN)
    agent.send(signal.SIGKILL)
    agent.wait_exit()
    if spoil == "unreadable":
        (agent.source / "app.yaml").unlink()
        (agent.source / "app.yaml").symlink_to("/nowhere/at/all")
    else:
        agent.put("app.yaml", {"invalid": agent.app("app", workload("main", SLEEP, restart=7)),
                               "nameless": {"apiVersion": "v3", "kind": "Application"},
                               "no yaml": "{ not: [closed", "empty": ""}[spoil])
    since = agent.mark()
    agent.start()
    agent.wait_event("adopted", "app", since=since)
    agent.wait_event("rejected", since=since)
    agent.remove("other.yaml")
    agent.wait_event("removed", "other", since=since)
    assert is_alive(pid) and not is_alive(other)
    agent.remove("app.yaml")
    agent.wait_event("removed", "app", since=since)


# --- many files --------------------------------------------------------------------------------

@pytest.mark.once
def test_a_thousand_files(agent):
    """Each runs; one change among them touches nothing else; all are gone after the stop."""
    names = [f"app-{n:03}" for n in range(1000)]
    for name in names:
        agent.deploy(name, MAIN)
    agent.wait(lambda: len(agent.events("started")) >= 1000, "a thousand to run", timeout=300)
    agent.run("app-500", workload("main", SLEEP, env={"CHANGED": "yes"}))
    assert len(agent.events("started")) == 1001 and len(agent.events("stopping")) == 1
    for name in names[:300]:
        agent.remove(f"{name}.yaml")
    agent.wait(lambda: len(agent.events("removed")) == 300, "300 to be removed", timeout=300)
    assert len({e["application"] for e in agent.events("stopped")}) == 300
    agent.stop(timeout=300)


@pytest.mark.once
def test_more_files_than_are_read_are_told_of_once(make_agent):
    """The files that are known stay, whatever others come."""
    agent = make_agent()

    def told():
        return [line for line in agent.lines() if "left out" in line]

    def fill(first, end):
        for n in range(first, end):
            os.link(empty, agent.source / f"{n}.yaml")

    empty = agent.work / "empty"
    empty.write_text("[]")
    os.chown(empty, agent.account.uid, agent.account.gid)
    fill(0, 10003)
    agent.start()
    agent.wait(told, "the files that are too many to be told of", timeout=60)
    for n in range(4):
        agent.remove(f"{n}.yaml")
    agent.deploy("app", MAIN)
    agent.wait_started("app", "main", timeout=60)
    fill(10003, 10103)
    agent.deploy("app", workload("main", SLEEP, env={"CHANGED": "yes"}))
    agent.wait_started("app", "main", count=2, timeout=60)
    assert not agent.events("removed")
    line, = told()
    assert f"'{agent.source}' has more than 10000 files: 3 of them are left out" in line


@pytest.mark.once
def test_writing_without_an_end_does_not_take_a_core(make_agent):
    """Each write has the folder looked at again, which costs by the number of its files."""
    agent = make_agent()
    for n in range(4000):
        (agent.source / f"{n:04}.yaml").write_text("[]\n")
    agent.start()
    agent.run("app", workload("main", SLEEP))
    began, used = time.monotonic(), cpu_seconds(agent.pid)
    while time.monotonic() < began + 3:
        (agent.source / "0000.yaml").write_text("[]\n")
        time.sleep(0.005)
    assert cpu_seconds(agent.pid) - used < 0.4 * (time.monotonic() - began)
    agent.run("other", workload("main", SLEEP))


def test_another_directory_that_cannot_be_read_whole_removes_nothing(agent):
    pid, = agent.run("app", workload("main", SLEEP))
    other = agent._make("other.d")
    (other / "app.yaml").write_text("metadata: {name: app")
    agent.write_config(controlPlane={"directory": str(other)})
    agent.send(signal.SIGHUP)
    agent.wait_event("rejected")
    (other / "next.json").write_text(json.dumps(agent.app("next", MAIN)))
    agent.wait_started("next", "main")
    assert is_alive(pid) and not agent.events("stopping")
    (other / "app.yaml").write_text("[]")
    agent.wait_event("removed", "app")


@pytest.mark.once
def test_what_others_put_into_the_folder_tells_them_nothing(agent):
    """In a folder that others can write to a link is not followed; by it the agent would quote
    what only root may read, in its log and its API."""
    secret = agent.work / "secret"
    secret.write_text("password: hunter2\nother-key: x\n")
    secret.chmod(0o600)
    agent.source.chmod(0o777)
    (agent.source / "link.yaml").symlink_to(secret)
    (agent.source / "second.yaml").hardlink_to(secret)
    agent.run("app", MAIN)
    wait_for(lambda: len(agent.events("rejected")) == 2, "both to be refused")
    text = "\n".join(map(str, agent.lines()))
    assert "is not followed" in text and "is not readable for all" in text
    assert "other-key" not in text and "password" not in text


def test_a_folder_that_others_can_exchange_is_named_and_tells_them_nothing(make_agent):
    """Who can rename in the folder above it can put another folder of the agent's there."""
    agent = make_agent()
    above = agent.work / "above"
    other, agent.source = above / "other", above / "docs"
    for folder in (other, agent.source):
        folder.mkdir(parents=True)
    other.chmod(0o700)
    secret = other / "x.yaml"
    secret.write_text("other-key: x\n")
    secret.chmod(0o600)
    for path in (above, other, agent.source, secret):
        os.chown(path, agent.account.uid, agent.account.gid)
    above.chmod(0o757)
    agent.write_config()
    named = f"controlPlane.directory: warning: others decide which documents are read: others can " \
            f"write to '{above}' on the way to it"
    assert named in run_client("--config", agent.config_file, "--check",
                               account=agent.account).stderr
    agent.start()
    agent.run("app", MAIN)
    since = agent.mark()
    agent.source.rename(above / "before")
    other.rename(agent.source)
    agent.process.send_signal(signal.SIGHUP)
    agent.wait_event("rejected", since=since)
    text = "\n".join(map(str, agent.lines()))
    assert "it is not readable for all" in text and "other-key" not in text
