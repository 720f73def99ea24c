"""ghz, with the protos of this repository, drives ModelInfer."""

import base64
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np

from support import models
from support.mesh import Mesh
from support.tools import PROTOS, tool


def test_ghz_drives_model_infer_with_no_error(mesh: Mesh, serve: Callable[..., tuple[str, Path]]) -> None:
    package, _ = serve(models.linear(seed=21), "ghz")
    x = np.ones((1, 4), dtype=np.float32)
    request = {
        "model_name": package,
        "inputs": [{"name": "x", "datatype": "FP32", "shape": ["1", "4"]}],
        "raw_input_contents": [base64.b64encode(x.tobytes()).decode()],
    }
    done = subprocess.run(
        [
            *(tool("ghz"), "--insecure", "--import-paths", PROTOS, "--proto", PROTOS / "inference/inference.proto"),
            *("--call", "inference.GRPCInferenceService.ModelInfer", "--data", json.dumps(request)),
            *("--total", "400", "--concurrency", "16", "--connections", "4", "--timeout", "20s", "--format", "json"),
            mesh.scheduler,
        ],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["count"] == 400
    assert report["errorDistribution"] == {}, report["errorDistribution"]
    assert report["statusCodeDistribution"] == {"OK": 400}


def test_ghz_finds_model_infer_by_reflection(mesh: Mesh, serve: Callable[..., tuple[str, Path]]) -> None:
    package, _ = serve(models.linear(seed=22), "ghz-reflection")
    contents = {"fp32_contents": [1, 2, 3, 4]}
    request = {
        "model_name": package,
        "inputs": [{"name": "x", "datatype": "FP32", "shape": ["1", "4"], "contents": contents}],
    }
    done = subprocess.run(
        [
            *(tool("ghz"), "--insecure", "--call", "inference.GRPCInferenceService/ModelInfer"),
            *("--data", json.dumps(request), "--total", "20", "--timeout", "20s", "--format", "json", mesh.scheduler),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["statusCodeDistribution"] == {"OK": 20}
