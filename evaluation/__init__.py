"""Evaluation: fixed mixtures nobody trained on -> every system -> scores -> docs/quality.md.

    material.py   speech and noise that training never hears, fetched by package name
    mixtures.py   the fixed, seeded set: noisy speech, clean speech, noisy speech at other levels
    peers.py      other enhancers that run offline, each a function from samples to samples
    metrics.py    PESQ-WB, STOI, SI-SDR, DNSMOS; bootstrap intervals over files
    scoring.py    systems x mixtures -> scores, cached by the content of the mixture
    tables.py     means, intervals and leads as Markdown tables
    figure.py     scores over SNR
    report.py     the page, the figure and the JSON of all scores

Run it with `python -m evaluation MODEL.onnx`.
"""
