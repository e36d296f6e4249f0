"""Layer 3, the analysis: every scan that RE runs from here on is predicted while it runs.

    xas                 what it is doing, and the last prediction
    xas.table           all predictions, a pandas table
    xas.errors          what went wrong, if anything did
    xas.wait()          until the last scan is analysed

To name the fields of your detectors, from the next run on:

    from xas_live import ChannelMapping
    xas.mapping = ChannelMapping(energy="mono_energy", i0="I0", it="I1", ir="I2")

Where the session has much else to do (fast scans, many callbacks, live figures), process=True analyses in a second
process, and the plan shares its interpreter with less.
"""

import xas_live

# The raw runs go to a folder's archive, too, unless RE has a writer of runs already: write_raw=True or False decides.
xas = xas_live.attach(RE, archive=archive)
