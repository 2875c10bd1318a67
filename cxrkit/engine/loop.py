"""The training loop, to be read from top to bottom."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from copy import deepcopy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from cxrkit.config import RunConfig
from cxrkit.engine import checkpoint as ckpt
from cxrkit.engine.batches import FilmBatches, NetworkInput, augment_batch, build_augments, sampler_of
from cxrkit.engine.capture import CapturedPass, Pass
from cxrkit.engine.evaluate import quick_scores
from cxrkit.engine.films import Films
from cxrkit.engine.forward import apply_model, main_logits, pad_to_multiple
from cxrkit.engine.loggers import Loggers
from cxrkit.engine.objective import batch_loss, build_loss, soft_dice, without_side_outputs
from cxrkit.engine.observer import Observer
from cxrkit.engine.own_training import OwnTraining, check_adversaries
from cxrkit.engine.provenance import identity_of
from cxrkit.engine.run import RunDirectory
from cxrkit.engine.sampling import derive_seed, generator
from cxrkit.engine.schedule import all_finite, batches_of, learning_rate, recompute_statistics, update_average
from cxrkit.engine.starting import Start, begin_with
from cxrkit.engine.trial import Trial
from cxrkit.engine.unlabelled import PseudoLabels, Unlabelled
from cxrkit.errors import (
    AnotherEndedError,
    ConfigError,
    DataError,
    NotFiniteError,
    TrainingError,
    TrainingInterruptedError,
)
from cxrkit.interfaces import Batch, Loss, Model, SideOutputs
from cxrkit.readings import Reading, TrainingReading, ValidationReading
from cxrkit.registry import Component, Registry
from cxrkit.version import __version__

if TYPE_CHECKING:
    from lightning_fabric import Fabric

LOG_EVERY = 10
#: What to do about a training that diverges.
STEADIER = "Use a lower --lr, --precision 32, or --set train.clip_norm=0.5; check the films with `cxrkit data check`."


@dataclass
class TrainingLoop:
    """A run's network, losses, optimizers and films, and the steps that they take together."""

    run: RunDirectory
    config: RunConfig
    registry: Registry
    films: Films
    unlabelled: Unlabelled | None
    fabric: Fabric
    observer: Observer
    start: Start | None = None
    step: int = 0
    best: tuple[float, int] | None = None
    started: float = field(default_factory=time.monotonic)
    unread: list[Tensor] = field(default_factory=list)
    stopping: bool = False

    def __post_init__(self) -> None:
        config, fabric = self.config, self.fabric
        torch.manual_seed(derive_seed(config.seed, "weights"))
        self.component: Component = self.registry.get("model", config.model.name)
        network: Model = self.component.build(self.films.channels, **config.model.params)
        if self.start is not None:
            self.observer.say(begin_with(self.start, network, self.component, config.model.params))
        self.network = network.to(fabric.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        unknown = self.films.incomplete is not None
        self.loss: Loss = build_loss(config.loss, self.registry, self.films.channels, unknown=unknown).to(fabric.device)
        self.augments = build_augments(config.augment, self.registry)
        self.loggers = Loggers(config.logger, self.registry, self.observer)
        self.average = AveragedModel(self.network, use_buffers=True)
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=config.train.lr, weight_decay=config.train.weight_decay, fused=True
        )
        self.own = OwnTraining(self.loss, config.loss, fabric, self.observer)
        #: What is saved and restored.
        self.parts: dict[str, nn.Module | Optimizer] = {
            "network": self.network,
            "average": self.average,
            "loss": self.loss,
            "optimizer": self.optimizer,
        }
        if self.own.optimizer is not None:
            self.parts["own_optimizer"] = self.own.optimizer
        computed: nn.Module = self.network
        if config.train.compile == "on":
            if self.network.cannot_compile:
                reason = self.network.cannot_compile.strip().rstrip(".")
                raise ConfigError(
                    f"--compile on: {config.model.name} can't be compiled: {reason}.", "Use --compile auto or off."
                )
            computed = torch.compile(self.network, dynamic=False)  # type: ignore[assignment]
        trial, share = Trial(self.network, config.model.name), max(1, config.train.batch_size // fabric.world_size)
        trial.check(share, config.preprocess.size, fabric.world_size)
        if self.loss.wants_sides and trial.lacks_sides(share, config.preprocess.size):
            raise without_side_outputs(f"model '{config.model.name}'")
        if fabric.world_size > 1 and trial.leaves_unused(share, config.preprocess.size):
            # Fabric takes this only when it is made, before the network is known.
            fabric.strategy._ddp_kwargs["find_unused_parameters"] = True  # type: ignore[attr-defined]
        self.model, self.stepper = fabric.setup(computed, self.optimizer)
        self.forward_backward: Pass = self._forward_backward
        required = config.train.compile == "on"
        wanted = required or (
            config.train.compile == "auto"
            and self.network.capturable
            and (self.loss.capturable or bool(self.own.names))
        )
        wanted = wanted and _on_one_gpu(fabric)
        if wanted and self.own.names:
            names = " and ".join(self.own.names)
            self.observer.say(
                f"Each step is launched operation by operation, because {names} learns beside the network."
            )
        elif wanted:
            self.forward_backward = CapturedPass(
                self._forward_backward, fabric.device, required=required, say=self.observer.say
            )
        self.sampler = sampler_of(config, self.films, self.augments, fabric.world_size)
        epochs = config.train.epochs
        self.steps = epochs * self.sampler.steps_per_epoch if epochs else config.train.steps
        drawn = self.steps * self.sampler.batch_size * self.sampler.draws
        self.batches = FilmBatches(self.films, self.films.indices(self.films.split.train), fabric.device, config, drawn)
        self.network_input = NetworkInput(config.preprocess, fabric.device)
        self.pseudo_labels = (
            None
            if self.unlabelled is None
            else PseudoLabels(self.unlabelled, self.steps, self.batches.place, config, self.network_input)
        )
        self.paper = config.train.protocol == "paper"
        self.watched_films = self.films.split.test if self.paper else self.films.split.validation

    def go(self, stop: threading.Event) -> None:
        """Train to the end, or until `stop` is set."""
        pseudo_labels = self.pseudo_labels is not None
        check_adversaries(self.loss, self.config.loss, self.films, pseudo_labels=pseudo_labels)
        if self.run.state_file.is_file():
            self._restore()
        if self.fabric.is_global_zero:
            self.run.forget_metrics_after(self.step)
            self.own.remember(self.run.metrics())
            self.loggers.begin(self.run.path, self.config, self.step)
        self.observer.stage("Training", self.steps)
        self.observer.advance(self.step)
        train = self.config.train
        alone = self.fabric.world_size == 1  # several processes must look, and stop, at the same steps
        while self.step < self.steps:
            self.update()
            logs, validates, saves = (
                self._due(every) for every in (LOG_EVERY, train.validate_every, train.checkpoint_every)
            )
            reading = None
            if logs or validates or saves or (alone and stop.is_set()) or self.fabric.device.type == "cpu":
                reading = self.look(stop)
            self.observer.advance(self.step, self._note(reading))
            if reading and logs:
                self._log(self.own.read(reading))
            if self.watched_films and validates:
                self._validate()
            stopping = reading is not None and (stop.is_set() if alone else self.stopping)
            if saves or stopping:
                self._save()
            if stopping:
                raise TrainingInterruptedError(
                    f"Stopped after step {self.step} of {self.steps}; everything is saved.",
                    f"Continue with: cxrkit train --resume {self.run.path}",
                )

    def _due(self, every: int) -> bool:
        return self.step % every == 0 or self.step == self.steps

    def update(self) -> None:
        """One step of the network, its average, and the loss; what it reads stays on the device until `look`."""
        seed, rank = self.config.seed, self.fabric.global_rank
        torch.manual_seed(derive_seed(seed, "step", self.step, rank))  # dropout and the like
        batch = self.batches.take(self.sampler.indices(self.step, rank), self.sampler.indices(self.step + 1, rank))
        if self.pseudo_labels is not None and self.step >= self.pseudo_labels.start:
            random = generator(seed, "unlabelled", self.step, rank)
            with self.fabric.autocast():
                batch = self.pseudo_labels.join(batch, self.kept_network(), random)
        random = generator(seed, "augment", self.step, rank)
        batch = augment_batch(self.augments, batch, random, self.network_input)
        for group in self.optimizer.param_groups:
            group["lr"] = self._lr(self.step)

        self.own.begin(self.step)
        self.model.train()
        readings, logits = self.forward_backward(batch)
        self.unread.append(torch.cat([readings, self._clip()]))
        self.stepper.step()
        update_average(self.average, self.network, self.config.train.ema, self.step)
        self.own.update(logits, batch)
        self.step += 1

    def _forward_backward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Gradients of a batch's loss; returns the loss and the soft Dice coefficient, `(2,)`, and the logits."""
        images = batch.images.contiguous(memory_format=torch.channels_last)
        multiple, channels = self.network.size_multiple, len(self.films.channels)
        output = apply_model(self.model, images, size_multiple=multiple, channels=channels)
        logits = main_logits(output).float()
        loss = batch_loss(self.loss, output._replace(main=logits) if isinstance(output, SideOutputs) else logits, batch)
        self.optimizer.zero_grad(set_to_none=True)
        self.fabric.backward(loss)
        logits = logits.detach()
        return torch.stack([loss.detach().float(), soft_dice(logits, batch)]), logits

    def _clip(self) -> Tensor:
        """Scale the gradients down to the norm that is allowed; returns the one that they had, `(1,)`."""
        norm = self.fabric.clip_gradients(
            self.model, self.optimizer, max_norm=self.config.train.clip_norm or math.inf, error_if_nonfinite=False
        )
        return torch.zeros(1, device=self.fabric.device) if norm is None else norm.detach().float().reshape(1)

    def look(self, stop: threading.Event) -> TrainingReading:
        """Read what the updates since the last look left on the device, of all processes together.

        Returns the last update's reading, and sets `stopping` where a process is asked to stop.

        Raises:
            TrainingError: a loss or gradients that aren't finite; names the first such step.
        """
        mine = torch.stack(self.unread).cpu().double()
        self.unread.clear()
        rows = torch.cat([mine, torch.full((len(mine), 1), float(stop.is_set()), dtype=torch.float64)], dim=1)
        if self.fabric.world_size > 1:
            # All must see the same: one that met a NaN or a Ctrl-C alone would leave the others waiting.
            rows = torch.as_tensor(self.fabric.all_reduce(rows.to(self.fabric.device), reduce_op="mean"))
        first = self.step - len(rows) + 1
        for step, (loss, _, norm, _) in enumerate(rows.tolist(), start=first):
            if not math.isfinite(loss):
                raise self._diverged(step, f"the loss is {loss}")
            if not math.isfinite(norm):
                raise self._diverged(step, "the gradients are not finite")
        loss, dsc, _, asked = rows[-1].tolist()
        self.stopping = asked > 0
        seconds = round(time.monotonic() - self.started, 3)
        return TrainingReading(self.step, loss, dsc, self._lr(self.step - 1), seconds)

    def _lr(self, step: int) -> float:
        return learning_rate(step, self.steps, self.config.train)

    def kept_network(self) -> Model:
        """The network whose weights are kept: the averaged one where averaging is on."""
        kept = self.average.module if self.config.train.ema > 0 else self.network
        assert isinstance(kept, Model)
        return kept

    @contextmanager
    def _first_process_works(self) -> Iterator[None]:
        """What the first process does alone; the others wait, and end if it fails.

        Raises:
            AnotherEndedError: in the others.
        """
        try:
            yield
        except BaseException:
            with suppress(RuntimeError):  # others may have ended too
                self._any_failed(mine=True)
            raise
        if self._any_failed(mine=False):
            raise AnotherEndedError(f"The first process that trains {self.run.path} failed.")

    def _any_failed(self, *, mine: bool) -> bool:
        flag = torch.tensor(float(mine), device=self.fabric.device)
        return self.fabric.world_size > 1 and bool(torch.as_tensor(self.fabric.all_reduce(flag, reduce_op="sum")) > 0)

    def _validate(self) -> None:
        with self._first_process_works():
            if self.fabric.is_global_zero:
                self._validate_alone()

    def _validate_alone(self) -> None:
        model = self._settled().eval()
        with self.fabric.autocast():
            films = self.batches.each(self.films.indices(self.watched_films), self.config.train.batch_size)
            try:
                scores = quick_scores(model, films)
            except NotFiniteError as error:
                raise self._diverged(self.step, "the network's values on the films are not finite") from error
        self._log(ValidationReading(self.step, scores, "test" if self.paper else "validation"))
        score = scores["dsc" if self.paper else "dice"]
        if self.best is None or score > self.best[0]:
            self.best = (score, self.step)
            self._save_network("best", model)

    def _save_network(self, name: str, network: Model) -> None:
        card = ckpt.NetworkCard(
            cxrkit=__version__,
            model=self.config.model,
            channels=self.films.channels,
            preprocess=self.config.preprocess,
            precision=self.config.train.precision,
            package=(self.component.distribution, self.component.version),
            step=self.step,
        )
        path = self.run.path / "checkpoints" / f"{name}.safetensors"
        ckpt.save_network(path, network.state_dict(), card)

    def _settled(self) -> Model:
        """The kept network, with the batch statistics of the training films as they are if that is asked for.

        Then it is a copy: the training continues as if nobody had looked.

        Raises:
            TrainingError: its weights, or those that learn, aren't finite.
        """
        for network in (self.network, self.kept_network()):
            if not all_finite(network):
                raise self._diverged(self.step, "the weights are not finite")
        if not self.config.train.recompute_statistics:
            return self.kept_network()
        settled = deepcopy(self.kept_network())
        places = batches_of(len(self.films.split.train), self.config.train.batch_size)
        batches = (self.network_input(self.batches.take(place)) for place in places)
        images = (pad_to_multiple(batch.images, self.network.size_multiple) for batch in batches)
        with self.fabric.autocast():
            recompute_statistics(settled, (batch.contiguous(memory_format=torch.channels_last) for batch in images))
        return settled

    def _save(self) -> None:
        with self._first_process_works():
            if self.fabric.is_global_zero:
                self._save_network("last", self._settled())
                identity = identity_of(self.run, self.config)
                state = ckpt.TrainingState(ckpt.collect_tensors(self.parts), self.step, self.best, identity)
                ckpt.save_state(self.run.state_file, state)

    def _restore(self) -> None:
        file = self.run.state_file
        state = ckpt.load_state(file, identity_of(self.run, self.config))
        try:
            ckpt.restore_tensors(self.parts, state.tensors)
        except ValueError as error:
            raise DataError(
                f"{file}: the training state doesn't fit this run: {error}.",
                "Put back the one that belongs to this run, or delete it to begin the run again from its start.",
            ) from error
        self.step, self.best = state.step, state.best
        self.observer.say(f"Continuing after step {self.step} of {self.steps}.")

    def _note(self, reading: TrainingReading | None) -> str:
        """What the progress bar says."""
        waiting = self.batches.waited / (time.monotonic() - self.started)
        share = f", {waiting:.0%} of the time waiting for the disk" if waiting >= 0.005 else ""
        return f"loss {reading.loss:.3f}{share}" if reading else ""

    def _log(self, reading: Reading) -> None:
        if self.fabric.is_global_zero:
            self.run.log(reading)
            self.loggers.log(reading)

    def _diverged(self, step: int, what: str) -> TrainingError:
        last = self.run.state_file.is_file()
        saved = "The last good state is kept in its checkpoints." if last else "Nothing had been saved yet."
        return TrainingError(
            f"Step {step} of {self.steps}: {what} (loss {' + '.join(t.name for t in self.config.loss)}, "
            f"learning rate {self._lr(step - 1):.2g}). {saved}",
            self.own.steadier() + STEADIER,
        )


def _on_one_gpu(fabric: Fabric) -> bool:
    return fabric.device.type == "cuda" and fabric.world_size == 1
