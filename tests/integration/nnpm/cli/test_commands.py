import json
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from onnx import TensorProto

import nnpm
from support import models
from support.mesh import Mesh
from support.reference import Reference
from support.waiting import wait_until

Serve = Callable[..., tuple[str, Path]]


def failure(mesh: Mesh, *arguments: str) -> tuple[int, str]:
    """Exit code and reason of a command that must fail."""
    done = mesh.cli(*arguments, "--json", check=False)
    return done.returncode, json.loads(done.stderr)["error"]["reason"]


@pytest.fixture
def published(mesh: Mesh, tmp_path: Path) -> str:
    """A package with versions 1.0.0, 1.1.0, 2.0.0-rc.1 and 2.0.0."""
    package = f"cli/{tmp_path.name.replace('_', '-').lower()[:60].strip('-')}"
    for seed, version in enumerate(("1.0.0", "1.1.0", "2.0.0-rc.1", "2.0.0")):
        path = models.save(models.linear(seed=seed), tmp_path / version)
        mesh.publish(path, package, version)
    return package


def test_versions_ranges_tags_and_yanks(mesh: Mesh, published: str) -> None:
    listed = mesh.json("versions", published)["versions"]
    assert [one["version"] for one in listed] == ["2.0.0", "2.0.0-rc.1", "1.1.0", "1.0.0"]
    for selector, expected in ((">= 1 <2", "1.1.0"), ("^ 1.0", "1.1.0"), ("~> 1.0.0", "1.0.0"), ("latest", "2.0.0")):
        assert mesh.json("resolve", f"{published}@{selector}")["version"] == expected
    assert mesh.json("tag", f"{published}@^1", "champion")["version"] == "1.1.0"
    assert mesh.json("resolve", f"{published}@champion")["version"] == "1.1.0"
    assert {one["tag"] for one in mesh.json("tag", published)["tags"]} == {"latest", "champion"}
    mesh.cli("tag", published, "champion", "--delete")
    mesh.cli("yank", f"{published}@1.1.0", "--reason", "wrong labels")
    assert mesh.json("resolve", f"{published}@^1")["version"] == "1.0.0"
    assert mesh.json("show", f"{published}@1.1.0")["yank_reason"] == "wrong labels"
    mesh.cli("unyank", f"{published}@1.1.0")
    assert mesh.json("resolve", f"{published}@^1")["version"] == "1.1.0"


def test_search_finds_what_was_published(mesh: Mesh, published: str) -> None:
    found = mesh.json("search", published.partition("/")[2][:20])["packages"]
    assert published in [one["name"] for one in found]
    assert found[0]["latest_version"]


def test_the_same_again_is_done_already_and_other_content_is_refused(mesh: Mesh, tmp_path: Path) -> None:
    path = models.save(models.linear(seed=1), tmp_path)
    arguments = ("publish", str(path), "--name", "cli/again", "--version", "1.0.0", "--license", "MIT")
    assert not mesh.json(*arguments)["already_published"]
    assert mesh.json(*arguments) | {"uploaded_bytes": 0, "already_published": True} == mesh.json(*arguments)
    models.save(models.linear(seed=2), tmp_path)
    assert failure(mesh, *arguments)[0] == 4


