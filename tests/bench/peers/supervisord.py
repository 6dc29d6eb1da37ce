"""supervisor: one process in Python that holds all programs and their logs."""

import signal

from .base import GRACE_SECONDS, LOG_FILES, DebianPeer


class Supervisord(DebianPeer):
    title = "supervisor"
    package = "supervisor"
    programs = ("supervisord",)

    def prepare(self, programs, logs=True):
        (self.home / "log").mkdir()
        text = (f"[supervisord]\nnodaemon=true\nminfds=20000\nminprocs=200\n"
                f"logfile={self.home}/supervisord.log\npidfile={self.runtime}/pid\n"
                f"childlogdir={self.home}/log\n")
        for p in programs:
            command = " ".join(str(c) for c in p.command)
            # With startsecs=0 an exit is never a failed start, so it is started again at once.
            text += (f"[program:{p.name}]\ncommand={command}\nautorestart=true\nstartsecs=0\n"
                     f"stopwaitsecs={GRACE_SECONDS}\nstopasgroup=true\nkillasgroup=true\n"
                     f"redirect_stderr=true\nstdout_logfile={self.home}/log/{p.name}.log\n"
                     f"stdout_logfile_maxbytes={p.log_bytes}\n"
                     f"stdout_logfile_backups={LOG_FILES}\n")
        (self.home / "supervisord.conf").write_text(text)

    def start(self):
        self.main = self.launch("supervisord", "-c", self.home / "supervisord.conf")

    def stop(self):
        self.main.send_signal(signal.SIGTERM)

    def log_files(self, name):
        files = (self.home / "log").glob(f"{name}.log*")
        return sorted(files, key=lambda f: -int(f.suffix[1:]) if f.suffix != ".log" else 0)
