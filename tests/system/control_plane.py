"""A scripted control plane on loopback: what docs/api/control-plane.openapi.yaml describes, and
every way in which a server can go wrong."""

import contextlib
import functools
import gzip
import hashlib
import http.server
import json
import socket
import ssl
import subprocess
import threading
import time

import jsonschema
import yaml

from harness import ROOT, wait_for


class Authority:
    """A CA of its own, and the certificates that it makes."""

    def __init__(self, folder, name="ca"):
        self.folder, self.name = folder, name
        folder.mkdir(parents=True, exist_ok=True)
        self.file = folder / f"{name}.pem"
        self._openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                      "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.pem", "-days", "30",
                      "-subj", f"/CN={name} of a test")

    def _openssl(self, *args, text=None):
        done = subprocess.run(["openssl", *args], cwd=self.folder, input=text, text=True,
                              capture_output=True)
        assert done.returncode == 0, done.stderr

    def parameters(self):
        """Of a Diffie-Hellman exchange."""
        self._openssl("dhparam", "-dsaparam", "-out", "dh.pem", "2048")
        return self.folder / "dh.pem"

    def issue(self, name, hosts="DNS:localhost,IP:127.0.0.1", days=30, usage="serverAuth,clientAuth",
              key=("ec", "-pkeyopt", "ec_paramgen_curve:P-256")):
        """A certificate and its key; days below 0: one that has expired."""
        extensions = self.folder / f"{name}.ext"
        extensions.write_text(f"subjectAltName={hosts}\nextendedKeyUsage={usage}\n")
        self._openssl("req", "-new", "-newkey", *key, "-nodes",
                      "-keyout", f"{name}.key", "-out", f"{name}.csr",
                      "-subj", f"/CN={name}")
        validity = ["-days", str(days)]
        if days < 0:  # `openssl x509` takes no dates before today
            (self.folder / "index.txt").write_text("")
            (self.folder / "ca.cnf").write_text(
                "[ca]\ndefault_ca=c\n[c]\ndatabase=index.txt\nrand_serial=yes\nnew_certs_dir=.\n"
                f"default_md=sha256\npolicy=p\nx509_extensions=e\n[p]\ncommonName=supplied\n"
                f"[e]\nsubjectAltName={hosts}\n")
            self._openssl("ca", "-batch", "-config", "ca.cnf", "-cert", f"{self.name}.pem",
                          "-keyfile", f"{self.name}.key", "-in", f"{name}.csr", "-out",
                          f"{name}.pem", "-startdate", "20200101000000Z", "-enddate",
                          "20200201000000Z", "-notext")
        else:
            self._openssl("x509", "-req", "-in", f"{name}.csr", "-CA", f"{self.name}.pem", "-CAkey",
                          f"{self.name}.key", "-CAcreateserial", "-out", f"{name}.pem",
                          "-extfile", f"{name}.ext", *validity)
        return self.folder / f"{name}.pem", self.folder / f"{name}.key"

    def issue_below(self, name, count):
        """A certificate below so many others, which its file has as well."""
        (self.folder / "between.ext").write_text("basicConstraints=CA:TRUE\n")
        above, chain = self.name, []
        for number in range(count):
            below = f"between{number}"
            self._openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                          "-nodes", "-keyout", f"{below}.key", "-out", f"{below}.csr",
                          "-subj", f"/CN={below}")
            self._openssl("x509", "-req", "-in", f"{below}.csr", "-CA", f"{above}.pem", "-CAkey",
                          f"{above}.key", "-CAcreateserial", "-out", f"{below}.pem",
                          "-extfile", "between.ext", "-days", "30")
            above = below
            chain.insert(0, (self.folder / f"{below}.pem").read_text())
        last = Authority.__new__(Authority)
        last.folder, last.name = self.folder, above
        file, key = last.issue(name)
        file.write_text(file.read_text() + "".join(chain))
        return file, key


def to_text(documents):
    return documents if isinstance(documents, str) else \
        yaml.safe_dump_all(documents, sort_keys=False) if documents else "[]\n"


@functools.lru_cache
def description(name):
    return yaml.safe_load((ROOT / "docs/api" / name).read_text())


