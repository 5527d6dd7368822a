"""An emulator of Earth Engine's REST API on this machine, over the scenes of an embedded archive.

The genuine client talks to it. Its own description of the API and its list of algorithms come from the installed
client; the expression that the client sends is evaluated. What is emulated, and what of it is assumed only, is said
in `algorithms` and `server`.
"""
