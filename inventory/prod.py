"""The example fleet: one GPU host, two laptops, one workstation that is no laptop.

A name that starts with @fake/ is a host that pyinfra only pretends to have, so that
`pyinfra inventory/prod.py deploy.py --dry` shows the plan and touches nothing. Write the names
of your own hosts instead. A host's own data may override anything in group_data/:
("laptop-02", {"ssh_user": "anna", "quant": "Q4_K_M"}).
"""

gpu_hosts = ["@fake/glm-host"]

laptops = ["@fake/laptop-01", "@fake/laptop-02"]

workstations = [*laptops, "@fake/desk-03"]

# Groups of yours, for --limit: whose a machine is, and who tries a change first.
anna = ["@fake/laptop-02"]
canary = ["@fake/laptop-01"]
