"""`report.html`: one page that needs nothing else. Made from the journal alone, so it can be made again at any time."""

import json
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from string import Template

from drills import charts
from drills.checkers.base import Verdict
from drills.examine import BUDGETED
from drills.journal import CheckEntry, FigureEntry, Journal, OutcomeEntry, RepetitionEntry, worst_uses

TEMPLATE = Path(__file__).with_name("report.template.html")
_WORDS = {
    "met": "Every objective met",
    "missed": "Objective missed",
    "unknown": "Could not tell",
    "broken": "The drill itself broke",
    "interrupted": "Interrupted",
}
_ICONS = {
    "met": '<path d="M5 13l5 5L20 7"/>',
    "missed": '<path d="M6 6l12 12M18 6L6 18"/>',
    "unknown": '<path d="M9 9a3 3 0 1 1 4.2 2.8c-.8.4-1.2 1-1.2 2.2M12 18v.01"/>',
    "broken": '<path d="M12 5v9M12 19v.01"/>',
    "interrupted": '<path d="M9 6v12M15 6v12"/>',
}
_ORDER = {Verdict.FALSE: 0, Verdict.UNKNOWN: 1, Verdict.TRUE: 2}
_TILES = ("writes refused", "lost", "gap on other shards", "two primaries", "time to redundancy")


def report(journal: Journal) -> str:
    """The whole page."""
    sections = [
        _head(journal),
        _tiles(journal),
        _problems(journal),
        _uses(journal),
        _timelines(journal.repetitions),
        _distribution(journal),
        _objectives(journal),
        _figures(journal),
        _checks(journal.repetitions),
        _faults(journal.repetitions),
        _background(journal),
    ]
    title = f"{journal.drill.title} on {journal.stack}: {_WORDS[journal.result].lower()}"
    page = Template(TEMPLATE.read_text(encoding="utf-8"))
    return page.substitute(title=escape(title), body="\n".join(section for section in sections if section))


def save(journal: Journal, directory: Path) -> Path:
    """Write `report.html`; raises OSError."""
    path = directory / "report.html"
    path.write_text(report(journal), encoding="utf-8")
    return path


def _head(journal: Journal) -> str:
    count = len(journal.repetitions)
    workload = journal.workload
    facts = [
        ("stack", f"{journal.stack} ({journal.topology})"),
        ("engine", journal.engine),
        ("repetitions", str(count)),
        ("load", str(workload.get("summary", "not recorded"))),
        ("seed", str(workload.get("seed", "none"))),
        ("started", journal.started),
    ]
    listed = "".join(f"<span>{escape(name)} <b>{escape(value)}</b></span>" for name, value in facts)
    icon = f'<svg viewBox="0 0 24 24" aria-hidden="true">{_ICONS[journal.result]}</svg>'
    return f"""<header>
<h1>{escape(journal.drill.title)}</h1>
<p class="soft" style="margin-top:6px">{escape(journal.drill.description)}</p>
<div class="facts">{listed}</div>
</header>
<section class="card verdict {journal.result}"><div class="badge">{icon}</div>
<div><p class="word">{_WORDS[journal.result]}</p><p class="lead">{escape(journal.summary)}</p></div></section>"""


def _tiles(journal: Journal) -> str:
    tiles = []
    for name in _TILES:
        figure = next((figure for figure in journal.figures if figure.name == name), None)
        if figure is not None:
            tiles.append(_tile(figure, journal))
    return f'<section class="tiles">{"".join(tiles)}</section>' if tiles else ""


