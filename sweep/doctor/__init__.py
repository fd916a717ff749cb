"""What this machine and the cluster have, what is missing, and how to fix it.

`examine` changes nothing that lasts: it writes and removes objects in the store's `tmp/`, and starts nothing but a
connection to the cluster of `ray_address`.
"""

from sweep.doctor.doctor import examine
from sweep.doctor.finding import LOOK, MISSING, OK, Finding
from sweep.doctor.machine import usable_cores, usable_memory

__all__ = ["LOOK", "MISSING", "OK", "Finding", "examine", "usable_cores", "usable_memory"]
