"""The simulated beamline as an EPICS IOC, served over Channel Access by caproto."""

from xas_live.simulator.ioc.beamline import BeamlineIOC, serve

__all__ = ["BeamlineIOC", "serve"]