def _tile(figure: FigureEntry, journal: Journal) -> str:
    many = len(figure.values) > 1 and figure.least != figure.most
    unit = "s" if figure.unit == "s" else "writes"
    note = f"median {_number(figure.middle, figure.unit)}, least {_number(figure.least, figure.unit)}" if many else ""
    if figure.name == "lost":
        acknowledged = next((int(sum(f.values)) for f in journal.figures if f.name == "acknowledged"), 0)
        total, shown = sum(figure.values), f"{int(sum(figure.values)):,}"
        note = f"of {acknowledged:,} acknowledged"
        outcomes = [o for rep in journal.repetitions for o in rep.outcomes if o.name == "lost"]
        worst = min((o.verdict for o in outcomes), key=lambda verdict: _ORDER[verdict], default=Verdict.TRUE)
        css = {Verdict.FALSE: "bad", Verdict.UNKNOWN: "doubt", Verdict.TRUE: ""}[worst]
        limit = outcomes[0].limit if outcomes else ""
        note += f"; allowed: {limit}" if limit else ""
        meter = f'<div class="meter"><i style="width:{100 if total else 0}%"></i></div>'
    else:
        shown = _number(figure.most, figure.unit)
        over = figure.limit is not None and figure.most > figure.limit
        css = "bad" if over else ""
        meter = '<div class="meter"></div>'
        if figure.limit:
            share = min(figure.most / figure.limit, 1) * 100
            meter = f'<div class="meter"><i style="width:{share:.0f}%"></i></div>'
            note = f"allowed {_number(figure.limit, 's')} s" + (f"; {note}" if note else "")
    what = f"{figure.name}, worst" if many and figure.name != "lost" else figure.name
    return (
        f'<div class="tile {css}"><div class="name">{escape(what)}</div>'
        f'<div class="big">{shown}<small>{unit}</small></div>{meter}<div class="note">{escape(note)}</div></div>'
    )


def _number(value: float, unit: str) -> str:
    if unit != "s":
        return f"{value:,.0f}"
    if value == 0:
        return "0"
    return f"{value:.3f}" if value < 1 else f"{value:.2f}"


def _problems(journal: Journal) -> str:
    if not journal.problems and not journal.notes:
        return ""
    items = [f'<li><span class="pill false">problem</span> {escape(problem)}</li>' for problem in journal.problems]
    items += [f"<li>{escape(note)}</li>" for note in journal.notes]
    return f'<section class="card"><h2>To know</h2><ul class="details">{"".join(items)}</ul></section>'


_LEGEND = (
    ("ok", "acknowledged"),
    ("lost", "acknowledged, then lost"),
    ("fail", "refused"),
    ("info", "unknown"),
    ("p50 dash", "latency p50"),
    ("p99 dash", "p99"),
    ("max dash", "max"),
    ("detection", "detection"),
    ("election", "election"),
    ("client-recovery", "client recovery"),
    ("role diamond", "role change"),
)


def _legend(names: Iterable[tuple[str, str]]) -> str:
    return '<div class="legend">' + "".join(f'<span><i class="{css}"></i>{word}</span>' for css, word in names) + "</div>"


def _timelines(repetitions: Sequence[RepetitionEntry]) -> str:
    drawn = [rep for rep in repetitions if rep.drawing.get("lanes")]
    if not drawn:
        return ""
    featured = min(drawn, key=lambda rep: (_ORDER[rep.verdict], -max((w.unavailable for w in rep.hit), default=0.0)))
    which = f" of the worst repetition (run {featured.number})" if len(drawn) > 1 else ""
    parts = [
        f'<section class="card"><h2>Time line{which}</h2>',
        '<p class="soft small">Writes by the moment at which they were planned, per shard; below them the time they took '
        "(logarithmic). Seconds count from the fault; the shaded part is the time in which no write was accepted.</p>",
        _legend(_LEGEND),
        f'<div class="scroll">{charts.timeline(featured)}</div>',
    ]
    parts += [
        f'<details><summary>Run {rep.number}</summary><div class="scroll">{charts.timeline(rep, hover=False)}</div></details>'
        for rep in drawn
        if rep is not featured
    ]
    return "".join([*parts, "</section>"])


