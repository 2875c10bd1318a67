"""What cxrkit expects of every network.

Films are 32 to 64 pixels a side, so that the suite takes seconds even for large networks.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from unittest import SkipTest

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.export import Dim

from cxrkit.engine.exporting import Probabilities
from cxrkit.engine.forward import main_logits
from cxrkit.interfaces import BACKGROUND, Model, SideOutputs
from cxrkit.testing.expectations import Check, ConformanceError, Subject, describe, expect, own_randomness, random_state

CHANNELS = ("left_lung", "right_lung", "heart", BACKGROUND)
_SMALLEST = 32


def _sizes(model: Model) -> list[tuple[int, int]]:
    """A square, a wide and a larger size that the network says it takes."""
    multiple = model.size_multiple
    # Twice the multiple at least: instance norm needs more than one pixel at the coarsest level.
    side = max(-(-_SMALLEST // multiple), 2) * multiple
    return [(side, side), (side, side + multiple), (side + multiple, side + multiple)]


def _images(model: Model, films: int = 2, size: tuple[int, int] | None = None) -> Tensor:
    """Standardised noise, float32 `(films, 1, H, W)`."""
    return torch.randn(films, 1, *(size or _sizes(model)[0]))


def it_builds_for_any_channels(subject: Subject) -> None:
    """The constructor takes four structures and one, and the network says what it was built for."""
    for channels in (CHANNELS, ("lungs",)):
        model: Model = subject.build(channels)
        expect(
            model.channels == channels,
            f"channels {channels}",
            f"{getattr(model, 'channels', None)!r}",
            "Call `super().__init__(channels)` in the constructor.",
        )
        multiple = model.size_multiple
        expect(
            type(multiple) is int and 1 <= multiple <= 256,
            "size_multiple to be a whole number from 1 to 256",
            repr(multiple),
            "Set it to 2 to the power of the number of halvings.",
        )


def logits_have_the_images_size(subject: Subject) -> None:
    """Images (B, 1, H, W) become finite float32 logits (B, C, H, W), at square and other sizes."""
    for channels in (CHANNELS, ("lungs",)):
        model: Model = subject.build(channels).eval()
        for size in _sizes(model):
            with torch.no_grad():
                output = model(_images(model, size=size))
            _expect_logits(output, (2, len(channels), *size))


def _expect_logits(output: object, shape: tuple[int, ...]) -> None:
    if not isinstance(output, Tensor) or output.dtype != torch.float32 or tuple(output.shape) != shape:
        raise ConformanceError(
            f"logits Tensor float32 {shape}", describe(output), "Return logits of the images' size from `forward`."
        )
    count = int((~output.isfinite()).sum())
    expect(count == 0, "finite logits", f"{count} that are not", "Look for a division, a logarithm or a root.")


def side_outputs_come_in_training_only(subject: Subject) -> None:
    """In training a Tensor or SideOutputs of coarser logits; in evaluation a Tensor."""
    model: Model = subject.build(CHANNELS)
    images = _images(model)
    shape = (2, len(CHANNELS), *images.shape[-2:])
    output = model.train()(images)
    if isinstance(output, SideOutputs):
        _expect_logits(output.main, shape)
        expect(
            isinstance(output.sides, tuple),
            "`sides` as a tuple",
            describe(output.sides),
            "Return `SideOutputs(a, (b,))`.",
        )
        for side in output.sides:
            fits = isinstance(side, Tensor) and side.ndim == 4 and side.shape[:2] == shape[:2]
            expect(
                fits and side.shape[-2] <= shape[-2] and side.shape[-1] <= shape[-1],
                f"side logits ({shape[0]}, {shape[1]}, h, w) no larger than the main ones",
                describe(side),
                "Give each side head one channel a structure.",
            )
    else:
        _expect_logits(output, shape)
    with torch.no_grad():
        _expect_logits(model.eval()(images), shape)


def outputs_are_logits(subject: Subject) -> None:
    """A few steps push outputs below -1 and above 1, which a sigmoid, softmax or ReLU at the end would prevent."""
    for direction in (1.0, -1.0):
        model: Model = subject.build(CHANNELS).train()
        images = _images(model)
        furthest = -torch.inf
        for _ in range(40):
            output = direction * main_logits(model(images))
            furthest = max(furthest, float(output.detach().max()))
            if furthest > 1:
                break
            output.mean().backward()
            _step_along_signs(model, 0.05)
        expect(
            furthest > 1,
            "logits, which training can push below -1 and above 1",
            f"outputs that stay {'below' if direction > 0 else 'above'} {direction * furthest:.3g}",
            "Leave out the sigmoid, softmax or other function at the end: losses and metrics apply it.",
        )


@torch.no_grad()
def _step_along_signs(model: Model, size: float) -> None:
    for parameter in model.parameters():
        if parameter.grad is not None:
            parameter.add_(parameter.grad.sign(), alpha=size)
            parameter.grad = None


def gradients_reach_every_parameter(subject: Subject) -> None:
    """Every trainable parameter has a finite gradient, which isn't all zero in each of a few steps of a few networks.

    Several, because gradients below a layer of zero weights are zero until it has moved, and because all ReLUs of a
    narrow layer may be dead. Before a normalisation a bias has no gradient but rounding errors, so that of a layer with
    other parameters isn't asked for.
    """
    reached = set[str]()
    for step in range(30):
        if step % 3 == 0:
            model: Model = subject.build(CHANNELS).train()
            trainable = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
            expect(bool(trainable), "parameters to train", "none", "Build the layers in the constructor.")
        output = model(_images(model))
        parts = [output] if isinstance(output, Tensor) else [output.main, *output.sides]
        torch.stack([(part * torch.randn_like(part)).sum() for part in parts]).sum().backward()
        _expect_finite_gradients(trainable)
        reached |= {
            name for name, parameter in trainable.items() if parameter.grad is not None and parameter.grad.any()
        }
        layers = {name.rpartition(".")[0] for name in reached}
        zero = [name for name in trainable if name not in reached and name.removesuffix(".bias") not in layers]
        if not zero:
            return
        _step_by_one_percent(trainable.values())
    raise ConformanceError(
        "a gradient other than zero for every trainable parameter",
        f"only zeros for {', '.join(zero[:5])} ({len(zero)} of {len(trainable)})",
        "Look for a factor of zero or a constant; remove these layers, or freeze them with `requires_grad_(False)`.",
    )


def _expect_finite_gradients(trainable: Mapping[str, nn.Parameter]) -> None:
    without = [name for name, parameter in trainable.items() if parameter.grad is None]
    expect(
        not without,
        "a gradient for every trainable parameter",
        f"none for {', '.join(without[:5])} ({len(without)} of {len(trainable)})",
        "Use these layers, remove them, or freeze them with `requires_grad_(False)`: several devices wait for all.",
    )
    broken = [name for name, p in trainable.items() if p.grad is not None and not p.grad.isfinite().all()]
    expect(not broken, "finite gradients", f"others for {', '.join(broken[:5])}", "Look for a root or logarithm of 0.")


@torch.no_grad()
def _step_by_one_percent(parameters: Iterable[nn.Parameter]) -> None:
    """Along the gradients, by a hundredth of each parameter's norm: no network diverges; zeros move by 0.01."""
    for parameter in parameters:
        if parameter.grad is not None:
            length = 0.01 * parameter.norm().clamp(min=1)
            parameter.add_(parameter.grad * (length / parameter.grad.norm().clamp(min=1e-30)))
            parameter.grad = None


