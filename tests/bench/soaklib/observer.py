"""The world against the model.

What may never be, not for a moment, is a Violation at once: two copies of a workload, a state
without a reason, a log with a line twice. What the agent needs a moment for is waited for, up to a
deadline: settle() ends when nothing is left that disagrees.
"""

import collections
import os
import time

import harness

from . import Violation
from .documents import cookie
from .logs import Log
from .runs import forget_run, read_runs
from .world import DEADLINE

NEEDS_REASON = {"pending", "backoff", "stopping", "failed", "rejected", "unhealthy", "completed"}
UNPARSED = "no YAML"
LONGEST_LOOK = 5  # seconds
SECOND = 1_000_000_000
FDS_A_WORKLOAD = 5      # about 3, and those of a health check
FDS_SPARE = 24
FDS_OF_SOURCE = 12
MIB = 1 << 20


# An application as it was when all agreed the last time.
Known = collections.namedtuple("Known", "born accepts generation restarts")


class Census:
    """The living processes with a cookie, anywhere in /proc."""

    def __init__(self, ident):
        self.cookies = {}  # pid: (application/workload#serial)
        self.probes = set()
        mark = f"SOAK_ID={ident}".encode()
        for p in harness.processes():
            variables = harness.read_proc(p.pid, "environ").split(b"\0")
            found = [v for v in variables if v.startswith(b"SOAK_COOKIE=")]
            if mark in variables and found:
                self.cookies[p.pid] = found[0].split(b"=", 1)[1].decode()
                if harness.argv_of(p.pid)[1:2] == ["probe"]:
                    self.probes.add(p.pid)

    def slot_of(self, pid):
        """application.workload"""
        return self.cookies[pid].split("#")[0].replace("/", ".")

    def of_slot(self, slot):
        return {pid for pid in self.cookies if self.slot_of(pid) == slot}


class Look:
    """What a look at the world found."""

    def __init__(self, world, agent_up):
        self.runs = read_runs(world.runs)
        self.census = Census(world.ident)
        self.later_runs = read_runs(world.runs)  # a leader of the census is in here, if not above
        self.applications = {}
        if agent_up:
            self.applications = {a["name"]: a for a in world.get("/v1/applications")}

    def live_runs(self, slot):
        return [r for r in self.later_runs.values() if r.slot == slot and
                r.pid in self.census.cookies and self.census.slot_of(r.pid) == slot]


