"""The machine: devices, CPU cores and instruction sets, memory, precision, speed and seeds."""