def evaluation_repeats_itself(subject: Subject) -> None:
    """In evaluation mode the same films give the same logits, without randomness, and aren't changed."""
    model: Model = subject.build(CHANNELS).eval()
    images = _images(model)
    before, state = images.clone(), random_state()
    with torch.no_grad():
        first, second = model(images), model(images)
    expect(torch.equal(images, before), "images left as they were", "changed ones", "Don't work in place on the input.")
    expect(torch.equal(first, second), "the same logits twice", "others", "Switch dropout off unless `self.training`.")
    expect(
        random_state() == state,
        "evaluation to draw no random numbers",
        "a changed global generator",
        "Draw only `if self.training`.",
    )


def films_do_not_influence_each_other(subject: Subject) -> None:
    """In evaluation mode a film's logits depend neither on its place in the batch nor on the other films."""
    model: Model = subject.build(CHANNELS).eval()
    images = _images(model, films=3)
    with torch.no_grad():
        together, reordered, alone = model(images), model(images[[2, 0, 1]]), model(images[:1])
    scale = 1e-4 * (1 + float(together.abs().max()))
    for other, same in ((reordered, together[[2, 0, 1]]), (alone, together[:1])):
        difference = float((other - same).abs().max())
        expect(
            difference <= scale,
            "the same logits for a film in any batch",
            f"a difference of {difference:.3g}",
            "Normalise over a film or with running statistics, not over the batch, in evaluation mode.",
        )


