# What hosts whose names start with @fake/ answer: a bare Linux machine with Python.
# They belong to pyinfra's own @fake connector, which runs nothing; remove this file with the last.
fake_delay = 0
fake_delay_jitter = 0
fake_responses = {
    "homeport: machine": [
        "home=/home/dev",
        "kernel=Linux",
        "user=dev",
        "manager=systemd",
        "python=/usr/bin/python3 3.12.3",
        "venv=yes",
        "openmp=yes",
        "free_kib=2000000000",
    ],
    "homeport: nginx": ["program=/usr/sbin/nginx"],
}
