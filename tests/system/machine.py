"""A machine of its own with a real systemd as PID 1, in which the agent is installed as a service.

Two kinds, with the same face:

- `nspawn`: Debian in a container (systemd-nspawn) on this kernel, in seconds.
- `qemu`: the same Debian as a virtual machine with Debian's kernel: cgroup v2 with controllers, and
  no PIDFD_GET_INFO. Chosen by EDGIBLE_MACHINE=qemu; minutes where there is no KVM.

    with start_machine() as machine:    # with the agent of this build, and its units
        machine.sh("systemctl start edgible-agent")
    with start_machine(installed=False) as machine:
        machine.copy_in("edgible-agent.deb", "/root/agent.deb")
        machine.sh("dpkg -i /root/agent.deb")

What Debian needs is made with debootstrap once, and kept in build/machine. A machine only writes to
memory, and nothing of it is left when it is closed.
"""

import base64
import contextlib
import os
import re
import shutil
import socket
import subprocess
import tempfile
import uuid
from pathlib import Path

from harness import BINARY, ROOT, exclusively, wait_for

KIND = os.environ.get("EDGIBLE_MACHINE", "nspawn")
CACHE = Path(os.environ.get("EDGIBLE_MACHINE_CACHE", ROOT / "build" / "machine"))
# trixie has systemd 257; the agent of this build runs there, too.
SUITE = os.environ.get("EDGIBLE_MACHINE_SUITE", "bookworm")
LIBRARIES = {
    "bookworm": ["libyaml-0-2", "libcjson1", "libev4", "libmicrohttpd12", "libcurl4", "libssl3"],
    "trixie": ["libyaml-0-2", "libcjson1", "libev4t64", "libmicrohttpd12t64", "libcurl4t64",
               "libssl3t64"]}
PACKAGES = ["systemd-sysv", "dbus", "libpam-systemd", "dbus-user-session", "passwd",
            *LIBRARIES.get(SUITE, [])]
# Units that only take time.
MASKED = ["e2scrub_reap.service", "apt-daily.timer", "apt-daily-upgrade.timer", "fstrim.timer",
          "dpkg-db-backup.timer", "e2scrub_all.timer"]
# Not `kvm` by itself: there are hosts whose /dev/kvm takes a machine and never runs it.
ACCELERATOR = os.environ.get("EDGIBLE_QEMU_ACCELERATOR", "tcg")
BOOT = 120 if KIND == "nspawn" else 900  # seconds; only a broken machine gets near it
CALL = 120 if KIND == "nspawn" else 600


class Done:
    """How a command ended: exit code, and what it wrote to stdout and stderr."""

    def __init__(self, code, output):
        self.code, self.output = code, output

    def __repr__(self):
        return f"exit code {self.code}:\n{self.output}"


def why_not():
    """Why no machine can be had here; None where one can."""
    if os.geteuid() != 0:
        return "a machine needs root"
    programs = {"nspawn": ["debootstrap", "systemd-nspawn", "nsenter"],
                "qemu": ["debootstrap", "qemu-system-x86_64", "cpio"]}[KIND]
    missing = [p for p in programs if shutil.which(p) is None]
    return f"not installed: {', '.join(missing)}" if missing else None


# --- what it is made from ----------------------------------------------------------------------

@contextlib.contextmanager
def memory_folder(name):
    """A folder in memory: dpkg waits for the disk after each file."""
    folder = Path(tempfile.mkdtemp(prefix=f"edgible-{name}-"))
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "edgible-machine", str(folder)],
                   check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
        folder.rmdir()


def debian_root():
    """The folder with Debian in it, made where it is missing."""
    folder = CACHE / SUITE
    with exclusively("edgible-machine-root"):
        if not folder.exists():
            fresh = CACHE / f"{SUITE}.new"
            shutil.rmtree(fresh, ignore_errors=True)
            fresh.mkdir(parents=True)
            with memory_folder("debootstrap") as made:
                bootstrap(made / "root")
                copy_tree(made / "root", fresh)
            fresh.rename(folder)
    return folder


