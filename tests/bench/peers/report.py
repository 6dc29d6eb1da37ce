"""The figures as a table on stdout, and as one in docs/benchmarks.md."""

import os
import platform
import time

from .figures import ROWS

BEGIN = "<!-- peers: what follows is written by tests/bench/run --only peers --write-docs -->"
END = "<!-- peers: end -->"


def titles(figures):
    return [f"{k.title} {figures.versions[k.title]}".strip() for k in figures.kinds]


def rows(figures):
    for figure, what, say in ROWS:
        yield what, [figures.cell(figure, kind, say) for kind in figures.kinds]


def text(figures):
    """Figure by figure, one peer a line: words do not fit into columns."""
    out = []
    width = max(map(len, titles(figures)))
    for what, cells in rows(figures):
        out.append(what.replace("`", ""))
        out += [f"    {title:<{width}}  {cell}" for title, cell in zip(titles(figures), cells)]
    return "\n".join(out)


def machine(figures):
    return (f"{time.strftime('%-d %B %Y')}, {os.cpu_count()} cores, "
            f"Linux {'.'.join(platform.release().split('.')[:2])}, "
            f"{'as root' if os.geteuid() == 0 else 'as an ordinary user'}, "
            f"load average at the start {figures.load:.1f}")


def markdown(figures, plot):
    quick = ", with `--quick`" if figures.quick else ""
    out = [f"Measured on {machine(figures)}, in one run, in turns{quick}:", "",
           f"![the figures that can be drawn, on logarithmic scales]({plot})", "",
           f"| | {' | '.join(titles(figures))} |", "| --- |" + " --- |" * len(figures.kinds)]
    for what, cells in rows(figures):
        out.append(f"| {what} | {' | '.join(cells)} |")
    return "\n".join(out)


def write_docs(page, figures, plot):
    """Replaces what is between the two marks."""
    before, _, rest = page.read_text().partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        raise SystemExit(f"{page} has not both marks: {BEGIN} and {END}")
    page.write_text(f"{before}{BEGIN}\n\n{markdown(figures, plot)}\n\n{END}{after}")
