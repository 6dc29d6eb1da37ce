"""pm2 (npm, in build/bench/node_modules), with a PM2_HOME of its own, and pm2-logrotate, the module
without which it never rotates a log."""

import json
import os
import pathlib
import shutil
import subprocess

from .base import GRACE_SECONDS, LOG_FILES, Failure, Peer

FOLDER = pathlib.Path(__file__).resolve().parents[3] / "build" / "bench"
MODULE = FOLDER / "node_modules" / "pm2"
COMMAND = MODULE / "bin" / "pm2"
ROTATING_HOME = FOLDER / "pm2-home"
QUIET = {"PM2_DISABLE_VERSION_CHECK": "true", "PM2_DISCRETE_MODE": "true"}


def install():
    """What is missing of both; says what it does."""
    if shutil.which("npm") is None:
        print("peers: pm2 needs npm: apt-get install npm", flush=True)
        return
    if not COMMAND.exists():
        print(f"peers: npm install --prefix {FOLDER} pm2", flush=True)
        subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--prefix", FOLDER, "pm2"],
                       stdout=subprocess.DEVNULL, check=False)
    if COMMAND.exists() and not (ROTATING_HOME / "modules" / "pm2-logrotate").exists():
        print("peers: pm2 install pm2-logrotate", flush=True)
        environment = {**os.environ, **QUIET, "PM2_HOME": str(ROTATING_HOME)}
        for arguments in (["install", "pm2-logrotate"], ["kill"]):
            subprocess.run([COMMAND, *arguments], env=environment, stdin=subprocess.DEVNULL,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)


class Pm2(Peer):
    title = "pm2"

    def __init__(self, bench):
        super().__init__(bench)
        self.environment.update(QUIET, PM2_HOME=str(self.runtime))

    @classmethod
    def missing(cls):
        if COMMAND.exists() and shutil.which("node"):
            return None
        return "no pm2: npm install --prefix build/bench pm2"

    @classmethod
    def version(cls):
        return json.loads((MODULE / "package.json").read_text())["version"]

    @classmethod
    def rotating(cls):
        return RotatingPm2

    def prepare(self, programs, logs=True):
        (self.home / "log").mkdir()
        apps = [{
            "name": p.name, "script": str(p.command[0]),
            "args": [str(c) for c in p.command[1:]], "interpreter": "none", "vizion": False,
            "max_restarts": 1000000, "kill_timeout": GRACE_SECONDS * 1000,
            # One file a program, as the others do, instead of two.
            "out_file": str(self.home / "log" / f"{p.name}.log"), "error_file": "/dev/null",
            "merge_logs": True,
        } for p in programs]
        (self.home / "ecosystem.json").write_text(json.dumps({"apps": apps}))

    def pm2(self, *arguments):
        return self.launch(COMMAND, *arguments)

    def start(self):
        """The first time; later it brings back what before_crash() has kept."""
        again = (self.runtime / "dump.pm2").exists()
        self.main = self.pm2("resurrect") if again else self.pm2("start", "ecosystem.json")

    def before_crash(self):
        if self.pm2("save").wait(60) != 0:
            raise Failure(f"pm2 save: {self.tail()}")

    def wait_started(self, count, timeout=120):
        super().wait_started(count, timeout)
        self.main.wait(timeout)  # the command, which is not part of the supervisor's memory

    def stop(self):
        self.pm2("kill")

    def main_pid(self):
        return int((self.runtime / "pm2.pid").read_text())

    def log_files(self, name):
        return [self.home / "log" / f"{name}.log"]


class RotatingPm2(Pm2):
    """With pm2-logrotate, which looks at sizes at most once a second, and copies and truncates."""

    looks_each = 1

    @classmethod
    def missing(cls):
        if (ROTATING_HOME / "modules" / "pm2-logrotate").exists():
            return Pm2.missing()
        return "no pm2-logrotate: pm2 install pm2-logrotate"

    def prepare(self, programs, logs=True):
        super().prepare(programs, logs)
        shutil.copytree(ROTATING_HOME, self.runtime, dirs_exist_ok=True,
                        ignore=shutil.ignore_patterns("*.sock", "*.pid", "logs", "pids", "pm2.log"))
        conf_file = self.runtime / "module_conf.json"
        conf = json.loads(conf_file.read_text())
        conf["pm2-logrotate"] = {**conf.get("pm2-logrotate", {}), "workerInterval": "1",
                                 "retain": str(LOG_FILES), "compress": "false",
                                 "max_size": str(programs[0].log_bytes)}
        conf_file.write_text(json.dumps(conf))

    def log_files(self, name):
        # Rotated files bear the time of their rotation.
        rotated = sorted((self.home / "log").glob(f"{name}__*.log"))
        return [*rotated, self.home / "log" / f"{name}.log"]