def mirror():
    """Where this machine's apt fetches Debian from, unless EDGIBLE_DEBIAN_MIRROR says otherwise."""
    if "EDGIBLE_DEBIAN_MIRROR" in os.environ:
        return os.environ["EDGIBLE_DEBIAN_MIRROR"]
    shown = subprocess.run(["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE)",
                            "Created-By: Packages", "Origin: Debian", "Component: main"],
                           check=True, text=True, capture_output=True).stdout
    found = [line.split()[0] for line in shown.splitlines() if "-" not in line.split()[1]]
    assert found, "apt knows no mirror of Debian: run `apt-get update`, or set EDGIBLE_DEBIAN_MIRROR"
    return found[0]


def bootstrap(folder):
    subprocess.run(["debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}",
                    SUITE, str(folder), mirror()], check=True, stdout=subprocess.DEVNULL)
    for useless in ["usr/share/doc", "usr/share/locale", "usr/share/man", "var/cache/apt",
                    "var/lib/apt/lists"]:
        shutil.rmtree(folder / useless, ignore_errors=True)


def debian_kernel():
    """vmlinuz of Debian's kernel for virtual machines."""
    file = CACHE / "vmlinuz"
    with exclusively("edgible-machine-kernel"):
        if not file.exists():
            shown = subprocess.run(["apt-cache", "depends", "linux-image-cloud-amd64"], check=True,
                                   text=True, capture_output=True).stdout
            package = re.search(r"Depends: (linux-image-\S+)", shown)[1]
            with tempfile.TemporaryDirectory() as folder:
                subprocess.run(["apt-get", "download", "-qq", package], check=True, cwd=folder)
                deb, = Path(folder).glob("*.deb")
                subprocess.run(["dpkg-deb", "-x", str(deb), folder], check=True)
                kernel, = Path(folder, "boot").glob("vmlinuz-*")
                shutil.copy(kernel, file)
    return file


def copy_tree(source, target):
    """As `cp -a`, but through links to folders, such as /lib."""
    with subprocess.Popen(["tar", "-C", str(source), "-cf", "-", "."],
                          stdout=subprocess.PIPE) as packer:
        subprocess.run(["tar", "-C", str(target), "-xf", "-", "--keep-directory-symlink"],
                       stdin=packer.stdout, check=True)
    assert packer.returncode == 0


