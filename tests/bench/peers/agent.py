"""edgible-agent with a source directory."""

import json
import signal

from .base import GRACE_SECONDS, LOG_FILES, Peer


class Agent(Peer):
    title = "edgible-agent"

    @classmethod
    def missing(cls):
        return None

    @classmethod
    def version(cls):
        return ""

    def prepare(self, programs, logs=True):
        apps = self.home / "apps"
        apps.mkdir()
        config = {"device": {"name": "bench"}, "stateDir": "state",
                  "runtimeDir": str(self.runtime), "logDir": "log",
                  "controlPlane": {"directory": "apps"}}
        (self.home / "agent.yaml").write_text(json.dumps(config))
        workloads = [{
            "name": p.name, "type": "managed-process", "command": [str(c) for c in p.command],
            "restart": {"initialDelay": "0s", "maxDelay": "1ms", "maxRapidFailures": 0},
            "stop": {"gracePeriod": f"{GRACE_SECONDS}s"},
            "logs": {"maxSize": p.log_bytes, "maxFiles": LOG_FILES},
        } for p in programs]
        (apps / "bench.json").write_text(json.dumps({
            "apiVersion": "v3", "kind": "Application", "metadata": {"name": "bench"},
            "spec": {"workloads": workloads}}))

    def start(self):
        self.main = self.launch(self.bench.binary, "--config", self.home / "agent.yaml")

    def stop(self):
        self.main.send_signal(signal.SIGTERM)

    def log_files(self, name):
        files = (self.home / "log" / "bench").glob(f"{name}.log*")
        return sorted(files, key=lambda f: -int(f.suffix[1:]) if f.suffix != ".log" else 0)
