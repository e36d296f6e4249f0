"""Publishers that installed packages register, as entry points of the group `xas_live.publishers`."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points

from xas_live.callbacks.publishers.base import Publisher, lacks_methods
from xas_live.errors import Refusal

GROUP = "xas_live.publishers"


class NotAPublisherError(Refusal):
    """An object that lacks methods of a publisher."""


def registered_publishers(tell: Callable[[str], None]) -> dict[str, Publisher]:
    """Make the publishers that installed packages register.

    An entry point names a class, or a function, that gives a publisher when called without arguments:

    .. code-block:: toml

        [project.entry-points."xas_live.publishers"]
        beamline_display = "my_beamline.xas:DisplayPublisher"

    Parameters
    ----------
    tell : shows the user a line for each that cannot be had; the others are made all the same.

    Returns
    -------
    The publishers by the names of their entry points, in the order of the names.
    """
    found: dict[str, Publisher] = {}
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        try:
            found[entry.name] = _make(entry)
        except (Exception, SystemExit) as error:  # noqa: BLE001 a package that is broken must not stop the session
            reason = " ".join(str(error).split())
            tell(
                f"the publisher {entry.name!r} ({entry.value}) is left out: {type(error).__name__}: {reason}"
            )
    return found


def _make(entry: EntryPoint) -> Publisher:
    publisher: Publisher = entry.load()()
    return checked_publisher(publisher)


def checked_publisher(publisher: Publisher) -> Publisher:
    """Return the publisher, if it is one.

    Raises
    ------
    NotAPublisherError : when it lacks methods.
    """
    if missing := lacks_methods(publisher):
        raise NotAPublisherError(
            f"{publisher!r} is no publisher: it lacks {', '.join(missing)}; "
            "derive its class from xas_live.callbacks.BasePublisher"
        )
    return publisher
