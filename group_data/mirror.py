# The one host, on Linux, that pulls weights once for all and serves them (all.py: mirror).

# The routes whose weights it holds: None means all that are pulled, a list of aliases just those.
# What another host pulls has to be among them, unless the mirror's fall_back is set.
mirrored = None
