"""Files as a beamline writes them, and a network that breaks."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from pathlib import Path

import numpy as np

from xas_live.energy import xanes_grid
from xas_live.simulator import Sample, SimulatedBeamline


class Cable:
    """A relay on the loopback between clients and a server, which breaks when the first write passes it."""

    def __init__(self, port: int) -> None:
        self._server_port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._ends = [self._listener]
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        for end in self._ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._server_port))
                self._ends += [client, server]
                for ends in ((client, server), (server, client)):
                    threading.Thread(target=self._pump, args=ends, daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if data.startswith(b"POST"):
                    self.cut()
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)


def write(path: Path, sample: Sample | None, header: str, metal: str = "pt_l3") -> Path:
    """Columns of one noiseless scan, as the header names them; no sample is the foil."""
    beamline = SimulatedBeamline(metal, counts=1e8, drift=0.0)
    beamline.load(sample)
    rows = []
    for energy in xanes_grid(beamline.library.edge_energy):
        beamline.energy.set(float(energy)).wait(1)
        i0, it, ir = beamline.count()
        rows.append((energy, i0, it, ir) if "i0" in header else (energy, np.log(i0 / it)))
    np.savetxt(path, np.array(rows), header=header.lstrip("# "), fmt="%.8g")
    return path
