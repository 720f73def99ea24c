"""A Dockerfile, read into stages of instructions, and the rules that ours keep: hadolint's, and some of our own."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction, its continuation lines joined."""

    line: int
    name: str
    text: str

    @property
    def is_exec_form(self) -> bool:
        try:
            words: Any = json.loads(self.text)
        except ValueError:
            return False
        return isinstance(words, list) and all(isinstance(word, str) for word in words)


@dataclass(frozen=True, slots=True)
class Stage:
    """What stands between one FROM and the next; `base` is another stage's name or an image."""

    name: str
    base: str
    line: int
    instructions: list[Instruction] = field(default_factory=list)

    def named(self, *names: str) -> list[Instruction]:
        return [each for each in self.instructions if each.name in names]


@dataclass(frozen=True, slots=True)
class Dockerfile:
    """All stages in order, and the arguments before the first."""

    arguments: Mapping[str, str]
    stages: list[Stage]

    @classmethod
    def parse(cls, text: str) -> "Dockerfile":
        arguments: dict[str, str] = {}
        stages: list[Stage] = []
        for each in _instructions(text):
            if each.name == "FROM":
                image, _, name = re.sub(r"--platform=\S+\s+", "", each.text).partition(" AS ")
                stages.append(Stage(name.strip(), _filled(image.strip(), arguments), each.line))
            elif stages:
                stages[-1].instructions.append(each)
            elif each.name == "ARG":
                name, _, value = each.text.partition("=")
                arguments[name] = value
        return cls(arguments, stages)

    @property
    def targets(self) -> list[Stage]:
        """The stages that no other stage builds on or copies from: what is made to be run."""
        used = {stage.base for stage in self.stages} | {
            source for stage in self.stages for copy in stage.named("COPY") for source in _sources(copy)
        }
        alternatives = [stage.name for stage in self.stages if stage.name.startswith("transport-")]
        return [stage for stage in self.stages if stage.name not in used and stage.name not in alternatives]

    def lineage(self, stage: Stage) -> Iterator[Stage]:
        """A stage, the stage that it begins from, and so on."""
        by_name = {each.name: each for each in self.stages}
        while True:
            yield stage
            if stage.base not in by_name:
                return
            stage = by_name[stage.base]

    def last(self, stage: Stage, name: str) -> Instruction | None:
        """The instruction of that name that counts for a stage."""
        for each in self.lineage(stage):
            if found := each.named(name):
                return found[-1]
        return None

    def label(self, stage: Stage, name: str) -> str:
        """A label's value, "" without it."""
        for each in self.lineage(stage):
            for text in (instruction.text for instruction in reversed(each.named("LABEL"))):
                if found := re.search(rf'{re.escape(name)}="([^"]*)"', text):
                    return found[1]
        return ""


LABELS = ("title", "description", "source", "licenses", "version", "revision")
_SECRET = re.compile(r"\b\w*(SECRET|PASSWORD|TOKEN|CREDENTIAL|ACCESS_KEY)\w*=", re.IGNORECASE)

Rule = Callable[[Dockerfile], Iterator[str]]


def faults(text: str) -> list[str]:
    """What a Dockerfile does against the rules; nothing for one that keeps them all."""
    dockerfile = Dockerfile.parse(text)
    return [fault for rule in RULES for fault in rule(dockerfile)]


def _images_are_tagged(dockerfile: Dockerfile) -> Iterator[str]:
    names = {stage.name for stage in dockerfile.stages}
    for stage in dockerfile.stages:
        if stage.base in names or stage.base == "scratch":
            continue
        if not re.fullmatch(r"[\w.-]+\.[\w.-]+/[\w./-]+:[\w.-]+(@sha256:[0-9a-f]{64})?", stage.base):
            yield f"{stage.line}: {stage.base} is not registry/repository:tag"
        if ":latest" in stage.base:
            yield f"{stage.line}: {stage.base}: latest is no version"


def _stages_are_named_once(dockerfile: Dockerfile) -> Iterator[str]:
    seen: set[str] = set()
    for stage in dockerfile.stages:
        if not stage.name or stage.name in seen:
            yield f"{stage.line}: stage {stage.name!r} has no name of its own"
        for copy in stage.named("COPY"):
            yield from (f"{copy.line}: no stage {source} above" for source in _sources(copy) if source not in seen)
        seen.add(stage.name)


def _targets_run_as_a_number(dockerfile: Dockerfile) -> Iterator[str]:
    for stage in dockerfile.targets:
        user = dockerfile.last(stage, "USER")
        if user is None or not re.fullmatch(r"[1-9]\d*(:[1-9]\d*)?", user.text):
            yield f"{stage.name}: USER must be a number other than 0, for whoever checks it without /etc/passwd"


def _targets_are_labelled(dockerfile: Dockerfile) -> Iterator[str]:
    for stage in dockerfile.targets:
        for name in LABELS:
            if not dockerfile.label(stage, f"org.opencontainers.image.{name}"):
                yield f"{stage.name}: label org.opencontainers.image.{name} is missing"


def _targets_start_and_are_asked(dockerfile: Dockerfile) -> Iterator[str]:
    for stage in dockerfile.targets:
        for name in ("ENTRYPOINT", "HEALTHCHECK", "VOLUME"):
            if dockerfile.last(stage, name) is None:
                yield f"{stage.name}: {name} is missing"


def _targets_build_nothing(dockerfile: Dockerfile) -> Iterator[str]:
    for stage in dockerfile.targets:
        for each in dockerfile.lineage(stage):
            for run in each.named("RUN"):
                if re.search(r"\b(pip|apt-get|gcc|cargo|go) ", run.text):
                    yield f"{run.line}: {stage.name} would ship what builds it"


