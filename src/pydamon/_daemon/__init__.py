"""The privileged part of the daemon: all of it, and nothing from outside the standard library.

The command `pydamon daemon` makes a plan (the BPF programs, and facts about this kernel) and then
becomes this program. Modules import each other only, as a package of any name, so that no other
part of pydamon is loaded; a test counts the lines and the imports.
"""
