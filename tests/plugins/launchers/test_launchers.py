"""Launchers run commands as processes: on this machine, and on a real local Ray."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cxrkit import ConfigError, Job, Launcher
from cxrkit.plugins import load_plugins
from cxrkit.registry import Component


def component(name: str) -> Component:
    return load_plugins().registry.get("launcher", name)


@pytest.fixture
def local() -> Iterator[Launcher]:
    launcher = component("local").build(workers=2, threads=1)
    yield launcher
    launcher.close()


def job(tmp_path: Path, name: str, code: str) -> Job:
    return Job(name, (sys.executable, "-c", code), (tmp_path / f"{name}.log").absolute())


def wait(running: object, seconds: float = 60) -> int:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if (status := running.poll()) is not None:  # type: ignore[attr-defined]
            return int(status)
        time.sleep(0.05)
    raise AssertionError("the job never ended")


def test_local_jobs_run_side_by_side_and_say_how_they_ended(local: Launcher, tmp_path: Path) -> None:
    assert local.slots == 2
    # Each waits for the other: one after the other they would never end.
    meet = "import pathlib, time, sys\n" + (
        f"here = pathlib.Path({str(tmp_path)!r})\n"
        "(here / '{me}').touch()\n"
        "while not (here / '{other}').exists(): time.sleep(0.02)\n"
        "print('{me} met {other}'); sys.exit({status})"
    )
    one = local.start(job(tmp_path, "one", meet.format(me="a", other="b", status=0)))
    two = local.start(job(tmp_path, "two", meet.format(me="b", other="a", status=5)))
    assert (wait(one), wait(two)) == (0, 5)
    assert "b met a" in (tmp_path / "two.log").read_text()


@pytest.mark.parametrize(("asked", "settings", "given"), [("3", {}, "3"), ("3", {"threads": 2}, "2"), ("", {}, None)])
def test_local_jobs_use_the_threads_that_were_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: str, settings: dict[str, int], given: str | None
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", asked)
    launcher = component("local").build(workers=1, **settings)
    assert wait(launcher.start(job(tmp_path, "one", "import os; print(os.environ['OMP_NUM_THREADS'])"))) == 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    assert (tmp_path / "one.log").read_text().strip() == (given or str(cores))


@pytest.mark.parametrize(("asked", "given"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_threads_of_local_jobs_sleep_while_they_wait_unless_asked_otherwise(
    local: Launcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: str | None, given: str
) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    if asked:
        monkeypatch.setenv("OMP_WAIT_POLICY", asked)
    assert wait(local.start(job(tmp_path, "one", "import os; print(os.environ['OMP_WAIT_POLICY'])"))) == 0
    assert (tmp_path / "one.log").read_text().strip() == given


def test_launchers_say_how_many_threads_a_job_has(local: Launcher) -> None:
    assert local.threads == 1

    class Plain(Launcher):
        slots = 1

        def start(self, job: Job) -> Any: ...

    assert Plain().threads is None


def test_stop_is_heard_as_ctrl_c(local: Launcher, tmp_path: Path) -> None:
    code = (
        f"import pathlib, time\n"
        f"try:\n    pathlib.Path({str(tmp_path / 'ready')!r}).touch(); time.sleep(60)\n"
        "except KeyboardInterrupt:\n    print('saved'); raise SystemExit(130)"
    )
    running = local.start(job(tmp_path, "patient", code))
    while not (tmp_path / "ready").exists():
        time.sleep(0.02)
    assert running.poll() is None
    running.stop()
    assert wait(running) == 130
    assert "saved" in (tmp_path / "patient.log").read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="forks elsewhere aren't safe")
def test_modules_are_forked_and_end_as_processes_do(
    local: Launcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    codes = {
        "fine": "import sys; print(sys.argv[1:], 'torch' in sys.modules, __name__)",
        "refused": "import sys; sys.exit(5)",
        "broken": "1 / 0",
        "killed": "import os; os.kill(os.getpid(), 9)",
        "patient": (
            "import pathlib, time\n"
            "try:\n    pathlib.Path('ready').touch(); time.sleep(60)\n"
            "except KeyboardInterrupt:\n    print('saved'); raise SystemExit(130)"
        ),
    }
    started = {}
    for name, code in codes.items():
        (tmp_path / f"job_{name}.py").write_text(code, encoding="utf-8")
        running = local.start(Job(name, (sys.executable, "-m", f"job_{name}", "a", "b"), tmp_path / f"{name}.log"))
        if name == "patient":
            while not (tmp_path / "ready").exists():
                time.sleep(0.02)
            running.stop()
        started[name] = wait(running)
    assert started == {"fine": 0, "refused": 5, "broken": 1, "killed": -9, "patient": 130}
    assert (tmp_path / "fine.log").read_text().strip() == "['a', 'b'] True __main__"
    assert "ZeroDivisionError" in (tmp_path / "broken.log").read_text()
    assert "saved" in (tmp_path / "patient.log").read_text()
    local.close()
    assert local.start(Job("again", (sys.executable, "-m", "job_refused"), tmp_path / "again.log")).poll() is None


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children of their parent's death")
@pytest.mark.parametrize("forked", [False, True])
def test_jobs_stop_when_their_coordinator_is_killed(tmp_path: Path, forked: bool) -> None:
    work = f"""
