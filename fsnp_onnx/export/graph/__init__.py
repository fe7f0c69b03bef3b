"""The graph of an exported file.

An offline network is two stages::

    full_band.py      stage one: noisy spectrum -> sources and statistics of stage two
    tcn.py            a TCN block of stage one
    statistics.py     the statistics
    sub_band.py       stage two for one block, in torch; sub_band_scan.py runs it over all blocks

A causal network is one block, which takes a state::

    causal_network.py the nodes of the network; causal_tcn.py those of its TCNs
    causal_state.py   the state, split and joined
    causal_block.py   a block, and the Scan that runs it over all of them

Interfaces, one file each::

    mask.py           both stages joined: noisy_real, noisy_imag -> mask
    causal_mask.py    the same of a causal network
    waveform.py       the transforms around a mask graph: noisy -> enhanced
    stream.py         hop by hop: noisy, state -> enhanced, next_state

transform.py is what the last two share.

Tools: torch_export.py (module -> ONNX), text.py (for graphs written as text), passes.py (simplify, float16
storage), quantize.py (int8).
"""
