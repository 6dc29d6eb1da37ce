"""What should be there: applications, their workloads, and the states that each may be in.

The model knows no PID, no file and no clock: it changes by steps alone, so the same seed gives the
same model. What the source says is kept apart from what the agent has accepted, as a cut network
or a dead agent leaves a difference between them.
"""

import itertools
from dataclasses import dataclass, field, replace

# Workloads by kind: what their program does.
UP = ("plain", "writer", "flood", "stubborn", "daemons", "family", "mute")  # until it is ended
CYCLING = ("crasher", "signaller")  # ends over and over, and is started again
ONCE = ("once",)                    # ends with 0, and is not started again
FAILING = ("failing", "missing")    # until the agent gives up
KINDS = UP + CYCLING + ONCE + FAILING

CYCLE = {"starting", "running", "backoff", "stopping"}
SICK = {"starting", "unhealthy", "backoff", "stopping"}


@dataclass(frozen=True)
class Workload:
    """One version of a workload."""

    name: str
    kind: str
    policy: str = "always"
    health: str = ""       # "", http, tcp or exec
    depends: tuple = ()
    serial: int = 0        # in its environment: another one is a restart
    extra: int = 0         # in its command: the same
    grace_ms: int = 1500   # these two change nothing of what runs
    max_files: int = 20

    def process_part(self):
        """What a change of restarts it."""
        return self.kind, self.serial, self.extra, self.health == "http", self.health == "tcp"

    @property
    def kids(self):
        return {"daemons": 2, "family": 2}.get(self.kind, 0)


@dataclass(frozen=True)
class Version:
    workloads: tuple
    depends: tuple = ()

    def named(self, name):
        return next((w for w in self.workloads if w.name == name), None)


@dataclass
class Slot:
    """What has happened to a workload that its version does not tell."""

    killed: bool = False  # and its policy is `never`
    frozen: bool = False  # SIGSTOP
    vague: bool = False   # touched while a disk was full: any state will do until there is room


@dataclass
class Application:
    name: str
    wanted: Version = None    # the last valid one that the source had; None: removed from it
    fault: str = ""           # what is wrong with the document that the source has now
    accepted: Version = None  # what the agent has taken over; None: nothing
    seen_fault: str = ""      # what of `fault` the agent has seen
    suspended: bool = False
    accepts: int = 0          # versions that the agent has accepted, as far as the model knows
    born: int = field(default_factory=itertools.count().__next__)  # one anew has another
    slots: dict = field(default_factory=dict)

    def slot(self, name):
        return self.slots.setdefault(name, Slot())


class Model:
    def __init__(self):
        self.applications = {}
        self.agent_up = False
        self.cut = ""        # how the source is cut off
        self.full = ()       # which disks are full
        self.sick = set()    # (application, workload) whose health check is made to fail
        self.touched = set()  # (application, workload) that the step may have restarted

    # what there is

    def application(self, name):
        return self.applications[name]

    def accepted(self):
        return [a for a in self.applications.values() if a.accepted]

    def slots(self):
        """(application, version of the workload, slot) of all that the agent has accepted."""
        return [(a, w, a.slot(w.name)) for a in self.accepted() for w in a.accepted.workloads]

    def dependents(self, name):
        """Applications whose document, or accepted version, names that one."""
        return [a for a in self.applications.values()
                if any(v and name in v.depends for v in (a.wanted, a.accepted))]

    # what the states may be

    def own_states(self, app, workload, slot):
        if app.suspended:
            return {"stopped"}
        if slot.killed:
            return {"failed"}
        if workload.kind in FAILING:
            return {"failed"}
        if workload.kind in ONCE:
            return {"completed"}
        if workload.kind in CYCLING:
            return CYCLE
        if (app.name, workload.name) in self.sick and workload.health in ("http", "exec"):
            return {"unhealthy"} if workload.policy == "never" else SICK
        return {"running"}

    def is_ready(self, app, workload):
        """Whether what depends on it may start: one whose policy is `never` is there to end."""
        if app.slot(workload.name).vague:
            return False
        needed = {"completed"} if workload.policy == "never" else {"running"}
        return self.own_states(app, workload, app.slot(workload.name)) == needed

    def waits_for_nothing(self, app, workload):
        others = [app.accepted.named(name) for name in workload.depends]
        if not all(self.is_ready(app, w) and self.waits_for_nothing(app, w) for w in others if w):
            return False
        needed = [self.applications.get(name) for name in app.accepted.depends]
        return all(n and n.accepted and not n.suspended and
                   all(self.is_ready(n, w) and self.waits_for_nothing(n, w)
                       for w in n.accepted.workloads) for n in needed)

    def states(self, app, workload, slot):
        """The states that it may be in; None: any."""
        if slot.vague:
            return None
        states = self.own_states(app, workload, slot)
        if app.suspended or self.waits_for_nothing(app, workload):
            return states
        return states | {"pending"}

    def is_steady(self, app, workload, slot):
        return self.states(app, workload, slot) == {"running"}

    # what changes it

    def touch(self, app, workload):
        """A new process of it, or none: what happened to the one before is of no account."""
        self.touched.add((app.name, workload.name))
        slot = app.slot(workload.name)
        slot.killed = slot.frozen = False
        slot.vague = bool(self.full)

    def wake_failed(self, app):
        """A new version or a restart tries again what had failed."""
        for w in app.accepted.workloads:
            if app.slot(w.name).killed or w.kind in FAILING:
                self.touch(app, w)

    def _accept(self, app):
        before, app.accepted = app.accepted, app.wanted
        app.accepts += 1
        for w in app.accepted.workloads:
            old = before.named(w.name) if before else None
            if old is None or old.process_part() != w.process_part():
                self.touch(app, w)
        for old in before.workloads if before else ():
            if app.accepted.named(old.name) is None:
                app.slots.pop(old.name, None)
        self.wake_failed(app)

    def settle(self):
        """The agent sees the source, where there is an agent and the source can be seen."""
        if not self.agent_up or self.cut:
            return
        for app in list(self.applications.values()):
            app.seen_fault = app.fault
            if app.wanted is None and not app.fault:
                del self.applications[app.name]
            elif app.wanted and not app.fault and app.wanted != app.accepted:
                self._accept(app)

    def forget_faults(self):
        """A new agent knows of them from the source alone."""
        for app in self.applications.values():
            app.seen_fault = ""

    def free(self):
        self.full = ()
        for _, _, slot in self.slots():
            slot.vague = False


def changed(version, workload):
    """The version with that workload in the place of the one of its name."""
    return replace(version, workloads=tuple(workload if w.name == workload.name else w
                                            for w in version.workloads))