import pathlib, time
here = pathlib.Path({str(tmp_path)!r})
try:
    (here / 'on').touch(); time.sleep(60)
except KeyboardInterrupt:
    (here / 'stopped').touch()
"""
    coordinator = f"""
import os, pathlib, signal, sys, time
from cxrkit import Job
from cxrkit_plugins.launchers.local import LocalLauncher
here = pathlib.Path({str(tmp_path)!r})
how = ('-m', 'work') if {forked} else ('-c', {work!r})
launcher = LocalLauncher(workers=1, threads=1)
launcher.start(Job('x', (sys.executable, *how), here / 'log'))
while not (here / 'on').exists(): time.sleep(0.02)
os.kill(os.getpid(), signal.SIGKILL)
"""
    (tmp_path / "work.py").write_text(work, encoding="utf-8")
    killed = subprocess.run([sys.executable, "-c", coordinator], check=False, timeout=60, cwd=tmp_path)
    assert killed.returncode == -9
    deadline = time.monotonic() + 20
    while not (tmp_path / "stopped").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert (tmp_path / "stopped").exists()


def test_local_threads_and_gpus_are_shared_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    launcher = component("local").build(per_gpu=2, threads=1)
    assert launcher.slots == 4
    code = (
        "import os, pathlib, time\n"
        "print(os.environ['CUDA_VISIBLE_DEVICES'], os.environ['OMP_NUM_THREADS'], flush=True)\n"
        f"while not pathlib.Path({str(tmp_path / 'go')!r}).exists(): time.sleep(0.02)"
    )
    started = [launcher.start(job(tmp_path, str(index), code)) for index in range(4)]
    (tmp_path / "go").touch()
    assert [wait(one) for one in started] == [0, 0, 0, 0]
    said = [(tmp_path / f"{index}.log").read_text().split() for index in range(4)]
    assert said == [["3", "1"], ["5", "1"], ["3", "1"], ["5", "1"]]


def test_ray_without_ray_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"pip install 'cxrkit\[ray\]'"):
        component("ray").build()


def test_ray_that_cannot_be_reached_is_reported() -> None:
    pytest.importorskip("ray")
    with pytest.raises(ConfigError, match=r"127\.0\.0\.1:1"):
        component("ray").build(address="127.0.0.1:1")


def test_a_head_that_wants_a_token_says_where_to_put_it(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray")

    def refuse(**_: object) -> None:
        raise ConnectionError("Failed to connect to Ray cluster at head:6379")  # all that Ray says without a token

    monkeypatch.setattr(ray, "init", refuse)
    with pytest.raises(ConfigError) as caught:
        component("ray").build()
    assert "~/.ray/auth_token" in caught.value.remedy
    assert "RAY_AUTH_MODE=token" in caught.value.remedy


def test_a_cluster_that_is_too_small_says_which_settings_to_lower(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    with pytest.raises(ConfigError, match=r"--set launcher\.cpus=") as caught:
        component("ray").build(gpus=999)
    assert "set-launcher" not in str(caught.value)


def test_a_real_local_ray_runs_two_jobs_side_by_side(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    launcher = component("ray").build(workers=2)
    try:
        assert launcher.slots == 2
        meet = (
            "import pathlib, time, sys; here = pathlib.Path({here!r}); (here / '{me}').touch()\n"
            "while not (here / '{other}').exists(): time.sleep(0.02)\n"
            "print('met'); sys.exit({status})"
        )
        here = str(tmp_path)
        one = launcher.start(job(tmp_path, "one", meet.format(here=here, me="a", other="b", status=0)))
        two = launcher.start(job(tmp_path, "two", meet.format(here=here, me="b", other="a", status=5)))
        assert (wait(one), wait(two)) == (0, 5)
        assert "met" in (tmp_path / "one.log").read_text()
        slow = launcher.start(
            job(tmp_path, "slow", f"import time; open({str(tmp_path / 'on')!r}, 'w'); time.sleep(60)")
        )
        while not (tmp_path / "on").exists():
            time.sleep(0.05)
        slow.stop()
        assert wait(slow) not in (0, None)
    finally:
        launcher.close()
