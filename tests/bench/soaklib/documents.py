"""Versions of the model as v3 documents."""

# What the program of each kind is told (workload.c).
PROGRAMS = {
    "plain": ["every=200"],
    "writer": ["every=10"],
    "flood": ["every=20", "burst=3000"],
    "stubborn": ["every=100", "stubborn=1"],
    "daemons": ["every=100", "daemons=2"],
    "family": ["every=100", "children=2"],
    "mute": ["every=50", "mute=3"],
    "crasher": ["every=20", "exit=3", "after=400"],
    "signaller": ["every=20", "signal=10", "after=700"],
    "once": ["every=10", "exit=0", "after=300"],
    "failing": ["every=10", "exit=1", "after=30"],
    "missing": [],
}
NEVER_RAPID = {"rapidAfter": "0s", "maxRapidFailures": 0}
RESTARTS = {
    "crasher": {"initialDelay": "300ms", "maxDelay": "1s", **NEVER_RAPID},
    "signaller": {"initialDelay": "300ms", "maxDelay": "1s", **NEVER_RAPID},
    "failing": {"initialDelay": "20ms", "rapidAfter": "1h", "maxRapidFailures": 2},
    "missing": {"initialDelay": "20ms", "rapidAfter": "1h", "maxRapidFailures": 2},
}
QUICK = {"initialDelay": "20ms", "maxDelay": "200ms", **NEVER_RAPID}
LINE_BYTES = 100


def cookie(app, workload):
    return f"{app}/{workload.name}#{workload.serial}"


class Writer:
    """Writes documents for one world."""

    def __init__(self, world):
        self.world = world

    def _command(self, app, w):
        slot = f"{app}.{w.name}"
        command = [str(self.world.program), "run", str(self.world.runs), slot, *PROGRAMS[w.kind],
                   f"bytes={LINE_BYTES}", f"sick={self.world.sick_file(app, w.name)}"]
        if w.health in ("http", "tcp"):
            command.append(f"port={self.world.port(app, w.name)}")
        if w.extra:
            command.append(f"bytes={LINE_BYTES + w.extra % 50}")
        if w.kind == "missing":
            command[0] = str(self.world.program.with_name("missing"))
        return command

    def _health(self, app, w):
        check = {"http": {"port": self.world.port(app, w.name), "path": "/"}} \
            if w.health == "http" else {"tcp": {"port": self.world.port(app, w.name)}} \
            if w.health == "tcp" else \
            {"exec": [str(self.world.program), "probe", str(self.world.sick_file(app, w.name))]}
        # A slow machine is no sick workload: the patience is long.
        return {**check, "interval": "400ms", "timeout": "20s", "failures": 2}

    def _workload(self, app, w):
        document = {
            "name": w.name, "type": "managed-process", "command": self._command(app, w),
            "env": {"SOAK_ID": self.world.ident, "SOAK_COOKIE": cookie(app, w)},
            "restart": {"policy": w.policy, **RESTARTS.get(w.kind, QUICK)},
            "stop": {"gracePeriod": f"{w.grace_ms}ms"},
            "logs": {"maxSize": "64KiB", "maxFiles": w.max_files},
        }
        if w.depends:
            document["dependsOn"] = list(w.depends)
        if w.health:
            document["healthCheck"] = self._health(app, w)
        return document

    def document(self, name, version):
        workloads = [self._workload(name, w) for w in version.workloads]
        return self.world.agent.app(name, *workloads,
                                    **({"dependsOn": list(version.depends)}
                                       if version.depends else {}))

    def broken(self, name, version, how):
        """What is no document, or one that may not be."""
        document = self.document(name, version)
        first = document["spec"]["workloads"][0]
        if how == "no command":
            del first["command"]
        elif how == "bad policy":
            first["restart"] = {"policy": "alwys"}
        elif how == "forbidden program":
            first["command"] = ["/bin/sleep", "1000"]
        elif how == "no workloads":
            document["spec"]["workloads"] = []
        else:
            return "apiVersion: v3\nkind: [Application\n  metadata: {\n"
        return document
