"""What building a plan will take, before a pixel is read: requests, bytes, hours and money.

Where tiles lie and how large they are packed is asked of a few files' headers; which windows are read, in which order
and how far together, is the plan's and the fast reader's. Everything else is the user's to say, or measured here.
"""

from pipeline.simulate.files import FileLayouts, NominalLayouts
from pipeline.simulate.load import Load, load_of
from pipeline.simulate.outlook import Setting, calibrate, outlook_of
from pipeline.simulate.packing import Shuffled, cost_of_shuffling

__all__ = [
    "FileLayouts",
    "Load",
    "NominalLayouts",
    "Setting",
    "Shuffled",
    "calibrate",
    "cost_of_shuffling",
    "load_of",
    "outlook_of",
]
