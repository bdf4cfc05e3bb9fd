"""The doctor: what is wrong on a machine, why, and what to type.

All of it runs on the machine that is looked at, be it asked by `homeport-doctor` there or by
doctor.py over the fleet: Python's own library, and Python 3.9, are all that it may need. It changes
nothing. An `Area` looks at its things, side by side with the others, and has a table of checks.
"""
