"""%xas: the daily verbs of a session."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import Any

from IPython.core.error import UsageError
from IPython.core.magic import Magics, line_magic, magics_class

from xas_live.errors import XasLiveError

_LAST = 10  # rows of tables


@magics_class
class XasMagics(Magics):
    """`%xas`, for the analysis that the session has under the name `xas`."""

    @line_magic
    def xas(self, line: str) -> None:
        """Show how the analysis stands, or do one of its daily tasks.

        %xas, %xas status     what it does, the last rows of the table, the last prediction
        %xas last             the last prediction, with its reasons
        %xas table [N]        the last N rows (10)
        %xas models           the models that are loaded
        %xas anchor [SCAN]    make a scan the foil: -1 is the last, 12 that of scan id 12; --vouch
        %xas rules            what is done because of predictions
        %xas decisions        what was done
        %xas errors           what failed
        %xas doctor           check the installation and the beamline
        """
        verb, *rest = shlex.split(line) or ["status"]
        do: Callable[[list[str]], None] | None = getattr(self, f"_{verb}", None)
        if do is None:
            known = "status, last, table, models, anchor, rules, decisions, errors, doctor"
            raise UsageError(f"%xas {verb}: there is no such task; there are {known}")
        try:
            do(rest)
        except (XasLiveError, OSError) as error:
            print(f"xas_live: {error}")

    def _analysis(self) -> Any:
        found = self.shell.user_ns.get("xas")
        if found is None:
            raise UsageError("there is no analysis named xas in this session: xas = xas_live.attach(RE)")
        return found

    def _status(self, _: list[str]) -> None:
        print(self._analysis())

    def _last(self, _: list[str]) -> None:
        latest = self._analysis().latest
        print("no sweep has been predicted so far" if latest is None else repr(latest))
        if latest is not None and latest.why:
            print(f"  {latest.why}")

    def _table(self, rest: list[str]) -> None:
        count = int(rest[0]) if rest and rest[0].isdigit() else _LAST
        print(self._analysis().table.brief(count))

    def _models(self, _: list[str]) -> None:
        for model in self._analysis().analyzer.models:
            print(f"{model.name}  {model.sha256[:8]}  {model.card.summary}")

    def _anchor(self, rest: list[str]) -> None:
        scans = [word for word in rest if word != "--vouch"] or ["-1"]
        scan: int | str = int(scans[0]) if scans[0].lstrip("-").isdigit() else scans[0]
        self._analysis().anchor_from(scan, vouch="--vouch" in rest)

    def _rules(self, _: list[str]) -> None:
        rules = self._analysis().rules
        print("no rules" if rules is None else "\n".join(rules.describe()))

    def _decisions(self, _: list[str]) -> None:
        print("\n".join(map(str, self._analysis().decisions[-_LAST:])) or "nothing was decided so far")

    def _errors(self, _: list[str]) -> None:
        print("\n".join(map(str, self._analysis().errors[-_LAST:])) or "no errors")

    def _doctor(self, _: list[str]) -> None:
        from xas_live.beamline.checks import checks, printed

        print(printed(checks(self.shell.user_ns.get("beamline"))))


def load_magics() -> None:
    """Give the IPython shell that this runs in `%xas`; elsewhere do nothing."""
    from IPython import get_ipython

    shell = get_ipython()
    if shell is not None:
        shell.register_magics(XasMagics)
