"""What the machine can compute: CPU cores, instruction sets, GPUs, number formats."""
