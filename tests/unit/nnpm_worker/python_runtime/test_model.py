"""A package's class in its process: what it answers, what it may not do, and what comes of it when it does."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest

from nnpm.errors import FailedPrecondition, Internal, InvalidArgument, NnpmError, ResourceExhausted, Unavailable
from nnpm_worker.python_runtime.model import PythonModel
from nnpm_worker.runtime import SelfDescribed, Signature, TensorSpec
from support.waiting import wait_until

Load = Callable[..., PythonModel]

X = np.arange(6, dtype=np.float32).reshape(3, 2)
DESCRIPTORS = Path("/proc/self/fd")
TEXT = Signature((TensorSpec("x", "BYTES", (-1,)),), (TensorSpec("y", "BYTES", (-1,)),))


def source(run: str, *, head: str = "", make: str = "self.folder = folder") -> str:
    """A module with a class whose `run` has this body; it has `x`, and returns `y` by default."""
    return f"""
import os, sys, time
import numpy as np
{head}
class Model:
    def __init__(self, folder):
        {make}
    def run(self, inputs):
        x = y = inputs["x"]
        {run}
        return {{"y": y}}
"""


def refused(model: PythonModel, x: np.ndarray = X) -> NnpmError:
    with pytest.raises(NnpmError) as error:
        model.run({"x": x}, ())
    return error.value


def pid_of(model: PythonModel) -> int:
    """The process that is the newest child of this one."""
    children = [child for child in psutil.Process().children() if "nnpm_worker.python_runtime" in child.cmdline()]
    return int(max(children, key=lambda child: child.create_time()).pid)


# ---- what it answers


def test_a_class_answers_with_arrays_of_its_own(load: Load) -> None:
    model = load(source("y = x * 2"))
    assert isinstance(model, SelfDescribed)
    for scale in (1, 10, 100):
        given = np.tile(X * scale, (scale, 1))
        assert np.array_equal(model.run({"x": given}, ("y",))["y"], given * 2)
    assert model.memory_bytes > 1 << 20


def test_texts_travel_and_its_folder_is_the_packages(load: Load, tmp_path: Path) -> None:
    (tmp_path / "suffix.txt").write_text("!")
    body = "y = np.array([t.decode() + (self.folder / 'suffix.txt').read_text() for t in x.tolist()])"
    model = load(source(body), TEXT)
    given = np.array([b"a", "größer".encode()], np.object_)
    assert model.run({"x": given}, ())["y"].tolist() == [b"a!", "größer!".encode()]


def test_an_answer_stays_what_it_was_when_the_next_one_comes(load: Load) -> None:
    model = load(source("y = x + 1"))
    first = model.run({"x": X}, ())["y"]
    model.run({"x": X * 0}, ())
    assert np.array_equal(first, X + 1)


@pytest.mark.parametrize(("stated", "wanted"), [("0", 0), ("'none'", "none"), ("None", None)])
def test_a_class_says_whether_axis_0_is_a_batch_axis(load: Load, stated: str, wanted: object) -> None:
    assert load(source("pass", make=f"self.batch_axis = {stated}")).batch_axis == wanted
    assert load(source("pass")).batch_axis is None


# ---- whose fault it is


@pytest.mark.parametrize(
    ("body", "kind", "reason", "said"),
    [
        ("raise ValueError('no such colour')", InvalidArgument, "RUNTIME_REFUSED", "no such colour"),
        ("raise KeyError('lost')", Internal, "RUNTIME_FAILED", "KeyError: 'lost'"),
        ("return [1]", Internal, "RUNTIME_FAILED", "not a dict"),
        ("return {}", Internal, "RUNTIME_FAILED", "left out"),
        ("y = x.astype(np.float64)", Internal, "RUNTIME_FAILED", "FP64"),
        ("y = x[0]", Internal, "RUNTIME_FAILED", "[2]"),
        ("y = x.astype(complex)", Internal, "RUNTIME_FAILED", "cannot be sent"),
        ("y = np.array([object()])", Internal, "RUNTIME_FAILED", "cannot be sent"),
        ("y = np.empty(1 << 40, np.uint8)", ResourceExhausted, "OUT_OF_MEMORY", "Unable to allocate"),
        ("x[0] = 1", InvalidArgument, "RUNTIME_REFUSED", "read-only"),
    ],
)
def test_a_class_that_fails_says_so_and_goes_on(
    load: Load, body: str, kind: type[NnpmError], reason: str, said: str
) -> None:
    model = load(source(f"if x.sum() > 0:\n            {body}"))
    process = pid_of(model)
    error = refused(model)
    assert isinstance(error, kind)
    assert error.reason == reason
    assert said in error.message
    assert np.array_equal(model.run({"x": X * 0}, ())["y"], X * 0)
    assert pid_of(model) == process


def test_an_output_that_is_not_there_is_refused_before_anything_runs(load: Load) -> None:
    with pytest.raises(InvalidArgument) as error:
        load(source("os.abort()")).run({"x": X}, ("z",))
    assert error.value.reason == "UNKNOWN_OUTPUT"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import not_installed_here", "not_installed_here"),
        ("class Other: ...", "no class with a method `run`"),
        ("Model = 3", "no class with a method `run`"),
        (source("pass", make="raise OSError('no weights')"), "no weights"),
        (source("pass", make="self.batch_axis = 1"), "batch_axis"),
        ("import os; print('farewell', flush=True); os._exit(3)", "exit code 3; it printed: farewell"),
        ("import os; os.abort()", "SIGABRT"),
        ("import sys; sys.exit(4)", "exit code 4"),
    ],
)
def test_a_class_that_cannot_be_made_says_why(load: Load, text: str, said: str) -> None:
    with pytest.raises(FailedPrecondition) as error:
        load(text)
    assert error.value.reason == "MODEL_LOAD_FAILED"
    assert said in error.value.message


# ---- limits


def test_a_class_that_takes_too_long_to_load_is_ended(load: Load) -> None:
    with pytest.raises(FailedPrecondition, match="took too long"):
        load(source("pass", make="time.sleep(600)"), load_seconds=1.0)


def test_a_run_that_takes_too_long_is_ended_and_the_next_one_has_a_new_process(load: Load) -> None:
    model = load(source("while x.sum() > 0: pass"), run_seconds=1.0)
    hung = pid_of(model)
    begin = time.monotonic()
    error = refused(model)
    assert isinstance(error, Internal)
    assert error.reason == "RUNTIME_TIMEOUT"
    assert time.monotonic() - begin < 10
    assert not psutil.pid_exists(hung)
    assert np.array_equal(model.run({"x": X * 0}, ())["y"], X * 0)


def test_memory_is_bounded_whether_the_class_notices_or_not(load: Load) -> None:
    model = load(source("if x.sum() > 0: self.kept = [np.ones(1 << 24) for _ in range(16)]"), memory_bytes=1 << 30)
    assert refused(model).reason == "OUT_OF_MEMORY"
    assert np.array_equal(model.run({"x": X * 0}, ())["y"], X * 0)
    assert psutil.Process(pid_of(model)).memory_info().vms <= 1 << 30


def test_inputs_or_outputs_beyond_the_limit_are_refused_not_fatal(load: Load) -> None:
    model = load(source("y = np.zeros((1 << 25, 2), np.float32) if x.sum() > 0 else x"), memory_bytes=1 << 28)
    assert refused(model).reason == "OUT_OF_MEMORY"
    assert np.array_equal(model.run({"x": X * 0}, ())["y"], X * 0)


def test_it_sees_no_setting_and_no_secret_and_inherits_no_descriptor(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NNPM_REDIS_URL", "redis://:secret@somewhere")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    read, write = os.pipe()
    os.set_inheritable(write, True)
    try:
        body = "y = np.array([' '.join(os.environ) + ' ' + ' '.join(os.listdir('/proc/self/fd'))])"
        model = load(source(body), TEXT)
        said = model.run({"x": np.array([b""], np.object_)}, ())["y"][0].decode().split()
    finally:
        os.close(read)
        os.close(write)
    names = {word for word in said if not word.isdecimal()}
    assert names <= {
        *("PATH", "PYTHONPATH", "VIRTUAL_ENV", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "LD_LIBRARY_PATH"),
        *("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"),
        *("PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED"),
    }
    assert len(said) - len(names) <= 8  # three standard ones, a socket, two areas, what is mapped of one, the folder


def test_prints_do_not_disturb_and_a_flood_of_them_does_not_stop_it(load: Load) -> None:
    model = load(source("print('x' * 1_000_000); print(x, file=sys.stderr)"))
    for _ in range(3):
        assert np.array_equal(model.run({"x": X}, ())["y"], X)


# ---- deaths


def test_a_crash_is_its_own_requests_fault_and_the_next_one_has_a_new_process(load: Load) -> None:
    model = load(source("if x.sum() > 0: os.abort()"))
    for _ in range(2):
        died = pid_of(model)
        error = refused(model)
        assert isinstance(error, Internal)
        assert error.reason == "RUNTIME_CRASHED"
        assert "SIGABRT" in error.message
        assert np.array_equal(model.run({"x": X * 0}, ())["y"], X * 0)
        assert pid_of(model) != died


def test_a_class_that_always_dies_is_restarted_ever_more_rarely_and_says_so(load: Load) -> None:
    model = load(source("os._exit(1)"))
    reasons = []
    begin = time.monotonic()
    while "RUNTIME_RESTARTING" not in reasons and time.monotonic() < begin + 60:
        error = refused(model)
        reasons.append(error.reason)
    assert reasons[:-1] == ["RUNTIME_CRASHED"] * 6
    assert isinstance(error, Unavailable)
    assert error.retry_after is not None
    assert 0 < error.retry_after <= 30
    begin = time.monotonic()
    assert refused(model).reason == "RUNTIME_RESTARTING"
    assert time.monotonic() - begin < 0.5, "it is refused at once"


def test_a_process_that_dies_between_requests_harms_none(load: Load) -> None:
    model = load(source("y = x + 1"))
    died = psutil.Process(pid_of(model))
    died.kill()
    wait_until(lambda: died.status() == psutil.STATUS_ZOMBIE, 10, what="it is dead")
    assert np.array_equal(model.run({"x": X}, ())["y"], X + 1)


def test_a_process_whom_the_class_has_started_ends_with_it(load: Load) -> None:
    body = "import subprocess; y = x * 0 + subprocess.Popen(['sleep', '600']).pid"
    model = load(source(body))
    started = psutil.Process(int(model.run({"x": X}, ())["y"][0, 0]))
    model.close()
    wait_until(lambda: not started.is_running() or started.status() == psutil.STATUS_ZOMBIE, 10, what="it has ended")


def test_a_class_that_changed_its_own_file_is_not_started_again(load: Load) -> None:
    body = "open(__file__, 'a').write('# changed'); os._exit(1)"
    model = load(source(body))
    refused(model)
    with pytest.raises(AssertionError):
        model.run({"x": X}, ())


def test_a_class_that_talks_out_of_turn_is_ended(load: Load) -> None:
    body = """
        import socket, gc
        if x.sum() > 0:
            for thing in gc.get_objects():
                if isinstance(thing, socket.socket): thing.sendall(b"\\x03\\0\\0\\0[1]")
"""
    model = load(source(body.strip()))
    error = refused(model)
    assert error.reason == "RUNTIME_CRASHED"
    assert "answered what cannot be" in error.message
    assert np.array_equal(model.run({"x": X * 0}, ())["y"], X * 0)


def test_a_closed_model_leaves_no_process_and_no_descriptor(load: Load) -> None:
    before = len(list(DESCRIPTORS.iterdir()))
    model = load(source("pass"))
    process = pid_of(model)
    model.run({"x": X}, ())
    model.close()
    assert not psutil.pid_exists(process)
    wait_until(lambda: len(list(DESCRIPTORS.iterdir())) == before, 10, what="its descriptors are closed")
    assert refused(model).reason == "RUNTIME_FAILED"
