"""Export a FullSubNet+ checkpoint to ONNX; with network/ the only part that needs torch, onnx and onnxsim.

In the order a checkpoint passes through them::

    pipeline.py    export_checkpoint: the steps below in order; files are written last
    options.py     ExportOptions; which variants of MulCA, which files
    checkpoint.py  file or folder -> tensors; archive.py opens it, inert.py reads the pickle in it without
                   running anything, file_kinds.py names what is not a checkpoint
    identify.py    tensors (sizes.py), training TOML and defaults -> NetworkConfig and StftSpec
    graph/         network -> ONNX graph: a file for each stage, a file for each interface
    verify.py      the graph, in ONNX Runtime, against the network in float64
    fidelity.py    simplified with original MulCA, and int8 with float32, on speech
    speech.py      the noisy speech that both use, and the SNR
"""
