"""Channel Access within this machine: its environment, and a port of its own."""

from __future__ import annotations

import socket

LOOPBACK = "127.0.0.1"


def loopback_variables(port: int) -> dict[str, str]:
    """Return the environment in which EPICS clients and servers find each other on this machine only.

    Set it before anything imports `epics` or `ophyd`.

    Parameters
    ----------
    port : UDP and TCP port of the servers; the next one is the repeater's.
    """
    return {
        "EPICS_CA_ADDR_LIST": LOOPBACK,
        "EPICS_CA_AUTO_ADDR_LIST": "NO",
        "EPICS_CA_SERVER_PORT": str(port),
        "EPICS_CA_REPEATER_PORT": str(port + 1),
        "EPICS_CAS_INTF_ADDR_LIST": LOOPBACK,
        "EPICS_CAS_BEACON_ADDR_LIST": LOOPBACK,
        "EPICS_CAS_AUTO_BEACON_ADDR_LIST": "NO",
        "EPICS_CAS_BEACON_PORT": str(port + 1),
        "EPICS_CAS_SERVER_PORT": str(port),
    }


def port_is_free(port: int, interface: str = LOOPBACK) -> bool:
    """Return whether a port of this machine is free for both UDP and TCP."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
        socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp,
    ):
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that have ended keep none
        try:
            udp.bind((interface, port))
            tcp.bind((interface, port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """Return a port on the loopback that is free for UDP and TCP now, as the next one is.

    Raises
    ------
    OSError : when the loopback cannot be used, or none of a few ports is free.
    """
    for _ in range(10):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.bind((LOOPBACK, 0))
            port = int(udp.getsockname()[1])
        if port_is_free(port) and port_is_free(port + 1):
            return port
    raise OSError(f"no port of {LOOPBACK} is free for both UDP and TCP")
