"""Drawings of the report, as SVG that follows the page's colours (CSS classes, no colour stands here)."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from math import floor, log10
from typing import Any

from drills.checkers.base import Verdict
from drills.journal import FigureEntry, RepetitionEntry, WindowEntry

WIDTH = 1120
LEFT = 76
RIGHT = 20
PLOT = WIDTH - LEFT - RIGHT
LANE_HEAD = 36
RATE_HEIGHT = 58
ROLE_HEIGHT = 20
LATENCY_HEIGHT = 54
LANE_GAP = 18
LANE_HEIGHT = LANE_HEAD + RATE_HEIGHT + ROLE_HEIGHT + LATENCY_HEIGHT + LANE_GAP
HEAD = 52
USE_HEIGHT = 22 + RATE_HEIGHT + 18
LATENCY_FLOOR = 0.1
LATENCY_TOP = 10_000.0
BIG = 1000


@dataclass(frozen=True)
class Scale:
    """From data to pixels."""

    low: float
    high: float
    start: float
    length: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / ((self.high - self.low) or 1)
        return round(self.start + min(max(share, 0), 1) * self.length, 2)


def ticks(low: float, high: float, wanted: int = 8) -> list[float]:
    """Round numbers between `low` and `high`."""
    span = max(high - low, 1e-9)
    raw = span / wanted
    power = 10.0 ** floor(log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * 0.999)
    first = -floor(-low / step)
    return [round(place * step, 10) for place in range(first, floor(high / step + 1e-9) + 1)]


def text(x: float, y: float, words: str, css: str = "", anchor: str = "start") -> str:
    return f'<text x="{x:g}" y="{y:g}" class="{css}" text-anchor="{anchor}">{escape(words)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, css: str) -> str:
    return f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" class="{css}"/>'


def rect(x: float, y: float, width: float, height: float, css: str, title: str = "") -> str:
    inside = f"<title>{escape(title)}</title>" if title else ""
    return f'<rect x="{x:g}" y="{y:g}" width="{max(width, 0):g}" height="{max(height, 0):g}" class="{css}">{inside}</rect>'


def svg(height: float, label: str, parts: Iterable[str], width: float = WIDTH) -> str:
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(label, quote=True)}" '
        f'xmlns="http://www.w3.org/2000/svg">{"".join(parts)}</svg>'
    )


def timeline(repetition: RepetitionEntry, hover: bool = True) -> str:
    """One lane per shard and side: what became of the writes planned at each moment, and how long they took."""
    lanes: Sequence[Mapping[str, Any]] = repetition.drawing.get("lanes", ())
    if not lanes:
        return ""
    low = min(lane["start"] for lane in lanes)
    high = max(lane["start"] + lane["width"] * len(lane["ok"]) for lane in lanes)
    x = Scale(low, high, LEFT, PLOT)
    marks: Sequence[Mapping[str, Any]] = repetition.drawing.get("marks", ())
    height = HEAD + LANE_HEIGHT * len(lanes) + 22
    parts = [_fault_bands(marks, x, high, HEAD - 4, height - 26)]
    for tick in ticks(low, high, 12):
        parts.append(line(x(tick), HEAD, x(tick), height - 24, "grid"))
        parts.append(text(x(tick), height - 8, f"{tick:+g} s" if tick else "fault", "axis", "middle"))
    for number, lane in enumerate(lanes):
        top = HEAD + number * LANE_HEIGHT
        window = next((w for w in repetition.windows if w.shard == lane["shard"] and w.side == lane["side"]), None)
        parts.append(_lane(lane, window, marks, x, top, hover))
    parts.append(fault_flags(marks, x, height - 26))
    return svg(height, f"Time line of repetition {repetition.number}", parts)


def use_lines(repetition: RepetitionEntry) -> str:
    """One lane per workload on one scale of time: what its instances did and how it ended, and what was lost or broken."""
    drawn = [(use, use.drawing) for use in repetition.uses if use.drawing.get("ok")]
    if not drawn:
        return ""
    low = min(lane["start"] for _, lane in drawn)
    high = max(lane["start"] + lane["width"] * len(lane["ok"]) for _, lane in drawn)
    x = Scale(low, high, LEFT, PLOT)
    marks: Sequence[Mapping[str, Any]] = repetition.drawing.get("marks", ())
    height = HEAD + USE_HEIGHT * len(drawn) + 22
    parts = [_fault_bands(marks, x, high, HEAD - 4, height - 26)]
    for tick in ticks(low, high, 12):
        parts.append(line(x(tick), HEAD, x(tick), height - 24, "grid"))
        parts.append(text(x(tick), height - 8, f"{tick:+g} s" if tick else "fault", "axis", "middle"))
    for number, (use, lane) in enumerate(drawn):
        top = HEAD + number * USE_HEIGHT
        parts.append(text(LEFT, top + 14, use.name, "value"))
        parts.append(_rate({**lane, "lost": [0] * len(lane["ok"]), "p50": [None] * len(lane["ok"])}, x, top + 22, False))
        if use.verdict is not Verdict.UNKNOWN:
            parts += [_bad(moment, x, top + 22 + RATE_HEIGHT, use.verdict) for moment in lane.get("bad", ())]
    parts.append(fault_flags(marks, x, height - 26))
    return svg(height, f"Workloads in repetition {repetition.number}", parts)


def _bad(moment: float, x: Scale, bottom: float, verdict: Verdict) -> str:
    css, word = ("role-down", "a promise was broken") if verdict is Verdict.FALSE else ("lost", "within what is allowed")
    return f'<path class="{css}" d="M{x(moment):g} {bottom + 1:g}l5 9h-10z"><title>{moment:+.3f} s: {word}</title></path>'


def _fault_bands(marks: Sequence[Mapping[str, Any]], x: Scale, end: float, top: float, bottom: float) -> str:
    """The time from inject to heal, behind everything."""
    inject = next((mark["at"] for mark in marks if mark["what"] == "fault" and mark["stage"] == "inject"), None)
    if inject is None:
        return ""
    healed = [mark["until"] for mark in marks if mark["what"] == "fault" and mark["stage"] == "healed"]
    until = max(healed, default=end)
    return rect(x(inject), top, x(until) - x(inject), bottom - top, "fault-band", f"fault in force for {until - inject:.2f} s")


def fault_flags(marks: Sequence[Mapping[str, Any]], x: Scale, bottom: float) -> str:
    """Flags at the head: inject, evidence and heal; their texts are kept apart, where there is no room the title has to do."""
    words = {"cut": "cut", "inject": "fault", "evidence": "evidence", "heal": "heal", "healed": "healed"}
    parts, edges = [], [-1e9, -1e9]
    for mark in marks:
        if mark["what"] != "fault":
            continue
        place = x(mark["at"])
        stage = mark["stage"]
        css = "flag-heal" if stage in ("heal", "healed") else "flag-fault"
        label = f"{words[stage]}: {', '.join(mark['targets'])}" if stage == "inject" else words[stage]
        label = "takeover by hand" if mark["fault"] == "takeover" else label
        row = 0 if place - edges[0] > 6 else 1
        has_room = place > edges[row]
        edges[row] = place + 7 * len(label) + 8 if has_room else edges[row]
        y = 16 + 18 * row
        title = f"{mark['at']:+.3f} s {mark['fault']} {stage}: {mark['text']}"
        strong = stage in ("inject", "healed")
        parts.append(line(place, y, place, bottom if strong else HEAD - 4, f"{css} {'' if strong else 'faint'}"))
        parts.append(f'<g class="{css}"><title>{escape(title)}</title>{rect(place, y - 11, 4, 14, "")}</g>')
        if has_room:
            parts.append(text(place + 8, y, label, f"{css} flag"))
    return "".join(parts)


def _lane(
    lane: Mapping[str, Any], window: WindowEntry | None, marks: Sequence[Mapping[str, Any]], x: Scale, top: float, hover: bool
) -> str:
    side = "" if lane["side"] == "main" else f", {lane['side']}"
    hit = bool(window and window.hit and not side)
    parts = [text(LEFT, top + 14, f"shard {lane['shard']}{side}", "lane-name" + (" hit" if hit else ""))]
    parts.append(_lane_words(window, top + 14))
    rate_top = top + LANE_HEAD
    parts.append(_split_strip(window, lane, x, rate_top))
    parts.append(_rate(lane, x, rate_top, hover))
    parts.append(_latency(lane, x, rate_top + RATE_HEIGHT + ROLE_HEIGHT))
    parts.append(_roles(lane, marks, x, rate_top + RATE_HEIGHT + 10))
    parts.append(_outage_label(window, lane, x, rate_top))
    return "".join(parts)


def _lane_words(window: WindowEntry | None, y: float) -> str:
    if window is None:
        return ""
    words = [f"{window.acknowledged:,} acknowledged"]
    further = ((window.refused, "refused"), (window.shed, "not sent"), (window.unknown, "unknown"))
    words += [f"{count:,} {what}" for count, what in further if count]
    words.append(f"longest gap {window.longest_gap:.2f} s")
    return text(WIDTH - RIGHT, y, " · ".join(words), "lane-words", "end")


def _split_strip(window: WindowEntry | None, lane: Mapping[str, Any], x: Scale, top: float) -> str:
    """Where the time of the longest outage went, above the lane."""
    if window is None or not window.outages:
        return ""
    end = lane["start"] + lane["width"] * len(lane["ok"])
    body = RATE_HEIGHT + ROLE_HEIGHT + LATENCY_HEIGHT
    parts = [
        rect(x(start), top, x(until if until is not None else end) - x(start), body, "outage") for start, until in window.outages
    ]
    begun, until = max(window.outages, key=lambda outage: (outage[1] if outage[1] is not None else end) - outage[0])
    at, right = begun, until if until is not None else end
    pieces = [("detection", window.detection), ("election", window.election), ("client recovery", window.client_recovery)]
    for css, length in pieces:
        if length is None:
            continue
        start = right - length if css == "client recovery" else at
        parts.append(rect(x(start), top - 10, x(start + length) - x(start), 7, css.replace(" ", "-"), f"{css} {length:.3f} s"))
        at = start + length
    return "".join(parts)


def _outage_label(window: WindowEntry | None, lane: Mapping[str, Any], x: Scale, top: float) -> str:
    """How long writes were refused, over everything else."""
    if window is None or not window.outages:
        return ""
    end = lane["start"] + lane["width"] * len(lane["ok"])
    begun, until = max(window.outages, key=lambda outage: (outage[1] if outage[1] is not None else end) - outage[0])
    right = until if until is not None else end
    label = f"{window.unavailable:.2f} s refused" if window.recovered else "never recovered"
    wide = x(right) - x(begun) > 110
    place = (x(begun) + x(right)) / 2 if wide else x(right) + 6
    return text(place, top + RATE_HEIGHT / 2 + 5, label, "outage-label", "middle" if wide else "start")


def _rate(lane: Mapping[str, Any], x: Scale, top: float, hover: bool) -> str:
    """Stacked bars: acknowledged (kept and lost), unknown and refused writes by their planned time."""
    lost = lane.get("lost", [0] * len(lane["ok"]))
    kept = [ok - gone for ok, gone in zip(lane["ok"], lost, strict=True)]
    counts = list(zip(kept, lost, lane["info"], lane["fail"], strict=True))
    totals = sorted(sum(cell) for cell in counts)
    most = max(totals[int(len(totals) * 0.98)] * 1.15, 1) if totals else 1
    y = Scale(0, most, 0, RATE_HEIGHT)
    bottom = top + RATE_HEIGHT
    paths: dict[str, list[str]] = {"ok": [], "lost": [], "info": [], "fail": []}
    hovers = []
    for place, cell in enumerate(counts):
        left, right = x(lane["start"] + place * lane["width"]), x(lane["start"] + (place + 1) * lane["width"])
        base = 0.0
        for css, count in zip(paths, cell, strict=True):
            if count:
                low, high = y(base), y(base + count)
                paths[css].append(f"M{left:g} {bottom - low:.1f}H{right:g}V{bottom - high:.1f}H{left:g}z")
                base += count
        if hover and any(cell):
            hovers.append(
                rect(left, top, right - left, RATE_HEIGHT + ROLE_HEIGHT + LATENCY_HEIGHT, "hover", _cell_words(lane, place))
            )
    parts = [line(LEFT, bottom, WIDTH - RIGHT, bottom, "base")]
    parts += [f'<path class="{css}" d="{"".join(path)}"/>' for css, path in paths.items() if path]
    per_second = most / 1.15 / lane["width"]
    parts.append(text(LEFT - 8, top + RATE_HEIGHT * 0.13 + 4, f"{_short(per_second)}/s", "axis", "end"))
    parts.append(text(LEFT - 8, bottom + 3, "0", "axis", "end"))
    return "".join(parts + hovers)


def _cell_words(lane: Mapping[str, Any], place: int) -> str:
    at = lane["start"] + place * lane["width"]
    words = [f"{at:+.3f} s", f"{lane['ok'][place]} acknowledged"]
    words += [
        f"{lane[name][place]} {what}"
        for name, what in (("lost", "of them lost"), ("fail", "refused"), ("info", "unknown"))
        if lane[name][place]
    ]
    if lane["p50"][place] is not None:
        words.append(f"p50 {lane['p50'][place]:.2f}, p99 {lane['p99'][place]:.2f}, max {lane['max'][place]:.2f} ms")
    return ", ".join(words)


def _latency(lane: Mapping[str, Any], x: Scale, top: float) -> str:
    """Latency of acknowledged writes on a logarithmic scale: median, p99 and the largest."""
    bottom = top + LATENCY_HEIGHT
    log = Scale(log10(LATENCY_FLOOR), log10(LATENCY_TOP), 0, LATENCY_HEIGHT)

    def y(milliseconds: float) -> float:
        return bottom - log(log10(max(milliseconds, LATENCY_FLOOR)))

    parts = []
    for value, label in ((1.0, "1 ms"), (100.0, "100 ms"), (10_000.0, "10 s")):
        parts.append(line(LEFT, y(value), WIDTH - RIGHT, y(value), "grid"))
        parts.append(text(LEFT - 8, y(value) + 4, label, "axis", "end"))
    for name in ("max", "p99", "p50"):
        path, pen = [], "M"
        for place, value in enumerate(lane[name]):
            if value is None:
                pen = "M"
                continue
            middle = x(lane["start"] + (place + 0.5) * lane["width"])
            path.append(f"{pen}{middle:g} {y(value):.1f}")
            pen = "L"
        if path:
            parts.append(f'<path class="latency-{name}" d="{"".join(path)}"/>')
    return "".join(parts)


def _roles(lane: Mapping[str, Any], marks: Sequence[Mapping[str, Any]], x: Scale, y: float) -> str:
    """Role changes of the shard's nodes as diamonds; the promotion is named."""
    if lane["side"] != "main":
        return ""
    own = [mark for mark in marks if mark["what"] == "role" and mark["shard"] == lane["shard"]]
    labels = [f"{mark['node']} {mark['role']}" for mark in own]
    parts, edge = [], -1e9
    for number, (mark, label) in enumerate(zip(own, labels, strict=True)):
        place = x(mark["at"])
        right = place + 9 + 6.3 * len(label)
        following = x(own[number + 1]["at"]) - 8 if number + 1 < len(own) else WIDTH
        if place > edge and right < max(following, WIDTH * (mark["role"] == "primary")):
            parts.append(text(place + 9, y + 4, label, "role-label"))
            edge = right
        css = {"primary": "role-primary", "replica": "role-replica"}.get(mark["role"], "role-down")
        title = f"{mark['at']:+.3f} s {mark['node']} is {mark['role']} (seen by {mark['by']})"
        parts.append(f'<path class="{css}" d="M{place:g} {y - 6:g}l6 6l-6 6l-6 -6z"><title>{escape(title)}</title></path>')
    return "".join(parts)


