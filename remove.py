"""Take homeport off a host again: pyinfra inventory/prod.py remove.py

What it removes is what it finds there, not what group data says today. Files of the user's lose
exactly what homeport added to them.
"""

from homeport.roles import removal
from homeport.target import current

if target := current():
    removal.apply(target=target)
