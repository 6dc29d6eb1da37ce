"""Programs that people run, as workloads: they serve, survive a kill, and are gone after a stop."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import urllib.request

import pytest

from harness import (PYTHON, RESTART_AT_ONCE, describe, free_port, is_alive, process, processes,
                     sh, wait_for, workload)


def needs(program):
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"{program} is not installed")


def get(port, path="/"):
    """The body of an HTTP answer, or "" where nobody answers."""
    with contextlib.suppress(OSError):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.read().decode()
    return ""


def redis(port, command):
    """Redis's answer to one command, or "" where nobody answers."""
    with contextlib.suppress(OSError):
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(command.encode() + b"\r\n")
            return connection.recv(1000).decode()
    return ""


def can_connect(port):
    with contextlib.suppress(OSError):
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
        return True
    return False


def assert_survives_a_kill(agent, pid, answers):
    """After kill -9 of its leader, it serves again under another PID."""
    os.kill(pid, signal.SIGKILL)
    again = agent.wait_started("app", "main", count=2)
    assert again != pid
    wait_for(answers, "it to serve after the kill")


def port_named(name, number):
    return [{"name": name, "containerPort": number, "protocol": "tcp"}]


@needs("prometheus-node-exporter")
def test_node_exporter(agent):
    port = free_port()
    [pid] = agent.run("telemetry-collector", workload(
        "collector", ["prometheus-node-exporter", f"--web.listen-address=127.0.0.1:{port}"],
        ports=port_named("metrics", port), logFile=str(agent.work / "collector.log"),
        env={"PATH": "/usr/bin:/bin"}))
    wait_for(lambda: "node_cpu_seconds_total" in get(port, "/metrics"), "its metrics")
    assert "Listening" in agent.wait_file("collector.log", "Listening")
    agent.stop()
    assert not is_alive(pid) and not can_connect(port)


@needs("redis-server")
def test_redis(agent):
    port = free_port()
    [pid] = agent.run("app", workload(
        "main", ["/usr/bin/redis-server", "--port", str(port), "--bind", "127.0.0.1",
                 "--dir", str(agent.work), "--appendonly", "yes"],
        ports=port_named("redis", port), workingDir=str(agent.work), restart=RESTART_AT_ONCE))
    wait_for(lambda: redis(port, "SET key value").startswith("+OK"), "redis to answer")
    assert_survives_a_kill(agent, pid, lambda: "value" in redis(port, "GET key"))
    agent.remove("app.yaml")
    agent.wait_event("stopped", "app", "main")
    assert "bye bye" in agent.read_log("app", "main"), "it was asked and not killed"
    assert not can_connect(port)


def nginx(agent, port, *arguments):
    """nginx with two workers, all of it below the test's own folder."""
    folder = agent.work
    (folder / "index.html").write_text("served by nginx\n")
    (folder / "nginx.conf").write_text(f"""
worker_processes 2;
pid {folder}/nginx.pid;
error_log stderr;
events {{}}
http {{
    access_log /dev/stdout;
    client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
    uwsgi_temp_path {folder}; scgi_temp_path {folder};
    server {{ listen 127.0.0.1:{port}; root {folder}; }}
}}
""")
    return ["/usr/sbin/nginx", "-p", str(folder), "-e", "stderr", "-c", str(folder / "nginx.conf"),
            *arguments]


def nginx_processes(agent):
    """The master and its workers, told by the configuration file in the master's title."""
    mine = {p.pid for p in processes()
            if str(agent.work) in open_or_empty(f"/proc/{p.pid}/cmdline")}
    return [p for p in processes() if p.pid in mine or p.ppid in mine]


def open_or_empty(path):
    with contextlib.suppress(OSError), open(path, errors="replace") as file:
        return file.read()
    return ""


@needs("nginx")
def test_nginx_in_the_foreground(agent):
    port = free_port()
    [pid] = agent.run("app", workload("main", nginx(agent, port, "-g", "daemon off;"),
                                      ports=port_named("web", port), restart=RESTART_AT_ONCE))
    wait_for(lambda: "served by nginx" in get(port), "nginx to serve")
    agent.wait_logged("app", "main", "GET /")  # it opens /dev/stdout, which is our pipe
    workers = [p.pid for p in processes() if p.ppid == pid]
    assert len(workers) == 2
    os.kill(pid, signal.SIGKILL)  # the workers live on, and hold the port
    agent.wait_started("app", "main", count=2)
    assert not any(is_alive(worker) for worker in workers)
    wait_for(lambda: "served by nginx" in get(port), "nginx to serve again")
    agent.stop()
    assert not nginx_processes(agent) and not can_connect(port)