class Observer:
    def __init__(self, world, model):
        self.world, self.model = world, model
        self.logs = {}          # slot: Log
        self.steady = {}        # slot: (pid, startedAt) when it was seen last
        self.known = {}         # application: Known
        self.base_fds = self.empty_fds = self.base_pss = None
        self.max_fds = self.max_pss = 0
        self.restarts = self.runs_seen = 0
        self.excused = 0        # runs whose end was in the pipe when no agent ran
        self.sanitized = harness.BINARY.read_bytes().find(b"__asan_init") >= 0

    def lives(self, run):
        variables = harness.read_proc(run.pid, "environ").split(b"\0")
        slot = run.slot.replace(".", "/", 1)
        return harness.is_alive(run.pid) and \
            any(v.startswith(f"SOAK_COOKIE={slot}#".encode()) for v in variables)

    # the whole

    def settle(self):
        """Waits until the world is as the model has it."""
        waited, last = 0, time.monotonic()
        while problems := self.disagreements():
            # A machine that stood still for a minute has given the agent no time.
            now = time.monotonic()
            waited, last = waited + min(now - last, LONGEST_LOOK), now
            if waited > DEADLINE:
                raise Violation(f"after {DEADLINE} s: " + "; ".join(problems[:10]))
            time.sleep(min(0.3, 0.02 + waited / 20))
        if self.model.agent_up and not self.model.full:
            self._remember()
            self.model.touched.clear()

    def disagreements(self):
        self._check_agent()
        look = Look(self.world, self.model.agent_up)
        self._check_copies(look)
        problems = []
        if self.model.agent_up:
            self._check_reasons(look)
            self._check_counters(look)
            problems += self._applications(look)
            if not self.model.full:
                problems += self._processes(look)
                problems += self._zombies()
        problems += self._unmoved(look)
        problems += self._logs(look)
        if self.model.agent_up and not problems and not self.model.full:
            self._check_whys(look)
            problems += self._size(look)
        return problems

    # at once

    def _check_agent(self):
        log = self.world.log.read()
        if log.sanitizer:
            raise Violation(f"a sanitizer reported: {log.sanitizer}")
        if self.model.agent_up and not self.world.agent.is_running():
            raise Violation(f"the agent exited with {self.world.agent.process.returncode}")

    def _check_copies(self, look):
        """No two leaders, and nothing of an older run beside a newer one."""
        for slot in {r.slot for r in look.later_runs.values()}:
            runs = [r for r in look.later_runs.values() if r.slot == slot]
            live = [r for r in look.live_runs(slot) if self.lives(r)]
            if not live:
                continue
            newest = live[-1]
            older = [r for r in runs if r.first_ns < newest.first_ns]
            # Looked at anew: when the newest was seen alive, the old ones have to be gone.
            left = [p for r in older for p in (r.pid, *r.kids)
                    if p not in (newest.pid, *newest.kids) and harness.is_alive(p) and
                    p in look.census.cookies and look.census.slot_of(p) == slot]
            if left:
                raise Violation(f"{slot}: beside its run {newest.name} live the processes {left} "
                                "of runs before it")

    def _check_reasons(self, look):
        for app in look.applications.values():
            for w in app["workloads"]:
                if w["status"] in NEEDS_REASON and not w.get("reason"):
                    raise Violation(f"{app['name']}/{w['name']} is {w['status']} for no reason")

    def _check_counters(self, look):
        """Restarts and generations never go back while an application is there."""
        for name, app in look.applications.items():
            mine = self.model.applications.get(name)
            if mine is None or mine.accepted is None:
                continue
            known = self.known.get(name)
            if known is None or known.born != mine.born:
                continue
            if app.get("generation", known.generation) < known.generation:
                raise Violation(f"{name}: generation {app['generation']} after {known.generation}")
            for w in app["workloads"]:
                before = known.restarts.get(w["name"], 0)
                if mine.accepted.named(w["name"]) and w.get("restarts", 0) < before:
                    raise Violation(f"{name}.{w['name']}: {w.get('restarts', 0)} restarts after "
                                    f"{before}")

    # what may take a moment

    def _applications(self, look):
        expected = {a.name: a for a in self.model.applications.values()
                    if a.accepted or a.seen_fault not in ("", UNPARSED)}
        problems = [f"{name} is not there" for name in expected.keys() - look.applications.keys()]
        problems += [f"{name} is there" for name in look.applications.keys() - expected.keys()]
        # With a full disk what is wanted is known, and not when it can be done.
        for name in expected.keys() & look.applications.keys() if not self.model.full else ():
            problems += self._application(expected[name], look.applications[name])
        return problems

    def _application(self, mine, told):
        problems = []
        if mine.seen_fault == UNPARSED:
            problems += self._unparsed(mine.name)
        elif bool(mine.seen_fault) != bool(told.get("errors")):
            problems.append(f"{mine.name} has the errors {told.get('errors')}, "
                            f"and its document: {mine.seen_fault or 'nothing wrong'}")
        if mine.accepted is None:
            if told["status"] != "rejected":
                problems.append(f"{mine.name} is {told['status']}, not rejected")
            return problems
        known = self.known.get(mine.name)
        if known and known.born == mine.born and mine.accepts > known.accepts and \
                told.get("generation", 0) <= known.generation:
            problems.append(f"{mine.name} has not taken its new version over")
        states = {w["name"]: w["status"] for w in told["workloads"]}
        reasons = {w["name"]: w.get("reason", "no reason") for w in told["workloads"]}
        for w in mine.accepted.workloads:
            allowed = self.model.states(mine, w, mine.slot(w.name))
            status = states.pop(w.name, "absent")
            if allowed is not None and status not in allowed:
                problems.append(f"{mine.name}/{w.name} ({w.kind}) is {status} "
                                f"({reasons.get(w.name)}), not {' or '.join(sorted(allowed))}")
        problems += [f"{mine.name}/{name} is still there" for name in states]
        if (told["targetState"] == "suspended") != mine.suspended:
            problems.append(f"{mine.name} is to be {told['targetState']}")
        return problems

    def _unparsed(self, name):
        """Whose document it is, text that is no YAML does not tell: the device is unhealthy."""
        status, body = self.world.request("GET", "/v1/health")
        return [] if status == 503 and name in body.decode() else \
            [f"health does not tell that the document of {name} cannot be parsed"]

    def _processes(self, look):
        """Each steady workload has exactly its processes, of its version; nobody else has any."""
        problems, known = [], set()
        for app, w, slot in self.model.slots():
            name = f"{app.name}.{w.name}"
            known.add(name)
            found = look.census.of_slot(name) - look.census.probes
            allowed = self.model.states(app, w, slot)
            if allowed is None or allowed & {"starting", "stopping", "backoff", "unhealthy"}:
                continue
            if "running" in allowed and (found or "pending" not in allowed):
                problems += self._running(look, name, w, cookie(app.name, w), found)
            elif found:
                problems.append(f"{name} is not to run: {self._describe(found)}")
        for pid in look.census.cookies.keys() - look.census.probes:
            if look.census.slot_of(pid) not in known and harness.is_alive(pid):
                problems.append(f"unaccounted for: {self._describe([pid])}")
        return problems

    def _running(self, look, name, workload, expected, found):
        runs = look.live_runs(name)
        if len(runs) != 1:
            return [f"{name} has {len(runs)} leaders"]
        run = runs[0]
        strangers = {p for p in found - {run.pid, *run.kids} if harness.is_alive(p)}
        problems = [f"{name}: of none of its runs: {self._describe(strangers)}"] \
            if strangers else []
        if len(run.kids) != workload.kids:
            problems.append(f"{name} has forked {len(run.kids)} times")
        if look.census.cookies[run.pid] != expected:
            problems.append(f"{name} runs as {look.census.cookies[run.pid]}, not {expected}")
        app, short = name.split(".")
        told = [w for w in look.applications.get(app, {}).get("workloads", ())
                if w["name"] == short]
        if not told or told[0].get("pid") != run.pid:
            problems.append(f"{name}: its PID is {run.pid}, and told otherwise")
        if self.world.recorded_pid(app, short) != run.pid:
            problems.append(f"{name}: the record of this boot does not tell of {run.pid}")
        return problems

    @staticmethod
    def _describe(pids):
        return "; ".join(f"{p} {' '.join(harness.argv_of(p))[:120]}" for p in sorted(pids))

    def _zombies(self):
        """Children of the agent that it does not reap."""
        found = (harness.process(e) for e in os.listdir("/proc") if e.isdigit())
        dead = [p.pid for p in found if p and p.state == "Z" and p.ppid == self.world.agent.pid]
        # An agent reaps with delay, and something ends all the time: the same ones twice.
        time.sleep(0.3 if dead else 0)
        left = [p for p in dead if (harness.process(p) or p) != p and
                harness.process(p).state == "Z" and harness.process(p).ppid == self.world.agent.pid]
        return [f"zombies of the agent: {left}"] if left else []

    def _unmoved(self, look):
        """Whatever a step does, it does it to nobody else."""
        problems = []
        for app, w, slot in self.model.slots():
            name = f"{app.name}.{w.name}"
            if (app.name, w.name) in self.model.touched or name not in self.steady or \
                    not self.model.is_steady(app, w, slot):
                continue
            pid, started = self.steady[name]
            if not harness.is_alive(pid):
                raise Violation(f"{name}: its process {pid} has gone, and nobody has touched it")
            if not self.model.agent_up:
                continue
            told = {t["name"]: t for t in look.applications.get(app.name, {}).get("workloads", ())}
            told = told.get(w.name, {})
            if (told.get("pid"), told.get("startedAt")) != (pid, started):
                problems.append(f"{name} was {pid} since {started} and is {told.get('pid')} since "
                                f"{told.get('startedAt')}, and nobody has touched it")
        return problems

    # logs

    def _log(self, slot):
        if slot not in self.logs:
            app, workload = slot.split(".")
            self.logs[slot] = Log(slot, self.world.agent.log_file(app, workload))
        return self.logs[slot]

    def _logs(self, look):
        """Every line that was written is in the log; of runs that have ended all of them."""
        for slot in {r.slot for r in look.later_runs.values()}:
            self._log(slot).read()
        problems = []
        if not self.model.agent_up or self.model.full:
            return problems
        for run in look.later_runs.values():
            log = self._log(run.slot)
            dead = run.key in look.runs and run.pid not in look.census.cookies
            complete = log.is_complete(run)
            if dead and (complete or self._is_excused(run) or self._is_dropped(run)):
                self._close(log, run, complete)
            elif not complete and not (self._is_silenced(run) and self._is_excused(run)):
                problems.append(f"the log of {run.slot} has {log.seen.get(run.name, 0)} of "
                                f"{run.written} lines of its {'ended ' if dead else ''}run "
                                f"{run.name}")
        return problems

    def excuse_runs(self, app=None):
        """An agent ends, or drops an application, that cannot write what it has dropped, or keep
        what it has read."""
        for run in read_runs(self.world.runs).values():
            if app is None or run.slot.startswith(f"{app}."):
                self._log(run.slot).excused.add(run.name)

    def _close(self, log, run, complete):
        self.runs_seen += 1
        self.excused += not complete
        if not complete:
            log.excused.add(run.name)
        if log.seen.get(run.name, 0) > run.begun:
            raise Violation(f"the log of {run.slot} has more lines than were written")
        log.close_run(run)
        forget_run(self.world.runs, run)

    def _is_dropped(self, run):
        """Whether a full disk dropped of it, and its application has gone since: nobody says so."""
        app, workload = run.slot.split(".")
        version = self.model.applications.get(app)
        is_gone = not version or not version.accepted or not version.accepted.named(workload)
        return is_gone and any(begin <= run.last_ns <= (end or time.monotonic_ns()) + SECOND
                               for begin, end in self.world.fulls)

    @staticmethod
    def _is_silenced(run):
        """Whether it has closed its output: what was in the pipe goes with it, where no agent is."""
        return not os.path.lexists(f"/proc/{run.pid}/fd/1")

    def _is_excused(self, run):
        """Whether it ended while no agent ran, or about then; only once the next one has had time
        to write what there is."""
        now = time.monotonic_ns()
        return any(begin - 3 * SECOND <= run.last_ns <= (end or now) + SECOND and
                   end and now > end + 2 * SECOND for begin, end in self.world.downs)

    # size

    def _size(self, look):
        fds, pss = self.world.fd_count(), self.world.pss_bytes()
        self.max_fds, self.max_pss = max(fds, self.max_fds), max(pss, self.max_pss)
        workloads = sum(len(a["workloads"]) for a in look.applications.values())
        if self.base_fds is None:
            self.base_fds = fds
        most = self.base_fds + FDS_SPARE + FDS_A_WORKLOAD * workloads
        return [f"{fds} descriptors with {workloads} workloads, more than {most}"] \
            if fds > most else []

    def check_empty(self):
        """With nothing deployed, the agent is as small as it was the first time that it was so."""
        # At the very first it has not spoken to its control plane yet.
        most = self.empty_fds + 4 if self.empty_fds else self.base_fds + FDS_OF_SOURCE
        end = time.monotonic() + DEADLINE
        while (fds := self.world.fd_count()) > most:
            if time.monotonic() > end:
                raise Violation(f"{fds} descriptors with nothing deployed, more than {most}")
            time.sleep(0.2)
        self.empty_fds = self.empty_fds or fds
        pss = self.world.pss_bytes()
        if self.base_pss is None:
            self.base_pss = pss
        # The sanitizers keep what was freed for a while, and records of every allocation's place.
        most = self.base_pss + (200 if self.sanitized else 6) * MIB
        if pss > most:
            raise Violation(f"{pss / MIB:.1f} MiB with nothing deployed; "
                            f"{self.base_pss / MIB:.1f} at first")

    # what is remembered, and asked for at the end of a step

    def _check_whys(self, look):
        for name, app in look.applications.items():
            if app["status"] == "running":
                continue
            why = self.world.get(f"/v1/applications/{name}/why")
            for w in why["workloads"]:
                if not w["next"] or w["status"] in NEEDS_REASON and not w["because"]:
                    raise Violation(f"why of {name}/{w['name']} ({w['status']}) says nothing")
            if app["status"] in ("rejected", "suspended") and not \
                    (why["because"] or any(w["because"] for w in why["workloads"])):
                raise Violation(f"why of {name} ({app['status']}) says nothing")

    def _remember(self):
        applications = {a["name"]: a for a in self.world.get("/v1/applications")}
        steady = {f"{a.name}.{w.name}" for a, w, slot in self.model.slots()
                  if self.model.is_steady(a, w, slot)}
        self.steady, before, self.known = {}, self.known, {}
        for name, app in applications.items():
            mine = self.model.applications.get(name)
            if mine is None or mine.accepted is None:
                continue
            counters = {w["name"]: w.get("restarts", 0) for w in app["workloads"]}
            self.known[name] = Known(mine.born, mine.accepts, app["generation"], counters)
            old = before[name].restarts if name in before else {}
            self.restarts += sum(max(0, n - old.get(w, 0)) for w, n in counters.items())
            for w in app["workloads"]:
                slot = f"{name}.{w['name']}"
                if slot in steady and w["status"] == "running":
                    self.steady[slot] = (w["pid"], w["startedAt"])

    # the end

    def check_end(self):
        """The agent has ended: nothing of its workloads lives, nothing is left unreaped, and each
        log is complete."""
        census = Census(self.world.ident)
        left = [p for p in census.cookies if harness.is_alive(p)]
        if left:
            raise Violation(f"alive after the agent's end: {self._describe(left)}")
        if self.world.log.read().sanitizer:
            raise Violation(f"a sanitizer reported: {self.world.log.sanitizer}")
        cgroup = self.world.log.cgroup
        if cgroup and cgroup.exists():
            raise Violation(f"the cgroup '{cgroup}' is left")
        now = time.monotonic_ns()
        for run in read_runs(self.world.runs).values():
            log = self._log(run.slot)
            log.read()
            excused = any(begin - 3 * SECOND <= run.last_ns <= (end or now) + SECOND
                          for begin, end in self.world.downs[:-1])
            if not log.is_complete(run) and not excused:
                raise Violation(f"the log of {run.slot} ends at line {log.seen.get(run.name, 0)} "
                                f"of {run.written} of run {run.name}")
            self._close(log, run, log.is_complete(run))
        for slot, log in self.logs.items():
            if (log.rest or log.torn is not None) and not log.ends_excused():
                raise Violation(f"the log of {slot} ends in {log.rest or log.torn!r}")

    def lines(self):
        return sum(log.lines for log in self.logs.values())

    def rollovers(self):
        return sum(log.rollovers for log in self.logs.values())
