"""`results.json` as frozen types, which its writer and all its readers share.

Keys that a file lacks have defaults (but for those that every version wrote) and keys that are not
known are skipped, so that the file of another version can be read. The tables, the figures and the
report are drawn from it alone. `strategy` is everywhere the name of an arm: of an entry below
`strategies` in the sweep file.
"""

from raysel.sweep.results.confirm import ConfirmedStrategy, ConfirmRun, Interval, TestedEpoch
from raysel.sweep.results.search import (
    EffortCurve,
    Importance,
    Objective,
    PriorUse,
    SourceFacts,
    StrategyEffort,
    TrialResult,
)
from raysel.sweep.results.sweep import (
    Planned,
    Spent,
    StoredFeatures,
    SweepResults,
    results_schema,
)
from raysel.sweep.results.verdict import Comparison, Improvement, Outcome, Verdict

__all__ = [
    "Comparison",
    "ConfirmRun",
    "ConfirmedStrategy",
    "EffortCurve",
    "Importance",
    "Improvement",
    "Interval",
    "Objective",
    "Outcome",
    "Planned",
    "PriorUse",
    "SourceFacts",
    "Spent",
    "StoredFeatures",
    "StrategyEffort",
    "SweepResults",
    "TestedEpoch",
    "TrialResult",
    "Verdict",
    "results_schema",
]
