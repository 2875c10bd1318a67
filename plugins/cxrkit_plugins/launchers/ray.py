"""Runs on a Ray cluster: a laptop's, started here, or a real one by its address."""

from __future__ import annotations

import logging
import os
import socket
from typing import Annotated, Any

from pydantic import Field

from cxrkit import ConfigError, Job, Launcher, RunningJob
from cxrkit_plugins.launchers.ray_worker import Worker

_KNOCK_SECONDS = 5
#: Ray 2.60 and later ask for one by default.
_TOKEN = (
    "If the cluster's head wants a token, copy its ~/.ray/auth_token to the same place here (or set RAY_AUTH_TOKEN or "
    "RAY_AUTH_TOKEN_PATH), and set RAY_AUTH_MODE=token."
)
_LOST = 70  # the status of a job whose worker died


class RayLauncher(Launcher):
    """Each run is a Ray actor, which starts the run's process on a machine with enough room.

    The ablation's folder, the films and cxrkit itself must be at the same paths on every machine: a shared disk.

    Raises:
        ConfigError: Ray isn't installed, or its cluster can't be reached or is too small.
    """

    def __init__(
        self,
        *,
        address: Annotated[
            str | None, Field(description="cluster to join: `auto` or host:port (null: start one on this machine)")
        ] = None,
        workers: Annotated[
            int | None, Field(ge=1, description="most runs at a time (null: as many as the cluster has room for)")
        ] = None,
        cpus: Annotated[float, Field(gt=0, description="CPU cores of a run")] = 1,
        gpus: Annotated[float, Field(ge=0, description="GPUs of a run; 0.25 puts four on one")] = 0,
    ) -> None:
        ray = _import_ray()
        self.cpus, self.gpus = cpus, gpus
        self.threads: int = max(1, int(cpus))
        _check_address(address)
        try:
            ray.init(
                address=address,
                num_cpus=int(max(workers * cpus, 1)) if workers and address is None else None,
                include_dashboard=False if address is None else None,
                log_to_driver=False,
                logging_level=logging.ERROR,
                ignore_reinit_error=True,
            )
            there = ray.cluster_resources()
        except Exception as error:
            place = f"the Ray cluster at {address}" if address else "a Ray cluster on this machine"
            raise ConfigError(
                f"launcher ray: {place} can't be used: {type(error).__name__}: {str(error).partition(chr(10))[0]}",
                f"Check that it runs (`ray status`) and that its versions of Ray and Python are this one's. {_TOKEN}",
            ) from error
        room = [there.get("CPU", 0) / cpus] + ([there.get("GPU", 0) / gpus] if gpus else [])
        self.room = min(int(min(room)), workers or 10_000)
        if self.room < 1:
            self.close()
            raise ConfigError(
                f"launcher ray: a run needs {cpus:g} CPUs and {gpus:g} GPUs; the cluster has {there.get('CPU', 0):g} "
                f"and {there.get('GPU', 0):g}.",
                "Ask for less: --set launcher.cpus=..., --set launcher.gpus=....",
            )
        self.actor: Any = ray.remote(Worker)

    @property
    def slots(self) -> int:
        """How many runs the cluster has room for."""
        return self.room

    def start(self, job: Job) -> RunningJob:
        """Start a job on a worker that has room."""
        handle = self.actor.options(num_cpus=self.cpus, num_gpus=self.gpus).remote()
        return _OnRay(handle, job, self.threads)

    def close(self) -> None:
        """Leave the cluster; one that was started here is stopped."""
        _import_ray().shutdown()


class _OnRay(RunningJob):
    def __init__(self, actor: Any, job: Job, threads: int) -> None:
        self.actor = actor
        self.begun = actor.start.remote(list(job.command), str(job.log.absolute()), os.getcwd(), threads)  # noqa: PTH109
        self.asked: Any = None
        self.status: int | None = None

    def poll(self) -> int | None:
        ray = _import_ray()
        if self.status is not None:
            return self.status
        if self.asked is None:
            self.asked = self.actor.poll.remote()
        done, _ = ray.wait([self.asked], timeout=0)
        if not done:
            return None  # waiting for room on the cluster, or for its answer
        try:
            ray.get(self.begun)
            self.status = ray.get(self.asked)
        except Exception:  # the worker's machine is gone, or the process couldn't be started
            self.status = _LOST
        self.asked = None
        if self.status is not None:
            ray.kill(self.actor)
        return self.status

    def stop(self) -> None:
        self.actor.stop.remote()


def _check_address(address: str | None) -> None:
    """Try the connection first: Ray itself tries for minutes."""
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), timeout=_KNOCK_SECONDS).close()
    except OSError as error:
        raise ConfigError(
            f"launcher ray: nothing answers at {address}: {error.strerror or error}.",
            "Check that the cluster runs (`ray status` on its head) and that its address is right.",
        ) from error


def _import_ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError as error:
        raise ConfigError("launcher ray: Ray isn't installed.", "Run: pip install 'cxrkit[ray]'") from error
    return ray
