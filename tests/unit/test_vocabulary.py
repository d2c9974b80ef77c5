"""The words of the source are those of Ray, Optuna, MLflow, timm and torch.

An identifier or a message should hold the word that an engineer would search for. The lists are
words that raysel once used for things that these libraries, or plain English, have a word for.
"""

from __future__ import annotations

import io
import re
import tokenize
from pathlib import Path

import raysel

PACKAGE = Path(raysel.__file__).parent
TESTS = Path(__file__).parents[1]

_NAMES = """
    Amount Answer Blueprint Books ConfirmLedger Damaged Door Draw Flag Follower Foreign Frozen
    Ground HandOver Held Keeper Lost Mirror OpenSweep Order Outage Pictures Real Receiver Shared
    Standing StudyLedger Tell TerminalWatcher TrialSteps TrialTrouble Trouble Voice Watcher Whole
    Word admission amounts are_vain behind bench blueprint books carry carry_files deal dealer
    dealers door eases examine_address examine_here examine_joined goes_on ground guarded handed
    judged keeper kept_share lacking lives may_end mirror patiently present_tensors stacks
    standing take_over troubles undelivered voice watcher _Bench _Dealer _Deaf _born _cut_off
    _forgive _play
    OtherPictures Site StoredData StoredExamples Tally Wanted beside_the_papers in_look
    keep_source_model kept_ranges kept_source_model kept_store layer_sites resting unfit
    _at_rest _let_move _lost_sight _rest_frozen_parts
"""
NAMES = frozenset(_NAMES.split())
"""Whole identifiers."""

_PARTS = """
    told befell courier ledger overseer lifeline parcel deed knock knocks foresee foreseen unsound
"""
PARTS = frozenset(_PARTS.split())
"""Parts of identifiers: `_told`, `told_apart`, `StudyLedger`."""

WORDS = re.compile(
    r"\b(told|befell|befalls?|courier|ledger|overseer|lifeline|parcel|deed|knock(?:s|ed)?"
    r"|foreseen?|foresaw|how manieth|in vain|unsound"
    r"|stumbl(?:e|es|ed)|wreck(?:s|ed)?|malice|layers? at rest|sound steps?|drawn anew"
    r"|initialised anew|travels by pickle|by day and (?:by )?night)\b",
    re.IGNORECASE,
)
"""Words of docstrings, comments and messages."""

FILES = sorted(
    path
    for root in (PACKAGE, TESTS)
    for path in root.rglob("*.py")
    if path != Path(__file__)
)  # fmt: skip

_PART = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")


def private_words(text: str) -> list[str]:
    """Where a source holds one of the words: `line: word`."""
    found = []
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        line = token.start[0]
        if token.type == tokenize.NAME:
            parts = {part.lower() for part in _PART.findall(token.string)}
            if token.string in NAMES or parts & PARTS:
                found.append(f"{line}: {token.string}")
        elif token.type in (tokenize.COMMENT, tokenize.STRING):
            for match in WORDS.finditer(token.string):
                before = token.string.count("\n", 0, match.start())
                found.append(f"{line + before}: {match[0]}")
    return found


def test_private_words_are_found():
    text = (
        'def knock(door):\n    """Probe.\n\n    What befell it."""\n    return door  # foreseen\n'
    )
    assert private_words(text) == ["1: knock", "1: door", "4: befell", "5: door", "5: foreseen"]
    assert private_words("def _is_told(StudyLedger): ...") == ["1: _is_told", "1: StudyLedger"]
    assert private_words('def probe(endpoint):\n    """Reports the failure."""\n') == []


def test_private_words_stay_out():
    found = {path: private_words(path.read_text(encoding="utf-8")) for path in FILES}
    assert len(found) > 500
    assert {path: words for path, words in found.items() if words} == {}
