"""The training loop, to be read from top to bottom."""

from __future__ import annotations

import math
import threading
import time
from copy import deepcopy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, update_bn

from cxrkit.config import RunConfig
from cxrkit.engine import checkpoint as ckpt
from cxrkit.engine.batches import FilmBatches
from cxrkit.engine.evaluate import quick_scores
from cxrkit.engine.films import Films
from cxrkit.engine.forward import (
    apply_model,
    augment_batch,
    batch_loss,
    build_augments,
    build_loss,
    own_parameters,
    pad_to_multiple,
)
from cxrkit.engine.observer import Observer
from cxrkit.engine.run import RunDirectory
from cxrkit.engine.sampling import Sampler, derive_seed, generator
from cxrkit.engine.schedule import averaging, learning_rate
from cxrkit.engine.unlabelled import PseudoLabels, Unlabelled
from cxrkit.errors import TrainingError, TrainingInterruptedError
from cxrkit.interfaces import Batch, Loss, Model, SideOutputs
from cxrkit.registry import Component, Registry

if TYPE_CHECKING:
    from lightning_fabric import Fabric

LOG_EVERY = 10


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
    step: int = 0
    best: tuple[float, int] | None = None
    started: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        config, fabric = self.config, self.fabric
        torch.manual_seed(derive_seed(config.seed, "weights"))
        self.component: Component = self.registry.get("model", config.model.name)
        network: Model = self.component.build(self.films.channels, **config.model.params)
        self.network = network.to(fabric.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.loss: Loss = build_loss(config.loss, self.registry, self.films.channels).to(fabric.device)
        self.augments = build_augments(config.augment, self.registry)
        self.average = AveragedModel(self.network, multi_avg_fn=averaging(config.train.ema), use_buffers=True)
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=config.train.lr, weight_decay=config.train.weight_decay, fused=True
        )
        own = own_parameters(self.loss)
        self.own_optimizer = torch.optim.Adam(own) if own else None
        self.model, self.stepper = fabric.setup(self.network, self.optimizer)
        draws = math.prod(augment.draws for augment in self.augments)
        train_ids = self.films.split.train
        self.sampler = Sampler(len(train_ids), config.train.batch_size, draws, config.seed, fabric.world_size)
        epochs = config.train.epochs
        self.steps = epochs * self.sampler.steps_per_epoch if epochs else config.train.steps
        self.batches = FilmBatches(self.films, self.films.indices(train_ids), fabric.device, config)
        self.pseudo_labels = (
            None if self.unlabelled is None else PseudoLabels(self.unlabelled, self.steps, fabric.device, config)
        )
        paper = config.train.protocol == "paper"
        self.watched_films = self.films.split.test if paper else self.films.split.validation

    def go(self, stop: threading.Event) -> None:
        """Train to the end, or until `stop` is set."""
        if self.run.state_file.is_file():
            self._restore()
        if self.fabric.is_global_zero:
            self.run.forget_metrics_after(self.step)
        self.observer.stage("Training", self.steps)
        self.observer.advance(self.step)
        while self.step < self.steps:
            value, dsc, stopping = self.update(stop)
            self.step += 1
            seconds = round(time.monotonic() - self.started, 3)
            if self.step % LOG_EVERY == 0 or self.step == self.steps:
                self._log(
                    {
                        "step": self.step,
                        "loss": value,
                        "train_dsc": dsc,
                        "lr": self._lr(self.step - 1),
                        "seconds": seconds,
                    }
                )
            self.observer.advance(self.step, f"loss {value:.3f}")
            if self.watched_films and (self.step % self.config.train.validate_every == 0 or self.step == self.steps):
                self._validate()
            if self.step % self.config.train.checkpoint_every == 0 or self.step == self.steps:
                self._save()
            alone = self.fabric.world_size == 1  # several processes stop when all of them have heard, a step later
            if stopping or (alone and stop.is_set()):
                self._save()
                raise TrainingInterruptedError(
                    f"Stopped after step {self.step} of {self.steps}; everything is saved.",
                    f"Go on with: cxrkit train --resume {self.run.path}",
                )

    def _over_all_processes(self, *readings: float) -> list[float]:
        """The mean of each reading over the processes.

        All of them must see the same: one that met a NaN or a Ctrl-C alone would leave the others waiting.
        """
        if self.fabric.world_size == 1:
            return list(readings)
        mine = torch.tensor(readings, dtype=torch.float64, device=self.fabric.device)
        together = self.fabric.all_reduce(mine, reduce_op="mean")
        return [float(value) for value in torch.as_tensor(together)]

    def update(self, stop: threading.Event) -> tuple[float, float, bool]:
        """One step; returns the loss and soft Dice coefficient of its batch, and whether this step is the last."""
        seed, rank = self.config.seed, self.fabric.global_rank
        torch.manual_seed(derive_seed(seed, "step", self.step, rank))  # dropout and the like
        random = generator(seed, "augment", self.step, rank)
        batch = self.batches.take(self.sampler.indices(self.step, rank))
        if self.pseudo_labels is not None and self.step >= self.pseudo_labels.start:
            with self.fabric.autocast():
                batch = self.pseudo_labels.join(
                    batch, self.kept_network(), generator(seed, "unlabelled", self.step, rank)
                )
        batch = augment_batch(self.augments, batch, random)
        for group in self.optimizer.param_groups:
            group["lr"] = self._lr(self.step)

        self.model.train()
        images = batch.images.contiguous(memory_format=torch.channels_last)
        multiple, channels = self.network.size_multiple, len(self.films.channels)
        output = apply_model(self.model, images, size_multiple=multiple, channels=channels)
        main = (output.main if isinstance(output, SideOutputs) else output).float()
        output = SideOutputs(main, output.sides) if isinstance(output, SideOutputs) else main
        loss = batch_loss(self.loss, output, batch)
        value, dsc, asked = self._over_all_processes(
            loss.detach().item(), _soft_dice(main.detach(), batch.targets), float(stop.is_set())
        )
        if not math.isfinite(value):
            raise self._diverged(f"the loss is {value}")
        self.optimizer.zero_grad(set_to_none=True)
        if self.own_optimizer is not None:
            self.own_optimizer.zero_grad(set_to_none=True)
        self.fabric.backward(loss)
        self._clip()
        self.stepper.step()
        self.average.update_parameters(self.network)
        self._update_loss(main.detach(), batch)
        return value, dsc, asked > 0

    def _clip(self) -> None:
        limit = self.config.train.clip_norm
        norm = self.fabric.clip_gradients(
            self.model, self.optimizer, max_norm=limit or math.inf, error_if_nonfinite=False
        )
        if norm is not None and not torch.isfinite(norm):
            raise self._diverged("the gradients are not finite")

    def _update_loss(self, logits: Tensor, batch: Batch) -> None:
        """Train the loss's own parameters, if it has any (a critic)."""
        if self.own_optimizer is None:
            return
        value = self.loss.own_loss(logits, batch.targets, batch.images)
        if value is None:
            return
        self.own_optimizer.zero_grad(set_to_none=True)
        value.backward()
        for group in self.own_optimizer.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None and self.fabric.world_size > 1:
                    parameter.grad = self.fabric.all_reduce(parameter.grad, reduce_op="mean")
        self.own_optimizer.step()

    def _lr(self, step: int) -> float:
        return learning_rate(step, self.steps, self.config.train)

    def kept_network(self) -> Model:
        """The network whose weights are kept: the averaged one where averaging is on."""
        kept = self.average.module if self.config.train.ema > 0 else self.network
        assert isinstance(kept, Model)
        return kept

    def _validate(self) -> None:
        if self.fabric.is_global_zero:
            model = self._settled().eval()
            with self.fabric.autocast():
                films = self.batches.each(self.films.indices(self.watched_films), self.config.train.batch_size)
                scores = quick_scores(model, films)
            self._log(
                {"step": self.step, "validation": scores.model_dump(), "on": "test" if self._paper else "validation"}
            )
            score = scores.dsc if self._paper else scores.dice
            if self.best is None or score > self.best[0]:
                self.best = (score, self.step)
                self._save_network("best", model)
        self.fabric.barrier()

    @property
    def _paper(self) -> bool:
        return self.config.train.protocol == "paper"

    def _save_network(self, name: str, network: Model) -> None:
        from cxrkit import __version__

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

        Then it is a copy: the training goes on as if nobody had looked.
        """
        if not self.config.train.recompute_statistics:
            return self.kept_network()
        settled = deepcopy(self.kept_network())
        places = torch.arange(len(self.films.split.train)).split(self.config.train.batch_size)
        images = (pad_to_multiple(self.batches.take(p).images, self.network.size_multiple) for p in places)
        with self.fabric.autocast():
            update_bn((batch.contiguous(memory_format=torch.channels_last) for batch in images), settled)
        return settled

    def _save(self) -> None:
        if self.fabric.is_global_zero:
            self._save_network("last", self._settled())
            tensors = ckpt.module_tensors("network", self.network) | ckpt.module_tensors("average", self.average)
            tensors |= ckpt.module_tensors("loss", self.loss) | ckpt.optimizer_tensors("optimizer", self.optimizer)
            if self.own_optimizer is not None:
                tensors |= ckpt.optimizer_tensors("own_optimizer", self.own_optimizer)
            ckpt.save_state(self.run.state_file, ckpt.TrainingState(tensors, self.step, self.best))
        self.fabric.barrier()

    def _restore(self) -> None:
        state = ckpt.load_state(self.run.state_file)
        for name, module in (("network", self.network), ("average", self.average), ("loss", self.loss)):
            ckpt.restore_module(name, module, state.tensors)
        ckpt.restore_optimizer("optimizer", self.optimizer, state.tensors)
        if self.own_optimizer is not None:
            ckpt.restore_optimizer("own_optimizer", self.own_optimizer, state.tensors)
        self.step, self.best = state.step, state.best
        self.observer.say(f"Going on after step {self.step} of {self.steps}.")

    def _log(self, record: dict[str, Any]) -> None:
        if self.fabric.is_global_zero:
            self.run.log(record)

    def _diverged(self, what: str) -> TrainingError:
        last = self.run.state_file.is_file()
        saved = "The last good state is kept in its checkpoints." if last else "Nothing had been saved yet."
        return TrainingError(
            f"Step {self.step + 1} of {self.steps}: {what} (loss {' + '.join(t.name for t in self.config.loss)}, "
            f"learning rate {self._lr(self.step):.2g}). {saved}",
            "Use a lower --lr, --precision 32, or --set train.clip_norm=0.5; check the films with `cxrkit data check`.",
        )


def _soft_dice(logits: Tensor, targets: Tensor) -> float:
    """The paper's DSC (§2.3) of a batch while it trains, all channels flattened together."""
    with torch.no_grad():
        p = logits.sigmoid()
        return float((2 * (p * targets).sum() + 0.1) / (p.sum() + targets.sum() + 0.1))
