"""Ask every host what is wrong, why, and what to type: pyinfra inventory/prod.py doctor.py

It changes nothing. With --json it is for programs; with --data deep=yes every byte of the weights
is read again. The status is 0 where all is healthy.
"""

from homeport.roles import doctor
from homeport.target import current

if target := current():
    doctor.examine(target)
