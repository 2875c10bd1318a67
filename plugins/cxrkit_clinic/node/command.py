"""`cxrkit node` and `cxrkit watch`."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cxrkit.commands import (
    ConfigError,
    Json,
    Quiet,
    chosen_writers,
    option,
    say,
    show,
    show_json,
    stop_requests,
    table,
    warn,
)
from cxrkit_clinic.options import (
    LOOPBACK,
    MIB,
    NETWORK,
    RESULTS,
    RUNNING,
    Certificate,
    Key,
    MaxSize,
    Port,
    Segmenting,
    Timeout,
    extra,
    takes_options,
)

if TYPE_CHECKING:
    import ssl

    from cxrkit_clinic.node.sending import Destination
    from cxrkit_clinic.node.service import Service


@dataclass(frozen=True, kw_only=True)
class Handling(Segmenting):
    """What is done with films that arrive, and where the results go."""

    send_to: Annotated[
        list[str] | None,
        option(
            "--send-to",
            "An archive that gets the DICOM results: by C-STORE, with TLS if it begins with tls:, or by DICOMweb. May "
            "be repeated.",
            RESULTS,
            metavar="AET@HOST:PORT|URL",
        ),
    ] = None
    out: Annotated[
        Path | None, option("--out", "A folder that gets the results of each film.", RESULTS, metavar="DIR")
    ] = None
    write: Annotated[
        list[str] | None,
        option(
            "--write",
            "What to make of each film; may be repeated. See: cxrkit list writer.",
            RESULTS,
            metavar="NAME",
            default="dicom-seg and dicom-sr for --send-to, masks and overlay for --out",
        ),
    ] = None
    assignments: Annotated[
        list[str] | None, option("--set", "A parameter of a writer.", RESULTS, metavar="writer.NAME.KEY=VALUE")
    ] = None
    aet: Annotated[
        str, typer.Option("--aet", metavar="AET", help="Our application entity title.", rich_help_panel=NETWORK)
    ] = "CXRKIT"
    certificate: Certificate = None
    key: Key = None
    authority: Annotated[
        Path | None,
        option(
            "--tls-ca",
            "The authority that the others' certificates must be of, PEM; callers then need one.",
            NETWORK,
            metavar="FILE",
            default="the system's for archives, and none for callers",
        ),
    ] = None
    spool: Annotated[
        Path,
        typer.Option(
            "--spool", metavar="DIR", help="Folder for films that wait and results to send.", rich_help_panel=RUNNING
        ),
    ] = Path("cxrkit-spool")
    workers: Annotated[int, typer.Option(min=1, max=64, help="Processes that segment.", rich_help_panel=RUNNING)] = 1
    timeout: Timeout = 300
    queue: Annotated[
        int,
        typer.Option(
            metavar="FILMS",
            min=1,
            help="How many films may wait; others have to be sent again, and those of a folder stay there.",
            rich_help_panel=RUNNING,
        ),
    ] = 1000
    max_size: MaxSize = 100
    give_up: Annotated[
        float,
        typer.Option(
            metavar="HOURS",
            min=0,
            help="How long results are tried to be sent; then they are held until the next start.",
            rich_help_panel=RUNNING,
        ),
    ] = 24
    keep: Annotated[
        float,
        typer.Option(
            metavar="DAYS",
            min=0,
            help="How long films that failed and results that are held are kept, and done films remembered.",
            rich_help_panel=RUNNING,
        ),
    ] = 30
    status: Annotated[
        bool,
        typer.Option("--status", help="Show queue, rates and failures of a spool, and exit.", rich_help_panel=RUNNING),
    ] = False

    @property
    def own(self) -> str:
        """Our title.

        Raises:
            ConfigError: it can't be one.
        """
        return _title(self.aet, "--aet")

    @property
    def tls(self) -> tuple[Path | None, Path | None, Path | None]:
        """Our certificate, its key, and the authority of others'."""
        return self.certificate, self.key, self.authority