def weights_survive_safetensors(subject: Subject) -> None:
    """The state dict goes through safetensors into a newly built network that then gives the same logits."""
    model: Model = subject.build(CHANNELS).eval()
    state = model.state_dict()
    extra = [name for name, value in state.items() if not isinstance(value, Tensor)]
    expect(not extra, "tensors alone in the state dict", f"others under {', '.join(extra)}", "Keep them as parameters.")
    try:
        stored = save({name: value.contiguous() for name, value in state.items()})
    except (RuntimeError, SafetensorError, ValueError) as error:
        raise ConformanceError(
            "weights that safetensors can store", " ".join(str(error).split()), "Keep each tensor under one name only."
        ) from error
    with own_randomness(1):
        again: Model = subject.build(CHANNELS).eval()
    try:
        again.load_state_dict(load(stored))
    except RuntimeError as error:
        raise ConformanceError(
            "weights that fit a newly built network",
            " ".join(str(error).split()),
            "Make all layers in the constructor.",
        ) from error
    images = _images(model)
    with torch.no_grad():
        difference = float((model(images) - again(images)).abs().max())
    expect(
        difference <= 1e-6,
        "the same logits after saving and loading",
        f"a difference of {difference:.3g}",
        "Keep everything that was drawn or learned as a parameter or buffer.",
    )


def the_seed_decides_the_initial_weights(subject: Subject) -> None:
    """Two networks built after `torch.manual_seed` with one seed are equal."""
    states = []
    for _ in range(2):
        torch.manual_seed(3)
        states.append(subject.build(CHANNELS).state_dict())
    different = [name for name, value in states[0].items() if not torch.equal(value, states[1][name])]
    expect(
        not different,
        "equal weights from equal seeds",
        f"others in {', '.join(different[:5])}",
        "Draw initial weights from torch's global generator only.",
    )


def it_trains_under_autocast(subject: Subject) -> None:
    """A training step in bfloat16 autocast gives finite gradients."""
    model: Model = subject.build(CHANNELS).train()
    images = _images(model)
    with torch.autocast("cpu", torch.bfloat16):
        output = main_logits(model(images))
    shape = (2, len(CHANNELS), *images.shape[-2:])
    expect(tuple(output.shape) == shape, f"logits {shape}", describe(output), "See the float32 checks first.")
    output.float().square().mean().backward()
    broken = [n for n, p in model.named_parameters() if p.grad is not None and not p.grad.isfinite().all()]
    expect(
        not broken and bool(output.isfinite().all()),
        "finite logits and gradients in bfloat16",
        f"others ({', '.join(broken[:5]) or 'in the logits'})",
        "Compute logarithms, exponentials and small differences in float32.",
    )


