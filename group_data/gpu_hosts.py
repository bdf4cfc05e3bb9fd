# The GPU hosts: Debian or Ubuntu, with the NVIDIA driver.

# The one route that the host serves; its model gets all GPUs that it is split over.
serve = ["claude-glm"]

# What serves it: "vllm" or "sglang", at the version that this file of requirements with hashes pins
# (None: requirements-vllm.txt or requirements-sglang.txt). A changed file is an upgrade: it is
# built beside the old one, tried, switched to, proven, and taken back where it does not answer.
engine = "vllm"
engine_lock = None

# Changes of the model's recipe in homeport/catalog.py. Known are:
#   tensor_parallel_size     GPUs of one host that the model is split over
#   pipeline_parallel_size   parts that it is split into besides, one a host     (default: nodes)
#   tool_call_parser, reasoning_parser   the engine's names; None: without
#   kv_cache_dtype           "auto", "fp8", "bfloat16"; not "fp8" on H20
#   speculative_tokens       guessed ahead by the model's own MTP layers; 0: none
#   prefix_caching           True: what conversations have in common is computed once
#   max_num_batched_tokens, max_num_seqs   tokens and conversations at a time; None: the engine's
#   gpu_memory_utilization   the share of each GPU's memory that the server takes
# The context, alias, port and token are the route's, in all.py.
serving = {}

# Further words of the server's command line, such as ["--max-num-partial-prefills", "2"]. They are
# checked by the engine's own parser before anything is switched.
engine_arguments = []

# One model over several hosts, and the whole model several times: replicas x nodes hosts of the
# inventory serve the route, in its order. Clients know one host and port, the route's: what spreads
# them over replicas is yours. The first of the nodes answers. They talk to each other unencrypted,
# by the IP address that is each host's own `address` in the inventory (None: its ssh_hostname).
nodes = 1
replicas = 1
address = None

# "when-needed": the server is restarted where it runs with other settings than these, as a load
# takes half an hour the plan says so first. "never": that is put off; --data restart=never
restart = "when-needed"

# The server has a system user of its own, so this is no home. The weights are in it: choose a disk
# that has room for them.
homeport_dir = "/var/lib/homeport"

# Everything is done as root. Where you log in as root: False.
_sudo = True
