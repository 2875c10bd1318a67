"""Which structures of masks can be compared with those of data: what both sides have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path

from cxrkit.config import RunConfig
from cxrkit.data.joined import check_names
from cxrkit.engine.films import build_datasets
from cxrkit.engine.measures import LUNG_PAIR, LUNGS
from cxrkit.engine.observer import Observer
from cxrkit.errors import DataError, nearest
from cxrkit.interfaces import BACKGROUND
from cxrkit.registry import Registry


def comparable(structures: Sequence[str]) -> tuple[str, ...]:
    """What masks of some structures can be compared in: in them, and with both lungs in `lungs`, their union."""
    own = [name for name in structures if name != BACKGROUND]
    return tuple(dict.fromkeys([*own, *([LUNGS] if set(LUNG_PAIR) <= set(own) else [])]))


def common_structures(
    source: str,
    structures: Sequence[str],
    datasets: Mapping[str, Sequence[str]],
    asked: Sequence[str] | None,
    observer: Observer,
) -> tuple[str, ...]:
    """The structures that a source of masks and the data both have, or those asked for; reports which are left out.

    Args:
        source, structures: what is scored, and what it segments.
        datasets: the structures of the data, by place.

    Raises:
        DataError: there are none, one that is asked for is missing, or both seem to call one structure by two names.
    """
    annotated = tuple(dict.fromkeys(chain.from_iterable(datasets.values())))
    own, true = comparable(structures), comparable(annotated)
    both = [name for name in own if name in true]
    place = " and ".join(datasets)
    if asked is not None:
        for name in asked:
            for whose, known in ((source, own), (place, true)):
                if name not in known:
                    remedy = f"{nearest(name, known)}Both have: {', '.join(both) or 'none'}."
                    raise DataError(f"--structures {name}: {whose} has no '{name}'.", remedy)
        if not asked or len(set(asked)) < len(asked):
            raise DataError("--structures names one twice or none.", f"Both have: {', '.join(both)}.")
        return tuple(asked)
    named = {where: comparable(names) for where, names in datasets.items()}
    check_names(
        {source: own, **named},
        f"list those to score: --structures {','.join(both)}." if both else "there is none in common to score.",
    )
    if not both:
        raise DataError(
            f"{source} has {', '.join(own)}, and {place} has masks of {', '.join(annotated)}: no structure in common.",
            "Score it on data with masks of the same structures, or rename the folder, column or label.",
        )
    if lacking := [name for name in own if name not in true and name not in _parts_of(true)]:
        observer.say(f"{source}: {', '.join(lacking)} left out, of which {place} has no masks.")
    if unknown := [name for name in true if name not in own and name not in _parts_of(own)]:
        observer.say(f"{place}: {', '.join(unknown)} left out, which {source} doesn't have.")
    return tuple(both)


def _parts_of(structures: Sequence[str]) -> tuple[str, ...]:
    """What stands for its parts: both lungs, where there are `lungs`."""
    return LUNG_PAIR if LUNGS in structures else ()


def to_read(chosen: Sequence[str], annotated: Sequence[str]) -> tuple[str, ...]:
    """The structures of the data whose masks are needed to score those that were chosen."""
    parts = (LUNG_PAIR if name not in annotated else (name,) for name in chosen)
    return tuple(dict.fromkeys(chain.from_iterable(parts)))


def structures_by_place(config: RunConfig, registry: Registry) -> dict[str, tuple[str, ...]]:
    """Where a configuration's data are, and their structures."""
    datasets = build_datasets(config, registry)
    return {
        item.alias or (item.name if item.root is None else str(item.root)): tuple(datasets[item.alias or ""].structures)
        for item in config.datasets
    }


def name_of(config: RunConfig) -> str:
    """What data is called in tables and names of files."""
    return "+".join(
        item.alias or (item.name if item.root is None else f"{item.name}-{Path(item.root).name}")
        for item in config.datasets
    )