@takes_options
def node(
    host: Annotated[str, typer.Option(help="The address to listen on.", rich_help_panel=NETWORK)] = "127.0.0.1",
    port: Port = 11112,
    allowed: Annotated[
        list[str] | None,
        option(
            "--aet-allow",
            "The title of one who may send films; may be repeated.",
            NETWORK,
            metavar="AET",
            default="anyone",
        ),
    ] = None,
    *,
    handling: Handling,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Receive films from a PACS, segment them, and send the results back.

    CR and DX films (for presentation) are taken by C-STORE and acknowledged when they are safely on the disk. The
    results go to one or several archives by C-STORE or DICOMweb (--send-to), or to a folder (--out). What can't be sent
    is tried again with growing pauses, then held until the next start. Nothing is lost if the process or the machine
    ends. Films whose header says that they are no frontal chest films are skipped. For research, not for diagnosis.

    SPOOL/audit.jsonl has a line of JSON for each object that was received, without patient data: films are known there
    by a salted hash of their SOP instance UID.

    cxrkit node --port 11112 --aet CXRKIT --send-to ORTHANC@127.0.0.1:4242
    """
    if handling.status:
        _show_status(handling.spool, as_json=as_json)
        return
    with extra():
        from cxrkit_clinic.node.receiver import Door, Receiver
        from cxrkit_clinic.node.tls import client_tls, server_tls
    own, callers = handling.own, tuple(_title(title, "--aet-allow") for title in allowed or ())
    door = Door(host, port, own, callers, handling.max_size * MIB, server_tls(*handling.tls))
    service = _service(handling, client_tls(*handling.tls), quiet=quiet)
    if host not in LOOPBACK and not callers and door.tls is None:
        warn(f"Any machine that reaches {host} can send films: --aet-allow and --tls-cert restrict that.")

    def listen(spool: Any, made_with: str, arrived: Callable[[], None]) -> Receiver:
        receiver = Receiver(door, spool, made_with, arrived)
        secured = " with TLS" if door.tls else ""
        service.say(f"{own} listens on {host}:{receiver.port}{secured}. Ctrl-C ends it.")
        return receiver

    _run(service, listen, listens=f"{own}@{host}:{port}")


@takes_options
def watch(
    folder: Annotated[Path, typer.Argument(help="The folder; those below it are watched too.", show_default=False)],
    *,
    handling: Handling,
    settle: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            min=0,
            help="How long a file must be unchanged to count as whole.",
            rich_help_panel=RUNNING,
        ),
    ] = 3.0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Segment the films that arrive in a folder, and send the results on.

    DICOM files and pictures are taken when they are no longer being written, and stay where they are; a file that
    changes is taken again. The results go to a folder (--out) with a folder for each film, and to archives (--send-to),
    which get what is DICOM. Everything else is as in cxrkit node.

    cxrkit watch incoming --out results
    """
    if handling.status:
        _show_status(handling.spool, as_json=as_json)
        return
    with extra():
        from cxrkit_clinic.node.tls import client_tls
        from cxrkit_clinic.node.watcher import Watcher
    if not folder.is_dir():
        raise ConfigError(f"{folder}: there is no such folder.", "Create it, or name another.")
    service = _service(handling, client_tls(*handling.tls), quiet=quiet)
    apart = [path for path in (handling.spool, handling.out) if path is not None]
    if folder.resolve() in [path.resolve() for path in apart]:
        raise ConfigError(
            f"{folder}: is also the folder of the results or the spool.", "Choose another --out or --spool."
        )

    def look(spool: Any, made_with: str, arrived: Callable[[], None]) -> Watcher:
        service.say(f"{folder} is watched. Ctrl-C ends it.")
        more: dict[str, Any] = {
            "settle": settle,
            "max_bytes": handling.max_size * MIB,
            "apart": apart,
            "say": service.say,
        }
        return Watcher(folder, spool, made_with, arrived, **more)

    _run(service, look, watches=str(folder))


def _service(handling: Handling, tls: ssl.SSLContext | None, *, quiet: bool) -> Service:
    """What to do with films.

    Raises:
        ConfigError: there is no destination, or an option can't be understood.
    """
    from cxrkit_clinic.node.sending import Folder, destination_of
    from cxrkit_clinic.node.service import Service
    from cxrkit_clinic.node.worker import Recipe

    send_to, out = handling.send_to or (), handling.out
    named = {text: destination_of(text, handling.own, tls) for text in send_to}
    destinations: list[Destination] = list({one.name: one for one in named.values()}.values())
    if out is not None:
        destinations.append(Folder(str(out.resolve()), out.resolve()))
    if not destinations:
        raise ConfigError(
            "There is no destination for the results.", "Name one: --send-to AET@HOST:PORT, or --out DIR."
        )
    chosen = handling.write or [
        *(["dicom-seg", "dicom-sr"] if send_to else []),
        *(["masks", "overlay"] if out else []),
    ]
    writers = chosen_writers(chosen, handling.assignments or ())
    threads = max(1, _cores() // handling.workers)
    return Service(
        handling.spool,
        Recipe(handling.weights, handling.loading, writers, threads),
        destinations,
        handling.workers,
        handling.timeout,
        handling.give_up * 3600,
        handling.keep,
        handling.queue,
        (lambda message: None) if quiet else lambda message: say(f"{_clock()} {message}"),
    )


def _run(service: Service, open_door: Callable[..., Any], **facts: Any) -> None:
    service.say("The network is being loaded ...")
    with stop_requests() as stop:
        left = service.run(open_door, stop, **facts)
    service.say(
        f"Stopped. {left['waiting']} films wait to be segmented, and the results of {left['sending']} to be sent: "
        "the next start continues."
    )


def _show_status(spool: Path, *, as_json: bool) -> None:
    from cxrkit_clinic.node.status import status_of

    found = status_of(spool)
    if as_json:
        show_json(found)
        return
    node, queue, ended, hour = found["node"], found["queue"], found["ended"], found["last_hour"]
    door = node.get("listens") or node.get("watches") or "nothing"
    show(f"{'Running' if found['running'] else 'Not running'}: {door}, weights {node.get('weights', 'unknown')}")
    rows = [
        ["waiting to be segmented", f"{queue['waiting']}"],
        ["results to be sent", f"{queue['sending']}"],
        *([f"films {state}", f"{count}"] for state, count in ended.items()),
        *([f"objects {outcome}", f"{count}"] for outcome, count in {**found["objects"]}.items()),
        *([f"films {state} in the last hour", f"{count}"] for state, count in hour.items()),
    ]
    show(table(("what", "number"), rows, right="number"))
    where = [
        [name, f"{about['sent']}", f"{about['open']}", f"{about['held']}", about["last_fault"] or ""]
        for name, about in found["destinations"].items()
    ]
    if where:
        show("", table(("destination", "sent", "to be sent", "held", "last fault"), where))
    faults = [[item["time"], item["film"], item["state"], item["reason"]] for item in found["last_faults"]]
    if faults:
        show("", table(("time", "film", "state", "reason"), faults))


def _title(text: str, flag: str) -> str:
    if not text.strip() or len(text.strip()) > 16 or not text.isascii() or not text.isprintable() or "\\" in text:
        raise ConfigError(f"{flag} {text}: is no application entity title.", "It has 1 to 16 ASCII letters and digits.")
    return text.strip()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _clock() -> str:
    return time.strftime("%H:%M:%S")
