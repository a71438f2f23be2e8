"""Prints the exact versions pip chooses for this project: python tools/lock.py [extra,extra] > requirements.lock

Versions only: hashes would tie the file to one index, and torch comes as different wheels for machines with and without a GPU.
"""

import json
import subprocess
import sys

GPU_PARTS = ("nvidia-", "cuda-", "triton")  # torch asks for them itself where its wheel has GPU support

project = f".[{sys.argv[1]}]" if len(sys.argv) > 1 else "."
command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--report", "-", project]
report = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
print("# Made by `make lock`; change pyproject.toml instead.")
for package in sorted(report["install"], key=lambda package: package["metadata"]["name"].lower()):
    name, version = package["metadata"]["name"].lower().replace("_", "-"), package["metadata"]["version"].split("+")[0]
    if name != "deepfake-monitor" and not name.startswith(GPU_PARTS):
        print(f"{name}=={version}")
