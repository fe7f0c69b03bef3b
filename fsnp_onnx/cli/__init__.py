"""The commands: parse, call the package, print.

start.py is where every command begins and hears signals. console.py is how they meet a shell: errors
in one line, exit codes, closed pipes. enhance.py makes fsnp-enhance, and reporter.py reports the
results; export.py makes fsnp-export and doctor.py fsnp-doctor.
"""
