"""The sweep file that a job is sent with: of a sweep, or of a suite."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from raysel.common.errors import Problem, UserError
from raysel.record.layout import CODE
from raysel.spec import user_code, yaml_core
from raysel.spec.reader import SweepFile
from raysel.spec.suite import Suite, is_suite, read_suite
from raysel.spec.sweep import Spec
from raysel.sweep.resumed_spec import continued


@dataclass(frozen=True)
class SentFile:
    """A file that `raysel run` takes on the cluster.

    Attributes:
        name: the sweep's or the suite's.
        storage: where it keeps its files there.
        text: of the file.
    """

    name: str
    storage: str
    text: str

    @classmethod
    def of_sweep(cls, spec: Spec) -> SentFile:
        """The resolved file of a sweep."""
        return cls(spec.name, spec.storage, spec.to_yaml())

    @classmethod
    def of_suite(cls, suite: Suite, sources: Sequence[user_code.Source]) -> SentFile:
        """The file of a suite with the overrides in place and its code where it will lie."""
        data = suite.file.data()
        if sources:
            code = user_code.located(suite.cells[0].spec, sources, CODE).listed_code
            data["code_files"] = [file.model_dump(mode="json") for file in code]
        return cls(suite.name, suite.cells[0].spec.storage, yaml_core.write(data))

    @classmethod
    def read(cls, text: str, overrides: Sequence[str] = ()) -> SentFile:
        """A file from its text.

        Args:
            overrides: `a.b=c` strings on top of it.

        Raises:
            UserError: it does not match the grammar.
        """
        file = SweepFile("sweep file", text, tuple(overrides))
        if is_suite(file):
            return cls.of_suite(read_suite(file, even_many=True), ())
        return cls.of_sweep(file.spec())

    def with_overrides(self, overrides: Sequence[str]) -> SentFile:
        """The same with what `overrides` extend.

        Raises:
            UserError: something would change what the results mean.
        """
        before = SweepFile("sweep file", self.text)
        after = replace(before, overrides=tuple(overrides))
        if not is_suite(before):
            return self.of_sweep(continued(before.spec(), after.spec()))
        known = {cell.name: cell.spec for cell in read_suite(before, even_many=True).cells}
        suite = read_suite(after, even_many=True)
        now = {cell.name: cell.spec for cell in suite.cells}
        if gone := [name for name in known if name not in now]:
            raise UserError(Problem("axes", f"the cell {gone[0]} is not there any more"))
        for name, spec in known.items():
            continued(spec, now[name])
        return self.of_suite(suite, ())
