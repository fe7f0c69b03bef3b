"""The commands: parse, call the package, print.

fsnp-enhance, in the order things flow: enhance.py (the options), discover.py and remote.py (folders
here and behind URLs), manifest.py (tables), targets.py (which input goes where), plan.py (all
recordings of a run), run.py (a run), pool.py and ray_engine.py (its processes and machines),
recording.py (one recording), plot.py (its picture), results.py, lock.py and reporter.py (what is
noted, by one run at a time, and told).

export.py makes fsnp-export and doctor.py fsnp-doctor. start.py is where all of them begin, and
console.py how they meet a shell.
"""
