"""What runs on the CPUs while memory is monitored: samples of running code, by function."""
