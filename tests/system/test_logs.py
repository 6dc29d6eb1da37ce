"""What workloads print reaches their log files: every line once and in order, over rotations,
full disks, frozen disks and whatever somebody else does to the files."""

import contextlib
import os
import re
import signal
import subprocess
import time

import pytest

from api import Api
from harness import (FAIL_AT_ONCE, RESTART_AT_ONCE, SLEEP, helper, is_alive, sh, wait_for, workload)

ONCE = {"policy": "never"}
KIB = 1024

# A line each few milliseconds, numbered, for ever.
COUNTING = sh("n=0; while :; do n=$((n + 1)); echo line $n; sleep 0.005; done")


def count_to(last):
    """Prints the numbers from 1 as fast as it can."""
    return ["/usr/bin/seq", str(last)]


def parts_of(log):
    """The log and its rotated files, oldest first."""
    rotated = [p for p in log.parent.glob(f"{log.name}.*") if p.suffix[1:].isdigit()]
    return sorted(rotated, key=lambda p: -int(p.suffix[1:])) + ([log] if log.exists() else [])


def lines_of(log):
    return [line for part in parts_of(log)
            for line in part.read_text(errors="replace").splitlines()]


def numbers_of(log):
    """The numbers of the lines that COUNTING printed."""
    found = (re.fullmatch(r"line (\d+)", line) for line in lines_of(log))
    return [int(match[1]) for match in found if match]


def numbers_while_rotating(log):
    """The same of a log whose files may be renamed while they are read."""
    with contextlib.suppress(FileNotFoundError):
        return numbers_of(log)
    return []


def wait_for_more(agent, log, more=20):
    """Waits until the counting program has logged some more lines."""
    def last():
        numbers = numbers_while_rotating(log)
        return numbers[-1] if numbers else 0
    begin = last()
    agent.wait(lambda: last() >= begin + more, f"more lines in {log}")


def assert_counts_without_a_gap(numbers):
    assert numbers == list(range(numbers[0], numbers[-1] + 1))


# --- lines -------------------------------------------------------------------------------------

def test_both_streams_are_in_the_log_as_they_were_written(agent):
    script = sh("echo one; echo two >&2; printf 'three\\n\\nlast without an end'")
    agent.deploy("app", workload("main", script, restart=ONCE))
    agent.wait_logged("app", "main", "an end")
    assert agent.read_log("app", "main").rstrip("\n") == "one\ntwo\nthree\n\nlast without an end"


def test_a_line_of_a_quiet_program_lands_at_once(agent):
    """While the program lives on, that is, and without a second line."""
    agent.run("app", workload("main", sh("echo here; exec sleep 1000000")))
    assert agent.wait_logged("app", "main", "here") == "here\n"


def test_a_run_begins_on_a_line_of_its_own(agent):
    """The run before it ended in the middle of a line."""
    agent.deploy("app", workload("main", sh("printf end"), restart=RESTART_AT_ONCE))
    agent.wait_event("started", "app", "main", count=4)
    assert agent.read_log("app", "main").startswith("end\nend\nend")


def test_all_that_was_printed_before_the_exit_is_in_the_log(agent):
    """A mebibyte in the pipe at the exit, and a restart at once."""
    agent.deploy("app", workload("main", sh("seq 100000"), restart=RESTART_AT_ONCE))
    agent.wait_event("started", "app", "main", count=4)
    agent.stop()
    lines = lines_of(agent.log_file("app", "main"))
    expected = [str(n) for n in range(1, 100001)]
    for run in range(3):
        assert lines[run * 100000:(run + 1) * 100000] == expected


def test_the_log_goes_where_the_document_says(agent):
    """An absolute path as it is, a relative one from the working directory."""
    absolute = agent.work / "deep" / "down" / "absolute.log"
    agent.run("app",
              workload("absolute", sh("echo hello; exec sleep 1000"), logFile=str(absolute)),
              workload("relative", sh("echo hello; exec sleep 1000"), logFile="relative.log",
                       workingDir=str(agent.work)))
    agent.wait_file("relative.log", "hello")
    agent.wait(lambda: absolute.exists() and absolute.read_text() == "hello\n", "the log")


def test_a_log_that_is_there_is_continued(agent):
    log = agent.work / "main.log"
    log.write_text("from before\n")
    os.chown(log, agent.account.uid, agent.account.gid)
    agent.run("app", workload("main", sh("echo now; exec sleep 1000"), logFile=str(log)))
    assert agent.wait_file("main.log", "now") == "from before\nnow\n"


