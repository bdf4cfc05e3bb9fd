# What hosts whose names start with @fake/ answer: a bare Linux machine with Python.
# They belong to pyinfra's own @fake connector, which runs nothing; remove this file with the last.
fake_delay = 0
fake_delay_jitter = 0
fake_responses = {
    "homeport: machine": [
        "home=/home/dev",
        "kernel=Linux",
        "arch=x86_64",
        "memory_kib=32000000",
        "user=dev",
        "manager=systemd",
        "python=/usr/bin/python3 3.12.3",
        "venv=yes",
        "openmp=yes",
        "free_kib=2000000000",
    ],
    "homeport: nginx": ["program=/usr/sbin/nginx"],
    # And as GPU host, one that GLM-5.2 fits on.
    "homeport: gpu host": [
        "os=ubuntu 24.04",
        "arch=x86_64",
        "systemd=yes",
        "uid=0",
        "memory_kib=2000000000",
        "shm_kib=500000000",
        f"time={__import__('time').time():.0f}",
        "resolves=glm-host 10.0.0.8",
        "smi=yes",
        *(f"gpu={number}, NVIDIA H200, 143771, 580.95.05" for number in range(8)),
    ],
}
