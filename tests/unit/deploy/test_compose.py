"""The compose file and what it mounts, read but not run: tests/containers runs the services, nothing runs the profile.

The profile's images cannot be had everywhere, so its configurations are checked against what they refer to.
"""

import json
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from sqlalchemy import make_url

from nnpm.settings import ServiceSettings
from nnpm.telemetry.metrics import Metrics
from nnpm_artifact.settings import ArtifactSettings
from nnpm_registry.settings import RegistrySettings
from nnpm_scheduler.settings import SchedulerSettings
from nnpm_worker.settings import WorkerSettings
from support.tools import REPOSITORY

DEPLOY = REPOSITORY / "deploy"
FILE = DEPLOY / "compose" / "compose.yaml"
SCHEMA = REPOSITORY / "tests" / "support" / "containers" / "compose-spec.json"
MESH = {"redis", "minio", "postgres", "registry", "artifact", "scheduler", "worker"}
OURS = {
    "registry": RegistrySettings,
    "artifact": ArtifactSettings,
    "scheduler": SchedulerSettings,
    "worker": WorkerSettings,
}
VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")

COMPOSE: dict[str, Any] = yaml.safe_load(FILE.read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


@pytest.fixture(scope="module")
def example() -> dict[str, str]:
    """The variables of .env.example."""
    lines = (FILE.parent / ".env.example").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def test_the_file_is_valid_by_the_specifications_schema() -> None:
    validator = jsonschema.Draft7Validator(json.loads(SCHEMA.read_text()))
    assert [f"{fault.json_path}: {fault.message}" for fault in validator.iter_errors(COMPOSE)] == []
    assert not validator.is_valid({"services": {"worker": {"imagine": "this"}}})


def test_the_mesh_is_whole_without_a_profile() -> None:
    assert {name for name, service in SERVICES.items() if "profiles" not in service} == MESH
    profiles = {profile for service in SERVICES.values() for profile in service.get("profiles", ())}
    assert profiles == {"observability"}


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_confined(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["restart"] == "unless-stopped"
    assert service["pids_limit"] > 0
    assert re.fullmatch(r"\d+[mg]", service["deploy"]["resources"]["limits"]["memory"])
    assert "privileged" not in service
    assert service.get("user", "10001").split(":")[0] != "0"
    if not service["image"].startswith("localhost/nnpm/"):
        assert "user" in service, "an image that is not ours may be root's"


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_published_on_loopback_only(name: str) -> None:
    for port in SERVICES[name].get("ports", ()):
        assert re.fullmatch(r"127\.0\.0\.1:\$\{NNPM_PUBLISH_\w+:-\d+\}:\d+", port)


def test_workers_can_be_many() -> None:
    assert "container_name" not in SERVICES["worker"]
    assert "hostname" not in SERVICES["worker"]
    assert "ports" not in SERVICES["worker"]


@pytest.mark.parametrize("name", sorted(MESH))
def test_a_service_of_the_mesh_is_asked_for_its_health(name: str) -> None:
    kind, *command = SERVICES[name]["healthcheck"]["test"]
    assert kind in {"CMD", "CMD-SHELL"}
    if name in OURS:
        assert command == ["nnpm", "health", name]


@pytest.mark.parametrize("name", OURS)
def test_its_environment_holds_settings_that_exist_and_no_secret(name: str) -> None:
    fields = {f"NNPM_{field.upper()}" for field in OURS[name].model_fields}
    for variable, value in SERVICES[name]["environment"].items():
        assert variable.removesuffix("_FILE") in fields, variable
        if variable.endswith("_FILE"):
            assert value.removeprefix("/run/secrets/") in SERVICES[name]["secrets"]


def test_secrets_come_from_files_and_each_is_made(tmp_path: Path) -> None:
    _make_secrets(tmp_path / "secrets")
    made = {path.name for path in (tmp_path / "secrets").iterdir()}
    declared = COMPOSE["secrets"]
    assert {name: source["file"] for name, source in declared.items()} == {name: f"./secrets/{name}" for name in made}
    used = {secret for service in SERVICES.values() for secret in service.get("secrets", ())}
    assert used == made
    for service in SERVICES.values():
        for variable in service.get("environment", {}):
            assert not re.search(r"PASSWORD|SECRET|TOKEN", variable) or variable.endswith("_FILE"), variable


def test_secrets_are_made_once_for_their_owner_and_ignored_by_git(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    _make_secrets(folder)
    first = {path.name: path.read_text() for path in folder.iterdir()}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o444}
    assert _make_secrets(folder) == []
    assert {path.name: path.read_text() for path in folder.iterdir()} == first
    for service in ("registry", "artifact", "scheduler"):
        url = make_url(first[f"{service}_database_url"])
        assert (url.username, url.password, url.database) == (service, first[f"postgres_{service}"], service)
    _make_secrets(tmp_path / "others")
    assert not set(first.values()) & {path.read_text() for path in (tmp_path / "others").iterdir()}
    ignored = subprocess.run(
        ["git", "check-ignore", "-q", "deploy/compose/secrets/redis_password", "deploy/compose/.env"],
        cwd=REPOSITORY, timeout=30, check=False,
    )  # fmt: skip
    assert ignored.returncode in {0, 128}, "git would commit secrets"  # 128: this is no clone


def _make_secrets(folder: Path) -> list[str]:
    command = [sys.executable, REPOSITORY / "scripts" / "compose-secrets", "--folder", folder, "--json"]
    made: list[str] = json.loads(subprocess.run(command, capture_output=True, timeout=60, check=True).stdout)["made"]
    return made


def test_every_variable_is_in_the_example_with_its_default_and_in_the_readme(example: dict[str, str]) -> None:
    used = dict(VARIABLE.findall(FILE.read_text()))
    assert used == example
    table = (REPOSITORY / "README.md").read_text().partition("<!-- settings:")[2].partition("<!-- end of settings")[0]
    assert [variable for variable in example if f"\n| `{variable}` |" not in table] == []


def test_the_examples_defaults_are_the_services(example: dict[str, str]) -> None:
    for variable, value in example.items():
        field = ServiceSettings.model_fields.get(variable.removeprefix("NNPM_").lower())
        assert field is None or str(field.get_default()) == value


def test_what_is_mounted_is_there_and_named_volumes_are_declared() -> None:
    named = set()
    for service in SERVICES.values():
        for volume in service.get("volumes", ()):
            source, _, rest = volume.partition(":")
            if source.startswith("."):
                assert (FILE.parent / source).exists(), volume
                assert rest.endswith(":ro"), volume
            else:
                named.add(source)
    assert named == set(COMPOSE["volumes"])


# ---- the observability profile, statically


def _board() -> dict[str, Any]:
    board: dict[str, Any] = json.loads((DEPLOY / "grafana" / "dashboards" / "nnpm.json").read_text())
    return board


def _queries() -> Iterator[tuple[str, str]]:
    for panel in _board()["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]


def _series() -> dict[str, set[str]]:
    """Every series that a service exports, and its labels."""
    metrics = Metrics()
    metrics.requests.labels("Method", "OK")
    for counter in (metrics.errors, metrics.cache, metrics.bytes):
        counter.labels("a")
    for histogram in (metrics.latency, metrics.queue_time, metrics.batch_size):
        histogram.labels("a").observe(1)
    return {sample.name: set(sample.labels) for family in metrics.registry.collect() for sample in family.samples}


@pytest.mark.parametrize(("panel", "query"), list(_queries()))
def test_a_panel_asks_for_series_that_services_export(panel: str, query: str) -> None:
    exported = _series()
    asked = re.findall(r"\b((?:nnpm|process)_\w+|up)(?=[\[{ )]|$)(?:\{([^}]*)\})?", query)
    assert asked, f"{panel} asks for nothing"
    for name, selector in asked:
        assert name == "up" or name in exported, name
        labels = set(re.findall(r"(\w+)=?[!~=]", selector)) - {"service", "job", "instance"}
        assert name == "up" or labels <= exported[name], (name, labels)
    assert query.count("(") == query.count(")")
    assert query.count("{") == query.count("}")


def test_panels_stand_beside_each_other_on_provisioned_data_sources() -> None:
    sources = yaml.safe_load((DEPLOY / "grafana/provisioning/datasources/nnpm.yaml").read_text())["datasources"]
    by_uid = {source["uid"]: source for source in sources}
    for source in sources:
        host, port = re.fullmatch(r"http://([\w-]+):(\d+)", source["url"]).groups()  # type: ignore[union-attr]
        assert any(published.endswith(f":{port}") for published in SERVICES[host]["ports"])
    taken: set[tuple[int, int]] = set()
    ids = [panel["id"] for panel in _board()["panels"]]
    assert len(ids) == len(set(ids))
    for panel in _board()["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert place["x"] + place["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
        assert panel["type"] == "row" or panel["datasource"]["uid"] in by_uid


def test_the_boards_folder_is_where_its_provider_looks() -> None:
    provider = yaml.safe_load((DEPLOY / "grafana/provisioning/dashboards/nnpm.yaml").read_text())["providers"][0]
    mounted = [volume.split(":")[1] for volume in SERVICES["grafana"]["volumes"]]
    assert provider["options"]["path"] in mounted
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == f"{provider['options']['path']}/nnpm.json"


def test_prometheus_scrapes_the_metrics_of_every_service() -> None:
    scrapes = yaml.safe_load((DEPLOY / "prometheus/compose.yml").read_text())["scrape_configs"]
    targets = [
        target for scrape in scrapes for group in scrape.get("static_configs", ()) for target in group["targets"]
    ]
    targets += [
        f"{name}:{group['port']}"
        for scrape in scrapes
        for group in scrape.get("dns_sd_configs", ())
        for name in group["names"]
    ]
    listens = {f"{name}:{SERVICES[name]['environment']['NNPM_METRICS_LISTEN'].rpartition(':')[2]}" for name in OURS}
    assert set(targets) == listens


def test_the_collector_hands_traces_on_to_jaeger(example: dict[str, str]) -> None:
    collector = yaml.safe_load((DEPLOY / "otel/collector.yaml").read_text())
    assert set(collector) == {"receivers", "processors", "exporters", "service"}
    for pipeline in collector["service"]["pipelines"].values():
        for kind in ("receivers", "processors", "exporters"):
            assert pipeline[kind]
            assert set(pipeline[kind]) <= set(collector[kind])
    host = collector["exporters"]["otlp/jaeger"]["endpoint"].partition(":")[0]
    assert host in SERVICES["otel-collector"]["depends_on"]
    port = collector["receivers"]["otlp"]["protocols"]["grpc"]["endpoint"].rpartition(":")[2]
    assert f"http://otel-collector:{port}" in (FILE.parent / ".env.example").read_text()
    assert example["NNPM_OTLP_ENDPOINT"] == "", "without the profile there is nobody to send to"
