"""The small agent (EDGIBLE_SOURCES=directory): its size, its memory, and what it is without.

EDGIBLE_AGENT is that binary, EDGIBLE_WHOLE the one with all control planes. The core system tests
are run against it as well (tests/CMakeLists.txt)."""

import contextlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

SYSTEM = Path(__file__).resolve().parents[1] / "system"
sys.path.insert(0, str(SYSTEM))

from api import Api  # noqa: E402
from conftest import *  # noqa: E402,F401,F403
from harness import SLEEP, agent_binary, free_port, python, wait_for, workload  # noqa: E402

KIB = 1024


def stripped_bytes(binary, tmp_path):
    subprocess.run(["strip", "-o", tmp_path / "stripped", binary], check=True)
    return (tmp_path / "stripped").stat().st_size


def needed(binary):
    text = subprocess.run(["readelf", "-d", binary], check=True, capture_output=True, text=True)
    return set(re.findall(r"\(NEEDED\).*\[(.+?)\.so", text.stdout))


def pss_bytes(pid):
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(re.search(r"^Pss: +(\d+) kB", text, re.MULTILINE)[1]) * KIB


def libraries_of(pid):
    return set(re.findall(r"/(lib[\w-]+?)[-.][\d.]*so", Path(f"/proc/{pid}/maps").read_text()))


def test_both_are_small_programs(tmp_path):
    assert stripped_bytes(os.environ["EDGIBLE_AGENT"], tmp_path) <= 560 * KIB
    assert stripped_bytes(os.environ["EDGIBLE_WHOLE"], tmp_path) <= 900 * KIB


def test_what_is_linked():
    assert needed(os.environ["EDGIBLE_AGENT"]) <= {"libyaml-0", "libcjson", "libev", "libmd",
                                                   "libc", "ld-linux-x86-64", "ld-linux-aarch64"}
    assert not {"libcurl", "libcrypto"} & needed(os.environ["EDGIBLE_WHOLE"])


@contextlib.contextmanager
def another_process():
    """Uses the C library and the name services, as others do on any device (init, sshd): a page
    that two processes have counts half for each."""
    script = "import os; os.getgrouplist('root', 0); print('ready', flush=True); input()"
    with subprocess.Popen(python(script), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"ready\n"
        yield
        process.stdin.close()


def test_it_is_small_in_memory_with_its_api_in_use(agent):
    agent.run("app", workload("main", SLEEP))
    for path in ("/v1/applications", "/v1/agent", "/metrics", "/v1/events"):
        Api(agent).get(path)
    with another_process():
        assert pss_bytes(agent.pid) <= 1.5 * KIB * KIB
    assert not {"libcurl", "libcrypto", "libgnutls", "libmicrohttpd"} & libraries_of(agent.pid)


def test_http_health_checks_load_nothing(agent):
    port = free_port()
    server = python(f"import http.server as h; "
                    f"h.HTTPServer(('127.0.0.1', {port}), h.SimpleHTTPRequestHandler)"
                    f".serve_forever()")
    agent.deploy("app", workload("main", server, ports=[{"containerPort": port}], workingDir="/tmp",
                                 healthCheck={"http": {"port": port, "path": "/"},
                                              "interval": "200ms", "startPeriod": "60s"}))
    agent.wait_event("healthy", "app", "main")
    assert "libcurl" not in libraries_of(agent.pid)


@pytest.mark.parametrize("plane", [
    {"https": {"url": "https://localhost:1"}}, {"etcd": {"endpoints": ["http://localhost:1"]}}])
def test_other_control_planes_are_refused_with_the_reason(make_agent, plane):
    agent = make_agent()
    agent.write_config(controlPlane=plane)
    agent.start()
    assert agent.wait_exit() == 1
    kind = next(iter(plane))
    wait_for(lambda: any(f"controlPlane.{kind}" in line and "EDGIBLE_SOURCES" in line
                         for line in agent.lines()), "the reason")
    for arguments in (["--config", str(agent.config_file), "--check"],
                      ["--config", str(agent.config_file), "application", "list"],
                      ["application", "list", "--control-plane", "https://localhost:1"]):
        done = subprocess.run([agent_binary(), *arguments], capture_output=True, text=True)
        assert done.returncode == 1 and "EDGIBLE_SOURCES" in done.stderr


def test_the_check_of_a_directory(agent):
    agent.put("app.yaml", yaml.safe_dump(agent.app("app", workload("main", SLEEP))))
    done = subprocess.run([agent_binary(), "--config", str(agent.config_file), "--check"],
                          capture_output=True, text=True)
    assert done.returncode == 0 and "application app" in done.stdout
