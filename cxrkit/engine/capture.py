"""A forward and backward pass as one CUDA graph: recorded once, then launched as a whole.

A network of a hundred small layers makes thousands of kernel launches an update, and the processor needs longer to
queue them than the GPU to run them. A recorded graph is queued by a single launch. What is recorded is fixed: the
shapes, the addresses, and every decision that the code took from a value.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from cxrkit.errors import ConfigError
from cxrkit.interfaces import Batch

#: A pass: sets the gradients, and returns readings and logits.
Pass = Callable[[Batch], tuple[Tensor, Tensor]]


class CapturedPass:
    """A pass that is recorded after a few ordinary ones, and replayed from then on.

    Its results are overwritten by the next replay, and the gradients are always the same tensors: set them neither to
    None nor to others.

    Args:
        run: what is recorded. It must not read a value from the device, nor depend on one on the host.
        device: a CUDA device.
        required: whether it is an error where it cannot be recorded; otherwise the passes then stay ordinary ones.
        say: called with the reason for that.

    Raises:
        ConfigError: from a call, if it is required and cannot be recorded.
    """

    #: Ordinary passes before the recording, in which libraries choose their algorithms and work spaces.
    WARM_UP = 3

    def __init__(self, run: Pass, device: torch.device, *, required: bool, say: Callable[[str], None]) -> None:
        self.run, self.required, self.say = run, required, say
        self.stream = torch.cuda.Stream(device)
        self.graph: torch.cuda.CUDAGraph | None = None
        self.passes = 0

    def __call__(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Readings and logits of a batch."""
        if batch.known is not None or (self.graph is not None and _form(batch) != self.form):
            # Which masks reach the loss, or a shape, differs from batch to batch. An ordinary pass makes other
            # gradients than the recorded ones, so there is no way back to those.
            self.graph, self.passes = None, self.WARM_UP + 1
        if self.graph is None and self.passes == self.WARM_UP:
            self._record(batch)
        self.passes += 1
        if self.graph is None:
            return self._ordinary(batch)
        for place, value in zip(_tensors(self.inputs), _tensors(batch), strict=True):
            place.copy_(value)
        self.graph.replay()
        return self.outputs

    def _ordinary(self, batch: Batch) -> tuple[Tensor, Tensor]:
        # On the stream of the recording: autograd remembers on which stream a gradient is accumulated.
        current = torch.cuda.current_stream()
        self.stream.wait_stream(current)
        with torch.cuda.stream(self.stream):
            outputs = self.run(batch)
        current.wait_stream(self.stream)
        return outputs

    def _record(self, batch: Batch) -> None:
        self.inputs, self.form = batch.map(torch.clone), _form(batch)
        graph = torch.cuda.CUDAGraph()
        try:
            # Other threads of the process, such as one that reads films, may go on using CUDA.
            with torch.cuda.graph(graph, stream=self.stream, capture_error_mode="thread_local"):
                self.outputs = self.run(self.inputs)
        except RuntimeError as error:  # what a component reads from the device would be the same at every replay
            torch.cuda.synchronize()
            reason = " ".join(str(error).split())[:200]
            if self.required:
                raise ConfigError(
                    f"--compile on: this network or loss can't be recorded as a CUDA graph: {reason}",
                    "Use --compile off or auto; a component must not read values from the device (.item(), bool(...)).",
                ) from error
            self.say(f"Each step is launched operation by operation, because it can't be recorded: {reason}")
        else:
            self.graph = graph


def _tensors(batch: Batch) -> list[Tensor]:
    partner = batch.partner
    return [batch.images, batch.targets, *([] if partner is None else [partner.targets, partner.weight])]


def _form(batch: Batch) -> tuple[object, ...]:
    """What a recorded pass depends on beside the values."""
    return (batch.partner is not None and batch.partner.whole, *(tensor.shape for tensor in _tensors(batch)))


def is_compiler_error(error: Exception) -> bool:
    """Whether `torch.compile` failed, for want of a compiler say."""
    return type(error).__module__.startswith(("torch._dynamo", "torch._inductor"))
