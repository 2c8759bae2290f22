"""What Linux tells of processes and pages, and takes as advice: /proc and system calls."""
