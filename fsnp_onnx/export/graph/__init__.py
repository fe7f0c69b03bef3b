"""The graph of an exported file, built from two stages.

Stages::

    full_band.py      stage one: noisy spectrum -> sources and statistics of stage two
    tcn.py            a TCN block of stage one
    statistics.py     the statistics
    sub_band.py       stage two for one block, in torch; sub_band_scan.py runs it over all blocks

Interfaces, one file each::

    mask.py           both stages joined: noisy_real, noisy_imag -> mask

Tools: torch_export.py (module -> ONNX), text.py (for graphs written as text), passes.py (simplify, float16
storage), quantize.py (int8).
"""
