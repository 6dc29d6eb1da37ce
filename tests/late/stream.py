"""What the agent needs of etcd's gateway: keys, and lines of changes."""

import base64
import http.server
import json
import threading


def encode(text):
    return base64.b64encode(text.encode()).decode()


class EtcdStream:
    def __init__(self, device):
        self.prefix = f"/edgible/v3/devices/{device}/applications/"
        self.documents, self.changes = {}, []  # by name; of each line by name
        self.padding = []  # of all answers but those with documents
        self._over = threading.Event()
        stream = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args):
                pass

            def do_POST(self):
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                stream.serve(self, asked)

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request, address):
                pass

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *args):
        self._over.set()
        self.server.shutdown()
        self.server.server_close()

    def keys(self, documents, revision):
        return [{"key": encode(self.prefix + name), "value": encode(text),
                 "mod_revision": str(revision)} for name, text in documents.items()]

    def serve(self, handler, asked):
        header = {"cluster_id": "1", "revision": "5"}
        if handler.path == "/v3/watch":
            self.serve_watch(handler, header)
            return
        is_range = handler.path == "/v3/kv/range"
        kvs = []
        if is_range and "range_end" in asked:
            kvs = self.keys(self.documents, 5)
        elif is_range:
            kvs = [{"key": asked["key"], "mod_revision": "1"}]
        body = json.dumps({"header": header, "kvs": kvs, "ID": "7", "TTL": "60",
                           "padding": [] if is_range else self.padding}).encode()
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    def serve_watch(self, handler, header):
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        self.send(handler, {"result": {"header": header, "created": True}})
        for revision, documents in enumerate(self.changes, 6):
            events = [{"kv": kv} for kv in self.keys(documents, revision)]
            self.send(handler, {"result": {"header": {**header, "revision": str(revision)},
                                           "events": events}})
        self._over.wait()

    @staticmethod
    def send(handler, value):
        line = json.dumps(value).encode() + b"\n"
        handler.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
        handler.wfile.flush()
