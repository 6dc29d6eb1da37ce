"""Which step comes next: from the seed and the model alone, never from what the world looks like,
so that the same seed gives the same steps. A step is its name and its arguments."""

from dataclasses import dataclass, replace

from .model import CYCLING, FAILING, KINDS, ONCE, UP, Version, Workload, changed

NAMES = [f"app-{letter}" for letter in "abcdefgh"]
SLOTS = [f"w{n}" for n in range(6)]
DISKS = ("log", "state", "runtime")


@dataclass
class Step:
    kind: str
    app: str = ""
    workload: str = ""
    version: Version = None
    how: str = ""

    def __str__(self):
        target = "/".join(filter(None, (self.app, self.workload)))
        what = ", ".join(f"{w.name} {w.kind}" for w in self.version.workloads) \
            if self.version and self.kind == "deploy" else ""
        return " ".join(filter(None, (self.kind, target, self.how, what)))


class Generator:
    """next() gives a step that the model allows."""

    WEIGHTS = {
        "deploy": 12, "change": 10, "break": 5, "mend": 6, "teardown": 5,
        "suspend": 4, "resume": 6, "restart": 5,
        "kill-leader": 8, "kill-group": 4, "kill-kid": 3, "freeze": 3, "thaw": 3,
        "sicken": 3, "heal": 5,
        "agent-kill": 7, "agent-detach": 3, "agent-reexec": 4, "agent-reload": 3,
        "agent-start": 40,
        "fill": 3, "free": 20, "cut": 4, "restore": 15, "clear": 2,
    }

    def __init__(self, rng, model, cuts, takes_any_text, has_slow_files, has_disks):
        self.rng, self.model, self.cuts = rng, model, cuts
        self.takes_any_text, self.has_slow_files = takes_any_text, has_slow_files
        self.has_disks = has_disks
        self.serial = 0

    def next(self):
        kinds = list(self.WEIGHTS)
        while True:
            kind, = self.rng.choices(kinds, [self.WEIGHTS[k] for k in kinds])
            step = getattr(self, "_" + kind.replace("-", "_"))()
            if step:
                return step

    def _pick(self, items):
        items = list(items)
        return self.rng.choice(items) if items else None

    def _new_serial(self):
        self.serial += 1
        return self.serial

    # documents

    def _workload(self, name, others):
        kind = self.rng.choice(KINDS + UP)  # twice as often one that stays up
        policy = "always"
        if kind in UP and self.rng.random() < 0.3:
            policy = self.rng.choice(["on-failure", "never"])
        if kind in ONCE:
            policy = self.rng.choice(["on-failure", "never"])
        health = self.rng.choice(["", "", "http", "tcp", "exec"]) if kind in UP else ""
        depends = tuple(o for o in others if self.rng.random() < 0.25)
        return Workload(name, kind, policy, health, depends, self._new_serial(),
                        max_files=20 if kind == "flood" else self.rng.choice([3, 20]))

    def _version(self, depends=()):
        names = self.rng.sample(SLOTS, self.rng.randint(1, 4))
        workloads = []
        for name in names:
            workloads.append(self._workload(name, [w.name for w in workloads]))
        return Version(tuple(workloads), depends)

    def _deploy(self):
        free = [n for n in NAMES if n not in self.model.applications]
        name = self._pick(free)
        if not name:
            return None
        # Only upon names before its own, so that there is no circle.
        others = [a.name for a in self.model.accepted()
                  if a.name < name and a.wanted and not a.fault]
        depends = tuple(o for o in others if self.rng.random() < 0.15)
        return Step("deploy", name, version=self._version(depends))

    def _good(self):
        return [a for a in self.model.applications.values() if a.wanted and not a.fault]

    def _change(self):
        app = self._pick(self._good())
        if not app:
            return None
        version = app.wanted
        workload = self.rng.choice(version.workloads)
        what = self.rng.choice(["env", "command", "grace", "logs", "add", "drop"])
        if what == "add":
            free = [n for n in SLOTS if not version.named(n)]
            new = self._workload(self.rng.choice(free), [w.name for w in version.workloads])
            version = replace(version, workloads=version.workloads + (new,))
        elif what == "drop":
            needed = {d for w in version.workloads for d in w.depends}
            spare = [w for w in version.workloads if w.name not in needed]
            if len(version.workloads) == 1 or not spare:
                return None
            gone = self.rng.choice(spare)
            version = replace(version, workloads=tuple(w for w in version.workloads if w != gone))
        else:
            version = changed(version, replace(workload, **self._new_value(workload, what)))
        slowly = self.has_slow_files and not self.model.cut and self.rng.random() < 0.15
        how = what + (" slowly" if slowly else "")
        return Step("change", app.name, workload.name, version, how)

    def _new_value(self, workload, what):
        least_files = 10 if workload.kind == "flood" else 3
        return {"env": {"serial": self._new_serial()}, "command": {"extra": self._new_serial()},
                "grace": {"grace_ms": self.rng.randrange(1000, 3000)},
                "logs": {"max_files": self.rng.randrange(least_files, 21)}}[what]

    def _break(self):
        ways = ["no command", "bad policy", "forbidden program", "no workloads"]
        free = [n for n in NAMES if n not in self.model.applications]
        if free and self.rng.random() < 0.3:
            return Step("break", self.rng.choice(free), version=self._version(),
                        how=self.rng.choice(ways))
        # Not a change that nobody has seen: etcd tells of it afterwards, a directory does not.
        app = self._pick(a for a in self._good() if a.wanted == a.accepted)
        ways += ["no YAML"] if self.takes_any_text else []
        return app and Step("break", app.name, version=app.wanted, how=self.rng.choice(ways))

    def _mend(self):
        app = self._pick(a for a in self.model.applications.values() if a.fault)
        if not app:
            return None
        same = app.wanted and self.rng.random() < 0.5
        return Step("mend", app.name, version=app.wanted if same else self._version())

    def _teardown(self):
        app = self._pick(a for a in self.model.applications.values()
                         if (a.wanted or a.fault) and not self.model.dependents(a.name))
        return app and Step("teardown", app.name)

    def _clear(self):
        """Everything goes, and the agent has to be as small as it was."""
        calm = self.model.agent_up and not self.model.cut and not self.model.full
        return Step("clear") if calm else None

    # through the API

    def _can_ask(self):
        return self.model.agent_up and not self.model.full

    def _suspend(self):
        apps = [a for a in self.model.accepted() if not a.suspended and a.wanted]
        app = self._pick(apps) if self._can_ask() else None
        return app and Step("suspend", app.name)

    def _resume(self):
        apps = [a for a in self.model.accepted() if a.suspended and a.wanted]
        app = self._pick(apps) if self._can_ask() else None
        return app and Step("resume", app.name)

    def _restart(self):
        apps = [a for a in self.model.accepted() if not a.suspended and a.wanted]
        app = self._pick(apps) if self._can_ask() else None
        if not app:
            return None
        one = self.rng.random() < 0.5
        return Step("restart", app.name,
                    self.rng.choice(app.accepted.workloads).name if one else "")

    # to workloads

    def _steady(self, condition=lambda workload, slot: True):
        return [(a, w) for a, w, slot in self.model.slots()
                if self.model.is_steady(a, w, slot) and condition(w, slot)]

    def _cycling(self):
        return [(a, w) for a, w, slot in self.model.slots() if w.kind in CYCLING and
                not a.suspended and not slot.vague]

    def _kill(self, kind, targets):
        target = self._pick(targets)
        return target and Step(kind, target[0].name, target[1].name)

    def _kill_leader(self):
        return self._kill("kill-leader", self._steady() + self._cycling())

    def _kill_group(self):
        return self._kill("kill-group", self._steady())

    def _kill_kid(self):
        return self._kill("kill-kid", self._steady(lambda w, slot: w.kids))

    def _freeze(self):
        """Not where a health check would see it, as that of tcp does once the backlog is full."""
        return self._kill("freeze", self._steady(
            lambda w, slot: w.health not in ("http", "tcp") and not slot.frozen))

    def _thaw(self):
        return self._kill("thaw", self._steady(lambda w, slot: slot.frozen))

    def _sicken(self):
        targets = self._steady(lambda w, slot: w.health in ("http", "exec"))
        return self._kill("sicken", targets) if self.model.agent_up else None

    def _heal(self):
        return self._kill("heal", [(a, w) for a, w, _ in self.model.slots()
                                   if (a.name, w.name) in self.model.sick])

    # to the agent and what is around it

    def _if_up(self, kind, how=""):
        return Step(kind, how=how) if self.model.agent_up else None

    def _if_recorded(self, kind):
        """What is first started while runtimeDir is full has no record until there is room, which
        the agent says: an agent that ends before that leaves what no other one can know of."""
        unrecorded = "runtime" in self.model.full and any(s.vague for _, _, s in self.model.slots())
        return None if unrecorded else self._if_up(kind)

    def _agent_kill(self):
        return self._if_recorded("agent-kill")

    def _agent_detach(self):
        return self._if_recorded("agent-detach")

    def _agent_reexec(self):
        """Not with full disks: the new one has to pass a check that may want to write."""
        return None if self.model.full else self._if_up("agent-reexec")

    def _agent_reload(self):
        return self._if_up("agent-reload", self.rng.choice(["valid", "invalid"]))

    def _agent_start(self):
        return None if self.model.agent_up else Step("agent-start")

    def _fill(self):
        if not self.has_disks or self.model.full:
            return None
        return Step("fill", how=self.rng.choice(DISKS + (" ".join(DISKS),)))

    def _free(self):
        return Step("free") if self.model.full else None

    def _cut(self):
        return None if self.model.cut else Step("cut", how=self.rng.choice(self.cuts))

    def _restore(self):
        return Step("restore") if self.model.cut else None


assert set(KINDS) == set(UP + CYCLING + ONCE + FAILING)
