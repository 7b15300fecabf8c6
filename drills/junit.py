"""The same findings for continuous integration: one test case per check and objective of every repetition."""

from pathlib import Path
from xml.etree import ElementTree as Xml

from drills.checkers.base import Verdict
from drills.journal import Journal

_ILLEGAL = {code: None for code in range(32) if code not in (9, 10, 13)}


def junit(journal: Journal) -> str:
    """JUnit XML. False is a failure; unknown, and whatever broke the drill, is an error: neither is a pass."""
    cases: list[tuple[str, Verdict, str, str]] = []
    for repetition in journal.repetitions:
        prefix = f"repetition {repetition.number}: " if len(journal.repetitions) > 1 else ""
        cases += [(f"{prefix}{c.name}", c.verdict, c.summary, "\n".join(c.details)) for c in repetition.checks
                  if c.name not in ("lost", "split-brain")]  # fmt: skip
        cases += [(f"{prefix}objective {o.name}", o.verdict, o.text, "") for o in repetition.outcomes]
        for use in repetition.uses:
            cases += [(f"{prefix}objective {o.name}", o.verdict, o.text, "") for o in use.outcomes]
            cases.append((f"{prefix}workload {use.name}", use.verdict, use.sentence, "\n".join(use.details)))
    cases += [("the drill itself", Verdict.UNKNOWN, problem, "") for problem in journal.problems]
    failures = sum(verdict is Verdict.FALSE for _, verdict, _, _ in cases)
    errors = sum(verdict is Verdict.UNKNOWN for _, verdict, _, _ in cases)
    name = f"{journal.drill.name} on {journal.stack}"
    suite = Xml.Element(
        "testsuite", name=name, tests=str(len(cases)), failures=str(failures), errors=str(errors), timestamp=journal.started
    )
    for title, verdict, summary, details in cases:
        case = Xml.SubElement(suite, "testcase", name=title, classname=f"drills.{journal.stack}.{journal.drill.name}")
        if verdict is not Verdict.TRUE:
            kind = "failure" if verdict is Verdict.FALSE else "error"
            element = Xml.SubElement(case, kind, message=summary.translate(_ILLEGAL), type=str(verdict))
            element.text = details.translate(_ILLEGAL)
    Xml.indent(suite)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + Xml.tostring(suite, encoding="unicode") + "\n"


def save(journal: Journal, directory: Path) -> Path:
    """Write `junit.xml`; raises OSError."""
    path = directory / "junit.xml"
    path.write_text(junit(journal), encoding="utf-8")
    return path
