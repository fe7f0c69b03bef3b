"""Enhance speech with an exported file: numpy and ONNX Runtime, never torch or onnx.

In the order the sound passes through them::

    audio.py     file -> samples and their AudioFormat; samples -> file
    enhancer.py  Enhancer: samples -> samples, the chain below for every channel
    stft.py      samples -> noisy spectrum; enhanced spectrum -> samples
    session.py   MaskModel: noisy spectrum -> compressed mask, by ONNX Runtime
    mask.py      compressed mask -> complex ratio mask

and beside the flow: truncation.py (files that were cut off), wheels.py (which ONNX Runtime),
overflow.py (what its 8-bit products do here), cpus.py (how many threads), files.py (write whole files
or none).
"""
