"""Keys of the sweep file that have another name now, or none.

A user's file with an old key is answered with the new one. The resolved files and records that
older versions wrote keep their meaning: they are read under the new names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

RENAMED = {
    "accumulate": "gradient_accumulation_steps",
    "bad_images": "max_unreadable_fraction",
    "every": "every_n_steps",
    "record": "database_url",
    "code": "code_files",
}
"""Old key -> new key; they are in the same place."""

REMOVED = {
    "resources.placement": "it had no effect: a trial is placed as a whole either way",
    "objective.mode": "every objective is better the smaller it is",
}
"""Old key, with its place -> why there is no such key."""


def answer(path: str, known: list[str]) -> str | None:
    """What to say of an unknown key; None unless it is an old one of this place.

    Args:
        path: the key with its place, `trace.every`.
        known: the keys that may stand in its place.
    """
    key = path.rpartition(".")[2]
    if key in RENAMED and RENAMED[key] in known:
        return f"it is called {RENAMED[key]} now"
    return f"there is no such key any more: {REMOVED[path]}" if path in REMOVED else None


def with_new_keys(data: Mapping[str, Any]) -> dict[str, Any]:
    """A resolved sweep file under the names of this version."""
    new = _renamed(data, "record", "code")
    for part, key in (("task", "bad_images"), ("training", "accumulate"), ("trace", "every")):
        if isinstance(new.get(part), dict):
            new[part] = _renamed(new[part], key)
    for part, key in (path.split(".") for path in REMOVED):
        if isinstance(new.get(part), dict):
            new[part] = {name: value for name, value in new[part].items() if name != key}
    if isinstance(new.get("confirm"), dict):
        new["confirm"] = {"splits": 1} | new["confirm"]  # there were none but the search's
    if isinstance(new.get("search"), dict):  # every strategy had trials
        new["search"] = {"run_single_configurations": True} | new["search"]
    if isinstance(new.get("strategies"), dict):
        new["strategies"] = {name: _strategy(own) for name, own in new["strategies"].items()}
    return new


def settings_with_new_keys(training: Mapping[str, Any]) -> dict[str, Any]:
    """A trial's settled training values under the names of this version."""
    return _renamed(training, "accumulate")


def _strategy(own: Any) -> Any:
    if isinstance(own, dict) and isinstance(own.get("training"), dict):
        return own | {"training": _renamed(own["training"], "accumulate")}
    return own


def _renamed(data: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    return {RENAMED[key] if key in keys else key: value for key, value in data.items()}