def _uses(journal: Journal) -> str:
    """What it meant for the applications: a sentence for each workload, what it was promised, and its time line."""
    found = worst_uses(journal)
    if not found:
        return ""
    many = len(journal.repetitions) > 1
    rows = []
    for use, number in sorted(found, key=lambda item: _ORDER[item[0].verdict]):
        kept = ((o, escape(o.text.removeprefix(f"{use.name}: "))) for o in use.outcomes)
        items = "".join(f"<li>{_pill(o.verdict)} {text} (allowed: {escape(o.limit or 'not known')})</li>" for o, text in kept)
        promises = f'<ul class="details">{items}</ul>'
        if use.verdict == Verdict.TRUE:
            promises = f"<details><summary>What was promised</summary>{promises}</details>"
        examples = "".join(f"<li>{escape(detail)}</li>" for detail in use.details)
        opened = f'<details><summary>Examples</summary><ul class="details">{examples}</ul></details>' if examples else ""
        rows.append(
            f"<tr><td>{_pill(use.verdict)}</td><td>{escape(use.name)}</td><td>{escape(use.sentence)}"
            f'{promises}{opened}</td><td class="soft">{f"run {number}" if many else ""}</td></tr>'
        )
    featured = min((rep for rep in journal.repetitions if rep.uses), key=lambda rep: min(_ORDER[use.verdict] for use in rep.uses))
    legend = _legend((("ok", "done"), ("fail", "refused"), ("info", "unknown end"), ("broken", "a promise was broken"),
                       ("broken within", "lost, within what is allowed")))  # fmt: skip
    which = f", run {featured.number}" if many else ""
    return (
        '<section class="card"><h2>What it meant for the applications</h2><div class="scroll"><table><tbody>'
        f'{"".join(rows)}</tbody></table></div><p class="soft small">What the instances of each workload did{which}; '
        f'seconds count from the fault.</p>{legend}<div class="scroll">{charts.use_lines(featured)}</div></section>'
    )


def _distribution(journal: Journal) -> str:
    limit = next((figure.limit for figure in journal.figures if figure.name == "writes refused"), None)
    drawing = charts.composition(journal.repetitions, limit)
    if not drawing:
        return ""
    legend = _legend((("detection", "detection"), ("election", "election"), ("client-recovery", "client recovery")))
    return (
        '<section class="card"><h2>Where the time went</h2><p class="soft small">The shard that was hit: from the first '
        f'refused to the first acknowledged write.</p>{legend}<div class="scroll">{drawing}</div></section>'
    )


def _pill(verdict: Verdict, budgeted: bool = False) -> str:
    words = {Verdict.TRUE: "met", Verdict.FALSE: "missed", Verdict.UNKNOWN: "unknown"}
    if budgeted and verdict is Verdict.FALSE:
        return '<span class="pill within">see objective</span>'
    return f'<span class="pill {verdict}">{words[verdict]}</span>'


def _objectives(journal: Journal) -> str:
    """One row per objective, the worst repetition standing for all."""
    names: dict[str, list[tuple[int, OutcomeEntry]]] = {}
    for rep in journal.repetitions:
        for outcome in rep.outcomes:
            names.setdefault(outcome.name, []).append((rep.number, outcome))
    if not names:
        return ""
    rows = []
    for name, found in names.items():
        number, worst = min(found, key=lambda item: (_ORDER[item[1].verdict], -(item[1].measured or 0)))
        missed = sum(outcome.verdict is not Verdict.TRUE for _, outcome in found)
        runs = f"run {number}" + (f"; {missed} of {len(found)} not met" if missed else "") if len(found) > 1 else ""
        rows.append(
            f"<tr><td>{_pill(worst.verdict)}</td><td>{escape(name.replace('-', ' '))}</td><td>{escape(worst.limit)}</td>"
            f'<td>{escape(worst.text)}</td><td class="soft">{runs}</td></tr>'
        )
    return (
        '<section class="card"><h2>Objectives</h2><div class="scroll"><table><thead><tr><th></th><th>objective</th>'
        f"<th>allowed</th><th>worst measured</th><th></th></tr></thead><tbody>{''.join(rows)}</tbody></table></div></section>"
    )


