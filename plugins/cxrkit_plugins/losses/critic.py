"""A critic that learns what drawn masks look like, and what the network's masks lack (SCAN, Dai 2018)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from statistics import fmean
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm as spectrally_normalised

from cxrkit import Loss, SideOutputs, TrainingReading
from cxrkit.errors import ContractError
from cxrkit_plugins.losses.functional import in_float32
from cxrkit_plugins.models.blocks import he_normal, normaliser, residual_trunk

ACCURACY, TERM = "critic_accuracy", "critic_term"
#: The critic is judged by its last readings, so many of them: one is made every ten updates.
LONG = 20
#: Readings after which an adversarial term that outweighs all else is reported.
SHORT = 2
#: DSC above which masks aren't poor, whatever the term's share. It counts the background: empty masks reach 0.7.
FAIR = 0.8
SMALLEST = 16


class CriticLoss(Loss):
    """−log D(p), with a critic D that tells drawn masks from the network's masks p (Dai 2018, arXiv 1703.08770).

    D is SCAN's: the residual trunk of its segmentor, a mean over the film, one logit; 256,057 weights for four
    channels. It learns by −log D(g) − log(1 − D(p)), with g the drawn masks. Use it beside another loss, which compares
    p with g: SCAN's weight is 0.01, as in `--loss "focal-tversky + 0.01*critic"`. Side outputs aren't judged.

    Unlike SCAN's, the critic normalises each film by itself (group norm), so that its judgement of a film depends
    neither on the others of its batch nor on how a batch is shared among processes. With `spectral_norm` it has no such
    norms, which would undo that its layers' weights are bounded (Miyato 2018, arXiv 1802.05957).
    """

    adversarial = True

    def __init__(
        self,
        *,
        sees: Annotated[
            Literal["masks", "masks-and-film"],
            Field(description="what it judges: masks alone, or with their film"),
        ] = "masks",
        base_channels: Annotated[
            int, Field(ge=2, description="channels of the critic's first level; each of the next three doubles")
        ] = 8,
        start: Annotated[
            int, Field(ge=0, description="updates of the network before the critic joins and begins to learn")
        ] = 0,
        network_steps: Annotated[int, Field(ge=1, description="updates of the network for each of the critic's")] = 5,
        learning_rate: Annotated[float, Field(gt=0, le=1, description="of the critic's optimizer, Adam")] = 2e-4,
        spectral_norm: Annotated[
            bool, Field(description="divide each layer's weights by their norm, which bounds how steep it gets")
        ] = False,
        soften: Annotated[
            int,
            Field(ge=0, description="pixels over which it sees the outlines of drawn masks blurred; 0: sharp"),
        ] = 0,
    ) -> None:
        super().__init__()
        self.sees_film = sees == "masks-and-film"
        self.base_channels = base_channels
        self.start = start
        self.network_steps = network_steps
        self.own_learning_rate = learning_rate
        self.spectral_norm = spectral_norm
        self.soften = soften
        # Since the last reading: the sum of its shares of right answers, and their number.
        self.register_buffer("tally", torch.zeros(2))
        self._term = torch.tensor(torch.nan)

    def prepare(self, channels: Sequence[str]) -> None:
        """Build the critic for so many channels."""
        norm = nn.Identity if self.spectral_norm else normaliser("group")
        trunk = residual_trunk(len(channels) + self.sees_film, self.base_channels, norm)
        deepest = 8 * self.base_channels
        self.critic = nn.Sequential(trunk, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(deepest, 1))
        self.critic.apply(he_normal)
        if self.spectral_norm:
            for layer in self.critic.modules():
                if isinstance(layer, nn.Conv2d | nn.Linear):
                    spectrally_normalised(layer)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """`total` with a black film.

        Raises:
            ContractError: the shapes differ or aren't `(B, C, H, W)`.
        """
        return self.total(logits, targets, torch.zeros_like(targets[:, :1]))

    def total(self, output: Tensor | SideOutputs, targets: Tensor, images: Tensor) -> Tensor:
        """The mean over films of −log D(p), a scalar > 0; 0 before it joins.

        Raises:
            ContractError: the shapes differ or aren't `(B, C, H, W)`.
        """
        logits, _ = in_float32(output.main if isinstance(output, SideOutputs) else output, targets)
        if self.updates_made < self.start:
            return logits[:0].sum()
        with self._frozen():
            value = F.softplus(-self._judge(logits.sigmoid(), images)).mean()
        self._term = value.detach()
        return value

    def learns_now(self) -> bool:
        """Whether it has joined, and it is its turn."""
        return self.updates_made >= self.start and (self.updates_made - self.start) % self.network_steps == 0

    def own_loss(self, logits: Tensor, targets: Tensor, images: Tensor) -> Tensor:
        """The mean over films of −log D(g) − log(1 − D(p)), a scalar > 0."""
        logits, targets = in_float32(logits, targets)
        if self.soften:
            targets = F.avg_pool2d(targets, 2 * self.soften + 1, 1, self.soften, count_include_pad=False)
        drawn, predicted = self._judge(targets, images), self._judge(logits.sigmoid(), images)
        with torch.no_grad():
            right = torch.cat([drawn > 0, predicted < 0]).float().mean()
            self.get_buffer("tally").add_(torch.stack([right, right.new_ones(())]))
        return F.softplus(-drawn).mean() + F.softplus(predicted).mean()

    def own_readings(self) -> Mapping[str, Tensor]:
        """Share of right answers since the last reading, in [0, 1], and the last −log D(p)."""
        tally = self.get_buffer("tally")
        accuracy = tally[0] / tally[1]
        tally.zero_()
        return {ACCURACY: accuracy, TERM: self._term.to(accuracy.device)}

    def remark(self, readings: Sequence[TrainingReading]) -> str:
        """Whether the critic outweighs the losses that compare masks, or has won or lost for a long time."""
        accuracies = [reading.own[ACCURACY] for reading in readings if ACCURACY in reading.own][-LONG:]
        judged = [reading for reading in readings if TERM in reading.own][-SHORT:]
        shares = [self.term_weight * reading.own[TERM] / max(reading.loss, 1e-12) for reading in judged]
        # A large share alone is what a critic that has won leaves of a small loss.
        usual = max(FAIR, max((reading.train_dsc for reading in readings), default=0) - 0.1)
        if len(shares) == SHORT and min(shares) > 0.9 and max(reading.train_dsc for reading in judged) < usual:
            return (
                f"The critic's weight of {self.term_weight:g} is so large that the training diverges from the drawn "
                "masks: its term makes up more than 90 % of the loss. Use a smaller weight."
            )
        if len(accuracies) == LONG and min(accuracies) >= 0.99:
            return (
                "The critic has won: for a long time it has judged nearly all masks correctly, and the network can "
                "learn little from it. Use --set loss.critic.spectral_norm=true, soften=1, or a smaller learning_rate."
            )
        if len(accuracies) == LONG and max(fmean(accuracies), fmean(accuracies[LONG // 2 :])) <= 0.5:
            return (
                "The critic has lost: for a long time it has judged masks no better than by chance, and the "
                "network can learn little from it. Use a larger --set loss.critic.learning_rate, or "
                "sees=masks-and-film."
            )
        return ""

    def _judge(self, masks: Tensor, images: Tensor) -> Tensor:
        """Masks `(B, C, H, W)` in [0, 1] and images `(B, 1, H, W)` to logits `(B, 1)`, positive for "drawn"."""
        if min(masks.shape[-2:]) < SMALLEST:
            raise ContractError(
                f"The critic halves masks four times; {masks.shape[-2]}x{masks.shape[-1]} pixels are too small.",
                f"Use masks of at least {SMALLEST}x{SMALLEST} pixels.",
            )
        shown = torch.cat([masks, images.to(masks.dtype)], 1) if self.sees_film else masks
        judged: Tensor = self.critic(shown)
        return judged

    @contextmanager
    def _frozen(self) -> Iterator[None]:
        """As the network's update needs it: without gradients of its weights, nor a step of their norms' iteration."""
        training = self.critic.training
        self.critic.requires_grad_(False).eval()
        try:
            yield
        finally:
            self.critic.requires_grad_(True).train(training)
