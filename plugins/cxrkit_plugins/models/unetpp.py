"""U-Net++ (Zhou 2018, 2019): a U-Net whose skips are filled with nodes that look at all coarser ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from cxrkit import ConfigError, Model, SideOutputs
from cxrkit_plugins.models.blocks import he_normal


class UNetPlusPlus(Model):
    """Images `(B, 1, H, W)` to logits `(B, C, H, W)`; H and W are multiples of 2^depth (Zhou 2018, figure 1).

    Node (i, j) lies at level i. It reads the nodes (i, 0) to (i, j − 1) and, up-convolved, node (i + 1, j − 1). With
    deep supervision there is a head on each node (0, 1) to (0, depth), all at full resolution; in training the last
    is the main output and the others are `SideOutputs`. Outside training the output is the mean of all heads'
    probabilities, as a logit ("accurate"), or one head's logit: then only the nodes that it needs are computed
    ("fast", pruned).

    As in the authors' code there is dropout after each convolution and no batch norm. The network of that name in
    segmentation-models-pytorch is another one; `smp` has it.

    Raises:
        ConfigError: `inference_head` names a head that the network doesn't have.
    """

    capturable = True

    def __init__(
        self,
        channels: Sequence[str],
        *,
        base_channels: Annotated[int, Field(ge=1, description="channels of the first level; each level doubles")] = 32,
        depth: Annotated[int, Field(ge=1, le=6, description="how often the resolution is halved")] = 4,
        deep_supervision: Annotated[bool, Field(description="a head at every depth, not only at the last")] = True,
        inference_head: Annotated[
            int | None, Field(ge=1, description="outside training, the head of this depth alone; null: the mean of all")
        ] = None,
        dropout: Annotated[float, Field(ge=0, lt=1, description="share of values dropped after convolutions")] = 0.5,
    ) -> None:
        super().__init__(channels)
        self.size_multiple = 2**depth
        self.depth = depth
        depths = range(1, depth + 1) if deep_supervision else (depth,)
        if inference_head is not None and inference_head not in depths:
            raise ConfigError(
                f"model 'unetpp': inference_head={inference_head}: there is no such head.",
                f"There {'are' if len(depths) > 1 else 'is'}: {', '.join(map(str, depths))}.",
            )
        self.inference_heads = tuple(depths) if inference_head is None else (inference_head,)
        widths = [base_channels * 2**level for level in range(depth + 1)]
        self.nodes = nn.ModuleDict()
        self.ups = nn.ModuleDict()
        for j in range(depth + 1):
            for i in range(depth + 1 - j):
                before = (j + 1) * widths[i] if j > 0 else (widths[i - 1] if i > 0 else 1)
                self.nodes[f"{i}-{j}"] = _unit(before, widths[i], dropout)
                if j > 0:
                    self.ups[f"{i}-{j}"] = nn.ConvTranspose2d(widths[i + 1], widths[i], 2, stride=2)
        self.heads = nn.ModuleDict({str(j): nn.Conv2d(base_channels, len(self.channels), 1) for j in depths})
        self.apply(he_normal)

    def forward(self, images: Tensor) -> Tensor | SideOutputs:
        """Float `(B, 1, H, W)` to logits `(B, C, H, W)`, with side outputs in training under deep supervision."""
        depth = self.depth if self.training else max(self.inference_heads)
        rows: list[list[Tensor]] = []  # of each level, its nodes so far
        for i in range(depth + 1):
            rows.append([self.nodes[f"{i}-0"](F.max_pool2d(rows[-1][0], 2) if i > 0 else images)])
        for j in range(1, depth + 1):
            for i in range(depth + 1 - j):
                up = self.ups[f"{i}-{j}"](rows[i + 1][j - 1])
                rows[i].append(self.nodes[f"{i}-{j}"](torch.cat([up, *rows[i]], 1)))
        if not self.training:
            logits = [self.heads[str(j)](rows[0][j]) for j in self.inference_heads]
            return logits[0] if len(logits) == 1 else _logit_of_mean_probability(torch.stack(logits))
        *sides, main = (head(rows[0][int(j)]) for j, head in self.heads.items())
        return SideOutputs(main, tuple(sides)) if sides else main


def _logit_of_mean_probability(logits: Tensor) -> Tensor:
    """Logits `(heads, ...)` to the logit of their sigmoids' mean, finite where these round to 0 or 1."""
    return F.logsigmoid(logits).logsumexp(0) - F.logsigmoid(-logits).logsumexp(0)


def _unit(before: int, after: int, dropout: float) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (before, after):
        layers += [nn.Conv2d(channels, after, 3, padding=1), nn.ReLU(inplace=True), nn.Dropout(dropout)]
    return nn.Sequential(*layers)
