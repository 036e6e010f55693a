"""The card of a PROBE checkpoint: what it belongs to, what it was made from, how good it is."""

import difflib
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from probe import tables, weights
from probe.config import Library
from probe.errors import ProbeError
from probe.weights import RESOURCES

FORMAT_VERSION = 3
WEIGHTS, CARD, HELD_OUT = "probe.safetensors", "card.json", "held_out.parquet"
IN_USE = "in_use.json"
"""In a folder of several checkpoints: names the one that the folder stands for."""
REQUIRED = (
    *("name", "backbone", "fingerprint", "embedding_dim", "charges", "head", "width", "n_members"),
    *("boundary_kcal", "temperature", "latent_99", "shift", "elements", "n_atoms"),
)
"""What scoring and triage need of a card."""


def resolve(name: str) -> Path:
    """The folder of a shipped checkpoint's name, or ``name`` itself where it is a folder.

    A folder that recalibrating writes to stands for the checkpoint that was promoted in it last.

    Raises:
        ProbeError: it is neither; the message names the nearest.
    """
    shipped = RESOURCES / "probe"
    if (Path(name) / IN_USE).is_file():
        return Path(name) / str(tables.read_json(Path(name) / IN_USE).get("checkpoint"))
    for folder in (shipped / name, Path(name)):
        if (folder / CARD).is_file():
            return folder
    known = sorted(path.parent.name for path in shipped.glob(f"*/{CARD}"))
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"shipped: {', '.join(known) or 'none'}"
    raise ProbeError(f"checkpoint {name} is neither a shipped one nor a folder with {CARD}; {hint}")


def require(card: Mapping[str, Any], fingerprint: str, backbone: str) -> None:
    """Refuse a checkpoint with another backbone than the one it was trained on.

    Raises:
        ProbeError: the fingerprints differ.
    """
    if fingerprint != card["fingerprint"]:
        raise ProbeError(
            f"checkpoint {card['name']} belongs to backbone {card['backbone']} "
            f"(fingerprint {card['fingerprint']}), not to {backbone} ({fingerprint}); "
            f"choose the checkpoint of {backbone}, or train one with `probe train`"
        )


def identity(card: Mapping[str, Any]) -> dict[str, Any]:
    """What a table of a checkpoint's answers records of it."""
    answers = json.dumps({key: card.get(key) for key in REQUIRED}, sort_keys=True)
    return {
        "checkpoint": card["name"],
        "backbone": card["backbone"],
        "fingerprint": card["fingerprint"],
        "card": hashlib.sha256(answers.encode()).hexdigest(),
    }


def require_made(card: Mapping[str, Any], path: Path) -> None:
    """Refuse a table that was made with another checkpoint, as far as ``path`` says with which.

    Raises:
        ProbeError: the checkpoints differ, or ``path`` cannot be read.
    """
    made, this = tables.provenance(path), identity(card)
    if all(made.get(key, this[key]) == this[key] for key in ("fingerprint", "card")):
        return
    named = [made.get(key, "unknown") for key in ("checkpoint", "backbone")]
    if named == [this["checkpoint"], this["backbone"]]:
        what = f"another version of checkpoint {named[0]}"
    else:
        what = f"checkpoint {named[0]} of {named[1]}, not with {card['name']} of {card['backbone']}"
    raise ProbeError(
        f"{path}: made with {what}; give the one that it was made with, or score and triage the "
        "library again"
    )


def require_screened(card: Mapping[str, Any], folder: Path) -> None:
    """``require_made`` of the lists and the scores of the screened library in ``folder``."""
    lists = [folder / f"{verdict}.parquet" for verdict in ("accept", "recompute")]
    for path in (*lists, *sorted((folder / "scores").glob("*.parquet"))):
        require_made(card, path)


def folder_of(name: str, library: Library) -> Path:
    """The folder of the checkpoint that ``library`` is screened with; ``name`` is the library's.

    The fingerprint of a backbone that is yet to be fetched is asked for again when scoring.

    Raises:
        ProbeError: its backbone or checkpoint is unknown, or the two do not belong together;
            the message names the library.
    """
    try:
        card = read(library.checkpoint)
        fingerprint = weights.fingerprint(weights.entry(library.backbone))
        if fingerprint is not None or card["backbone"] != library.backbone:
            require(card, fingerprint or "not known yet", library.backbone)
        return resolve(library.checkpoint)
    except ProbeError as error:
        raise ProbeError(f"library {name}: {error}") from error


def digest(folder: Path) -> str:
    """A digest of what the checkpoint in ``folder`` answers: its card, tensors and held-out set.

    Raises:
        ProbeError: one of them is missing.
    """
    digest = hashlib.sha256()
    for name in (CARD, WEIGHTS, HELD_OUT):
        try:
            digest.update(hashlib.sha256((folder / name).read_bytes()).digest())
        except FileNotFoundError as error:
            raise ProbeError(f"{folder / name}: no such file; restore the checkpoint") from error
    return digest.hexdigest()


def read(name: str) -> dict[str, Any]:
    """The card of a checkpoint, by name or folder.

    Raises:
        ProbeError: there is no such checkpoint, its format is not one this version reads, or
            its card lacks something.
    """
    path = resolve(name) / CARD
    card = tables.read_json(path)
    if card.get("format_version") != FORMAT_VERSION:
        raise ProbeError(
            f"{path}: format version {card.get('format_version')}, this probe-screen reads "
            f"{FORMAT_VERSION}; train the checkpoint again or use the version that made it"
        )
    if missing := [key for key in REQUIRED if key not in card]:
        raise ProbeError(
            f"{path}: no {', '.join(missing)}; restore the checkpoint or train it again"
        )
    return card
