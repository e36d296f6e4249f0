"""Layer 4, the analysis: every scan that RE runs from here on is predicted while it runs, and rules watch it.

    %xas                what it is doing, and the last predictions; %xas? lists all that it can
    xas.table           all predictions, a pandas table
    xas.signals         the last prediction as an ophyd device, for plans and suspenders
    xas.wait()          until the last scan is analysed
"""

actions = {}  # functions that rules may call: {"close_valve": close_valve}
actuators = beamline.make_actuators(devices)
xas = beamline.attach(RE, archive, actuators, actions)
