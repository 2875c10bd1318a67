"""Which runs of an ablation are of the same films, so that a film's name means the same film in all of them.

Two folders may both hold a 001.png, and phantoms of two seeds have the same names. A run's fingerprint is a hash of its
films as they were prepared: equal ones are the same films, but different ones may be the same films in another size. So
what the configuration says of the data decides, and fingerprints only between runs that prepared their films alike.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable
from dataclasses import dataclass

from cxrkit.ablation.results import Results, RunResult

Key = tuple[str, int]


@dataclass(frozen=True)
class _Record:
    """A run's data: `section` is its configuration's, `prepared` how films became the network's input.

    `fingerprint` is None where the run has no record of it.
    """

    section: str
    prepared: Hashable
    fingerprint: str | None


def data_groups(results: Results) -> dict[Key, int]:
    """Arm's slug and seed of every run that has scores, to the number of its data: equal for the same films."""
    records = {(run.arm.slug, run.seed): _record(run) for run in results.runs if run.honest is not None}
    fingerprints: dict[tuple[str, Hashable], set[str]] = defaultdict(set)
    sharing: dict[str, list[Key]] = defaultdict(list)
    for key, record in records.items():
        if record.fingerprint is not None:
            fingerprints[record.section, record.prepared].add(record.fingerprint)
            sharing[record.fingerprint].append(key)
    # Films that changed between runs: prepared alike, they have several fingerprints.
    changed = {section for (section, _), found in fingerprints.items() if len(found) > 1}
    names = {key: (one.section, one.fingerprint if one.section in changed else None) for key, one in records.items()}
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names.values()))}
    groups = {key: numbers[name] for key, name in names.items()}
    # Groups that have a fingerprint in common are one: the same films in another place.
    for keys in sharing.values():
        same = {groups[key] for key in keys}
        groups = {key: min(same) if group in same else group for key, group in groups.items()}
    return groups


def _record(run: RunResult) -> _Record:
    record, config = run.provenance, run.config
    fingerprint = None if record is None else record.fingerprint
    if config is None:
        return _Record("unknown" if record is None else f"unknown settings of {record.data}", None, fingerprint)
    # Other versions may prepare the same films a little differently.
    versions = None if record is None else (record.cxrkit, record.packages.get("opencv-python-headless"))
    own = (config.preprocess.model_dump_json(exclude={"standardise"}), str(config.structures), versions)
    section = " ".join(item.model_dump_json() for item in config.datasets)
    return _Record(section, own, fingerprint)
