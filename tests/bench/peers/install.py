"""Gets what the comparison needs: Debian's packages as root, pm2 from npm into build/bench."""

import contextlib
import os
import pathlib
import subprocess

from . import pm2

POLICY = pathlib.Path("/usr/sbin/policy-rc.d")


@contextlib.contextmanager
def no_services():
    """The packages' services are not started: what is measured is started here."""
    made = not POLICY.exists()
    if made:
        POLICY.write_text("#!/bin/sh\nexit 101\n")
        POLICY.chmod(0o755)
    try:
        yield
    finally:
        if made:
            POLICY.unlink(missing_ok=True)


def install_debian(packages):
    command = ["apt-get", "-o", "DPkg::Lock::Timeout=300", "-qq"]
    print(f"peers: apt-get install {' '.join(packages)}", flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with no_services():
        for arguments in (["update"], ["install", "-y", "--no-install-recommends", *packages]):
            subprocess.run([*command, *arguments], env=environment, check=False,
                           stdout=subprocess.DEVNULL)


def install(kinds):
    packages = [kind.package for kind in kinds if kind.package and kind.missing()]
    if packages and os.geteuid() == 0:
        install_debian(packages)
    if any(kind is pm2.Pm2 for kind in kinds):
        pm2.install()
    for kind in kinds:
        if kind.missing():
            print(f"peers: {kind.title} is not measured: {kind.missing()}", flush=True)