@needs("nginx")
def test_nginx_that_makes_itself_a_daemon(agent):
    """Its first process ends with 0 at once and leaves a daemon in another session, which holds
    the port: it is stopped before each new try, and at the end."""
    port = free_port()
    agent.deploy("app", workload("main", nginx(agent, port), restart={
        "initialDelay": "50ms", "maxDelay": "50ms", "maxRapidFailures": 3}))
    agent.wait_event("failed", "app", "main")
    assert "Address already in use" not in agent.read_log("app", "main")
    agent.wait(lambda: not nginx_processes(agent), "the daemon to be stopped")
    agent.stop()
    left = nginx_processes(agent)
    assert not left and not can_connect(port), describe(left)


@pytest.fixture
def virtualenv(agent):
    folder = agent.work / "venv"
    subprocess.run([PYTHON, "-m", "venv", "--without-pip", str(folder)], check=True)
    return folder


def test_python_server_in_a_virtualenv(agent, virtualenv):
    port = free_port()
    (agent.work / "server.py").write_text(
        "import http.server, sys\n"
        "print('prefix', sys.prefix, flush=True)\n"
        "http.server.test(http.server.SimpleHTTPRequestHandler, port=int(sys.argv[1]),"
        " bind='127.0.0.1')\n")
    [pid] = agent.run("app", workload(
        "main", ["venv/bin/python", "-u", "server.py", str(port)], workingDir=str(agent.work),
        ports=port_named("web", port), restart=RESTART_AT_ONCE))
    wait_for(lambda: "server.py" in get(port), "the server to list its folder")
    assert f"prefix {virtualenv}" in agent.read_log("app", "main")
    assert_survives_a_kill(agent, pid, lambda: "server.py" in get(port))
    agent.stop()
    assert not can_connect(port)


STATIC_PROGRAM = r"""
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

static volatile sig_atomic_t ended;

static void end(int signal)
{
    ended = signal;
}

int main(void)
{
    signal(SIGTERM, end);
    puts("static and running");
    fflush(stdout);
    while (!ended) {
        pause();
    }
    puts("static and ended");
    return 0;
}
"""


@needs("cc")
def test_a_static_binary(agent):
    source, program = agent.work / "static.c", agent.work / "static"
    source.write_text(STATIC_PROGRAM)
    subprocess.run(["cc", "-static", "-o", str(program), str(source)], check=True)
    [pid] = agent.run("app", workload("main", [str(program)], restart=RESTART_AT_ONCE))
    agent.wait_logged("app", "main", "static and running")
    assert_survives_a_kill(agent, pid,
                           lambda: agent.read_log("app", "main").count("and running") == 2)
    agent.stop()
    assert "static and ended" in agent.read_log("app", "main")


def test_a_shell_script_with_a_pipeline_of_children(agent):
    script = agent.work / "pipeline"
    script.write_text("#!/bin/sh\n"
                      "while :; do echo tick; sleep 0.1; done | sed -u s/tick/tock/ | cat -n | cat\n")
    script.chmod(0o755)
    [pid] = agent.run("app", workload("main", ["./pipeline"], workingDir=str(agent.work)))
    agent.wait_logged("app", "main", "3\ttock")
    assert len([p for p in processes() if p.pgid == pid]) >= 5
    agent.stop()


def test_a_script_that_starts_a_server_in_the_background_and_ends(agent):
    """Like many an init script; the server is the workload's, not a stray."""
    port = free_port()
    agent.deploy("app", workload("main", sh(
        f"cd {agent.work}; setsid nohup {PYTHON} -m http.server {port} --bind 127.0.0.1 "
        f">/dev/null 2>&1 & echo $! > server.pid; sleep 0.5; exit 0"),
        workingDir=str(agent.work), restart={"policy": "never"}))
    server = agent.wait_pid_file("server.pid")
    agent.wait_event("exited", "app", "main")
    wait_for(lambda: process(server) is None or not is_alive(server), "the server to be stopped")
    agent.stop()
    assert not can_connect(port)
