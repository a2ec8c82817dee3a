"""No test speaks to anything beyond this machine, however pytest is called."""

import os

# Set before axolotl and the hub's library are imported, which read them once.
os.environ["AXOLOTL_DO_NOT_TRACK"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"