def _short(value: float) -> str:
    return f"{value / BIG:.1f}k" if value >= BIG else f"{value:.0f}"


def composition(repetitions: Sequence[RepetitionEntry], limit: float | None) -> str:
    """One bar per repetition: the window of the shard that was hit and where it went, against the bound."""
    rows = [(rep.number, max(rep.hit, key=lambda w: w.unavailable)) for rep in repetitions if rep.hit]
    if not rows:
        return ""
    row_height, head = 22, 22 if limit else 8
    height = head + row_height * len(rows) + 30
    most = max([window.unavailable for _, window in rows] + ([limit] if limit else [])) * 1.08 or 1.0
    x = Scale(0, most, LEFT, PLOT - 60)
    parts = []
    for tick in ticks(0, most):
        parts.append(line(x(tick), head, x(tick), height - 24, "grid"))
        parts.append(text(x(tick), height - 8, f"{tick:g} s", "axis", "middle"))
    for number, (rep, window) in enumerate(rows):
        y = head + number * row_height + 3
        parts.append(text(LEFT - 8, y + 12, f"run {rep}", "axis", "end"))
        pieces = [("detection", window.detection), ("election", window.election), ("client-recovery", window.client_recovery)]
        known = [(css, length) for css, length in pieces if length is not None]
        rest = max(window.unavailable - sum(length for _, length in known), 0)
        at = 0.0
        for css, length in [*known, ("whole", rest)]:
            words = "not attributed" if css == "whole" else css.replace("-", " ")
            parts.append(rect(x(at), y, x(at + length) - x(at), 16, css, f"run {rep}: {words} {length:.3f} s"))
            at += length
        parts.append(text(x(at) + 6, y + 12, f"{window.unavailable:.2f} s", "value"))
    if limit:
        parts.append(line(x(limit), head - 4, x(limit), height - 24, "limit"))
        parts.append(text(x(limit), head - 9, f"allowed {limit:.2f} s", "limit-label", "middle"))
    return svg(height, "Unavailability per repetition", parts)


