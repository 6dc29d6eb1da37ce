"""runit: runsvdir, and a runsv and a svlogd a program."""

import signal

from .base import LOG_FILES
from .services import ServiceFolders


class Runit(ServiceFolders):
    title = "runit"
    package = "runit"
    programs = ("runsvdir", "runsv", "svlogd")

    @staticmethod
    def logger(target, log_bytes):
        (target / "config").write_text(f"s{log_bytes}\nn{LOG_FILES}\n")
        return f"svlogd {target}"

    def start(self):
        self.main = self.launch("runsvdir", self.services)

    def stop(self):
        self.main.send_signal(signal.SIGHUP)
