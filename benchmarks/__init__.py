"""Benchmarks of speed and memory: one command each, one page of results.

`python -m benchmarks NAME` measures one thing, stores the raw numbers as results/NAME.json and writes
RESULTS.md from all JSON in that folder. For another machine, `--results benchmarks/results-NAME`
leads to RESULTS-NAME.md. `python -m benchmarks report` writes the page without measuring::

    __main__.py   the commands
    speed.py      float32 and int8 against the torch network, and the differences of their outputs
    memory.py     peak memory of fresh processes against duration
    startup.py    cold start: import, load, one second of audio
    gemm.py       the sub-band stage against its matrix multiplications alone
    scaling.py    over threads of one session, and over jobs of fsnp-enhance
    peers.py      real-time factor of other enhancers, beside their quality
    profile.py    where the time goes, by stage and operator
    cuda/         the check on a machine that has a GPU and no network, and docs/cuda.md
    report.py     JSON -> RESULTS.md, with sections.py (one per benchmark), goals.py and figures.py

They share machine.py (description of the machine), rounds.py (systems take turns), networks.py
(checkpoints and their exports), eager.py (the torch network as published), speech.py (speech of any
length), worker.py (one enhancement in a fresh process), nodes.py (ONNX Runtime's profile of one run).
"""