def test_a_folder_is_published_and_installed_with_all_its_files(mesh: Mesh, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    path = models.save(models.linear(), folder)
    (folder / "nnpm.toml").write_text(
        f'name = "cli/folder"\nversion = "0.1.0"\nlicense = "MIT"\nmodel = "{path.name}"\ncard = "README.md"\n'
        'description = "A linear one"\n[metrics]\naccuracy = 0.5\n'
    )
    (folder / "README.md").write_text("# card\n")
    mesh.cli("publish", str(folder))
    shown = mesh.json("show", "cli/folder")
    assert shown["manifest"]["metrics"] == {"accuracy": 0.5}
    assert [one["datatype"] for one in shown["inputs"]] == ["FP32"]
    installed = mesh.json("install", "cli/folder", "--to", str(tmp_path / "to"))
    assert installed["version"] == "0.1.0"
    names = sorted(one.name for one in (tmp_path / "to").iterdir())
    assert names == sorted([path.name, "README.md"])
    assert (tmp_path / "to" / path.name).read_bytes() == path.read_bytes()


def test_a_lock_keeps_a_yanked_version_that_nobody_else_gets(mesh: Mesh, published: str, tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "nnpm.toml").write_text(
        f'name = "cli/app"\nversion = "1.0.0"\nlicense = "MIT"\n[dependencies]\n"{published}" = "^1"\n'
    )
    assert mesh.json("install", cwd=project)["installed"][0]["version"] == "1.1.0"
    mesh.cli("yank", f"{published}@1.1.0")
    (project / "nnpm_models").rename(tmp_path / "moved")
    assert mesh.json("install", cwd=project)["installed"][0]["version"] == "1.1.0"
    (project / "nnpm.lock").unlink()
    assert mesh.json("install", cwd=project)["installed"][0]["version"] == "1.0.0"


def test_a_deployment_from_deploy_to_undeploy(mesh: Mesh, published: str) -> None:
    name = published.replace("/", "-")
    made = mesh.json("deploy", f"{published}@^1", "--wait")
    assert (made["name"], made["state"], made["serving_version"]) == (name, "ready", "1.1.0")
    assert name in [one["name"] for one in mesh.json("ps")["deployments"]]
    changed = mesh.json("deploy", f"{published}@2.0.0", "--wait")
    assert (changed["serving_version"], changed["revision"]) == ("2.0.0", made["revision"] + 1)
    assert mesh.json("pause", published)["state"] in ("paused", "progressing")
    assert failure(mesh, "infer", published, "-i", "x=[[1, 2, 3, 4]]")[0] in (4, 5)
    assert mesh.json("resume", name, "--wait")["state"] == "ready"
    answer = mesh.json("infer", published, "-i", "x=[[1, 2, 3, 4]]")
    assert answer["version"] == "2.0.0"
    assert answer["outputs"]["y"]["shape"] == [1, 3]
    mesh.cli("undeploy", published)
    assert failure(mesh, "undeploy", published)[0] == 3


@pytest.mark.parametrize(
    ("element_type", "array"),
    [
        (TensorProto.BFLOAT16, np.array([[1.5, -2, 0.1, 3]]).astype(ml_dtypes.bfloat16)),
        (TensorProto.FLOAT16, np.array([[1.5, -2, 0.1, 3]], np.float16)),
        (TensorProto.BOOL, np.array([[True, False, True, True]])),
        (TensorProto.UINT64, np.array([[2**64 - 1, 0, 1, 2]], np.uint64)),
        (TensorProto.INT8, np.array([[-128, 127, 0, 1]], np.int8)),
        (TensorProto.DOUBLE, np.array([[np.inf, -np.inf, 1e-320, 0.1]])),
    ],
)
def test_every_datatype_goes_through_files(
    mesh: Mesh, serve: Serve, tmp_path: Path, element_type: int, array: "np.ndarray"
) -> None:
    package, _ = serve(models.identity(element_type), "datatype")
    np.savez(tmp_path / "x.npz", x=array)
    mesh.cli("infer", package, "-i", f"x={tmp_path / 'x.npz'}", "-o", str(tmp_path / "y.npz"))
    with np.load(tmp_path / "y.npz") as outputs:
        assert outputs["y"].shape == array.shape
        assert outputs["y"].tobytes() == array.tobytes()
    shown = mesh.json("infer", package, "-i", f"x={tmp_path / 'x.npz'}")["outputs"]
    (tmp_path / "again.json").write_text(json.dumps({"x": shown["y"]}))
    assert mesh.json("infer", package, "-i", str(tmp_path / "again.json"))["outputs"] == shown


def test_scalars_empties_and_texts(mesh: Mesh, serve: Serve) -> None:
    scalar, _ = serve(models.identity(shape=()), "scalar")
    assert mesh.json("infer", scalar, "-i", "x=2.5")["outputs"]["y"] == {"datatype": "FP32", "shape": [], "data": 2.5}
    empty, _ = serve(models.identity(shape=("n",)), "empty")
    assert mesh.json("infer", empty, "-i", "x=[]")["outputs"]["y"] == {"datatype": "FP32", "shape": [0], "data": []}
    texts, _ = serve(models.identity(TensorProto.STRING, ("n",)), "texts")
    assert mesh.json("infer", texts, "-i", 'x=["a", "ü", ""]')["outputs"]["y"]["data"] == ["a", "ü", ""]


@pytest.mark.parametrize("ending", ["npz", "jsonl"])
def test_a_file_of_rows_is_answered_row_by_row(mesh: Mesh, serve: Serve, tmp_path: Path, ending: str) -> None:
    package, path = serve(models.linear(seed=3), "rows")
    rows = np.random.default_rng(1).standard_normal((50, 4), dtype=np.float32)
    source, target = tmp_path / f"rows.{ending}", tmp_path / f"answers.{ending}"
    if ending == "npz":
        np.savez(source, x=rows)
    else:
        source.write_text("".join(json.dumps({"x": row}) + "\n" for row in rows.tolist()))
    told = mesh.json("infer", package, "--input", str(source), "--output", str(target), "--concurrency", "8")
    assert told["rows"] == 50
    if ending == "npz":
        with np.load(target) as loaded:
            answers = loaded["y"]
    else:
        lines = [json.loads(line) for line in target.read_text().splitlines()]
        answers = np.array([line["outputs"]["y"]["data"][0] for line in lines], np.float32)
    expected = Reference(path).run({"x": rows})["y"]
    np.testing.assert_allclose(answers, expected, rtol=1e-5, atol=1e-6)


def test_a_wrong_row_is_named_and_nothing_is_written(mesh: Mesh, serve: Serve, tmp_path: Path) -> None:
    package, _ = serve(models.linear(), "wrong-row")
    source = tmp_path / "rows.jsonl"
    source.write_text('{"x": [[1, 2, 3, 4]]}\n{"x": [[1, 2, 3]]}\n')
    done = mesh.cli("infer", package, "--input", str(source), "--output", str(tmp_path / "o.jsonl"), check=False)
    assert done.returncode == 4
    assert "row 1" in done.stderr
    assert not (tmp_path / "o.jsonl").exists()


def test_the_trace_of_a_call_is_printed_as_a_tree(mesh: Mesh, serve: Serve) -> None:
    package, _ = serve(models.linear(), "traced")
    spans = mesh.json("infer", package, "-i", "x=[[1, 2, 3, 4]]", "--trace")["trace"]
    assert len({span["trace_id"] for span in spans}) == 1
    assert {"nnpm-client", "nnpm-scheduler", "nnpm-worker"} <= {span["service"] for span in spans}
    printed = mesh.cli("infer", package, "-i", "x=[[1, 2, 3, 4]]", "--trace").stdout
    assert "trace " in printed
    assert " ms" in printed


def test_ctrl_c_leaves_a_publication_that_goes_on(mesh: Mesh, tmp_path: Path) -> None:
    path = models.external(tmp_path, 10, 20 << 20)
    arguments = ("publish", str(path), "--name", "cli/interrupted", "--version", "1.0.0", "--license", "MIT", "--json")
    process = subprocess.Popen(
        mesh.command(*arguments), env=mesh.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    packs = mesh.data / "artifact" / "packs"
    before = stored(packs)
    wait_until(lambda: stored(packs) > before + (60 << 20), 60, what="some packs are stored")
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in told
    assert "go on" in told
    again = mesh.json(*arguments[:-1])
    assert again["uploaded_bytes"] < (200 - 20) << 20


def stored(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_the_client_can_be_used_from_several_threads(mesh: Mesh, serve: Serve) -> None:
    package, _ = serve(models.identity(), "threads")
    wrong: list[int] = []
    with nnpm.Client(mesh.data) as client:

        def call(number: int) -> None:
            value = np.full((1, 4), number, np.float32)
            answers = [client.infer(package, {"x": value})["y"] for _ in range(20)]
            wrong.extend(number for answer in answers if not np.array_equal(answer, value))

        threads = [threading.Thread(target=call, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert wrong == []
        counted = {one.model: one for one in client.statistics()}
        assert counted[package.replace("/", "-")].requests >= 160