def _figures(journal: Journal) -> str:
    if not journal.figures:
        return ""
    many = len(journal.repetitions) > 1
    rows = []
    for figure in journal.figures:
        numbers = [_number(value, figure.unit) for value in (figure.least, figure.middle, figure.most)]
        cells = "".join(f'<td class="n mid">{number}</td>' for number in (numbers if many else numbers[2:]))
        limit = "" if figure.limit is None else _number(figure.limit, figure.unit)
        drawing = f'<td class="strip">{charts.strip(figure)}</td>' if many else ""
        rows.append(
            f'<tr><td class="mid">{escape(figure.name)}</td>{cells}<td class="soft mid">{figure.unit}</td>'
            f'<td class="n mid">{limit}</td>{drawing}</tr>'
        )
    names = ("min", "median", "max") if many else ("measured",)
    head = "".join(f'<th class="n">{name}</th>' for name in names)
    runs = f"<th>{len(journal.repetitions)} runs</th>" if many else ""
    return (
        '<section class="card"><h2>Figures</h2><div class="scroll"><table><thead><tr><th>figure</th>'
        f'{head}<th></th><th class="n">allowed</th>{runs}</tr></thead><tbody>{"".join(rows)}</tbody></table></div></section>'
    )


def _check_rows(rep: RepetitionEntry) -> str:
    def row(check: CheckEntry) -> str:
        details = "".join(f"<li>{escape(detail)}</li>" for detail in check.details)
        listed = f'<ul class="details">{details}</ul>' if details else ""
        pill = _pill(check.verdict, check.name in BUDGETED).replace(">met<", ">true<").replace(">missed<", ">false<")
        return f"<tr><td>{pill}</td><td>{escape(check.name)}</td><td>{escape(check.summary)}{listed}</td></tr>"

    ordered = sorted(rep.checks, key=lambda check: _ORDER[check.verdict])
    return f"<table><tbody>{''.join(row(check) for check in ordered)}</tbody></table>"


def _checks(repetitions: Sequence[RepetitionEntry]) -> str:
    if not repetitions:
        return ""
    parts = ['<section class="card"><h2>Checks</h2>']
    for rep in sorted(repetitions, key=lambda rep: (_ORDER[rep.verdict], rep.number)):
        if len(repetitions) == 1:
            parts.append(_check_rows(rep))
            continue
        opened = " open" if rep.verdict is not Verdict.TRUE else ""
        held = sum(check.verdict is Verdict.TRUE for check in rep.checks)
        title = f"Run {rep.number} {_pill(rep.verdict)} {held} of {len(rep.checks)} checks true"
        parts.append(f"<details{opened}><summary>{title}</summary>{_check_rows(rep)}</details>")
    return "".join([*parts, "</section>"])


def _faults(repetitions: Sequence[RepetitionEntry]) -> str:
    parts = []
    for rep in repetitions:
        marks = [mark for mark in rep.drawing.get("marks", ()) if mark["what"] == "fault"]
        rows = "".join(
            f'<tr><td class="n">{mark["at"]:+.3f} s</td><td>{escape(mark["stage"])}</td><td>{escape(mark["fault"])}</td>'
            f"<td>{escape(', '.join(mark['targets']))}</td><td>{escape(mark['text'])}</td></tr>"
            for mark in marks
        )
        if rows:
            table = f"<table><tbody>{rows}</tbody></table>"
            only = len(repetitions) == 1
            parts.append(table if only else f"<details><summary>Run {rep.number}</summary>{table}</details>")
    if not parts:
        return ""
    return f'<section class="card"><h2>Faults and their evidence</h2>{"".join(parts)}</section>'


def _background(journal: Journal) -> str:
    def block(name: str, data: object) -> str:
        return f"<details><summary>{name}</summary><pre>{escape(json.dumps(data, indent=2))}</pre></details>" if data else ""

    versions = " · ".join(f"{escape(name)} {escape(version)}" for name, version in journal.versions.items())
    return (
        '<section class="card"><h2>What it was judged by</h2>'
        + block("Objectives in force", journal.objectives)
        + block("Plan of the drill", journal.drill.plan)
        + block("Workload", journal.workload)
        + block("Spec of the stack", journal.spec)
        + f"</section><footer>{versions}<br>Made from <code>journal.json</code>; every operation stands in "
        f"<code>history.jsonl</code>. Started {escape(journal.started)}, finished {escape(journal.finished)}.</footer>"
    )
