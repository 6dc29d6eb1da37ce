#!/usr/bin/env python3
"""Names every source file that may call a function which takes a path.

Paths of documents are opened by src/base/doc_path.c alone; who works in a folder that it opened has a
comment of its own below. A new caller fails here, so that somebody judges whether a document names the
path.
"""
import pathlib
import re
import sys

CALL = re.compile(
    r"(?<![\w.>])(f?open(?:at2?)?|l?stat|fstatat|statx|chdir|rename(?:at2?)?|unlink(?:at)?"
    r"|l?chown|fchownat|f?chmod(?:at)?|mkdir(?:at)?|rmdir|link(?:at)?|symlink(?:at)?"
    r"|readlink(?:at)?|opendir|realpath|access|faccessat|truncate|execve(?:at)?"
    r"|fd_read_(?:regular_)?file|fd_make_dirs|scandir|inotify_add_watch|statv?fs|l?[gs]etxattr|mk(?:fifo|nod)(?:at)?"
    r"|utimensat|execvp?e?|posix_spawnp?)\s*\(|\bSYS_(openat2?|execveat)\b"
)
NOISE = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"', re.S)

ALLOWED = {
    # --- Paths of documents ---
    # Takes them apart and opens them, folder by folder.
    "src/base/doc_path.c": "SYS_openat2 lstat open openat readlink readlinkat",
    # The same path is looked at for its identity and device: nothing is opened by it.
    "src/io/logfile.c": "lstat stat",
    # Names in a log's folder that doc_path.c opened.
    "src/io/log_reader_file.c": "inotify_add_watch openat",
    "src/io/logfile_folder.c": "fchmod inotify_add_watch mkdirat openat",
    "src/io/logfile_open.c": "fchmod fstatat openat readlinkat unlinkat",
    "src/io/logfile_ours.c": "fstatat openat",
    "src/io/logfile_rotate.c": "fstatat openat renameat unlinkat",
    "src/io/logfile_tail.c": "openat",
    # The folders above one that doc_path.c has come to.
    "src/sys/trusted.c": "openat",
    # Paths of the system that every sandbox lets in, and "/".
    "src/sys/sandbox.c": "open stat",
    # In the child, with the rights of the workload's user: the program's own path without links
    # where the policy judged it, and workingDir, which is compared with what was judged.
    "src/sys/spawn_child.c": "SYS_execveat SYS_openat2 chdir execve open openat stat",
    # --- Paths of the owner: command line, configuration, its folders ---
    "src/app/agent.c": "fd_make_dirs open stat",
    "src/app/check.c": "fd_read_file scandir",
    # Of documents, too: after the policy, and only whether something is there.
    "src/app/check_exists.c": "stat",
    "src/app/cmd_stack_validate.c": "stat",
    "src/app/config_file.c": "fd_read_file lstat readlink realpath",
    "src/app/config_warn.c": "realpath scandir",
    "src/app/device_name.c": "open",
    "src/app/documents.c": "fd_read_file opendir stat",
    "src/app/plane.c": "realpath",
    "src/io/watch.c": "inotify_add_watch",
    "src/io/server_socket.c": "fchmodat fchownat fstatat lstat open renameat unlink unlinkat",
    "src/svc/source_deploy.c": "fchmod fstatat lstat mkdirat openat renameat statx unlinkat",
    "src/svc/source_directory.c": "opendir",
    "src/sys/secret.c": "open stat",
    "src/sys/trusted_folder.c": "getxattr lstat open openat stat",
    # --- Files of the agent: stateDir, runtimeDir, its own executable ---
    "src/app/agent_upgrade.c": "execv posix_spawn readlink",
    "src/io/pump_journal.c": "fstatat open unlink",
    "src/svc/event_store.c": "fd_make_dirs fd_read_regular_file open opendir truncate unlink",
    "src/svc/persist.c": "chmod fd_make_dirs fd_read_regular_file open opendir rmdir unlink",
    "src/svc/persist_read.c": "chmod fd_read_regular_file fstatat opendir",
    "src/svc/persist_disk.c": "fd_make_dirs open rmdir",
    "src/sys/statedir.c": "chmod fchmod fd_make_dirs open openat renameat renameat2 unlinkat",
    # --- /proc, /sys and /dev ---
    "src/io/pump_pipe.c": "fchmod open",
    "src/sys/census.c": "open openat opendir",
    "src/sys/cgroup.c": "faccessat fchmod fchmodat fd_read_file getxattr mkdirat open openat unlinkat",
    "src/sys/host.c": "fd_read_file statvfs",
    "src/sys/keeper.c": "fd_read_file open opendir",
    "src/sys/keeper_child.c": "chdir open",
    "src/sys/net_ports.c": "fopen opendir readlinkat stat",
    "src/sys/oom.c": "fd_read_file open",
    "src/sys/peer.c": "fd_read_file",
    "src/sys/proc.c": "fd_read_file open openat opendir",
    "src/sys/proc_known.c": "fd_read_file open openat opendir readlinkat stat",
    "src/sys/proc_usage.c": "fd_read_file open opendir",
    "src/sys/spawn.c": "fd_read_file",
    # --- What the caller names ---
    "src/base/fd.c": "fd_make_dirs fd_read_file fd_read_regular_file mkdir open openat opendir stat",
}


def main():
    calls = {}
    root = pathlib.Path(__file__).resolve().parents[2]
    for path in sorted((root / "src").rglob("*.c")):
        text = NOISE.sub("", path.read_text(encoding="utf-8"))
        found = {plain or f"SYS_{number}" for plain, number in CALL.findall(text)}
        if found:
            calls[path.relative_to(root).as_posix()] = sorted(found)
    bad = [
        f"{path}: calls '{' '.join(calls.get(path, []))}', but the list says '{ALLOWED.get(path, '')}'"
        for path in sorted(calls.keys() | ALLOWED.keys())
        if " ".join(calls.get(path, [])) != ALLOWED.get(path, "")
    ]
    print("\n".join(bad), file=sys.stderr)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
