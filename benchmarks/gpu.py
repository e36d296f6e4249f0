"""Raw mu to predictions on a GPU: spectra a second, and the time of one live spectrum.

Runs on a machine with numpy, torch, pydantic and safetensors alone, by one command at the top of a checkout:

    python benchmarks/gpu.py

It reduces 600 points onto the grid of the shipped pt-l3 model and gives means and spreads of ten members of the deep
MLP of the literature (weights drawn at random: time does not depend on them), and beside it of the shipped network,
which is a sixth of it. Lower precisions are timed only where their predictions stay within 1e-3 of float32's. The peer
is the network called on one spectrum at a time. Without a GPU it checks itself on the CPU and writes nothing; with one it
writes benchmarks/results/gpu.json.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from record import claim, print_claims, record

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from xas_live.models.network_spec import NetworkSpec
from xas_live.models.networks import init_network, network
from xas_live.models.registry import load_model
from xas_live.reduction.normalize import NormalizationOperator, Windows

POINTS, CLOSE = 600, 1e-3
DEEP = NetworkSpec(hidden=(400, 400, 200, 200, 100), members=10)


class Pipeline(torch.nn.Module):
    """Reduction and ensemble on one device, in one precision."""

    def __init__(self, device: torch.device, precision: torch.dtype, *, shipped: bool = False) -> None:
        super().__init__()
        self.bundle = bundle = load_model("pt-l3")
        self.spec = bundle.card.network if shipped else DEEP
        outputs, seeded = len(bundle.card.targets), torch.Generator().manual_seed(0)
        weights = bundle.network if shipped else init_network(DEEP, len(bundle.grid), outputs, seeded)
        self.precision = precision
        edge = bundle.card.absorbers[0].energy
        self.energy = np.concatenate(
            [np.linspace(-150, -20, 60, endpoint=False), np.linspace(-20, 60, 300, endpoint=False), np.linspace(60, 600, 240)]
        ) + edge  # fmt: skip
        operator = NormalizationOperator(self.energy, edge, Windows(), edge + bundle.grid)
        # What maps mu to values at the grid, and to the fitted coefficients, in one matrix.
        identity = operator.flat(np.eye(POINTS))  # rows divided by their own steps
        steps = np.where(identity[1] == 0, 1.0, np.abs(identity[1]))
        whole = np.column_stack([identity[0] * steps[:, None], identity[1]])
        self.reduce = torch.from_numpy(whole).to(device, torch.float32)
        t = {name: tensor.to(device) for name, tensor in bundle.tensors.items()}
        self.center, self.scale = t["input_mean"], t["input_scale"]
        self.target_mean, self.target_scale = t["target_mean"], t["target_scale"]
        self.weights = {name: w.to(device, precision) for name, w in weights.items()}

    def forward(self, mu: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Means and spreads, (batch, targets) each, of mu (batch, 600) float32."""
        fitted = mu @ self.reduce
        flat = fitted[:, :-1] / fitted[:, -1:]
        x = ((flat - self.center) / self.scale).to(self.precision)
        out = network(self.spec, self.weights, x).float() * self.target_scale + self.target_mean
        return out.mean(0), out.std(0, correction=0)


def spectra(pipeline: Pipeline, n: int) -> torch.Tensor:
    """Noisy theory of the bulk, damped at random."""
    rng, b = np.random.default_rng(0), pipeline.bundle
    x = pipeline.energy - b.card.absorbers[0].energy
    bulk = np.interp(x, b.array("theory_energy"), b.array("theory_bulk"), left=0.0, right=1.0)
    bulk[x > 80] = 1.0
    smooth = np.where(x > 0, 1.0, 0.0)
    mu = smooth + (bulk - smooth) * rng.uniform(0.6, 1.0, (n, 1)) + 0.002 * rng.standard_normal((n, POINTS))
    return torch.from_numpy(mu).float()


def rate(work: Callable[[], Any], n: int, wait: Callable[[], None], seconds: float = 3.0) -> float:
    """Spectra a second, median of repeats."""
    for _ in range(3):
        work()
    wait()
    found, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        for _ in range(5):
            work()
        wait()
        found.append(5 * n / (time.perf_counter() - start))
    return float(np.median(found))