def stage(target):
    """Installs this build below target, with the libraries that a build for tests needs besides."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["cmake", "--install", str(BINARY.parent)], check=True,
                       stdout=subprocess.DEVNULL, env={**os.environ, "DESTDIR": folder})
        os.chmod(folder, 0o755)
        copy_tree(folder, target)
    libraries = subprocess.run(["ldd", str(BINARY)], check=True, text=True,
                               capture_output=True).stdout
    for library in re.findall(r"=> (/\S+)", libraries):
        inside = Path(target, library.lstrip("/"))
        if not inside.exists():
            inside.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(library, inside)


# --- machines ----------------------------------------------------------------------------------

class Machine:
    """What both kinds have in common. `root` is the folder that the machine boots from."""

    def __init__(self, installed):
        self.installed = installed
        self.folder = Path(tempfile.mkdtemp(prefix="edgible-machine-"))
        self.name = "m-" + uuid.uuid4().hex[:8]
        self.process = None
        self.root = self.folder / "root"

    def _prepare(self):
        """Debian below, what this machine writes above, in memory."""
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "edgible-machine",
                        str(self.folder)], check=True)
        for name in ["upper", "work", "root"]:
            (self.folder / name).mkdir()
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o",
                        f"lowerdir={debian_root()},upperdir={self.folder}/upper,"
                        f"workdir={self.folder}/work", str(self.root)], check=True)
        if self.installed:
            stage(self.root)
        (self.root / "etc" / "hostname").write_text("machine\n")
        for unit in MASKED:
            (self.root / "etc/systemd/system" / unit).symlink_to("/dev/null")

    def is_up(self):
        with contextlib.suppress(OSError):
            return self.run("systemctl is-system-running").output.strip() in ("running", "degraded")
        return False

    def sh(self, script, **options):
        """Runs a shell script in the machine, which must succeed; what it wrote."""
        done = self.run(script, **options)
        assert done.code == 0, f"{script}: {done}"
        return done.output

    def write(self, path, text):
        encoded = base64.b64encode(text.encode()).decode()
        self.sh(f"mkdir -p '{os.path.dirname(path)}' && "
                f"echo {encoded} | base64 -d > '{path}.new' && mv '{path}.new' '{path}'")

    def copy_in(self, file, path):
        """A file of this machine, such as a package."""
        encoded = base64.b64encode(Path(file).read_bytes()).decode()
        for at in range(0, len(encoded) or 1, 60_000):
            self.sh(f"echo {encoded[at:at + 60_000]} >> '{path}.b64'")
        self.sh(f"base64 -d '{path}.b64' > '{path}' && rm '{path}.b64'")

    def console(self):
        file = self.folder / "console"
        return file.read_text(errors="replace") if file.exists() else ""

    def wait(self, condition, what, timeout=CALL):
        def check():
            assert self.process.poll() is None, f"the machine ended before {what}"
            return condition()
        return wait_for(check, what, timeout)

    def close(self):
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
        if self.process is not None:
            self.process.wait()
        for mount in [m for m in (self.root, self.folder) if os.path.ismount(m)]:
            wait_for(lambda at=mount: subprocess.run(["umount", str(at)], capture_output=True)
                     .returncode == 0, f"{mount} to be let go of")
        self.folder.rmdir()


class Container(Machine):
    def start(self):
        self._prepare()
        command = ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--boot",
                   f"--directory={self.root}", f"--machine={self.name}", "--hostname=machine",
                   "--private-network", "--link-journal=no", "--console=pipe"]
        with open(self.folder / "console", "ab") as console:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=console, stderr=console,
                start_new_session=True, env={**os.environ, "UNIFIED_CGROUP_HIERARCHY": "1"})
        self.wait(self.is_up, "it to be up", BOOT)

    def leader(self):
        """Its PID 1, as it is numbered here; None: there is none yet."""
        for task in Path(f"/proc/{self.process.pid}/task").iterdir():
            for pid in (task / "children").read_text().split():
                with contextlib.suppress(OSError):
                    status = Path(f"/proc/{pid}/status").read_text()
                    if re.search(r"^NSpid:\t\d+\t1$", status, re.M):
                        return int(pid)
        return None

    def run(self, script, timeout=CALL):
        leader = self.leader()
        if leader is None:
            raise ConnectionError("the machine has no PID 1 yet")
        done = subprocess.run(
            ["nsenter", f"--target={leader}", "--all", "--", "/bin/sh", "-c", script],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            timeout=timeout, env={"PATH": PATH, "LANG": "C.UTF-8", "HOME": "/root"})
        return Done(done.returncode, done.stdout)

    def close(self):
        leader = self.leader() if self.process and self.process.poll() is None else None
        if leader is not None:
            os.kill(leader, 9)  # and all of its PID namespace with it
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(30)
        super().close()


PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# Reads "<number> <script in base64>" from the second serial port, and answers with
# "<number> <exit code> <output in base64>".
PORT_SHELL = """\
#!/bin/sh
exec </dev/ttyS1 >/dev/ttyS1
stty raw -echo
while IFS=' ' read -r number script; do
    echo "$script" | base64 -d >/run/port-shell || continue
    sh /run/port-shell >/run/port-output 2>&1 </dev/null
    code=$?
    echo "$number $code $(base64 -w0 /run/port-output)"
