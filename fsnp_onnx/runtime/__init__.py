"""Enhance speech with an exported file: numpy and ONNX Runtime, never torch or onnx.

In the order the sound passes through them::

    recording.py   one recording from file to file: read, enhance, write
    audio.py       file or stream -> samples and their AudioFormat; samples -> file or stream
    enhancer.py    Enhancer: samples -> samples at any rate, channel by channel
    model.py       SpeechModel: what a file does to one channel, whatever its interface; open_model
    mask_model.py  ... of the interface "mask": the chain below (another interface: another file like it)
    stft.py        samples -> noisy spectrum; enhanced spectrum -> samples
    session.py     an opened file: noisy spectrum -> compressed mask
    mask.py        compressed mask -> complex ratio mask

and beside the flow: ort.py (which ONNX Runtime, on which provider), arguments.py (what a call may ask for),
truncation.py (files that end too early), plot.py (spectrograms), cpus.py (how many threads), files.py
(write whole files or none).
"""
