"""The process that talks to a monitor's server: unprivileged, one for each monitor. It imports nothing that is root's.

``python -m bridge.feeder`` reads its orders from its standard input, and writes what it learns into the same socket.
The root side (:mod:`bridge.mirror`) writes that to disk.
"""