done
"""
PORT_UNIT = f"""\
[Unit]
DefaultDependencies=no
After=dbus.socket systemd-user-sessions.service
[Service]
ExecStart=/usr/local/sbin/port-shell
Environment=PATH={PATH} LANG=C.UTF-8 HOME=/root
Restart=always
[Install]
WantedBy=multi-user.target
"""


class VirtualMachine(Machine):
    _port, _number, _data = None, 0, b""

    def _add_shell(self):
        shell = self.root / "usr/local/sbin/port-shell"
        shell.write_text(PORT_SHELL)
        shell.chmod(0o755)
        units = self.root / "etc/systemd/system"
        (units / "port-shell.service").write_text(PORT_UNIT)
        wants = units / "multi-user.target.wants"
        wants.mkdir(exist_ok=True)
        (wants / "port-shell.service").symlink_to("../port-shell.service")
        for unit in ["systemd-networkd-wait-online.service", "serial-getty@ttyS0.service"]:
            (units / unit).symlink_to("/dev/null")
        (self.root / "init").symlink_to("/sbin/init")

    def start(self):
        self._prepare()
        self._add_shell()
        initrd, port = self.folder / "initrd", self.folder / "port"
        with open(initrd, "wb") as out, \
                subprocess.Popen(["find", ".", "-print0"], cwd=self.root,
                                 stdout=subprocess.PIPE) as names:
            subprocess.run(["cpio", "--null", "--create", "--format=newc", "--quiet"],
                           cwd=self.root, stdin=names.stdout, stdout=out, check=True)
        command = ["qemu-system-x86_64", "-machine", f"q35,accel={ACCELERATOR}", "-cpu", "max",
                   "-m", "3072", "-smp", "2", "-nographic", "-nic", "none", "-no-reboot",
                   "-monitor", "none", "-serial", f"file:{self.folder}/console",
                   "-serial", f"unix:{port},server=on,wait=off",
                   "-kernel", str(debian_kernel()), "-initrd", str(initrd),
                   "-append", "console=ttyS0 panic=-1 systemd.unified_cgroup_hierarchy=1 "
                              "systemd.mask=systemd-journal-flush.service"]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL,
                                        start_new_session=True)
        self.wait(port.exists, "the serial port")
        self._port = socket.socket(socket.AF_UNIX)
        self._port.connect(str(port))
        self._wait_for_shell()
        self.wait(self.is_up, "it to be up", BOOT)

    def _wait_for_shell(self):
        """What is sent before the shell reads may be lost: until it answers."""
        def answers():
            with contextlib.suppress(TimeoutError):
                return self.run("echo here", timeout=5).output == "here\n"
            return False
        self.wait(answers, "its shell to answer", BOOT)

    def run(self, script, timeout=CALL):
        self._number += 1
        encoded = base64.b64encode(script.encode()).decode()
        self._port.settimeout(timeout)
        self._port.sendall(f"{self._number} {encoded}\n".encode())
        while True:
            while b"\n" not in self._data:
                part = self._port.recv(65536)
                if not part:
                    raise ConnectionError("the machine closed its port")
                self._data += part
            line, self._data = self._data.split(b"\n", 1)
            # The echo of the line before `stty`, and late answers, are others'.
            answer = re.fullmatch(rb"%d (\d+) ?([A-Za-z0-9+/=]*)\s*" % self._number, line.strip())
            if answer is not None:
                output = base64.b64decode(answer[2]).decode(errors="replace")
                return Done(int(answer[1]), output)

    def close(self):
        if self.process is not None:
            self.process.kill()
            if self._port is not None:
                self._port.close()
        super().close()


@contextlib.contextmanager
def start_machine(installed=True):
    """installed: with the agent of this build; else without one, for a package."""
    machine = {"nspawn": Container, "qemu": VirtualMachine}[KIND](installed)
    try:
        machine.start()
        yield machine
    except BaseException:
        print(f"--- console of the machine\n{machine.console()[-8000:]}")
        raise
    finally:
        machine.close()
