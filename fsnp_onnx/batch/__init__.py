"""Many recordings at once, as a library: nothing here prints or reads a command line.

In the order a recording passes through them::

    files.py      enhance_files: check the call, then yield one Done or Failed for each recording
    inputs.py     files, folders, URLs and manifests -> jobs
    manifest.py   tables of inputs and outputs
    jobs.py       Job, and the Plan of all jobs, which lies on disk
    processes.py  jobs -> results, in several processes of this machine
    cluster.py    jobs -> results, on the machines of a Ray cluster
    worker.py     one job -> its result: fetch, enhance, store
    storage.py    files and folders by path or URL
    journal.py    what is begun and done, for a run that is killed and resumed
    signals.py    signals stay with the program that calls
"""
