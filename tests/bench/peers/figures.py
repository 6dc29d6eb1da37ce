"""Runs all measures in turns, and says each figure in words."""

import os
import statistics
import subprocess
import sys
import time

from . import measures
from .base import Failure

MIB = 1 << 20


def seconds(value):
    if value < 0.01:
        return f"{value * 1000:.1f} ms"
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.1f} s"


def mib(value):
    return f"{value / MIB:.1f} MiB" if value < 100 * MIB else f"{value / MIB:.0f} MiB"


def rate(value):
    return f"{value / MIB:.0f} MiB/s"


def lines(value):
    rotations, lost, doubled, torn = value
    return f"{lost:,} / {doubled:,} / {torn:,} ({rotations})"


def crash_lines(value):
    written, lost, doubled, torn, _ = value
    return f"{lost:,} / {doubled:,} / {torn:,} of {written:,}"


def left(value):
    return {0: "nothing", 1: "1 workload"}.get(value, f"{value:.0f} workloads")


# Each row: the figure, what it is, how a value is said.
ROWS = [
    ("start-100", "start of 100, until the last one's `main`", seconds),
    ("start-1000", "start of 1,000", seconds),
    ("start-1000-bare", "the same, without a logger for each", seconds),
    ("restart", "kill -9 to the next `main`, of one that ran for 1.5 s, median", seconds),
    ("restart-again", "the same at once after a start, median", seconds),
    ("memory-1", "memory (PSS of all its processes) with 1 workload", mib),
    ("memory-100", "memory with 100", mib),
    ("memory-1000", "memory with 1,000", mib),
    ("memory-1000-bare", "the same, without a logger for each", mib),
    ("log-rate-100", "logs: 100-byte lines, a write each, to the file", rate),
    ("log-rate-4096", "logs: the same lines in writes of 4 KiB", rate),
    ("log-lines-100", "lines lost / doubled / torn (over so many rotations), a write each", lines),
    ("log-lines-4096", "the same in writes of 4 KiB", lines),
    ("stop-100", "stop of 100, until the last process is gone", seconds),
    ("stop-1000", "stop of 1,000", seconds),
    ("escape", "left 5 s after the stop of a workload with a daemon that ignores SIGTERM", str),
    ("crash-quiet", "kill -9 of the supervisor, and start: a workload that is quiet", str),
    ("crash-writer", "and one that writes 5 MB/s", str),
    ("crash-lines", "lines of that one lost / doubled / torn", crash_lines),
    ("crash-stop", "left by a stop after that", left),
    ("holder-quiet", "kill -9 of `runsv` or `s6-supervise`: a workload that is quiet", str),
    ("holder-writer", "and one that writes", str),
    ("holder-lines", "lines of that one lost / doubled / torn", crash_lines),
    ("holder-stop", "left by a stop after that", left),
]


class Figures:
    """All values of all peers: {figure: {title: [values]}}."""

    def __init__(self, kinds, versions, quick):
        self.kinds = kinds
        self.versions = versions
        self.quick = quick
        self.load = os.getloadavg()[0]
        self.values = {}
        self.reasons = {}

    def add(self, title, found):
        for figure, value in found.items():
            known = self.values.setdefault(figure, {}).setdefault(title, [])
            known.extend(value if isinstance(value, list) else [value])

    def value(self, figure, title):
        """The last sentence, else the worst of lines, the median of numbers; None without any."""
        values = self.values.get(figure, {}).get(title, [])
        sentences = [v for v in values if isinstance(v, str)]
        if not values or sentences:
            return sentences[-1] if sentences else None
        if isinstance(values[0], tuple):
            return max(values, key=lambda lines: sum(lines[1:4]))
        return statistics.median(values)

    def number(self, figure, title):
        value = self.value(figure, title)
        return value if isinstance(value, (int, float)) else None

    def cell(self, figure, kind, say):
        value = self.value(figure, kind.title)
        if value is not None:
            return value if isinstance(value, str) else say(value)
        if (figure.endswith("-bare") and not kind.loggers_apart) or (
                figure.startswith("holder-") and not kind.holder_apart):
            return "as above"
        return f"not measured: {self.reasons.get((figure, kind.title), 'no run of it')}"


def steps(bench):
    """(measure's function and arguments, its figures, whether a kind takes part), in order."""
    for count, rounds in ((1, bench.rounds), (100, bench.rounds), (1000, bench.large_rounds)):
        names = [f"{name}-{count}" for name in ("start", "memory", "stop")]
        for _ in range(rounds):
            yield measures.scale, (count,), names, lambda kind: True
    names = [f"{name}-1000-bare" for name in ("start", "memory", "stop")]
    yield measures.scale, (1000, False), names, lambda kind: kind.loggers_apart
    yield measures.restart, (), ["restart", "restart-again"], lambda kind: True
    for block in (100, 4096):
        for _ in range(bench.log_rounds):
            yield measures.logs, (block,), [f"log-rate-{block}", f"log-lines-{block}"], \
                lambda kind: True
    yield measures.escape, (), ["escape"], lambda kind: True
    parts = ("quiet", "writer", "lines", "stop")
    yield measures.crash, (False,), [f"crash-{p}" for p in parts], lambda kind: True
    yield measures.crash, (True,), [f"holder-{p}" for p in parts], \
        lambda kind: kind.holder_apart


def measure(bench, kinds):
    versions = {k.title: "" if k.missing() else k.version() for k in kinds}
    figures = Figures(kinds, versions, bench.quick)
    gone = {k.title: k.missing() for k in kinds if k.missing()}
    for function, arguments, names, takes_part in steps(bench):
        for kind in filter(takes_part, kinds):
            began = time.monotonic()
            try:
                if kind.title in gone:
                    raise Failure(gone[kind.title])
                figures.add(kind.title, function(bench, kind, *arguments))
            except (Failure, OSError, ValueError, subprocess.SubprocessError) as failure:
                figures.reasons.update({(n, kind.title): str(failure) for n in names})
            finally:
                took = time.monotonic() - began
                print(f"peers: {took:6.1f} s  {names[0]}  {kind.title}", file=sys.stderr,
                      flush=True)
    return figures
