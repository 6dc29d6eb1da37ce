"""Does a step: to the world, and to the model what the step means."""

import contextlib
import os
import signal

from . import sources
from .model import Application
from .runs import read_runs
from .world import wait_for


class Steps:
    def __init__(self, world, model, observer):
        self.world, self.model, self.observer = world, model, observer

    def do(self, step):
        getattr(self, "_" + step.kind.replace("-", "_"))(step)
        before = {(a.name, w.name) for a, w, _ in self.model.slots()}
        self.model.settle()
        gone = before - {(a.name, w.name) for a, w, _ in self.model.slots()}
        if "log" in self.model.full:
            # What was dropped of them can no longer be said in their logs.
            for app in {name for name, _ in gone}:
                self.observer.excuse_runs(app)

    # the source

    def _put(self, name, version):
        self.world.source.put(name, sources.to_text(self.world.writer.document(name, version)))

    def _application(self, name):
        return self.model.applications.setdefault(name, Application(name))

    def _want(self, step):
        app = self._application(step.app)
        app.wanted, app.fault = step.version, ""

    def _deploy(self, step):
        self._put(step.app, step.version)
        self._want(step)

    def _mend(self, step):
        self._deploy(step)

    def _change(self, step):
        if not step.how.endswith("slowly"):
            self._deploy(step)
            return
        text = sources.to_text(self.world.writer.document(step.app, step.version))
        finish = self.world.source.begin_put(step.app, text)
        # A file that is being written changes nothing, nor does it remove what it was before.
        self.observer.settle()
        finish()
        self._want(step)

    def _break(self, step):
        broken = self.world.writer.broken(step.app, step.version, step.how)
        self.world.source.put(step.app, broken if isinstance(broken, str)
                              else sources.to_text(broken))
        app = self._application(step.app)
        app.fault = step.how

    def _teardown(self, step):
        self.world.source.remove(step.app)
        app = self.model.application(step.app)
        app.wanted, app.fault = None, ""

    def _clear(self, step):
        for app in self.model.applications.values():
            if app.wanted or app.fault:
                self.world.source.remove(app.name)
            app.wanted, app.fault = None, ""

    def _cut(self, step):
        self.world.source.cut(step.how)
        self.model.cut = step.how

    def _restore(self, step):
        self.world.source.restore()
        self.model.cut = ""

    # the API

    def _suspend(self, step):
        self._set_target(step, "suspended")

    def _resume(self, step):
        self._set_target(step, "running")

    def _set_target(self, step, target):
        self.world.ask("PATCH", f"/v1/applications/{step.app}", {"targetState": target})
        app = self.model.application(step.app)
        app.suspended = target == "suspended"
        for w in app.accepted.workloads:
            self.model.touch(app, w)

    def _restart(self, step):
        self.world.ask("POST", f"/v1/applications/{step.app}/restart",
                       {"workload": step.workload} if step.workload else None)
        app = self.model.application(step.app)
        for w in app.accepted.workloads:
            if step.workload in ("", w.name):
                self.model.touch(app, w)

    # workloads

    def _runs_of(self, step):
        """Its living runs; of one that ends over and over there may be none just now."""
        return [r for r in read_runs(self.world.runs).values()
                if r.slot == f"{step.app}.{step.workload}" and self.observer.lives(r)]

    def _slot(self, step):
        app = self.model.application(step.app)
        return app, app.accepted.named(step.workload), app.slot(step.workload)

    def _signal_leader(self, step, send, number):
        for run in self._runs_of(step):
            with contextlib.suppress(ProcessLookupError):
                send(run.pid, number)

    def _ended_by_force(self, step):
        app, workload, slot = self._slot(step)
        was_steady = self.model.is_steady(app, workload, slot)
        self.model.touch(app, workload)
        slot.killed = was_steady and workload.policy == "never"

    def _kill_leader(self, step):
        self._signal_leader(step, os.kill, signal.SIGKILL)
        self._ended_by_force(step)

    def _kill_group(self, step):
        self._signal_leader(step, os.killpg, signal.SIGKILL)
        self._ended_by_force(step)

    def _kill_kid(self, step):
        for run in self._runs_of(step):
            with contextlib.suppress(ProcessLookupError):
                os.kill(run.kids[0], signal.SIGKILL)

    def _freeze(self, step):
        self._signal_leader(step, os.kill, signal.SIGSTOP)
        self._slot(step)[2].frozen = True

    def _thaw(self, step):
        self._signal_leader(step, os.kill, signal.SIGCONT)
        self._slot(step)[2].frozen = False

    def _sicken(self, step):
        self.world.sick_file(step.app, step.workload).touch()
        self.model.sick.add((step.app, step.workload))
        self._health_changes(step)

    def _heal(self, step):
        self.world.sick_file(step.app, step.workload).unlink()
        self.model.sick.remove((step.app, step.workload))
        self._health_changes(step)

    def _health_changes(self, step):
        """It is restarted, unless its policy is `never`."""
        app, workload, _ = self._slot(step)
        if workload.policy != "never":
            killed = app.slot(workload.name).killed
            self.model.touch(app, workload)
            app.slot(workload.name).killed = killed

    # the agent

    def _agent_kill(self, step):
        self._end_agent(signal.SIGKILL, -signal.SIGKILL)

    def _agent_detach(self, step):
        self._end_agent(signal.SIGUSR1, 0)

    def _end_agent(self, number, code):
        self.world.end_agent(number, code)
        self.model.agent_up = False
        if {"log", "runtime"} & set(self.model.full):
            self.observer.excuse_runs()

    def _agent_start(self, step):
        self.world.start_agent()
        self.model.agent_up = True
        self.model.forget_faults()

    def _agent_reexec(self, step):
        self.world.reexec_agent()
        self.model.forget_faults()

    def _agent_reload(self, step):
        self.world.reload_agent(step.how == "valid")

    # disks

    def _fill(self, step):
        names = step.how.split()
        self.world.fill(names)
        self.model.full = tuple(names)

    def _free(self, step):
        self.world.free()
        self.model.free()
        if self.model.agent_up:  # it tries again each few seconds, and a kill before that loses them
            wait_for(self.world.has_written, "the records to be written")
