"""The three control planes: what they hold, and how each is cut off from the agent.

All have put(), remove(), cut(how), restore() and close(); CUTS names the ways. A document that is
put while the source is cut off is seen by the agent once it is restored.
"""

import contextlib
import os
import select
import socket
import threading

import yaml

import control_plane
import etcd
from harness import free_port


class DirectorySource:
    CUTS = ("vanished", "replaced")
    CUTS_OF_USERS = ("unreadable",)
    takes_any_text = True  # one file an application: what cannot be parsed harms no other

    def __init__(self, world):
        self.world = world
        self.folder = world.agent.source
        self.away = world.agent.folder / "applications.away"
        self.cut_by = ""
        if not world.account.is_root:
            self.CUTS = self.CUTS + self.CUTS_OF_USERS

    def config(self):
        return {"directory": str(self.folder)}

    def _now(self):
        return self.away if self.cut_by in ("vanished", "replaced") else self.folder

    def put(self, name, text):
        temporary = self._now() / f".{name}.tmp"
        temporary.write_text(text)
        self._own(temporary)
        temporary.rename(self._now() / f"{name}.yaml")

    def begin_put(self, name, text):
        """Writes half of the file; what is returned writes the rest."""
        path = self._now() / f"{name}.yaml"
        file = open(path, "w")
        self._own(path)
        file.write(text[:len(text) // 2])
        file.flush()

        def finish():
            file.write(text[len(text) // 2:])
            file.close()
        return finish

    def _own(self, path):
        os.chown(path, self.world.account.uid, self.world.account.gid)

    def remove(self, name):
        (self._now() / f"{name}.yaml").unlink()

    def cut(self, how):
        self.cut_by = how
        if how == "unreadable":
            self.folder.chmod(0)
            return
        self.folder.rename(self.away)
        if how == "replaced":
            self.folder.write_text("no folder\n")

    def restore(self):
        if self.cut_by == "unreadable":
            self.folder.chmod(0o755)
        else:
            with contextlib.suppress(FileNotFoundError):
                self.folder.unlink()
            self.away.rename(self.folder)
        self.cut_by = ""

    def close(self):
        pass


class HttpsSource:
    """The scripted control plane of the system tests."""

    CUTS = ("away", "status 500", "status 401", "status 404", "garbage", "truncated", "reset",
            "empty", "web page")
    takes_any_text = False  # one answer holds all: what cannot be parsed is the answer's fault

    def __init__(self, world, waits):
        self.world, self.waits = world, waits
        self.folder = world.agent.folder / "tls"
        self.authority = control_plane.Authority(self.folder)
        self.certificate = self.authority.issue("server")
        self.authority.file.chmod(0o644)
        self.folder.chmod(0o755)
        self.documents = {}
        self.port = 0
        self.plane = None
        self._open()
        self.cut_by = ""

    def _open(self):
        self.plane = control_plane.ControlPlane(self.world.agent.device, waits=self.waits,
                                                tls=self.certificate, port=self.port)
        self.plane.applications = dict(self.documents)
        self.port = self.plane.port
        self.plane.thread.start()

    def config(self):
        return {"https": {"url": self.plane.url, "caFile": str(self.authority.file),
                          "pollInterval": "1s", "reportInterval": "5s"}}

    def _change(self):
        if self.plane:
            with self.plane.changed:
                self.plane.applications = dict(self.documents)
                self.plane.changed.notify_all()
            del self.plane.requests[:-100], self.plane.reports[:-10]

    def put(self, name, text):
        self.documents[name] = text
        self._change()

    def remove(self, name):
        del self.documents[name]
        self._change()

    def cut(self, how):
        self.cut_by = how
        plane = self.plane
        ways = {"garbage": plane.documents("\x00\x01{[: no\n\t- yaml"),
                "empty": plane.documents(""),
                "web page": plane.documents("<html><body>Log in</body></html>", "text/html"),
                "truncated": plane.cut(0.5), "reset": plane.cut(0.5, reset=True),
                "away": self._hang_up}
        plane.default = ways.get(how) or plane.status(int(how.split()[-1]))
        with plane.changed:  # what it holds is answered with 304; what comes then gets the above
            plane.closing = True
            plane.changed.notify_all()
        if how == "away":
            plane.close()
            self.plane = None

    @staticmethod
    def _hang_up(handler):
        """On a connection that was there before the listener went."""
        handler.close_connection = True

    def restore(self):
        if self.plane is None:
            self._open()
        self.plane.closing, self.plane.default = False, None
        self.cut_by = ""
        self._change()

    def close(self):
        if self.plane:
            self.plane.close()


class Proxy:
    """A TCP proxy on loopback that can go wrong."""

    def __init__(self, target):
        self.target, self.how = target, ""
        self.port = free_port()
        self.listener = None
        self.connections = set()
        self.lock = threading.Lock()
        self._listen()

    def _listen(self):
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        listener.listen(64)
        self.listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def _accept(self, listener):
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        with self.lock:
            self.connections.add(client)
        with contextlib.suppress(OSError):
            if self.how == "garbage":
                client.recv(65536)
                client.sendall(b"\x00\xff garbage \r\n\r\n" * 10)
            elif self.how == "reset":
                client.recv(1)
            elif self.how == "silent":
                while client.recv(65536):
                    pass
            else:
                self._forward(client)
        with self.lock:
            self.connections.discard(client)
        client.close()

    def _forward(self, client):
        with socket.create_connection(self.target) as server:
            peer = {client: server, server: client}
            while True:
                for s in select.select([client, server], [], [])[0]:
                    data = s.recv(65536)
                    if not data:
                        return
                    peer[s].sendall(data)

    def set(self, how):
        self.how = how
        if how == "away":
            self.close()
        elif self.listener is None:
            self._listen()
        self._drop()

    def _drop(self):
        with self.lock:
            for client in self.connections:
                with contextlib.suppress(OSError):
                    client.shutdown(socket.SHUT_RDWR)

    def close(self):
        if self.listener:
            with contextlib.suppress(OSError):
                self.listener.shutdown(socket.SHUT_RDWR)
            self.listener.close()
            self.listener = None
        self._drop()


class EtcdSource:
    """A real etcd, behind a proxy."""

    CUTS = ("away", "garbage", "reset", "silent", "killed")
    takes_any_text = True  # one key an application

    def __init__(self, world):
        self.world = world
        self.cluster = etcd.Etcd(world.agent.folder / "etcd")
        self.cluster.__enter__()
        self.member = self.cluster.members[0]
        self.proxy = Proxy(("127.0.0.1", self.member.client))
        self.late = []  # what was to be written while etcd was dead
        self.cut_by = ""

    def config(self):
        return {"etcd": {"endpoints": [f"http://127.0.0.1:{self.proxy.port}"],
                         "reportInterval": "5s"}}

    def _do(self, action, *arguments):
        if self.cut_by == "killed":
            self.late.append((action, arguments))
        else:
            action(*arguments)

    def put(self, name, text):
        self._do(self.cluster.put, etcd.key(self.world.agent.device, name), text)

    def remove(self, name):
        self._do(self.cluster.delete, etcd.key(self.world.agent.device, name))

    def cut(self, how):
        self.cut_by = how
        if how == "killed":
            self.member.kill()
        else:
            self.proxy.set(how)

    def restore(self):
        if self.cut_by == "killed":
            self.cluster.__enter__()
            self.cut_by = ""
            late, self.late = self.late, []
            for action, arguments in late:
                action(*arguments)
        self.proxy.set("")
        self.cut_by = ""

    def close(self):
        self.proxy.close()
        self.cluster.__exit__()


KINDS = ("directory", "https", "etcd")


def make(kind, world, rng):
    if kind == "directory":
        return DirectorySource(world)
    if kind == "https":
        return HttpsSource(world, waits=rng.random() < 0.7)
    return EtcdSource(world)


def to_text(document):
    return yaml.safe_dump(document, sort_keys=False)
