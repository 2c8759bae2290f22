"""What policies achieve on this machine, measured on programs that are started for it.

make effects
"""
