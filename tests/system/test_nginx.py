"""A control plane of plain files behind a real nginx, with the configuration of examples/."""

import json
import os
import shutil
import signal
import ssl
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from control_plane import Authority, to_text
from harness import ROOT, SLEEP, free_port, is_alive, run_client, wait_for, workload
from test_https import secret, source

DEVICE_TOKEN, OPERATOR_TOKEN = "d" * 64, "o" * 64  # as long as those of the example
EXAMPLE = ROOT / "examples" / "control-plane"


class Nginx:
    """The example's configuration, with other paths and another port."""

    def __init__(self, folder, device):
        self.folder, self.device, self.port = folder, device, free_port()
        self.ca = Authority(folder / "pki")
        server = self.ca.issue("server")
        self.files = folder / "srv"
        home = folder / "edgible"
        for made in (home, self.files / device / "applications.d", folder / "tmp"):
            made.mkdir(parents=True)
        shutil.copy(EXAMPLE / "Edgible.pm", home)
        shutil.copy(server[0], home / "server.pem")
        shutil.copy(server[1], home / "server.key")
        (home / "tokens.map").write_text(
            (EXAMPLE / "tokens.map").read_text()
            .replace("put-the-token-of-my-first-here", DEVICE_TOKEN)
            .replace("put-the-token-of-an-operator-here", OPERATOR_TOKEN)
            .replace("my-first", device))
        text = (EXAMPLE / "edgible.conf").read_text()
        text = text.replace("/etc/nginx/edgible", str(home)).replace("/srv/edgible", str(self.files))
        text = text.replace("listen 8443", f"listen 127.0.0.1:{self.port}")
        (home / "edgible.conf").write_text(text)
        module = next(Path("/usr/lib/nginx/modules").glob("ngx_http_perl_module.so"))
        user = "user root;\n" if os.geteuid() == 0 else ""
        temporary = "".join(f"  {kind}_temp_path {folder}/tmp/{kind};\n" for kind in
                            ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        (folder / "nginx.conf").write_text(
            f"load_module {module};\n{user}daemon off;\nworker_processes 1;\n"
            f"pid {folder}/pid;\nerror_log {folder}/error.log;\nevents {{}}\nhttp {{\n"
            f"  access_log {folder}/access.log;\n{temporary}  include {home}/edgible.conf;\n}}\n")
        self.url = f"https://localhost:{self.port}"
        self.process = None

    def __enter__(self):
        with open(self.folder / "nginx.out", "ab") as log:
            self.process = subprocess.Popen(
                ["nginx", "-p", str(self.folder), "-e", str(self.folder / "error.log"),
                 "-c", str(self.folder / "nginx.conf")], stdout=log, stderr=log)
        wait_for(lambda: self.process.poll() is not None or self.status("GET", "/") == 404, "nginx")
        assert self.process.poll() is None, (self.folder / "error.log").read_text()
        return self

    def __exit__(self, *args):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()

    def status(self, method, path, token=OPERATOR_TOKEN, body=None, headers=None):
        context = ssl.create_default_context(cafile=str(self.ca.file))
        request = urllib.request.Request(self.url + path, body, {
            "Authorization": f"Bearer {token}", **(headers or {})}, method=method)
        try:
            with urllib.request.urlopen(request, context=context, timeout=10) as answer:
                self.body, self.headers = answer.read(), answer.headers
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return None


@pytest.fixture
def nginx(make_agent, tmp_path):
    agent = make_agent()
    with Nginx(tmp_path / "nginx", agent.device) as server:
        ca = secret(agent, "ca.pem", server.ca.file.read_text())
        token = secret(agent, "token", DEVICE_TOKEN + "\n")
        agent.write_config(controlPlane={"https": {
            "url": server.url, "caFile": str(ca), "tokenFile": str(token), "pollInterval": "1s",
            "reportInterval": "2s"}})
        server.agent = agent
        yield server


def test_files_behind_nginx_run_change_and_go(nginx):
    agent = nginx.agent
    folder = nginx.files / agent.device / "applications.d"
    (folder / "web.yaml").write_text(to_text([agent.app("web", workload("w", SLEEP))]))
    agent.start()
    pid = agent.wait_started("web", "w")
    (folder / "job.yaml").write_text(to_text([agent.app("job", workload("j", SLEEP))]).rstrip("\n"))
    agent.wait_started("job", "j")
    (folder / "job.yaml").unlink()
    agent.wait_event("removed", "job")
    wait_for(lambda: " 304 " in (nginx.folder / "access.log").read_text(), "an answer 304")
    wait_for(lambda: source(agent).get("mode") == "poll", "it to see that the server does not wait")
    assert is_alive(pid)
    report = wait_for(lambda: (p := nginx.files / agent.device / "report.json").exists() and
                      (r := json.loads(p.read_text()))["applications"] and r, "a report")
    assert report["device"]["name"] == agent.device
    (folder / "web.yaml").unlink()
    agent.wait_event("removed", "web")


@pytest.mark.once
def test_a_deploy_from_a_laptop_through_nginx(nginx, tmp_path):
    agent = nginx.agent
    agent.start()
    token = tmp_path / "operator"
    token.write_text(OPERATOR_TOKEN + "\n")
    token.chmod(0o600)
    options = ["--control-plane", nginx.url, "--device", agent.device, "--ca-file", nginx.ca.file,
               "--token-file", token]
    file = tmp_path / "stack.yaml"
    file.write_text(to_text([agent.app("web", workload("w", SLEEP))]))
    done = run_client(*options, "stack", "deploy", "-f", file)
    assert done.returncode == 0, done.stderr + done.stdout
    pid = agent.wait_started("web", "w")
    assert is_alive(pid)
    done = run_client(*options, "device", "application-health", "--name", agent.device)
    assert done.returncode == 0 and "running" in done.stdout
    done = run_client(*options, "stack", "teardown", "--name", "web")
    assert done.returncode == 0, done.stderr + done.stdout
    agent.wait_event("removed", "web")
    token.write_text(DEVICE_TOKEN + "\n")
    done = run_client(*options, "stack", "deploy", "--no-wait", "-f", file)
    assert done.returncode == 4 and "403" in done.stderr


@pytest.mark.once
def test_who_may_do_what(nginx):
    base = f"/v3/devices/{nginx.device}"
    document = to_text([nginx.agent.app("web", workload("w", SLEEP))]).encode()
    for method, path, token, status in (
            ("GET", f"{base}/applications", "nobody", 401),
            ("GET", f"{base}/applications", DEVICE_TOKEN, 200),
            ("GET", f"{base}/applications", OPERATOR_TOKEN, 200),
            ("GET", "/v3/devices/another/applications", DEVICE_TOKEN, 403),
            ("GET", "/v3/devices/another/applications", OPERATOR_TOKEN, 404),
            ("PUT", f"{base}/applications/web", DEVICE_TOKEN, 403),
            ("PUT", f"{base}/applications/web", OPERATOR_TOKEN, 201),
            ("PUT", f"{base}/applications/../../x", OPERATOR_TOKEN, 404),
            ("DELETE", f"{base}/applications/web", DEVICE_TOKEN, 403),
            ("DELETE", f"{base}/applications/web", OPERATOR_TOKEN, 204),
            ("DELETE", f"{base}/applications/web", OPERATOR_TOKEN, 404),
            ("PUT", f"{base}/report", DEVICE_TOKEN, 201),
            ("PUT", "/v3/devices/another/report", DEVICE_TOKEN, 403),
            ("DELETE", f"{base}/report", DEVICE_TOKEN, 405),
            ("POST", f"{base}/applications", OPERATOR_TOKEN, 405)):
        body = document if method in ("PUT", "POST") else None
        assert nginx.status(method, path, token, body) == status, (method, path, token)
    assert nginx.status("GET", f"{base}/applications") == 200 and nginx.body == b"[]\n"
