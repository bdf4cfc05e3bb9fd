# The GPU hosts.

# The routes that the host serves. This version does not install a GPU server yet: it writes the
# clients' side, and says so when it comes to a GPU host.
serve = ["claude-glm"]
