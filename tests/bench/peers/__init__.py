"""The agent beside supervisor, runit, s6 and pm2: one file a supervisor, behind `base.Peer`.

`measures` runs one of them once, `figures` all of them in turns; `report` and `plot` say it."""

import dataclasses
import os
import pathlib
import signal
import subprocess
import sys

from . import figures, install, plot, report
from .agent import Agent
from .pm2 import Pm2
from .runit import Runit
from .s6 import S6
from .supervisord import Supervisord

KINDS = [Agent, Supervisord, Runit, S6, Pm2]
HERE = pathlib.Path(__file__).resolve().parent
DOCS = HERE.parents[2] / "docs"
PLOT = DOCS / "benchmarks.svg"
MIB = 1 << 20


@dataclasses.dataclass
class Load:
    """How much is measured; `folder` is where, `binary` the agent."""

    folder: pathlib.Path
    binary: pathlib.Path
    quick: bool
    rounds: int = 2
    large_rounds: int = 1
    log_rounds: int = 2
    restarts: int = 20
    log_bytes: int = 64 * MIB
    crash_lines: int = 200000
    settle_seconds: int = 2

    def __post_init__(self):
        if self.quick:
            self.rounds = self.log_rounds = 1
            self.restarts = 6
            self.log_bytes = 32 * MIB


def compile_programs(folder):
    for name in ("workload", "lines", "count_lines"):
        subprocess.run([os.environ.get("CC", "cc"), "-O2", "-D_GNU_SOURCE", "-o", folder / name,
                        HERE / f"{name}.c"], check=True)


def compare(folder, binary, quick, plot_file, write_docs):
    """The number of peers that could not be measured, or not wholly."""
    # So that an interrupted run ends what it started, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    load = Load(folder, binary, quick)
    compile_programs(load.folder)
    install.install(KINDS)
    found = figures.measure(load, KINDS)
    print(report.text(found), flush=True)
    if write_docs:
        plot_file = plot_file or PLOT
        report.write_docs(DOCS / "benchmarks.md", found, os.path.relpath(plot_file, DOCS))
    if plot_file:
        pathlib.Path(plot_file).write_text(plot.svg(found))
    return len({title for _, title in found.reasons})
