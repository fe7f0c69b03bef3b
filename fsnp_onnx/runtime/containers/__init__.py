"""What the containers of sound files announce, and what libsndfile is to read of them.

In the order a file passes through them::

    headers.py    WAV, RF64, W64, AIFF, CAF, AU, ...: sizes that are wrong, put right
    chunks.py     where these containers keep their sizes
    framed.py     FLAC and Ogg: where the file ends, and what follows
    mpeg.py       MP3: how many frames there are
    spliced.py    a file with other bytes in some places, without a copy
    container.py  the result: what to read, what is announced, what is missing
"""
