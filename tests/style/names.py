#!/usr/bin/env python3
"""An identifier that a comment or a page names in back-ticks with a call's parentheses, or as a
path of the tree, must exist: comments and docs drift otherwise."""
import pathlib
import re
import subprocess
import sys

CALL = re.compile(r"`([a-z_][a-z0-9_]*)\(\)`")
PATH = re.compile(r"`((?:src|include|tests|docs|packaging|examples)/[\w./-]+)`")


def main():
    root = pathlib.Path(__file__).resolve().parents[2]
    files = [root / f for f in subprocess.run(
        ["git", "ls-files"], cwd=root, check=True, capture_output=True,
        text=True).stdout.split("\n") if f.endswith((".c", ".h", ".md", ".py"))]
    files = [f for f in files if f.is_file()]
    code = "\n".join(f.read_text() for f in files if f.suffix in (".c", ".h"))
    found = []
    for path in files:
        text = path.read_text()
        for name in CALL.findall(text):
            if not re.search(rf"\b{name}\s*\(", code):
                found.append(f"{path.relative_to(root)}: `{name}()` does not exist")
        for name in PATH.findall(text):
            if not (root / name.rstrip("/.")).exists():
                found.append(f"{path.relative_to(root)}: `{name}` does not exist")
    print("\n".join(found) or "all names exist")
    return 1 if found else 0


sys.exit(main())