def _once_a_stage(dockerfile: Dockerfile) -> Iterator[str]:
    for stage in dockerfile.stages:
        for name in ("CMD", "ENTRYPOINT", "HEALTHCHECK", "USER"):
            yield from (f"{each.line}: only the last {name} of a stage counts" for each in stage.named(name)[:-1])


def _programs_in_exec_form(dockerfile: Dockerfile) -> Iterator[str]:
    for stage in dockerfile.stages:
        for each in stage.named("CMD", "ENTRYPOINT"):
            if not each.is_exec_form:
                yield f"{each.line}: {each.name} in shell form: the shell would get the signals"
        for each in stage.named("HEALTHCHECK"):
            command = Instruction(each.line, "CMD", each.text.partition("CMD ")[2])
            if each.text != "NONE" and not command.is_exec_form:
                yield f"{each.line}: HEALTHCHECK in shell form: the image need not have a shell"


def _apt_as_it_should_be(dockerfile: Dockerfile) -> Iterator[str]:
    for run in _runs(dockerfile):
        if re.search(r"\bapt (install|update|upgrade)|apt-get (dist-)?upgrade", run.text):
            yield f"{run.line}: apt is for people; and upgrades are the base image's"
        if "apt-get install" not in run.text:
            if "apt-get update" in run.text:
                yield f"{run.line}: an update in a layer of its own goes stale"
            continue
        needed = {
            "apt-get update": "update and install in one layer",
            "--no-install-recommends": "only what is needed",
            "rm -rf /var/lib/apt/lists": "no package lists in the layer",
        }
        for part, why in needed.items():
            if part not in run.text:
                yield f"{run.line}: {part} is missing: {why}"
        if not re.search(r"apt-get install .*(-y\b|--yes)", run.text):
            yield f"{run.line}: --yes is missing: nobody answers"


def _pip_as_it_should_be(dockerfile: Dockerfile) -> Iterator[str]:
    for run in _runs(dockerfile):
        if not re.search(r"\bpip\b.* install\b", run.text) or "--no-index" in run.text:
            continue
        if "--no-cache-dir" not in run.text and "type=cache,target=/root/.cache/pip" not in run.text:
            yield f"{run.line}: pip's cache would stay in the layer"
        if "--require-hashes" not in run.text:
            yield f"{run.line}: what pip brings is not pinned by hash"


def _pipes_fail(dockerfile: Dockerfile) -> Iterator[str]:
    for run in _runs(dockerfile):
        if re.search(r"[^|]\|[^|]", run.text) and "pipefail" not in run.text:
            yield f"{run.line}: a pipe without pipefail hides the failure of its first part"


def _no_shortcuts(dockerfile: Dockerfile) -> Iterator[str]:
    for stage in dockerfile.stages:
        for each in stage.instructions:
            if each.name == "ADD":
                yield f"{each.line}: ADD unpacks and downloads; COPY says what it does"
            if each.name == "MAINTAINER":
                yield f"{each.line}: MAINTAINER is a label now"
            if each.name == "WORKDIR" and not each.text.startswith("/"):
                yield f"{each.line}: WORKDIR must be absolute"
            if each.name == "COPY" and re.match(r"(--\S+ )*\.\.? ", each.text):
                yield f"{each.line}: COPY of everything: any change would build all anew"
            if each.name == "RUN" and re.search(r"\bsudo\b|\bchmod (-R )?777|(^|&& )cd ", each.text):
                yield f"{each.line}: no sudo, no 777, and WORKDIR instead of cd"
            if each.name in ("ENV", "ARG") and _SECRET.search(each.text):
                yield f"{each.line}: a secret in {each.name} stays in the image's history"


def _sources_after_dependencies(dockerfile: Dockerfile) -> Iterator[str]:
    """What changes with every commit is copied after what is installed from lock files."""
    for stage in dockerfile.stages:
        ours = [copy.line for copy in stage.named("COPY") if re.search(r"source|--from=(wheel|transport)", copy.text)]
        for run in stage.named("RUN"):
            if ours and run.line > ours[0] and "type=cache,target=/root/.cache/pip" in run.text:
                yield f"{run.line}: every change of a source would install the dependencies anew"


RULES: tuple[Rule, ...] = (
    _images_are_tagged,
    _stages_are_named_once,
    _targets_run_as_a_number,
    _targets_are_labelled,
    _targets_start_and_are_asked,
    _targets_build_nothing,
    _once_a_stage,
    _programs_in_exec_form,
    _apt_as_it_should_be,
    _pip_as_it_should_be,
    _pipes_fail,
    _no_shortcuts,
    _sources_after_dependencies,
)


def _runs(dockerfile: Dockerfile) -> list[Instruction]:
    return [run for stage in dockerfile.stages for run in stage.named("RUN")]


def _sources(copy: Instruction) -> list[str]:
    return re.findall(r"--from=(\S+)", copy.text)


def _filled(text: str, arguments: Mapping[str, str]) -> str:
    return re.sub(r"\$\{(\w+)\}", lambda found: arguments.get(found[1], ""), text)


def _instructions(text: str) -> Iterator[Instruction]:
    pending, begin = "", 0
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        begin = begin if pending else number
        pending += line.strip()
        if pending.endswith("\\"):
            pending = pending[:-1]
            continue
        name, _, rest = pending.partition(" ")
        yield Instruction(begin, name, " ".join(rest.split()))
        pending = ""
