"""Folders that an agent and its clients rely on: nobody else can write to them."""

import contextlib
import errno
import os
import shutil
import socket
import struct
import subprocess
from pathlib import Path

import pytest
import yaml

from api import Api
from harness import DEADLINE, IS_ROOT, SLEEP, agent_binary, base_environment, workload

STRANGER = 12345

needs_root = pytest.mark.skipif(not IS_ROOT, reason="needs root to make folders of others")
# What a folder is, and what is said about it.
BAD = [pytest.param("link", "is a link"), pytest.param("group", "others can write to"),
       pytest.param("sticky", "others can write to"),
       pytest.param("stranger", "belongs to the user with ID 12345", marks=needs_root),
       pytest.param("acl", "others can write to")]


def let_in(folder):
    """One more user may write: its mode shows that as a right of its group."""
    entries = [(0x01, 7, -1), (0x02, 7, STRANGER), (0x04, 5, -1), (0x10, 7, -1), (0x20, 5, -1)]
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *entry) for entry in entries)
    try:
        os.setxattr(folder, "system.posix_acl_access", acl)
    except OSError as error:
        if error.errno != errno.ENOTSUP:
            raise
        pytest.skip("the file system has no access lists")


def make(path, kind, account):
    """A folder (with what is in it) that is good but for one thing."""
    real = path.with_name(path.name + ".real") if kind == "link" else path
    real.mkdir(exist_ok=True)
    owner = STRANGER if kind == "stranger" else account.uid
    if IS_ROOT:
        os.chown(real, owner, owner if kind == "stranger" else account.gid)
    real.chmod({"group": 0o775, "sticky": 0o1777, "closed": 0o700}.get(kind, 0o755))
    if kind == "acl":
        let_in(real)
    if kind == "link":
        path.symlink_to(real)
        os.chown(path, account.uid, account.gid, follow_symlinks=False)
    return path


def refuse_to_start(agent, env=None):
    """What it says in its last words."""
    agent.start(env=env)
    assert agent.wait_exit() not in (0, None)
    return "\n".join(agent.lines())


@pytest.mark.parametrize("kind,why", BAD)
@pytest.mark.parametrize("name", ["stateDir", "runtimeDir"])
def test_an_agent_does_not_rely_on_a_folder_of_others(make_agent, name, kind, why):
    agent = make_agent()
    folder = make({"stateDir": agent.state_dir, "runtimeDir": agent.runtime_dir}[name], kind,
                  agent.account)
    text = refuse_to_start(agent)
    assert why in text and name in text and str(folder) in text, text
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("kind,why", BAD[1:2] + BAD[3:])
@pytest.mark.parametrize("name", ["stateDir", "runtimeDir"])
def test_an_agent_does_not_rely_on_a_folder_below_one_of_others(make_agent, name, kind, why):
    """Whoever can write to that one can put another one in the place of the agent's."""
    agent = make_agent()
    above = make(agent.folder / "above", kind, agent.account)
    if kind == "group" and IS_ROOT:
        os.chown(above, -1, STRANGER)
    folder = above / "own"
    for is_there in (False, True):
        if is_there and not (IS_ROOT or os.access(above, os.W_OK)):
            continue
        if is_there:
            make(folder, "closed", agent.account)
        agent.write_config(**{name: str(folder)})
        text = refuse_to_start(agent)
        assert why in text and name in text and f"'{above}'" in text, text
        assert list(above.iterdir()) == ([folder] if is_there else [])


@pytest.mark.parametrize("kind", ["good", "closed"])
def test_an_agent_takes_folders_that_are_its_own(make_agent, kind):
    agent = make_agent()
    for folder in (agent.state_dir, agent.runtime_dir):
        make(folder, kind, agent.account)
    for _ in range(2):  # the second one finds what the first one left
        agent.start()
        Api(agent)
        agent.stop()


def test_no_other_user_can_open_the_folders_of_an_agent(make_agent):
    """Who can open a folder can hold its lock, and the agent's loop would wait for that."""
    agent = make_agent()
    agent.start()
    agent.run("app", workload("main", SLEEP))
    tops = (agent.runtime_dir, agent.state_dir)
    folders = [path for top in tops for path in top.rglob("*") if path.is_dir()]
    assert folders
    for folder in (*folders, agent.state_dir):
        assert folder.stat().st_mode & 0o077 == 0, folder
    for folder in (agent.runtime_dir, agent.log_dir):
        assert folder.stat().st_mode & 0o7777 == 0o711, folder


@pytest.mark.parametrize("name", [".edgible-deploy.new", ".edgible-deploy"])
@pytest.mark.parametrize("kind", ["sticky", pytest.param("stranger", marks=[
    needs_root, pytest.mark.as_root])])
