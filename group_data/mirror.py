# The host that holds weights for the others (group_data/all.py: mirror).

# The routes whose weights it holds: None means all that are pulled, a list of aliases just those.
mirrored = None
