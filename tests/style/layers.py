#!/usr/bin/env python3
"""Holds the includes to the architecture: which layer may include which, and which file alone may
include each library. The two tables below are the architecture."""
import pathlib
import re
import sys

ALLOWED = {
    "base": {"base"},
    "model": {"base", "model"},
    "core": {"base", "model", "core"},
    "sys": {"base", "sys"},
    "io": {"base", "io"},
    "svc": {"base", "model", "core", "sys", "io", "svc"},
    "app": {"base", "model", "core", "sys", "io", "svc", "app"},
}
HOMES = {
    "ev.h": "src/io/loop.c",
    "curl/curl.h": "src/io/http_private.h",
    "microhttpd.h": "src/io/server_private.h",
    "yaml.h": "src/model/yaml_doc.c",
    "cjson/cJSON.h": "src/model/json_doc.c",
    "openssl/": "src/sys/crypto.c",
    "sha2.h": "src/sys/crypto.c",
}
INCLUDE = re.compile(r'^\s*#\s*include\s+["<]([^">]+)[">]', re.M)


def layer_of_headers(root):
    """Each public header belongs to the layer of the source of the same name."""
    layers = {}
    for header in (root / "include/edgible").glob("*.h"):
        homes = {p.parent.name for p in (root / "src").glob(f"*/{header.stem}.c")}
        if not homes:
            homes = {p.parent.name for p in (root / "src").glob(f"*/{header.stem}_*.c")}
        layers[header.name] = homes or {"base"}
    return layers


def problems(root):
    layers = layer_of_headers(root)
    for path in sorted((root / "src").rglob("*.[ch]")):
        name = path.relative_to(root).as_posix()
        layer = path.relative_to(root / "src").parts[0]
        for include in INCLUDE.findall(path.read_text()):
            for library, home in HOMES.items():
                if include.startswith(library) and name != home:
                    yield f"{name}: <{include}> belongs in {home} alone"
            if include.startswith("edgible/"):
                target = layers.get(include[len("edgible/"):])
                if target is None:
                    yield f"{name}: there is no {include}"
                elif not target & ALLOWED[layer]:
                    yield f"{name}: {layer} may not include {include} of {sorted(target)}"
    for header in sorted((root / "include/edgible").glob("*.h")):
        for include in INCLUDE.findall(header.read_text()):
            if include.startswith(tuple(HOMES)):
                yield f"include/edgible/{header.name}: <{include}> in a public header"


def main():
    root = pathlib.Path(__file__).resolve().parents[2]
    found = list(problems(root))
    print("\n".join(found) or "the layers hold")
    return 1 if found else 0


sys.exit(main())