def check_report(report):
    """Holds it against docs/api/control-plane.openapi.yaml, and its applications against the
    agent's own API. In the server's thread: what is wrong ends up in the list of reports."""
    plane, agent = description("control-plane.openapi.yaml"), description("agent.openapi.yaml")
    try:
        for value, schema, document in (
                [(report, "Report", plane)] +
                [(a, "Application", agent) for a in report["applications"]] +
                [(e, "Event", agent) for e in report["events"]]):
            jsonschema.Draft202012Validator(
                {**document["components"]["schemas"][schema],
                 "components": document["components"]}).validate(value)
    except jsonschema.ValidationError as error:
        return {**report, "invalid": str(error)}
    return report


class Request:
    """What the server saw."""

    def __init__(self, handler):
        self.method, self.path, self.headers = handler.command, handler.path, handler.headers
        self.at = time.monotonic()


class ControlPlane:
    """`with ControlPlane(device) as plane:`; its answers can be scripted with `plane.script`, a
    list of functions that get the handler, of which each serves one GET of the documents."""

    def __init__(self, device, waits=True, etags=True, tls=None, client_ca=None, token=None,
                 tls_version=None, reports=True, port=0, hold=50, host="127.0.0.1"):
        self.device, self.waits, self.etags, self.token = device, waits, etags, token
        self.takes_reports, self.hold = reports, hold
        self.applications = {}
        self.text = None  # what is answered, where it is not made from `applications`
        self.script, self.default = [], None
        self.report_status, self.report_headers = 204, {}
        self.requests, self.reports = [], []
        self.changed = threading.Condition()
        self.closing = False
        self.tls = tls
        plane = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args):
                pass

            def handle(self):
                with contextlib.suppress(ConnectionError, ssl.SSLError, BrokenPipeError):
                    super().handle()

            def do_GET(self):
                plane._serve(self)

            do_PUT = do_DELETE = do_GET

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 256

            def handle_error(self, request, address):
                pass

        self.server = Server((host, port), Handler)
        if tls:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            if tls_version:
                self.context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
                self.context.maximum_version = tls_version
                self.context.set_ciphers("ALL:@SECLEVEL=0")
            self.context.load_cert_chain(*map(str, tls))
            if client_ca:
                self.context.verify_mode = ssl.CERT_REQUIRED
                self.context.load_verify_locations(str(client_ca))
            self.server.socket = self.context.wrap_socket(
                self.server.socket, server_side=True, do_handshake_on_connect=False)
        self.port = self.server.server_address[1]
        self.url = f"https://localhost:{self.port}" if tls else f"http://{host}:{self.port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *args):
        self.close()

    def close(self):
        wrong = [r["invalid"] for r in self.reports if "invalid" in r]
        with self.changed:
            self.closing = True
            self.changed.notify_all()
        self.server.shutdown()
        self.server.server_close()
        assert not wrong, wrong[0]

    # what it says

    @property
    def base(self):
        return f"/v3/devices/{self.device}"

    def body(self):
        if self.text is not None:
            return self.text.encode() if isinstance(self.text, str) else self.text
        return "---\n".join(self.applications[name] for name in sorted(self.applications)).encode() \
            or b"[]\n"

    def etag(self):
        return '"' + hashlib.sha256(self.body()).hexdigest()[:16] + '"'

    def set(self, *documents):
        """From now on these are the applications of the device."""
        with self.changed:
            self.text = None
            self.applications = {d["metadata"]["name"]: yaml.safe_dump(d, sort_keys=False)
                                 for d in documents}
            self.changed.notify_all()

    def set_text(self, text):
        with self.changed:
            self.text = text
            self.changed.notify_all()

    def polls(self):
        return [r for r in self.requests if r.method == "GET" and r.path.endswith("/applications")]

    def wait_polls(self, count=1, since=0):
        wait_for(lambda: len(self.polls()) >= since + count, f"{count} polls")
        return self.polls()

    def wait_report(self, condition=lambda report: True, what="a report"):
        """The first report that fulfils the condition."""
        return wait_for(lambda: next((r for r in list(self.reports) if condition(r)), None), what)

    # serving

    def _serve(self, handler):
        length = int(handler.headers.get("Content-Length", 0))
        body = handler.rfile.read(length)
        self.requests.append(Request(handler))
        if self.token and handler.headers.get("Authorization") != f"Bearer {self.token}":
            return self.reply(handler, 401, b"")
        if handler.path == f"{self.base}/report":
            return self._serve_report(handler, body)
        if handler.path.startswith(f"{self.base}/applications/"):
            return self._serve_change(handler, handler.path.rsplit("/", 1)[1], body)
        if handler.path != f"{self.base}/applications" or handler.command != "GET":
            return self.reply(handler, 404, b"")
        if self.script:
            return self.script.pop(0)(handler)
        if self.default:
            return self.default(handler)
        return self.serve_documents(handler)

    def _serve_report(self, handler, body):
        if handler.command == "GET":
            return self.reply(handler, 200, json.dumps(self.reports[-1]).encode()) \
                if self.reports else self.reply(handler, 404, b"")
        if not self.takes_reports:
            return self.reply(handler, 405, b"")
        if self.report_status < 300:
            self.reports.append(check_report(json.loads(body)))
        return self.reply(handler, self.report_status, b"", **self.report_headers)

    def _serve_change(self, handler, name, body):
        with self.changed:
            if handler.command == "PUT":
                status = 204 if name in self.applications else 201
                self.applications[name] = body.decode()
            elif handler.command == "DELETE":
                status = 204 if self.applications.pop(name, None) is not None else 404
            else:
                status = 405
            self.changed.notify_all()
        self.reply(handler, status, b"")

    def serve_documents(self, handler):
        match = handler.headers.get("If-None-Match")
        wait = handler.headers.get("Prefer", "").removeprefix("wait=")
        with self.changed:
            if self.waits and wait and match == self.etag():
                self.changed.wait_for(lambda: self.closing or match != self.etag(),
                                      min(int(wait), self.hold))
            body, etag = self.body(), self.etag()
        headers = {"ETag": etag} if self.etags else {}
        if self.etags and match == etag:
            return self.reply(handler, 304, None, **headers)
        return self.reply(handler, 200, body, content_type="application/yaml", **headers)

    def reply(self, handler, status, body, content_type=None, **headers):
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), str(value))
        if content_type:
            handler.send_header("Content-Type", content_type)
        if body is not None and "Content_Length" not in headers and "Content-Length" not in headers:
            handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        if body:
            handler.wfile.write(body)

    # ways to go wrong

    def status(self, status, **headers):
        return lambda handler: self.reply(handler, status, b"no", **headers)

    def documents(self, text, content_type="application/yaml", **headers):
        return lambda handler: self.reply(handler, 200, text.encode(), content_type, **headers)

    def cut(self, fraction=0.5, reset=False):
        """Ends the connection in the middle of the body."""
        def serve(handler):
            body = self.body()
            self.reply(handler, 200, body[:int(len(body) * fraction)], Content_Length=len(body))
            handler.wfile.flush()
            if reset:
                handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                              b"\1\0\0\0\0\0\0\0")
            handler.close_connection = True
            if reset:
                handler.connection.close()
        return serve

    def gzipped(self, text=None, cut=0):
        """cut: so many bytes are missing at its end, while its length is right."""
        def serve(handler):
            data = gzip.compress(text.encode() if text else self.body())
            data = data[:len(data) - cut]
            self.reply(handler, 200, data, "application/yaml", Content_Encoding="gzip")
        return serve

    def without_length(self, text, type=None):
        """The end of the body is the end of the connection."""
        def serve(handler):
            handler.protocol_version = "HTTP/1.0"
            handler.send_response(200)
            handler.send_header("Connection", "close")
            if type is not None:
                handler.send_header("Content-Type", type)
            handler.end_headers()
            handler.wfile.write(text.encode())
            handler.close_connection = True
        return serve

    def drip(self, chunk=b"# slow\n", pause=0.2):
        """A body that never ends, a few bytes at a time."""
        def serve(handler):
            handler.send_response(200)
            handler.send_header("Content-Length", "1000000")
            handler.end_headers()
            while not self.closing:
                handler.wfile.write(chunk)
                handler.wfile.flush()
                time.sleep(pause)
        return serve
