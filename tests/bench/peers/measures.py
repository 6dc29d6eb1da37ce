"""What is measured of a peer. Each function runs it once and gives {figure: value}, and a sentence
where a value has no number."""

import os
import signal
import struct
import subprocess
import time

from .base import Failure, Program, runs, wait_for

START_TIMEOUT = 120
STOP_TIMEOUT = 60
ESCAPE_TIMEOUT = 15
LINE_BYTES = 100
ROTATIONS = 8


def scale(bench, kind, count, logs=True):
    """Start, memory and stop with so many idle programs."""
    suffix = f"{count}" if logs else f"{count}-bare"
    with kind(bench) as peer:
        peer.prepare(peer.sleepers(count), logs)
        before = time.monotonic_ns()
        peer.start()
        peer.wait_started(count, START_TIMEOUT)
        start = max(at for _, at in peer.started()) - before
        time.sleep(bench.settle_seconds)
        found = {f"start-{suffix}": start / 1e9, f"memory-{suffix}": peer.own_pss_bytes()}
        if peer.started_count() != count:
            raise Failure(f"{peer.started_count()} starts of {count} programs")
        try:
            found[f"stop-{suffix}"] = peer.stop_and_wait(STOP_TIMEOUT)
        except Failure:
            found[f"stop-{suffix}"] = f"not done after {STOP_TIMEOUT} s"
    return found


def kill_and_time(peer, pid):
    """kill -9, and the ns until main() of the next one; its PID."""
    count = peer.started_count()
    before = time.monotonic_ns()
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: peer.started_count() > count, "the program to start again", 20, 0.0005)
    pid, at = peer.started()[-1]
    return (at - before) / 1e9, pid


