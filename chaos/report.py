"""What is said of a run: one line for a verdict, figures for programs."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from chaos.checker import Violation
from chaos.history import History

MOST_SHOWN = 12


@dataclass(frozen=True, slots=True)
class Verdict:
    """Of one seed or scenario.

    Attributes:
        notes: what was measured, for people.
        figures: the same for programs.
    """

    name: str
    history: History
    violations: Sequence[Violation]
    faults: int
    notes: Sequence[str] = ()
    figures: Mapping[str, float] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether all invariants held."""
        return not self.violations

    def counts(self) -> Counter[str]:
        """How calls ended: OK, or the reason (the code, where the client library tells no reason)."""
        ends = (end for ends in self.history.ends.values() for end in ends)
        return Counter(end.reason or end.code for end in ends)

    def as_lines(self) -> list[str]:
        """For people."""
        history = self.history
        counts = self.counts()
        lost = sum(not history.ends.get(number) for number in history.calls)
        doubled = sum(len(ends) > 1 for ends in history.ends.values())
        wrong = sum(violation.invariant == 2 for violation in self.violations)
        others = ", ".join(f"{count} {reason}" for reason, count in sorted(counts.items()) if reason != "OK")
        lines = [
            f"{'PASSED' if self.passed else 'FAILED'}  {self.name}: {len(history.calls)} calls, {self.faults} faults, "
            f"{len(history.deaths)} deaths; {lost} lost, {doubled} doubled, {wrong} wrong; {counts['OK']} answered"
            + (f", {others}" if others else "")
        ]
        lines += [f"        {note}" for note in self.notes]
        lines += [f"        invariant {each.invariant}: {each.text}" for each in self.violations[:MOST_SHOWN]]
        if len(self.violations) > MOST_SHOWN:
            lines.append(f"        ... and {len(self.violations) - MOST_SHOWN} more")
        return lines

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "name": self.name,
            "passed": self.passed,
            "calls": len(self.history.calls),
            "faults": self.faults,
            "deaths": len(self.history.deaths),
            "ends": dict(self.counts()),
            "notes": list(self.notes),
            "figures": {name: round(figure, 4) for name, figure in self.figures.items()},
            "violations": [{"invariant": each.invariant, "text": each.text} for each in self.violations],
        }
