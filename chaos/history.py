"""What happened: each call with its ends, what the workers began, who died when, which troubles were made.

Times are seconds on the machine's monotonic clock, which all of its processes share.
"""

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Call:
    """A request as it was sent.

    Attributes:
        number: identifies it; stands in its tensors.
        target: the scheduler that it was sent to.
        kind: how: `unary`, `stream`, `foreign` (by another client library), `cancelled` (by its client, in the middle).
        timeout: seconds that its client waits.
        expected: digest of the right answer's tensors; empty for one that must not be answered.
        lethal: whether it kills the process that runs it.
    """

    number: int
    target: str
    kind: str
    sent: float
    timeout: float
    expected: str
    lethal: bool = False


@dataclass(frozen=True, slots=True)
class End:
    """What a client was told: `code` is OK and `tensors` the answer's digest, or `reason` says why not.

    `reason` is empty where the client library does not tell.
    """

    at: float
    code: str
    reason: str = ""
    tensors: str = ""


@dataclass(frozen=True, slots=True)
class Begin:
    """A process began to run a call."""

    number: int
    pid: int
    at: float


@dataclass(frozen=True, slots=True)
class Trouble:
    """A fault, or its consequence: `target` did not work as it should from `begin` to `end`."""

    kind: str
    target: str
    begin: float
    end: float


@dataclass(slots=True)
class History:
    """All of it. `at_rest` holds what was found lying about after the load had ended: nothing, if all is well."""

    calls: dict[int, Call] = field(default_factory=dict)
    ends: defaultdict[int, list[End]] = field(default_factory=lambda: defaultdict(list))
    begins: list[Begin] = field(default_factory=list)
    deaths: dict[int, float] = field(default_factory=dict)
    """When each process that died unasked did so, by pid."""
    troubles: list[Trouble] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    """The fencing tokens that schedulers led with."""
    at_rest: list[str] = field(default_factory=list)

    def sent(self, call: Call) -> None:
        """A call goes out."""
        self.calls[call.number] = call

    def ended(self, number: int, end: End) -> None:
        """A client was told something about a call, perhaps not for the first time."""
        self.ends[number].append(end)

    def write(self, path: Path) -> None:
        """One JSON object a line, of one kind each."""
        with path.open("w") as file:
            for call in self.calls.values():
                ends = [asdict(end) for end in self.ends.get(call.number, ())]
                file.write(json.dumps({"call": asdict(call), "ends": ends}) + "\n")
            for kind in ("begins", "troubles"):
                file.writelines(json.dumps({kind: asdict(each)}) + "\n" for each in getattr(self, kind))
            rest = {"deaths": self.deaths, "tokens": self.tokens, "at_rest": self.at_rest}
            file.write(json.dumps(rest) + "\n")

    @classmethod
    def read(cls, path: Path) -> "History":
        """What `write` wrote."""
        history = cls()
        with path.open() as file:
            for line in file:
                history._add(json.loads(line))
        return history

    def _add(self, line: Mapping[str, Any]) -> None:
        if "call" in line:
            call = Call(**line["call"])
            self.calls[call.number] = call
            self.ends[call.number] = [End(**end) for end in line["ends"]]
        elif "begins" in line:
            self.begins.append(Begin(**line["begins"]))
        elif "troubles" in line:
            self.troubles.append(Trouble(**line["troubles"]))
        else:
            self.deaths = {int(pid): at for pid, at in line["deaths"].items()}
            self.tokens, self.at_rest = list(line["tokens"]), list(line["at_rest"])
