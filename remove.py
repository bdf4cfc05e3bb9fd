"""Take homeport off a host again: pyinfra inventory/prod.py remove.py

What it removes is what it finds there, not what group data says today. Files of the user's lose
exactly what homeport added to them.
"""

from homeport.roles import removal, turn, workstation
from homeport.target import current, fit

target = current()

if target and fit(target, workstation.problems):  # settings.json that cannot be read
    turn.apply(target=target)  # waits while another run is at work here
    removal.apply(target=target)
