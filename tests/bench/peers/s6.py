"""s6: s6-svscan, and two s6-supervise and an s6-log a program."""

from .base import GRACE_SECONDS, LOG_FILES
from .services import ServiceFolders


class S6(ServiceFolders):
    title = "s6"
    package = "s6"
    programs = ("s6-svscan", "s6-supervise", "s6-log", "s6-svscanctl")

    @staticmethod
    def logger(target, log_bytes):
        return f"s6-log n{LOG_FILES} s{log_bytes} {target}"

    def finish_service(self, folder):
        # Without it s6 waits for ever for a program that ignores SIGTERM.
        (folder / "timeout-kill").write_text(f"{GRACE_SECONDS * 1000}\n")

    def start(self):
        self.main = self.launch("s6-svscan", "-c", "4000", self.services)

    def stop(self):
        self.launch("s6-svscanctl", "-t", self.services)