def test_nothing_is_deployed_into_a_folder_that_others_can_write_to(make_agent, kind, name):
    """By a link there the agent would remove or move the files of any folder."""
    agent = make_agent()
    victim = make(agent.folder / "victim", "closed", agent.account)
    (victim / "precious").touch()
    (victim / "other.gone").touch()
    link = make(agent.source, kind, agent.account) / name
    link.symlink_to(victim)
    agent.start()
    api = Api(agent)
    file = agent.folder / "web.yaml"
    file.write_text(yaml.safe_dump(agent.app("web", workload("main", SLEEP))))
    answer = api.request("PUT", "/v1/applications", file.read_text())
    assert answer.status == 409, answer
    assert f"others can write to '{agent.source}'" in answer.json()["detail"]
    assert "chmod go-w" in answer.json()["detail"]
    assert sorted(p.name for p in victim.iterdir()) == ["other.gone", "precious"]
    assert list(agent.source.iterdir()) == [link]
    assert "cannot be finished: others can write to" in "\n".join(agent.lines())
    # Documents that somebody else puts there are read as before.
    agent.put("web.yaml", file.read_text())
    agent.wait_started("web", "main")
    # The way out that the message says.
    link.unlink()
    make(agent.source, "closed", agent.account)
    assert api.request("PUT", "/v1/applications", file.read_text()).status == 200
    assert [p.name for p in agent.source.iterdir()] == ["web.yaml"]


def default_config(agent, *left_out):
    config = agent.config()
    for name in left_out:
        del config[name]
    agent.write_config(yaml.safe_dump(config))


@needs_root
@pytest.mark.as_user
def test_a_folder_that_another_user_made_in_tmp_is_refused(make_agent):
    agent = make_agent()
    folder = Path(f"/tmp/edgible-{agent.account.uid}")
    try:
        folder.mkdir()
    except FileExistsError:
        pytest.skip(f"{folder} is there already")
    try:
        make(folder, "stranger", agent.account)
        default_config(agent, "runtimeDir", "api")
        text = refuse_to_start(agent)
        assert f"'{folder}' belongs to the user with ID {STRANGER}" in text
        assert list(folder.iterdir()) == []
        with listening(folder, agent.account) as server:
            done = client(agent, "--config", agent.config_file, "device", "health")
            assert done.returncode == 4 and str(folder) in done.stderr
            assert not has_been_asked(server)
    finally:
        shutil.rmtree(folder)


# --- clients -----------------------------------------------------------------------------------

@contextlib.contextmanager
def listening(folder, account):
    """What an attacker would listen with."""
    path = folder / "agent.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        path.chmod(0o666)
        server.listen()
        server.setblocking(False)
        yield server


def has_been_asked(server):
    """A client that has ended left its connection in the backlog."""
    with contextlib.suppress(BlockingIOError):
        server.accept()[0].close()
        return True
    return False


def client(agent, *args, **env):
    return subprocess.run(
        [agent_binary(), *map(str, args)], capture_output=True, text=True, timeout=DEADLINE,
        env={**base_environment(agent.account), **env}, **agent.account.popen_options())


@pytest.mark.as_user
@pytest.mark.parametrize("kind,why", BAD)
def test_a_client_sends_nothing_to_a_default_socket_in_a_folder_of_others(make_agent, kind, why):
    agent = make_agent()
    folder = make(agent.folder / "edgible", kind, agent.account)
    default_config(agent, "runtimeDir", "api")
    with listening(folder, agent.account) as server:
        for chosen in ([], ["--config", agent.config_file]):
            done = client(agent, *chosen, "device", "health", XDG_RUNTIME_DIR=str(agent.folder))
            assert done.returncode == 4 and done.stdout == "", done
            assert why in done.stderr and "--socket PATH" in done.stderr
            assert not has_been_asked(server)


@pytest.mark.as_user
@pytest.mark.parametrize("kind", ["good", "closed"])
def test_the_default_runtime_directory_is_relied_on(make_agent, kind):
    agent = make_agent()
    env = {"XDG_RUNTIME_DIR": str(agent.folder)}
    make(agent.folder / "edgible", kind, agent.account)
    default_config(agent, "runtimeDir", "api")
    agent.start(env=env)
    agent.run("web", workload("main", SLEEP))
    for chosen in ([], ["--config", agent.config_file]):
        done = client(agent, *chosen, "app", "list", **env)
        assert done.returncode == 0 and "web" in done.stdout, done


@pytest.mark.as_user
def test_a_missing_default_folder_is_no_agent(make_agent):
    agent = make_agent()
    done = client(agent, "device", "health", XDG_RUNTIME_DIR=str(agent.folder))
    assert done.returncode == 3 and "no agent listens" in done.stderr
