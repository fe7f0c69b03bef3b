"""The commands: parse, call the package, print.

enhance.py and plan.py (what is written where) make fsnp-enhance, with plot.py for its picture;
export.py makes fsnp-export and doctor.py fsnp-doctor. console.py is how all of them meet a shell.
"""
