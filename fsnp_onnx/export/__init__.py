"""Export a FullSubNet+ checkpoint to ONNX; the only part that needs torch, onnx and onnxsim.

In the order a checkpoint passes through them::

    checkpoint.py  file or folder -> tensors, safely
    config.py      training TOML, defaults and sizes.py (tensors) -> NetworkConfig and StftSpec
    network.py     FullSubNet+ in torch, with norms.py, attention.py (MulCA in three forms), sequence.py
    stages.py      the network cut in pieces of a full-band stage and a sub-band stage
    full_band.py   the TCNs between them; tcn_block.py: one block of them, in passes over the frames
    trace.py       each stage -> ONNX
    simplify.py    onnxsim
    quantize.py    the LSTM in 8 bits, if int8 is asked for
    assemble.py    both stages -> one graph with a Scan
    compact.py     weights as float16 where that loses nothing
    parity.py      the final bytes against the float64 network, in the session that users run
    fidelity.py    simplified against original and int8 against float32, on speech
    pipeline.py    export_checkpoint: all of it in order; outputs.py names the files, written last
"""