def it_takes_channels_last(subject: Subject) -> None:
    """The network gives the same logits in the channels-last memory format, which GPUs prefer."""
    model: Model = subject.build(CHANNELS).eval()
    images = _images(model)
    with torch.no_grad():
        plain = model(images)
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        last = model(images.contiguous(memory_format=torch.channels_last))
    difference = float((plain - last).abs().max())
    expect(
        difference <= 1e-3 * (1 + float(plain.abs().max())),
        "the same logits in channels-last format",
        f"a difference of {difference:.3g}",
        "Use `reshape` or `flatten` instead of `view`.",
    )


def it_exports(subject: Subject) -> None:
    """`torch.export` takes it, for any number of films, and gives the same probabilities within 0.001.

    ONNX and OpenVINO begin with such a program.
    """
    model: Model = subject.build(CHANNELS).eval()
    if model.cannot_export:
        raise SkipTest(f"says that it can't be exported: {model.cannot_export}")
    network = Probabilities(model)
    try:
        program = torch.export.export(network, (_images(model),), dynamic_shapes=({0: Dim("batch")},)).module()
        images = _images(model, films=3)
        with torch.no_grad():
            difference = float((program(images) - network(images)).abs().max())
    except Exception as error:  # whatever an operator that isn't known raises
        raise ConformanceError("a network that torch.export takes", _first_line(error), _unless("export")) from error
    expect(
        difference <= 1e-3,
        "the same probabilities from the exported network",
        f"a difference of {difference:.3g}",
        "Decide nothing in `forward` by the values of tensors or by what `self` has counted.",
    )


def it_compiles(subject: Subject) -> None:
    """`torch.compile` traces the whole of a training pass, which then gives the same logits and gradients within 0.001.

    What it traced is run operator by operator, which needs no compiler and takes seconds instead of minutes.
    """
    model: Model = subject.build(CHANNELS).train()
    if model.cannot_compile:
        raise SkipTest(f"says that it can't be compiled: {model.cannot_compile}")
    images, results = _images(model), list[dict[str, Tensor]]()
    state = copy.deepcopy(model.state_dict())
    torch.compiler.reset()
    for network in (model, torch.compile(model, backend="eager", dynamic=False, fullgraph=True)):
        model.load_state_dict(state)
        model.zero_grad(set_to_none=True)
        try:
            with own_randomness(1):
                logits = main_logits(network(images))
                logits.square().mean().backward()
        except Exception as error:  # see above
            raise ConformanceError(
                "a network that torch.compile takes", _first_line(error), _unless("compile")
            ) from error
        gradients = {f"the gradient of {n}": p.grad for n, p in model.named_parameters() if p.grad is not None}
        results.append({"the logits": logits.detach()} | gradients)
    torch.compiler.reset()  # what it has compiled stays in memory otherwise
    plain, compiled = results
    only = sorted(plain.keys() ^ compiled.keys())
    expect(
        not only,
        "gradients for the same parameters from the compiled network",
        f"{', '.join(only[:5])} from one of the two only",
        "Let the same layers take part in `forward` each time.",
    )
    worst = max(float((a - compiled[name]).abs().max() / (1 + a.abs().max())) for name, a in plain.items())
    expect(
        worst <= 1e-3,
        "the same logits and gradients from the compiled network",
        f"a difference of {worst:.3g}",
        "Keep what `forward` decides free of what `self` has counted.",
    )


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0][:300]}"


def _unless(verb: str) -> str:
    return f'Use other operators, or give the reason in the class: `cannot_{verb} = "the operator ..."`.'


CHECKS: tuple[Check, ...] = (
    it_builds_for_any_channels,
    logits_have_the_images_size,
    side_outputs_come_in_training_only,
    outputs_are_logits,
    gradients_reach_every_parameter,
    evaluation_repeats_itself,
    films_do_not_influence_each_other,
    weights_survive_safetensors,
    the_seed_decides_the_initial_weights,
    it_trains_under_autocast,
    it_takes_channels_last,
    it_exports,
    it_compiles,
)
