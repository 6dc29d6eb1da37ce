"""The logs of workloads, read on from where the last look ended, over rotations.

A log has to hold each run's lines 1, 2, 3 and so on one after the other, each once and whole. Lines may be
missing only where something accounts for it: a line of the agent's in the log that says how many
bytes were dropped while the disk was full, or a rotated file that is gone (maxFiles). What was in
the pipe of a run that ended while no agent ran is lost, too (observer.py knows such ends).
"""

import contextlib
import os
import re
import time

from . import Violation

NOTE = re.compile(rb"edgible: (\d+) bytes of output were dropped: .*")
LEAST_MAX_FILES = 3  # of what is deployed
LINE = re.compile(rb"(\S+) (\d+-\d+) (\d+) x*\.")


def parts_of(path):
    """The log and its rotated files, oldest first."""
    rotated = []
    with contextlib.suppress(FileNotFoundError):
        rotated = [p for p in path.parent.iterdir()
                   if p.name.startswith(path.name + ".") and p.suffix[1:].isdigit()]
    rotated.sort(key=lambda p: -int(p.suffix[1:]))
    return rotated + ([path] if path.exists() else [])


def open_parts(path):
    """[(inode, open file)], oldest first, of one moment: a rotation meanwhile renames them."""
    while True:
        opened = []
        try:
            for part in parts_of(path):
                file = open(part, "rb")
                opened.append((os.fstat(file.fileno()).st_ino, file))
            if [p.stat().st_ino for p in parts_of(path)] == [inode for inode, _ in opened]:
                return opened
        except FileNotFoundError:
            pass
        for _, file in opened:
            file.close()


class Log:
    def __init__(self, slot, path):
        self.slot, self.path = slot, path
        self.place = None      # (inode, offset) up to which it was read
        self.rest = b""        # of a line whose end is not there yet
        self.torn = None       # a half line, which a note has to follow
        self.seen = {}         # run: the last number
        self.credit = 0        # bytes that notes say are missing, and that were not missed yet
        self.rolled = False    # lines may be missing: files went before they were read
        self.rolled_ns = 0     # when that was seen last: what came before may be gone
        self.rollovers = 0
        self.excused = set()   # runs of which an agent dropped lines, and ended before it said so
        self.lines = 0

    def read(self):
        """Takes in what is new; raises a Violation where that is not as it should be."""
        parts = open_parts(self.path)
        try:
            for inode, file in self._unread(parts):
                data = file.read()
                # A rotation takes the half line at the end along to the next file.
                moved = self.place and inode != self.place[0] and data.startswith(self.rest)
                *lines, self.rest = (data if moved else self.rest + data).split(b"\n")
                self.place = (inode, file.tell())
                for line in lines:
                    self._take(line)
        finally:
            for _, file in parts:
                file.close()

    def _unread(self, parts):
        known = [n for n, (inode, _) in enumerate(parts) if self.place and inode == self.place[0]]
        if known:
            parts = parts[known[0]:]
            parts[0][1].seek(self.place[1])
        elif parts and (self.place or len(parts) > LEAST_MAX_FILES):
            self.rolled, self.rest, self.torn = True, b"", None
            self.rolled_ns = time.monotonic_ns()
            self.rollovers += 1
        return parts

    def _fail(self, what):
        raise Violation(f"log {self.path}: {what}")

    def _take(self, line):
        note = NOTE.fullmatch(line)
        if note:
            self.credit += int(note[1]) + len(self.torn or b"")
            self.torn = None
            return
        if self.torn is not None and not self._is_torn_of_excused():
            self._fail(f"a torn line: {self.torn[:200]!r}")
        match = LINE.fullmatch(line)
        if not match or match[1].decode() != self.slot:
            # The beginning of one, whose rest is in the note that has to follow.
            self.torn = line
            return
        self.torn = None
        self._count(match[2].decode(), int(match[3]), len(line) + 1)

    def _is_torn_of_excused(self):
        words = self.torn.decode(errors="replace").split()
        return len(words) > 1 and words[1] in self.excused

    def ends_excused(self):
        """Whether the half line at its end is of a run whose end nobody accounts for."""
        words = (self.torn or self.rest).decode(errors="replace").split()
        return any(name.startswith(words[1]) for name in self.excused) if len(words) > 1 else False

    def _count(self, run, number, size):
        self.lines += 1
        expected = self.seen.get(run, 0) + 1
        if number < expected:
            self._fail(f"line {number} of run {run} stands after line {expected - 1}")
        if number > expected and not self.rolled and run not in self.excused:
            self._pay((number - expected) * size,
                      f"lines {expected} to {number - 1} of run {run} are missing")
        self.rolled = False
        self.seen[run] = number

    def _pay(self, missing, what):
        if missing > self.credit:
            self._fail(f"{what}; of those {missing} bytes the agent says of {self.credit} that "
                       "they were dropped")
        self.credit = max(0, self.credit - missing)

    def is_complete(self, run):
        """Whether all lines are there that the (dead) run has written, or are accounted for."""
        missing = (run.written - self.seen.get(run.name, 0)) * run.line_bytes
        return missing <= self.credit or run.name in self.excused or \
            run.last_ns < self.rolled_ns

    def close_run(self, run):
        missing = max(0, run.written - self.seen.get(run.name, 0)) * run.line_bytes
        self.credit = max(0, self.credit - missing)

    def forget(self, run):
        self.seen.pop(run.name, None)  # excused it stays: its half line is seen with the next run
