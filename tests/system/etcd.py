"""Real etcd servers on loopback, one or a cluster, and what an operator does with them."""

import base64
import json
import os
import shutil
import ssl
import subprocess
import urllib.error
import urllib.request

import yaml

from harness import free_port, wait_for


def encode(text):
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


def decode(text):
    return base64.b64decode(text).decode()


class Member:
    def __init__(self, cluster, name):
        self.cluster, self.name = cluster, name
        self.client, self.peer = free_port(), free_port()
        self.folder = cluster.folder / name
        self.process = None

    @property
    def url(self):
        return f"{self.cluster.scheme}://localhost:{self.client}"

    def start(self):
        peers = ",".join(f"{m.name}=http://127.0.0.1:{m.peer}" for m in self.cluster.members)
        with open(self.cluster.folder / f"{self.name}.log", "ab") as log:
            self.process = subprocess.Popen(
                ["etcd", "--name", self.name, "--data-dir", str(self.folder),
                 "--listen-client-urls", self.url.replace("localhost", "127.0.0.1"),
                 "--advertise-client-urls", self.url,
                 "--listen-peer-urls", f"http://127.0.0.1:{self.peer}",
                 "--initial-advertise-peer-urls", f"http://127.0.0.1:{self.peer}",
                 "--initial-cluster", peers, "--initial-cluster-token", "test",
                 "--heartbeat-interval=100", "--election-timeout=1000", *self.cluster.options],
                stdout=log, stderr=log, cwd=self.cluster.folder,
                env={**os.environ, "ETCDCTL_API": "3"})

    def kill(self):
        self.process.kill()
        self.process.wait()

    def lose_data(self):
        self.kill()
        shutil.rmtree(self.folder)
        self.start()


class Etcd:
    """`with Etcd(folder) as etcd:`"""

    def __init__(self, folder, size=1, tls=None, ca=None, client_auth=False):
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self.scheme = "https" if tls else "http"
        self.options, self.context, self.token = [], None, None
        if tls:
            self.options = ["--cert-file", str(tls[0]), "--key-file", str(tls[1])]
            self.context = ssl.create_default_context(cafile=str(ca.file))
            if client_auth:
                self.options += ["--client-cert-auth", "--trusted-ca-file", str(ca.file)]
                self.context.load_cert_chain(*map(str, ca.issue("operator")))
        self.members = []
        for number in range(size):
            self.members.append(Member(self, f"m{number}"))

    def __enter__(self):
        for member in self.members:
            member.start()
        wait_for(self.is_up, "etcd to answer", 60)
        return self

    def __exit__(self, *args):
        for member in self.members:
            if member.process and member.process.poll() is None:
                member.kill()

    def is_up(self):
        try:
            self.call("/v3/kv/range", {"key": encode("x")})
            return True
        except (OSError, AssertionError):
            return False

    @property
    def endpoints(self):
        return [m.url for m in self.members]

    # as an operator

    def call(self, path, body, member=None):
        last = None
        for m in [member] if member else self.members:
            if m.process.poll() is not None:
                continue
            request = urllib.request.Request(
                m.url + path, json.dumps(body).encode(),
                {"Authorization": self.token} if self.token else {})
            try:
                with urllib.request.urlopen(request, timeout=10, context=self.context) as answer:
                    return json.loads(answer.read())
            except urllib.error.HTTPError as error:
                last = AssertionError(f"{path}: {error.code} {error.read().decode()}")
            except OSError as error:
                last = error
        raise last or OSError("no member runs")

    def put(self, key, value):
        value = value if isinstance(value, (str, bytes)) else yaml.safe_dump(value, sort_keys=False)
        return self.call("/v3/kv/put", {"key": encode(key), "value": encode(value)})

    def get(self, key):
        answer = self.call("/v3/kv/range", {"key": encode(key)})
        return decode(answer["kvs"][0].get("value", "")) if answer.get("kvs") else None

    def delete(self, key):
        return self.call("/v3/kv/deleterange", {"key": encode(key)})

    def revision(self):
        return int(self.call("/v3/kv/range", {"key": encode("x")})["header"]["revision"])

    def leader(self):
        status = self.call("/v3/maintenance/status", {})
        wanted = status["leader"]
        for m in self.members:
            if m.process.poll() is None:
                answer = self.call("/v3/maintenance/status", {}, member=m)
                if answer["header"]["member_id"] == wanted:
                    return m
        raise AssertionError("no leader")

    def enable_auth(self, user, password, prefix):
        """A user who may do all, and one who is confined to a prefix."""
        end = prefix[:-1] + chr(ord(prefix[-1]) + 1)
        self.call("/v3/auth/user/add", {"name": "root", "password": "root-secret"})
        self.call("/v3/auth/role/add", {"name": "root"})
        self.call("/v3/auth/user/grant", {"user": "root", "role": "root"})
        self.call("/v3/auth/role/add", {"name": "device"})
        self.call("/v3/auth/role/grant", {"name": "device", "perm": {
            "permType": "READWRITE", "key": encode(prefix), "range_end": encode(end)}})
        self.call("/v3/auth/user/add", {"name": user, "password": password})
        self.call("/v3/auth/user/grant", {"user": user, "role": "device"})
        self.call("/v3/auth/enable", {})
        self.login()

    def login(self):
        self.token = None
        self.token = self.call("/v3/auth/authenticate",
                               {"name": "root", "password": "root-secret"})["token"]


def key(device, name, prefix="/edgible"):
    return f"{prefix}/v3/devices/{device}/applications/{name}"
