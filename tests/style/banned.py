#!/usr/bin/env python3
"""Functions and constructions that the house does not use, and the top level of the tree."""
import pathlib
import re
import subprocess
import sys

BANNED = re.compile(
    r"(?<![\w.>])(strcpy|strcat|sprintf|vsprintf|strtok|atoi|atol|gets|alloca|system|popen|goto"
    r"|usleep|ev_default_loop|ev_child_init)\s*[(\s]")
# What goes round the filter for terminals (src/app/terminal.c).
UNFILTERED = re.compile(r"dprintf\s*\(|write\w*\s*\([^;]*\bSTD(OUT|ERR)_FILENO")
TOP = {"CMakeLists.txt", "src", "include", "tests", "docs", "packaging", "examples", "LICENSE",
       "README.md"}
MAX_LINES = 600


def without_comments(text):
    text = re.sub(r"/\*.*?\*/", lambda m: re.sub(r"[^\n]", " ", m.group()), text, flags=re.S)
    text = re.sub(r'"(\\.|[^"\\\n])*"', '""', text)
    return re.sub(r"//[^\n]*", "", text)


def problems(root):
    files = subprocess.run(["git", "ls-files"], cwd=root, check=True, capture_output=True,
                           text=True).stdout.split("\n")
    for name in filter(None, files):
        top = name.split("/")[0]
        if top not in TOP and not top.startswith("."):
            yield f"{name}: does not belong at the top level"
        path = root / name
        if not name.endswith((".c", ".h")) or not path.is_file():
            continue
        text = path.read_text()
        if name.startswith(("src/", "include/")):
            if text.count("\n") > MAX_LINES:
                yield f"{name}: more than {MAX_LINES} lines"
            for number, line in enumerate(without_comments(text).split("\n"), 1):
                prints = name.startswith("src/app/") and name != "src/app/terminal.c"
                if BANNED.search(line) or (prints and UNFILTERED.search(line)):
                    yield f"{name}:{number}: {line.strip()}"


def main():
    root = pathlib.Path(__file__).resolve().parents[2]
    found = list(problems(root))
    print("\n".join(found) or "nothing banned")
    return 1 if found else 0


sys.exit(main())