def test_the_log_is_left_in_place_when_the_application_goes(agent):
    agent.run("app", workload("main", sh("echo kept; exec sleep 1000")))
    agent.wait_logged("app", "main", "kept")
    agent.remove("app.yaml")
    agent.wait_event("removed", "app")
    assert agent.read_log("app", "main") == "kept\n"


def test_logs_of_several_runs_of_the_agent_follow_each_other(agent):
    program = workload("main", sh("echo run $N; exec sleep 1000"), env={"N": "1"})
    agent.run("app", program)
    agent.wait_logged("app", "main", "run 1")
    agent.stop()
    agent.start()
    agent.wait_logged("app", "main", "run 1\nrun 1\n")


# --- rotation ----------------------------------------------------------------------------------

def test_rotation_keeps_every_line_of_several_writers_exactly_once(agent):
    """Five writers, five million lines of 20 bytes, one write each, with several hundred
    rotations, all at the same time. EDGIBLE_LINES sets the lines of one writer."""
    writers, size = 5, 300 * KIB
    lines = int(os.environ.get("EDGIBLE_LINES", "1000000"))
    flood = [helper("flood"), str(lines), "20"]
    agent.deploy("app", *(workload(f"writer-{n}", flood, restart=ONCE,
                                   logs={"maxSize": "300KiB", "maxFiles": 100})
                          for n in range(writers)))
    for n in range(writers):
        agent.wait_event("exited", "app", f"writer-{n}", timeout=300 + lines // 10000)
    agent.stop()
    for n in range(writers):
        parts = parts_of(agent.log_file("app", f"writer-{n}"))
        contents = [part.read_bytes() for part in parts]
        assert len(parts) > 20
        assert all(len(content) <= size and content.endswith(b"\n") for content in contents)
        assert all(len(content) % 20 == 0 for content in contents)
        numbers = [int(content[at:at + 8]) for content in contents
                   for at in range(0, len(content), 20)]
        assert numbers == list(range(lines)), f"lines of writer-{n} were lost, doubled or mixed"


def test_rotation_removes_the_oldest(agent):
    agent.deploy("app", workload("main", count_to(100000), restart=ONCE,
                                 logs={"maxSize": "64KiB", "maxFiles": 3}))
    agent.wait_event("exited", "app", "main")
    agent.stop()
    log = agent.log_file("app", "main")
    assert [p.name for p in parts_of(log)] == ["main.log.3", "main.log.2", "main.log.1", "main.log"]
    numbers = [int(line) for line in lines_of(log)]
    assert numbers[-1] == 100000
    assert_counts_without_a_gap(numbers)
    assert agent.events("log-rotated", "app", "main")


def assert_told_seldom(times, begin):
    """Once, and then each 10 s at most: whatever the workload does, it fills no log by that."""
    assert 1 <= times <= 1 + (time.monotonic() - begin) / 10


def test_a_log_that_rotates_all_the_time_is_told_of_seldom(agent):
    begin = time.monotonic()
    agent.run("app", workload("main", ["/usr/bin/yes"], logs={"maxSize": "64KiB", "maxFiles": 1}))
    wait_for(lambda: Api(agent).app("app")["workloads"][0]["log"]["rotations"] > 50, "rotations")
    agent.stop()
    rotated = agent.events("log-rotated", "app", "main")
    assert_told_seldom(len(rotated), begin)
    assert rotated[0]["rotations"] == "1"


def test_rotation_with_no_rotated_files_at_all(agent):
    agent.deploy("app", workload("main", count_to(100000), restart=ONCE,
                                 logs={"maxSize": "64KiB", "maxFiles": 0}))
    agent.wait_event("exited", "app", "main")
    agent.stop()
    log = agent.log_file("app", "main")
    assert parts_of(log) == [log] and log.stat().st_size <= 64 * KIB
    assert lines_of(log)[-1] == "100000"


def test_a_smaller_size_applies_to_a_log_that_is_being_written(agent):
    log = agent.log_file("app", "main")
    wide = sh("n=0; while :; do n=$((n + 1)); printf 'line %0300d\\n' $n; sleep 0.005; done")
    agent.run("app", workload("main", wide))
    wait_for_more(agent, log)
    agent.deploy("app", workload("main", wide, logs={"maxSize": "64KiB", "maxFiles": 100}))
    agent.wait_event("log-rotated", "app", "main")
    wait_for_more(agent, log)
    assert_counts_without_a_gap(numbers_of(log))
    assert len(agent.events("started", "app")) == 1


# --- files that somebody else touches ----------------------------------------------------------

def test_a_removed_log_is_made_anew(agent):
    log = agent.log_file("app", "main")
    agent.run("app", workload("main", COUNTING))
    wait_for_more(agent, log)
    log.unlink()
    wait_for(log.exists, "the new file", timeout=30)
    wait_for_more(agent, log)
    assert_counts_without_a_gap(numbers_of(log))


def test_a_log_that_is_removed_all_the_time_is_told_of_seldom(agent):
    log = agent.log_file("app", "main")
    agent.run("app", workload("main", COUNTING))
    begin = time.monotonic()
    for _ in range(10):
        agent.wait(log.exists, "the log")
        log.unlink()
    agent.wait(log.exists, "the last log")
    agent.stop()
    told = [line for line in agent.lines() if "cut off by somebody else" in line]
    assert_told_seldom(len(told), begin)


def test_a_removed_log_folder_is_made_anew(agent):
    log = agent.log_file("app", "main")
    agent.run("app", workload("main", COUNTING))
    wait_for_more(agent, log)
    moved = agent.folder / "moved"
    log.parent.rename(moved)
    wait_for(log.exists, "the new file", timeout=30)
    wait_for_more(agent, log)
    assert_counts_without_a_gap(numbers_of(moved / log.name) + numbers_of(log))


def test_a_truncated_log_goes_on_without_a_hole_at_its_front(agent):
    log = agent.log_file("app", "main")
    agent.run("app", workload("main", COUNTING))
    wait_for_more(agent, log)
    os.truncate(log, 0)
    wait_for_more(agent, log)
    assert b"\0" not in log.read_bytes()
    assert_counts_without_a_gap(numbers_of(log))


def test_a_moved_log_loses_no_line(agent):
    """As logrotate moves it."""
    log = agent.log_file("app", "main")
    agent.run("app", workload("main", COUNTING))
    wait_for_more(agent, log)
    moved = log.with_name("moved.log")
    log.rename(moved)
    wait_for(log.exists, "the new file", timeout=30)
    wait_for_more(agent, log)
    assert_counts_without_a_gap(numbers_of(moved) + numbers_of(log))


def test_a_folder_in_the_place_of_the_log_is_said_and_waited_out(agent):
    log = agent.work / "main.log"
    log.mkdir()
    agent.deploy("app", workload("main", SLEEP, logFile=str(log),
                                 restart={"initialDelay": "50ms", "maxDelay": "100ms"}))
    agent.wait(lambda: any(str(log) in line for line in agent.lines()), "the reason")
    agent.run("other", workload("main", SLEEP))
    log.rmdir()
    agent.wait_started("app", "main")


# --- full and frozen disks ---------------------------------------------------------------------

def run_checked(*command):
    subprocess.run(command, check=True, capture_output=True)


@contextlib.contextmanager
def mounted(folder, *arguments):
    """Mounts something on the folder; skips the test where that is not allowed."""
    folder.mkdir(exist_ok=True)
    done = subprocess.run(["mount", *map(str, arguments), str(folder)], capture_output=True,
                          text=True)
    if done.returncode != 0:
        pytest.skip(f"cannot mount: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def small_disk(make_agent):
    """An agent that runs, and a tmpfs of one mebibyte beside it."""
    agent = make_agent().start()
    with mounted(agent.folder / "small", "-t", "tmpfs", "-o", "size=1m", "tmpfs") as folder:
        yield agent, folder
        agent.stop()


def free_bytes(folder):
    space = os.statvfs(folder)
    return space.f_bavail * space.f_frsize


def fill_up(folder, leave=0):
    """Leaves that many bytes free, or none."""
    ballast = folder / "ballast"
    with open(ballast, "wb") as file:
        size = max(0, free_bytes(folder) - leave) // 4096 * 4096
        file.write(b"x" * size)
    return ballast


@pytest.mark.as_root
def test_a_full_disk_takes_the_workloads_own_oldest_rotated_file_first(small_disk):
    """Ten files of 200 KiB have no room; nothing is dropped, and the program is not held up."""
    agent, folder = small_disk
    log = folder / "main.log"
    agent.deploy("app", workload("main", count_to(500000), logFile=str(log), restart=ONCE,
                                 logs={"maxSize": "200KiB", "maxFiles": 10}))
    agent.wait_event("exited", "app", "main")
    agent.wait(lambda: log.exists() and lines_of(log)[-1] == "500000", "the last line")
    numbers = [int(line) for line in lines_of(log) if line.isdigit()]
    assert_counts_without_a_gap(numbers)
    assert not agent.events("log-dropped", "app")


@pytest.mark.as_root
def test_a_disk_that_is_full_for_good_drops_and_says_so_and_goes_on(small_disk):
    agent, folder = small_disk
    log, ballast = folder / "main.log", fill_up(folder)
    progress = agent.work / "progress"
    [pid] = agent.run("app", workload("main", sh(
        f"n=0; while :; do n=$((n + 1)); echo line $n; echo $n > {progress}; sleep 0.001; done"),
        logFile=str(log)))
    event = agent.wait_event("disk-full", "app", "main")
    assert "ENOSPC" in str(event) or "No space left" in str(event)
    agent.run("other", workload("main", sh("echo elsewhere; exec sleep 1000")))
    agent.wait_logged("other", "main", "elsewhere")
    begin = int(wait_for(lambda: progress.read_text().strip(), "progress"))
    wait_for(lambda: int(progress.read_text().strip() or 0) > begin + 200, "more progress")

    ballast.unlink()
    dropped = agent.wait_event("log-dropped", "app", "main")
    wait_for_more(agent, log)
    numbers = numbers_of(log)
    assert_counts_without_a_gap(numbers[-10:])
    assert numbers == sorted(set(numbers)) and numbers[-1] - len(numbers) > 0
    assert any("dropped" in line for line in lines_of(log)), "the log itself says so too"
    assert re.search(r"\d", dropped["message"]), "how much was dropped"
    assert is_alive(pid) and len(agent.events("started", "app")) == 1
    assert len(agent.events("disk-full", "app")) == 1


@pytest.mark.as_root
def test_a_full_disk_does_not_keep_a_workload_from_starting_or_stopping(small_disk):
    agent, folder = small_disk
    fill_up(folder)
    agent.run("app", workload("main", COUNTING, logFile=str(folder / "main.log")))
    agent.remove("app.yaml")
    agent.wait_event("removed", "app")


@pytest.mark.as_root
def test_a_frozen_file_system_holds_up_nobody_else(make_agent, tmp_path):
    """fsfreeze makes writes to a loop mount hang; supervision and other logs go on, and after the
    thaw the frozen log continues without a gap."""
    agent = make_agent().start()
    image = tmp_path / "image"
    run_checked("truncate", "-s", "16M", image)
    run_checked("mkfs.ext4", "-q", image)
    with mounted(agent.folder / "frozen", "-o", "loop", image) as folder:
        log, other_log = folder / "main.log", agent.log_file("other", "main")
        flood = sh("n=0; while :; do n=$((n + 1)); echo line $n; done")
        [pid] = agent.run("app", workload("main", flood, logFile=str(log),
                                          logs={"maxSize": "64KiB", "maxFiles": 100}))
        [other] = agent.run("other", workload("main", COUNTING, restart=RESTART_AT_ONCE))
        wait_for_more(agent, log)
        run_checked("fsfreeze", "-f", folder)
        try:
            wait_for_more(agent, other_log, 500)
            os.kill(other, signal.SIGKILL)
            agent.wait_started("other", "main", count=2)
            wait_for_more(agent, other_log, 0)
            agent.run("new", workload("main", SLEEP))
            agent.deploy("gone", workload("main", ["/bin/false"], restart=FAIL_AT_ONCE))
            agent.wait_event("failed", "gone", "main")
            assert is_alive(pid)
        finally:
            run_checked("fsfreeze", "-u", folder)
        wait_for_more(agent, log, 1000)
        agent.stop()
        assert_counts_without_a_gap(numbers_of(log))


@pytest.mark.as_root
def test_a_workload_whose_log_is_frozen_can_be_stopped(make_agent, tmp_path):
    agent = make_agent().start()
    image = tmp_path / "image"
    run_checked("truncate", "-s", "16M", image)
    run_checked("mkfs.ext4", "-q", image)
    with mounted(agent.folder / "frozen", "-o", "loop", image) as folder:
        log = folder / "main.log"
        [pid] = agent.run("app", workload("main", COUNTING, logFile=str(log)))
        wait_for_more(agent, log)
        run_checked("fsfreeze", "-f", folder)
        try:
            agent.remove("app.yaml")
            agent.wait(lambda: not is_alive(pid), "the workload to end")
            agent.run("new", workload("main", SLEEP))
        finally:
            run_checked("fsfreeze", "-u", folder)
        agent.wait_event("removed", "app")
        agent.stop()


# --- fairness ----------------------------------------------------------------------------------

def test_a_chatty_workload_does_not_starve_a_quiet_one(agent):
    agent.run("chatty", workload("main", ["/usr/bin/yes"], logs={"maxSize": "1MiB", "maxFiles": 1}))
    agent.run("quiet", workload("main", COUNTING))
    wait_for_more(agent, agent.log_file("quiet", "main"), 100)
    assert_counts_without_a_gap(numbers_of(agent.log_file("quiet", "main")))
