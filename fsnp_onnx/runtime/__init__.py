"""Enhance speech with an exported file: numpy and ONNX Runtime, never torch or onnx.

In the order the sound passes through them::

    recording.py    one recording from file to file: read, enhance, write
    audio.py        file or stream -> samples and their AudioFormat; samples -> file or stream
    enhancer.py     Enhancer: samples -> samples at any rate, channel by channel; open_model
    speech_model.py SpeechModel: what each interface implements for one channel
    mask_model.py   the interface "mask", as the chain below; another interface gets another such file
    stft.py         samples -> noisy spectrum; enhanced spectrum -> samples
    session.py      an opened file: input tensors -> output tensors
    mask.py         compressed mask -> complex ratio mask; Mix: how much of the noisy signal stays

and beside the flow::

    ort.py          which ONNX Runtime runs, on which provider
    arguments.py    what the arguments of a call may be
    truncation.py   files that end too early
    plot.py         spectrograms
    cpus.py         how many threads
    outputs.py      whole files or none
"""
