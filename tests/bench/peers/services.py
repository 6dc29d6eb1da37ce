"""What runit and s6 have in common: a folder a service, in it `run` and `log/run`."""

from .base import DebianPeer


class ServiceFolders(DebianPeer):
    loggers_apart = True
    holder_apart = True

    def prepare(self, programs, logs=True):
        self.services = self.runtime / "services"
        self.services.mkdir()
        for p in programs:
            folder = self.services / p.name
            self.write_run(folder, " ".join(str(c) for c in p.command))
            if logs:
                target = self.home / "log" / p.name
                target.mkdir(parents=True)
                self.write_run(folder / "log", self.logger(target, p.log_bytes))
            self.finish_service(folder)

    @staticmethod
    def write_run(folder, command):
        folder.mkdir()
        (folder / "run").write_text(f"#!/bin/sh\nexec {command} 2>&1\n")
        (folder / "run").chmod(0o755)

    def finish_service(self, folder):
        """What else is wanted in the folder."""

    def log_files(self, name):
        folder = self.home / "log" / name
        # Rotated files bear the time of their rotation.
        return [*sorted(folder.glob("@*")), folder / "current"]
