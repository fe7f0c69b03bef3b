"""Enhance speech with an exported file: numpy and ONNX Runtime, never torch or onnx.

In the order the sound passes through them::

    recording.py    one recording from file to file: read, enhance, write
    decode.py       file or stream -> samples and all else that a recording holds
    encode.py       samples -> file or stream
    enhancer.py     Enhancer: samples -> samples at any rate, channel by channel; open_model
    speech_model.py SpeechModel: what each interface implements for one channel
    mask_model.py   the interface "mask", as the chain below; also waveform_model.py, stream_model.py
    stream.py       Stream: live samples in chunks of any size
    stft.py         samples -> noisy spectrum; enhanced spectrum -> samples
    session.py      an opened file: input tensors -> output tensors
    mask.py         compressed mask -> complex ratio mask; Mix: how much of the noisy signal stays

and beside the flow::

    ort.py          which ONNX Runtime runs, on which provider
    arguments.py    what the arguments of a call may be
    audio.py        how sound files store samples, and their endings
    av_decoder.py   files that PyAV reads and libsndfile does not
    tags.py         title, artist, album, date, comment
    truncation.py   files that end too early
    plot.py         spectrograms
    cpus.py         how many threads
    outputs.py      whole files or none
"""