def strip(figure: FigureEntry) -> str:
    """All repetitions of one figure as dots on a line, with the median and the limit."""
    width, height, left, right = 360, 46, 12, 12
    most = max(figure.most, figure.limit or 0) * 1.08 or 1.0
    x = Scale(0, most, left, width - left - right)
    parts = [line(left, 22, width - right, 22, "base")]
    for tick in ticks(0, most, 4):
        parts.append(line(x(tick), 19, x(tick), 25, "grid"))
        parts.append(text(x(tick), 42, f"{tick:g}" if tick < BIG else _short(tick), "axis", "middle"))
    if figure.limit is not None and figure.unit == "s":
        parts.append(line(x(figure.limit), 6, x(figure.limit), 34, "limit"))
    parts.append(line(x(figure.middle), 12, x(figure.middle), 32, "median"))
    above: Callable[[float], bool] = lambda value: figure.limit is not None and value > figure.limit  # noqa: E731
    for number, value in enumerate(figure.values, 1):
        css = "dot over" if above(value) else "dot"
        title = f"run {number}: {value:g} {figure.unit}"
        parts.append(f'<circle cx="{x(value):g}" cy="22" r="5" class="{css}"><title>{escape(title)}</title></circle>')
    return svg(height, f"{figure.name} over {len(figure.values)} repetitions", parts, width)
