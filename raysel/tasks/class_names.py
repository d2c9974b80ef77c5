"""Names of classes: one spelling of each, two of them at least, no two that look the same."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from raysel.common.errors import user_error
from raysel.common.text import and_more, quoted

_PATH = "task.data"
_MISSING = frozenset(
    {"?", "-", "--", "na", "n/a", "nan", "<na>", "null", "none", "nil", "missing", "unlabeled"}
    | {"unlabelled", "no label", "tbd", "todo"}
)
"""How programs and people write that there is no label."""


def normalised(name: str) -> str:
    """A name as it is compared: in Unicode's composed form (NFC; some file systems and programs
    give "é" as two characters), without blanks around it."""
    return unicodedata.normalize("NFC", name).strip()


def visual_key(name: str) -> str:
    """A name as it looks: two names with one key are one class, or confuse the reader."""
    plain = unicodedata.normalize("NFKC", name)
    shown = "".join(sign for sign in plain if unicodedata.category(sign) != "Cf")
    return " ".join(shown.split()).casefold()


def check_names(classes: Sequence[str]) -> None:
    """Refuse two classes whose names look the same, and names that are no text.

    Raises:
        UserError: two names differ in upper and lower case, in blanks or in characters that do
            not show; on some file systems they would be one folder. Or a name holds half a
            character (a folder's bytes that are not UTF-8, `\\ud800` in JSON): no file that
            names the classes could be written.
    """
    seen: dict[str, str] = {}
    for name in classes:
        if any(unicodedata.category(sign) == "Cs" for sign in name):
            message = f"class {quoted(name)} holds bytes or half characters that are no UTF-8 text"
            raise user_error(_PATH, f"{message}; rename it")
        other = seen.setdefault(visual_key(name), name)
        if other is not name:
            is_case = other.lower() == name.lower()
            how = "in upper and lower case alone" if is_case else "in blanks or hidden characters"
            message = f"classes {quoted(other)} and {quoted(name)} differ {how}"
            if other == name:
                message = f"two classes are called {quoted(name)}"
            raise user_error(_PATH, f"{message}; rename one of them")


def missing_label_notes(classes: Sequence[str]) -> tuple[str, ...]:
    """A note where classes are called as a label that is missing, which they may be."""
    named = [name for name in classes if visual_key(name).replace("_", " ") in _MISSING]
    if not named:
        return ()
    what = "look like labels that are missing" if len(named) > 1 else "looks like a missing label"
    kind = "classes" if len(named) > 1 else "class"
    return (f"{kind} {listed(named)} {what}: leave those pictures out if so",)


def check_count(name: str, classes: Sequence[str], hint: str = "") -> None:
    """Refuse fewer than two classes: nothing could be learnt, and every error would be 0.

    Args:
        name: of the data set.
        hint: what may have been meant.

    Raises:
        UserError: there are fewer than two.
    """
    if len(classes) > 1:
        return
    found = f"one class alone, {listed(classes)}" if classes else "no class"
    message = f"{name} has {found}; a classification needs two or more"
    raise user_error(_PATH, f"{message}{'. ' + hint if hint else ''}")


def listed(names: Sequence[str], most: int = 5) -> str:
    """The first names, in quotes, and how many more there are."""
    return and_more([quoted(name) for name in names], most)
