"""Was anything read that nobody wrote, or whose write certainly failed?"""

from itertools import islice

from drills.checkers.base import EXAMPLES, Check, Quality, Verdict, plural
from drills.checkers.ledger import Ledger


def phantom_values(ledger: Ledger, quality: Quality) -> Check:
    """Values in the final read or in reads during the drill that were never attempted, or that were certainly refused."""
    tally = ledger.tally
    certain = tally.refused_but_present + tally.never_attempted_but_present + tally.read_but_refused + tally.wrong_content
    doubtful = tally.unrecorded_but_present + tally.read_but_never_attempted
    figures = {
        "refused_but_present": tally.refused_but_present + tally.read_but_refused,
        "never_attempted_but_present": tally.never_attempted_but_present + tally.read_but_never_attempted,
        "attempt_not_recorded": tally.unrecorded_but_present,
        "wrong_content": tally.wrong_content,
    }
    details = tuple(f"lane {lane} value {value}: {what}" for lane, value, what in islice(ledger.phantoms(), EXAMPLES))
    if quality.complete:
        certain, doubtful = certain + doubtful, 0
    if certain:
        return Check("phantom", Verdict.FALSE, f"{plural(certain, 'value')} should not be there", figures, details)
    if doubtful:
        reason = f"{plural(doubtful, 'value')} may belong to writes that the incomplete history does not show"
        return Check("phantom", Verdict.UNKNOWN, reason, figures, details)
    read = tally.kept + tally.unknown_kept
    if not read:
        return Check("phantom", Verdict.UNKNOWN, "nothing was read, so nothing is proven", figures)
    return Check("phantom", Verdict.TRUE, f"each of {plural(read, 'value')} read was written", figures)
