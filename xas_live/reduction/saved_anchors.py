"""The user's saved anchors: list them, find the one in use, choose another, remove one."""

from __future__ import annotations

import logging
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from xas_live.host.folders import user_folder
from xas_live.reduction.anchor import AnchorError, FoilAnchor

logger = logging.getLogger("xas_live")


@dataclass(frozen=True, eq=False)
class SavedAnchor:
    """An anchor in its folder among the user's.

    Attributes
    ----------
    folder : that holds it; its name is the anchor's.
    saved : Unix time (s) at which it was saved, or chosen with `use`.
    anchor : as it was fitted.
    """

    folder: Path
    saved: float
    anchor: FoilAnchor

    @property
    def name(self) -> str:
        """As "Pt-L3-1a2b3c4d5e6f"."""
        return self.folder.name

    def use(self) -> None:
        """Make it the one in use for its absorber: the newest.

        Raises
        ------
        OSError : when its folder cannot be written.
        """
        os.utime(self.folder / "anchor.json", (time.time(), time.time()))

    def remove(self) -> None:
        """Delete it; of those left of its absorber the newest is then in use.

        Raises
        ------
        OSError : when it cannot be deleted.
        """
        shutil.rmtree(self.folder)


def saved_anchors(element: str = "*", edge: str = "*") -> list[SavedAnchor]:
    """The user's anchors, the newest first: the first of an absorber is the one in use.

    Parameters
    ----------
    element, edge : of one absorber; default: of all. What cannot be read is passed by, with a warning in the
        log "xas_live".
    """
    found = []
    for path in user_folder("anchors", make=False).glob(f"{element}-{edge}-*/anchor.json"):
        try:
            found.append(SavedAnchor(path.parent, path.stat().st_mtime, FoilAnchor.load(path.parent)))
        except (AnchorError, OSError) as error:
            logger.warning("%s", error)
    return sorted(found, key=lambda each: each.saved, reverse=True)


def saved_anchor(name: str) -> SavedAnchor:
    """The user's anchor of this name, or of a name that begins so, or whose hash does.

    Raises
    ------
    AnchorError : when there is none, or several.
    """
    every = saved_anchors()
    found = [each for each in every if each.name.startswith(name) or each.anchor.sha256.startswith(name)]
    if not name or len(found) != 1:
        known = ", ".join(each.name for each in (found or every)) or "none"
        wrong = "several saved anchors are" if found else "no saved anchor is"
        raise AnchorError(f"{wrong} named {name!r}; saved: {known}")
    return found[0]


def known_foils(element: str | None, edge: str | None, beamline: str = "") -> list[FoilAnchor]:
    """The user's anchors of an absorber and a beamline ("": of those that name none), the newest first."""
    found = [each.anchor for each in saved_anchors(element or "*", edge or "*")]
    return [foil for foil in found if foil.beamline.casefold() == beamline.casefold()]


def newest_anchor(element: str, edge: str) -> FoilAnchor | None:
    """The user's anchor of this absorber that is in use, or None; unreadable ones are passed by."""
    found = user_folder("anchors", make=False).glob(f"{element}-{edge}-*/anchor.json")
    for path in sorted(found, key=lambda path: path.stat().st_mtime, reverse=True):
        try:
            return FoilAnchor.load(path.parent)
        except AnchorError as error:
            logger.warning("%s", error)
    return None
