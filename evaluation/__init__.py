"""Scores of our models and of other enhancers on mixtures that training never hears.

    material.py   speech and noise for evaluation only, fetched by Debian package name
    mixtures.py   the fixed, seeded set: noisy speech, clean speech, noisy speech at other levels
    peers.py      other enhancers that run offline, each a function from samples to samples
    metrics.py    PESQ-WB, STOI, SI-SDR, DNSMOS; bootstrap intervals over files
    scoring.py    systems x mixtures -> scores, cached
    result.py     what one evaluation found, and its JSON
    tables.py     means, intervals and leads as Markdown tables
    figure.py     scores over SNR
    report.py     results/quality.json -> docs/quality.md and its figure
    passages.py   English speech with its words, clean and in noise
    recognition.py  word errors of a recogniser before and after -> results/recognition.json
    word_errors.py  how they are counted, and their part of docs/quality.md
    samples.py    recordings to listen to, before and after -> samples/
    mulca.py      results/mulca.json -> the tables and the figure of docs/mulca.md

`python -m evaluation default=default live=live` measures and writes the page. `python -m evaluation.report` writes
the page again from results/quality.json. Fetched packages, enhanced speech and cached scores lie in
evaluation/data, which git ignores.
"""