def one_live(pipeline: Pipeline, mu: torch.Tensor, device: torch.device, wait: Callable[[], None]) -> float:
    """Seconds of one spectrum from host memory and back; on a GPU by a CUDA graph."""
    if device.type != "cuda":
        return 1.0 / rate(lambda: pipeline(mu[:1]), 1, wait, 1.0)
    given, placed = mu[:1].pin_memory(), mu[:1].to(device)
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for _ in range(3):
            pipeline(placed)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        mean, spread = pipeline(placed)
    taken = []
    for _ in range(300):
        start = time.perf_counter()
        placed.copy_(given, non_blocking=True)
        graph.replay()
        mean.cpu(), spread.cpu()
        taken.append(time.perf_counter() - start)
    return float(np.median(taken[50:]))


def main() -> None:
    torch.set_grad_enabled(False)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    gpu = device.type == "cuda"
    wait: Callable[[], None] = torch.cuda.synchronize if gpu else lambda: None
    n = 2**17 if gpu else 256
    plain = Pipeline(device, torch.float32)
    host = spectra(plain, n)
    mu = host.to(device)
    truth = plain(mu[:4096])[0]
    parts: dict[str, Any] = {"float32": {"difference": 0.0}}
    kinds = {
        "float32": (torch.float32, False),
        "tf32": (torch.float32, True),
        "float16": (torch.float16, False),
    }
    best = None
    for name, (precision, tf32) in kinds.items():
        if not gpu and name != "float32":
            continue
        torch.backends.cuda.matmul.allow_tf32 = tf32
        pipeline = Pipeline(device, precision)
        difference = float((pipeline(mu[:4096])[0] - truth).abs().max())
        part = parts[name] = {"difference": difference}
        if difference <= CLOSE:
            part["device_rate"] = rate(lambda p=pipeline: p(mu), n, wait)
            if best is None or part["device_rate"] > parts[best]["device_rate"]:
                best = name
    assert best is not None
    precision, tf32 = kinds[best]
    torch.backends.cuda.matmul.allow_tf32 = tf32
    pipeline = Pipeline(device, precision)
    pinned = host.pin_memory() if gpu else host

    def from_host() -> None:
        for mean in pipeline(pinned.to(device, non_blocking=True)):
            mean.to("cpu", non_blocking=True)

    host_rate, alone = rate(from_host, n, wait), one_live(pipeline, host, device, wait)
    peer = rate(lambda: pipeline(mu[:1])[0].cpu(), 1, wait)
    small = Pipeline(device, precision, shipped=True)
    parts["shipped network"] = {
        "device_rate": rate(lambda: small(mu), n, wait),
        "one_live_us": 1e6 * one_live(small, host, device, wait),
    }
    weights = sum(w.numel() for w in pipeline.weights.values())
    operations = 2 * (weights + pipeline.reduce.numel())
    claims = [
        claim(
            "device_rate",
            f"spectra/s from device memory, {best}",
            parts[best]["device_rate"],
            at_least=5_000_000,
        ),
        claim("host_rate", f"spectra/s from host memory, {best}", host_rate, at_least=2_000_000),
        claim("one_live_us", "one live spectrum (us)", 1e6 * alone, at_most=300),
    ]
    print(
        f"one spectrum a call: {peer:.4g} spectra/s; {operations / 1e6:.2f} million operations a spectrum; differences {parts}"
    )
    if not gpu:
        print_claims(claims)
        print("no GPU: nothing written")
        return
    record(
        "gpu", claims, {"model": pipeline.bundle.sha256, "points": POINTS, "batch": n},
        machine={"device": torch.cuda.get_device_name()}, parts=parts, peer_rate=peer,
        bytes_per_spectrum=4 * (POINTS + 2 * len(pipeline.bundle.card.targets)),
        operations_per_spectrum=operations, operations_per_second=operations * parts[best]["device_rate"],
    )  # fmt: skip


if __name__ == "__main__":
    main()