def restart(bench, kind):
    """Programs that ran for a while are killed, one after the other; then one again and again."""
    with kind(bench) as peer:
        peer.prepare(peer.sleepers(bench.restarts))
        peer.start()
        peer.wait_started(bench.restarts)
        time.sleep(1.5)  # runit and s6 hold back a program that ran for less than a second
        pids = [pid for pid, _ in peer.started()]
        first = []
        for pid in pids:
            seconds, newest = kill_and_time(peer, pid)
            first.append(seconds)
        again = []
        for _ in range(bench.restarts // 2):
            seconds, newest = kill_and_time(peer, newest)
            again.append(seconds)
        peer.stop_and_wait(STOP_TIMEOUT)
    return {"restart": first, "restart-again": again}


class Writer:
    """What `lines` says of itself in RESULT.PID."""

    def __init__(self, peer, count, per_ms, block=LINE_BYTES):
        self.peer = peer
        self.count = count
        self.result = peer.home / "written"
        self.command = [peer.home / "lines", count, per_ms, block, self.result]
        self.pid = None

    def program(self):
        # A rotation each eighth of it.
        return Program("writer", self.command, self.count * LINE_BYTES // ROTATIONS)

    def wait_running(self):
        found = wait_for(lambda: list(self.peer.home.glob("written.*")), "the writer", 60)
        self.pid = int(found[0].suffix[1:])
        wait_for(lambda: self.read()[0], "the writer", 10)

    def read(self):
        """Start, end, lines written, errno of a failed write."""
        data = self.result.with_suffix(f".{self.pid}").read_bytes()
        return struct.unpack("4q", data) if len(data) == 32 else (0, 0, 0, 0)

    def log_bytes(self):
        total = 0
        for file in self.peer.log_files("writer"):
            try:
                total += file.stat().st_size
            except FileNotFoundError:
                pass
        return total

    def wait_log_still(self, wanted, quiet=3, timeout=100):
        """Until the log holds so many bytes, or no more have come for a while; when that was."""
        last, at = -1, time.monotonic_ns()
        end = time.monotonic() + timeout
        while True:
            size = self.log_bytes()
            if size != last:
                last, at = size, time.monotonic_ns()
            if size >= wanted or time.monotonic_ns() - at > quiet * 1e9:
                return at
            if time.monotonic() > end:
                raise Failure(f"the log still grows after {timeout} s")
            time.sleep(0.002)

    def tally(self):
        """Files, and the lines lost, doubled and torn of those that were written."""
        written = self.read()[2]
        files = [f for f in self.peer.log_files("writer") if f.exists()]
        done = subprocess.run([self.peer.bench.folder / "count_lines", str(self.pid),
                               str(max(written, 1)), *files],
                              check=True, capture_output=True, text=True)
        found, doubled, torn = map(int, done.stdout.split())
        return len(files), written, written - found, doubled, torn


def one_log(bench, kind, block, per_ms):
    """Bytes a second until the last one is in the log, rotations, and lines lost, doubled, torn."""
    count = bench.log_bytes // LINE_BYTES
    with kind(bench) as peer:
        writer = Writer(peer, count, per_ms, block)
        peer.prepare([writer.program()])
        os.sync()
        peer.start()
        writer.wait_running()
        wait_for(lambda: writer.read()[1] or writer.read()[3], "the writer to end", 120)
        end = writer.wait_log_still(count * LINE_BYTES)
        files, written, lost, doubled, torn = writer.tally()
        start = writer.read()[0]
        peer.stop_and_wait(STOP_TIMEOUT)
    if written != count:
        raise Failure(f"the writer ended after {written} of {count} lines")
    return count * LINE_BYTES / ((end - start) / 1e9), (files - 1, lost, doubled, torn)


def logs(bench, kind, block):
    """As fast as the program can write, over rotations, none of which is to be removed."""
    rate, lines = one_log(bench, kind, block, 0)
    rotating = kind.rotating()
    if rotating is not kind:
        if rotating.missing():
            raise Failure(rotating.missing())
        # It looks at sizes once in a while: the program is held back, so that it sees each.
        seconds = rotating.looks_each * (ROTATIONS + 1)
        per_ms = max(1, bench.log_bytes // LINE_BYTES // (seconds * 1000))
        lines = one_log(bench, rotating, block, per_ms)[1]
    return {f"log-rate-{block}": rate, f"log-lines-{block}": lines}


def wait_rest(peer, seconds):
    """Until none of the supervisor's own processes is left; those that are left in the end."""
    def done():
        for child in peer.children:
            child.poll()
        return not any(map(runs, peer.all_pids()[0]))
    try:
        wait_for(done, "the supervisor to end", seconds, 0.02)
    except Failure:
        pass
    return {pid for pid in peer.all_pids()[0] if runs(pid)}


def escape(bench, kind):
    """Who is there of a tree with a daemon, 5 s after the stop was done."""
    with kind(bench) as peer:
        peer.prepare(peer.sleepers(1, "escape"))
        escaped = peer.home / "marks.escaped"
        peer.start()
        peer.wait_started(1)
        wait_for(lambda: escaped.exists() and escaped.read_text(), "the daemon", 10)
        daemon = int(escaped.read_text().split()[0])
        peer.stop()
        stuck = wait_rest(peer, ESCAPE_TIMEOUT)
        time.sleep(5)
        left = {pid for pid in peer.all_pids()[1] if runs(pid)}
    words = "nobody" if not left else "its daemon" if left == {daemon} else "the program itself"
    if stuck:
        words += (f", and {len(stuck)} processes of the supervisor, which have not ended after "
                  f"{ESCAPE_TIMEOUT} s")
    return {"escape": words}


def copies(peer, program):
    found = set()
    for pid in peer.all_pids()[1]:
        try:
            if os.readlink(f"/proc/{pid}/exe") == str(peer.home / program):
                found.add(pid)
        except FileNotFoundError:
            pass
    return found


def fate(before, during, after):
    """What became of a workload: in words."""
    if before in after:
        return "same PID" if len(after) == 1 else f"same PID, and {len(after) - 1} more beside it"
    was = "survived, then ended" if during else "ended"
    return f"{was}; a new one runs" if after else f"{was}; none runs"


def crash(bench, kind, holders):
    """kill -9 while one workload is quiet and one writes; then it is started again."""
    with kind(bench) as peer:
        writer = Writer(peer, bench.crash_lines, 50)
        peer.prepare([*peer.sleepers(1), writer.program()])
        peer.start()
        peer.wait_started(1)
        writer.wait_running()
        quiet = peer.started()[0][0]
        peer.before_crash()
        wait_for(lambda: writer.read()[2] > bench.crash_lines // 3, "a third of the lines", 60)
        victims = ({peer.holder(quiet), peer.holder(writer.pid)} if holders
                   else {peer.main_pid()})
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        time.sleep(1)
        during = runs(quiet), runs(writer.pid)
        if not holders:
            peer.children[-1].poll()
            peer.start()
        time.sleep(4)  # s6 and runit try once a second
        after = copies(peer, "workload"), copies(peer, "lines")
        wait_for(lambda: writer.read()[1] or not runs(writer.pid), "the writer to end", 60)
        writer.wait_log_still(1 << 60)
        _, written, lost, doubled, torn = writer.tally()
        code = writer.read()[3]
        peer.stop()
        wait_rest(peer, 10)
        left = {pid for pid in peer.all_pids()[1] if runs(pid)}
    name = "holder" if holders else "crash"
    return {f"{name}-quiet": fate(quiet, during[0], after[0]),
            f"{name}-writer": fate(writer.pid, during[1], after[1]),
            f"{name}-lines": (written, lost, doubled, torn, code),
            f"{name}-stop": len(left)}
