"""Speed and memory as anyone can measure them: one command each, one page of results.

`python -m benchmarks NAME` measures one thing, stores the raw numbers as results/NAME.json and
renders RESULTS.md again from all JSON there is (with `--results benchmarks/results-NAME`, for another
machine, RESULTS-NAME.md)::

    __main__.py   the commands
    speed.py      float32 and int8 against the torch network, alternating, with their differences
    memory.py     peak memory of fresh processes against duration
    startup.py    cold start: import, load, one second of audio
    gemm.py       the sub-band stage against plain matrix products of the same shapes
    scaling.py    over threads of one session, and over jobs of fsnp-enhance
    peers.py      real-time factor of other enhancers, beside their quality
    profile.py    where the time goes, by stage and operator
    report.py     JSON -> RESULTS.md, with sections.py (one per benchmark) and figures.py

and what they share: machine.py (what ran it), rounds.py (alternation), networks.py (checkpoints and
their exports), eager.py (the torch network as published), recording.py (speech of any length),
worker.py (one enhancement in a fresh process), nodes.py (ONNX Runtime's profile of one run).
"""
