# What hosts whose names start with @fake/ answer: a bare Linux machine with Python and the weights.
# They belong to pyinfra's own @fake connector, which runs nothing; remove this file with the last.
import re

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
        "free_kib=200000000",
    ],
    re.compile(r"size and time; f=\S+\.gguf"): "7380000000 bytes of 1790000000",
}
