"""Pairs of ranges and versions, and what npm's own `semver` answers to them.

    python tests/support/npm_ranges.py [PAIRS]

records answers anew in tests/unit/nnpm/package/npm_semver_answers.json (needs node and npm).
"""

import json
import random
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

RECORDED = Path(__file__).parents[1] / "unit/nnpm/package/npm_semver_answers.json"

Pair = tuple[str, str]
Answer = tuple[str, str, bool, bool | None]
"""Range, version, whether npm takes the range, and whether it admits the version (None: no such range)."""

# What people write, spaces and all, and what they get wrong.
WRITTEN = (
    "", "*", "x", "1", "1.x", "1.2.x", "1.2.*", "X.X.X", "^1.2", "^ 1.2", "^1.2.3", "^0.1", "^0.0.3", "~1.2", "~ 1.2",
    "~1.2.3", "~>1.2.3", "~> 1.2.3", ">= 1", ">=1", "> 1", "<2", "<= 2", "<=2.0", ">=1 <2", ">= 1 < 2", "1.2 - 2",
    "1.2.3 - 2.3.4", "1 || 2", "1||2", "^1 || ^3", "=1.2.3", "= 1.2.3", "v1.2.3", "^v1.2", ">=1.2.3-alpha.1",
    "^1.2.3-alpha", "~1.2.3-beta.2", "1.2.3-alpha - 2", ">1.2.3-alpha <1.3", "1.2.3+build", "1+b", "<1.x", ">1.x",
    "latest", "1.2.3.4", "x.1", "1.x.3", "01.2.3", "1.2.3-01", "!1", "=>1", ">", "^", "~", "1 2", "^1, ^2", "^1 & ^2",
    "99999999999999999999", "1.9007199254740992.0", "1 - ", "- 1", "||", "1 ||", "\t^1\n", ">=1.0.0 <=1.0.0", "^^1",
)  # fmt: skip
VERSIONS = ("0.0.3", "0.1.0", "1.0.0", "1.2.0", "1.2.3", "1.2.3-alpha.1", "1.2.3-alpha", "1.2.4-rc.1", "2.0.0-rc.1",
            "2.0.0", "2.3.4", "3.0.0", "1.2.3+build")  # fmt: skip

_SCRIPT = """
const semver = require(process.argv[1]);
const pairs = JSON.parse(require('fs').readFileSync(0, 'utf8'));
const answer = ([r, v]) => semver.validRange(r) === null ? [r, v, false, null] : [r, v, true, semver.satisfies(v, r)];
console.log(JSON.stringify(pairs.map(answer)));
"""


def find_semver() -> Path | None:
    """npm's own copy of the package `semver`, when node and npm are here and it is 7.8 or later."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        return None
    folder = Path(npm).resolve().parents[1] / "node_modules" / "semver"
    try:
        version = json.loads((folder / "package.json").read_text())["version"]
    except FileNotFoundError:
        return None
    return folder if tuple(map(int, version.split(".")[:2])) >= (7, 8) else None


def ask_npm(pairs: Sequence[Pair], semver: Path) -> list[Answer]:
    """What npm answers."""
    done = subprocess.run(
        ["node", "-e", _SCRIPT, str(semver)],
        input=json.dumps(pairs),
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return [(text, version, valid, admits) for text, version, valid, admits in json.loads(done.stdout)]


def written_pairs() -> list[Pair]:
    """Every range of WRITTEN with every version of VERSIONS."""
    return [(text, version) for text in WRITTEN for version in VERSIONS]


def drawn_pairs(count: int, seed: int) -> list[Pair]:
    """Random ranges, many of them wrong, with random versions."""
    draw = random.Random(seed)

    def number() -> str:
        return draw.choice(
            ["0", "1", "2", "3", "10", "00", "01", "x", "X", "*", ""] if draw.random() < 0.25 else list("0123")
        )

    def partial() -> str:
        length = draw.choice([1, 2, 3, 3, 3])
        text = ".".join(number() for _ in range(length))
        if length == 3 or draw.random() < 0.05:
            text += draw.choice(
                [""] * 6 + ["-0", "-alpha", "-alpha.1", "-rc.1", "-1", "-beta.2+b.1", "+b5", "-01", "-a..b"]
            )
        return ("v" if draw.random() < 0.05 else "") + text

    def comparator() -> str:
        usual = [
            "",
            "",
            "",
            "^",
            "~",
            "~>",
            ">",
            ">=",
            "<",
            "<=",
            "=",
            "^ ",
            "~ ",
            "~> ",
            "> ",
            ">= ",
            "< ",
            "<= ",
            "= ",
        ]
        return (
            draw.choice(usual if draw.random() < 0.95 else ["~>=", "^v", ">v", " v", "==", "!", "=>", "^^"]) + partial()
        )

    def part() -> str:
        if draw.random() < 0.12:
            return partial() + draw.choice([" - "] * 5 + ["  -  ", "- ", " -"]) + partial()
        space = draw.choice([" "] * 20 + ["  ", ", "])
        return space.join(comparator() for _ in range(draw.choice([1, 1, 1, 2, 2, 3])))

    def version() -> str:
        tail = draw.choice(
            [""] * 4 + ["-0", "-alpha", "-alpha.1", "-alpha.2", "-rc.1", "-1", "-beta.2", "+b5", "-rc.1+b"]
        )
        return ".".join(draw.choice("0123") for _ in range(3)) + tail

    def text() -> str:
        parts = [part() for _ in range(draw.choice([1, 1, 1, 2]))]
        return draw.choice(["", "", "", " "]) + draw.choice([" || "] * 4 + ["||", " ||", "|"]).join(parts)

    return [(text(), version()) for _ in range(count)]


def main() -> None:
    """Records."""
    semver = find_semver()
    if semver is None:
        sys.exit("node, npm and its semver (7.8 or later) are needed")
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 3000
    answers = ask_npm(written_pairs() + drawn_pairs(count, seed=7), semver)
    RECORDED.write_text("[\n" + ",\n".join(json.dumps(answer) for answer in answers) + "\n]\n")


if __name__ == "__main__":
    main()
