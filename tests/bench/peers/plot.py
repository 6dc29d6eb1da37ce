"""The figures as an SVG: a panel a figure, a bar a peer, on logarithmic scales."""

import math
from xml.sax.saxutils import escape

from .figures import mib, rate, seconds

PANELS = [
    ("start-1000", "start of 1,000", "less is better", seconds),
    ("restart", "restart after kill -9, median", "less is better", seconds),
    ("restart-again", "restart again at once", "less is better", seconds),
    ("stop-1000", "stop of 1,000", "less is better", seconds),
    ("memory-1", "memory with 1 workload", "less is better", mib),
    ("memory-100", "memory with 100", "less is better", mib),
    ("memory-1000", "memory with 1,000", "less is better", mib),
    ("log-rate-100", "log throughput, 100-byte lines", "more is better", rate),
]
COLUMNS = 2
WIDTH = 800
PANEL_WIDTH = WIDTH // COLUMNS
BAR = 16
GAP = 6
NAME_WIDTH = 100
VALUE_WIDTH = 78
HEAD = 34

STYLE = """
  svg { font: 12px system-ui, sans-serif; background: #ffffff; }
  text { fill: #1f2328; } .quiet { fill: #59636e; } .bar { fill: #8c959f; } .own { fill: #0969da; }
  .back { fill: #ffffff; }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f6fc; } .quiet { fill: #9198a1; } .bar { fill: #656c76; }
    .own { fill: #4493f8; } .back { fill: #0d1117; } svg { background: #0d1117; }
  }
"""


def bounds(values):
    """Whole powers of ten around them, so that the shortest bar is seen, too."""
    low = math.floor(math.log10(min(values)))
    high = math.log10(max(values))
    return (low - 1 if math.log10(min(values)) - low < 0.2 else low), high


def panel(figures, figure, title, hint, say, left, top):
    out = [f'<text x="{left}" y="{top + 12}" font-weight="600">{escape(title)}'
           f'<tspan class="quiet" font-weight="400" dx="6">({hint})</tspan></text>']
    values = {k.title: figures.number(figure, k.title) for k in figures.kinds}
    known = [v for v in values.values() if v]
    low, high = bounds(known) if known else (0, 1)
    room = PANEL_WIDTH - NAME_WIDTH - VALUE_WIDTH - 10
    for i, kind in enumerate(figures.kinds):
        y = top + 22 + i * (BAR + GAP)
        value = values[kind.title]
        length = room * (math.log10(value) - low) / max(high - low, 0.1) if value else 0
        style = "own" if i == 0 else "bar"
        out += [f'<text x="{left + NAME_WIDTH - 8}" y="{y + 12}" text-anchor="end">'
                f'{escape(kind.title)}</text>',
                f'<rect class="{style}" x="{left + NAME_WIDTH}" y="{y}" width="{length:.1f}" '
                f'height="{BAR}" rx="2"/>',
                f'<text x="{left + NAME_WIDTH + length + 6:.1f}" y="{y + 12}">'
                f'{escape(figures.cell(figure, kind, say).partition(":")[0])}</text>']
    return out


def svg(figures):
    panel_height = HEAD + len(figures.kinds) * (BAR + GAP) + 14
    height = math.ceil(len(PANELS) / COLUMNS) * panel_height + 24
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
           f'width="{WIDTH}" height="{height}" role="img">',
           "<title>edgible-agent beside supervisor, runit, s6 and pm2</title>",
           f"<style>{STYLE}</style>", '<rect class="back" width="100%" height="100%"/>']
    for i, (figure, title, hint, say) in enumerate(PANELS):
        left = (i % COLUMNS) * PANEL_WIDTH + 8
        out += panel(figures, figure, title, hint, say, left, i // COLUMNS * panel_height + 10)
    out += [f'<text class="quiet" x="8" y="{height - 8}">Bars are on logarithmic scales, each '
            'panel with its own. Made by tests/bench/run --only peers --write-docs</text>',
            "</svg>", ""]
    return "\n".join(out)
