# The GPU hosts.

# The routes that the host serves. This version pulls their weights and writes the clients' side; it
# does not install a GPU server yet, and says so when it comes to a GPU host.
serve = ["claude-glm"]
