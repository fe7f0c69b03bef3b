"""The check on CUDA, for a machine that has a GPU and no network.

    pack.py    here: exports files, computes what they must return, and packs all of it
    run.sh     there: makes an environment from the pack, and runs check.py
    check.py   there: files against references, nodes on the CPU, speed -> cuda.json
    page.py    here: cuda.json -> the tables of docs/cuda.md

Only pack.py needs torch and onnx; check.py needs numpy and ONNX Runtime.
"""
